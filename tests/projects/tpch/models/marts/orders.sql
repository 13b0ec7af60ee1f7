from raw_orders
