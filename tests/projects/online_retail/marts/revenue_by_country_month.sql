select
    country,
    cast(date_trunc('month', invoiced_at) as date) as month,
    cast(count(*) filter (where kind = 'sale') as integer) as orders,
    cast(count(*) filter (where cancelled) as integer) as cancellations,
    cast(count(distinct customer_id) as integer) as customers,
    cast(sum(revenue) as decimal(14, 2)) as revenue
from orders
group by all
