from raw_region
