select 1::integer as customer_id, 1::decimal(10, 2) as amount, ''::varchar as note, date '2026-01-01' as day where false
