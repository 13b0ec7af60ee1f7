from raw_partsupp
