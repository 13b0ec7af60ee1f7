select
    placed.order_id,
    placed.ordered_at,
    placed.status,
    placed.customer_id,
    customers.name as customer,
    customers.company,
    customers.segment,
    customers.signup_channel,
    customers.country,
    customers.region,
    placed.discount_code,
    totals.pieces,
    totals.list_amount,
    totals.discount,
    totals.revenue,
    totals.margin
from order_base as placed
inner join customer_base as customers on placed.customer_id = customers.customer_id
inner join (
    select
        order_id,
        cast(sum(quantity) as integer) as pieces,
        cast(sum(list_amount) as decimal(12, 2)) as list_amount,
        cast(sum(discount) as decimal(12, 2)) as discount,
        cast(sum(revenue) as decimal(12, 2)) as revenue,
        cast(sum(margin) as decimal(12, 2)) as margin
    from order_items
    group by order_id
) as totals on placed.order_id = totals.order_id
