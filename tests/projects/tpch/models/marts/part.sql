from raw_part
