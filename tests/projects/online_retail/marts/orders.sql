select
    invoice_no,
    min(invoiced_at) as invoiced_at,
    any_value(customer_id) as customer_id,
    any_value(country) as country,
    any_value(kind) as kind,
    any_value(kind) = 'cancellation' as cancelled,
    cast(sum(quantity) as integer) as quantity,
    cast(round(sum(quantity * unit_price), 2) as decimal(12, 2)) as revenue,
    cast(count(*) as integer) as parts
from invoices_clean
group by invoice_no
