from raw_nation
