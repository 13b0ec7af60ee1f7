from raw_lineitem
