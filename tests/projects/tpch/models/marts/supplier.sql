from raw_supplier
