select
    cast(ordered_at as date) as day,
    country,
    region,
    cast(count(*) as integer) as orders,
    cast(count(*) filter (where status = 'completed') as integer) as completed,
    cast(sum(pieces) as integer) as pieces,
    cast(sum(revenue) as decimal(14, 2)) as revenue,
    cast(sum(margin) as decimal(14, 2)) as margin
from orders
group by all
