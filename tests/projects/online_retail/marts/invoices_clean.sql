select distinct
    trim(InvoiceNo) as invoice_no,
    strptime(InvoiceDate, '%m/%d/%Y %H:%M') as invoiced_at,
    nullif(trim(CustomerID), '(blank)') as customer_id,
    trim(Country) as country,
    case
        when InvoiceNo like 'C%' then 'cancellation'
        when InvoiceNo like 'A%' then 'adjustment'
        when Quantity < 0 then 'write-off'
        else 'sale'
    end as kind,
    Quantity as quantity,
    UnitPrice as unit_price
from invoices
