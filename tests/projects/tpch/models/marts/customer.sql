from raw_customer
