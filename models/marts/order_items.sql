with slots as (
    select
        product_id,
        unnest(range(
            cast(sum(popularity) over (order by product_id) as bigint) - popularity,
            cast(sum(popularity) over (order by product_id) as bigint)
        )) as slot
    from products
),

lines as (
    select
        *,
        unnest(range(1, cast(
            2 + (case when segment = 'Consumer' then hash(order_id, 'lines') % 3 else 1 + hash(order_id, 'lines') % 4 end)
            as bigint
        ))) as line
    from order_base
),

filled as (
    select
        lines.*,
        products.product,
        products.category,
        products.price,
        products.margin,
        cast(case
            when products.price >= 75 and segment = 'Consumer' then 1
            when products.price >= 75 then 1 + hash(order_id, line, 'pieces') % 2
            when segment = 'Consumer'
                then 1 + hash(order_id, line, 'pieces') % 100 // 62 + hash(order_id, line, 'more') % 100 // 88
            else greatest(1, (10 + hash(order_id, line, 'pieces') % 30) * basket_percent // 1000)
        end as integer) as quantity,
        case discount_code
            when 'BLACKWEEK20' then 0.20 when 'SPRING15' then 0.15 when 'TRADE10' then 0.10 when 'WELCOME10' then 0.10
            when 'PINE5' then 0.05 else 0.00
        end as discount_rate
    from lines
    inner join slots on slots.slot = cast(hash(order_id, line, 'product') % 1000 as bigint)
    inner join products on slots.product_id = products.product_id
),

priced as (
    select
        *,
        cast(quantity * price as decimal(12, 2)) as list_amount,
        cast(round(quantity * price * discount_rate, 2) as decimal(12, 2)) as discount
    from filled
)

select
    priced.order_id,
    cast(priced.line as integer) as line,
    priced.ordered_at,
    priced.status,
    priced.customer_id,
    priced.segment,
    customers.country,
    priced.region,
    priced.product,
    priced.category,
    priced.quantity,
    priced.list_amount,
    priced.discount,
    cast(case when priced.status = 'completed' then priced.list_amount - priced.discount else 0 end as decimal(12, 2))
    as revenue,
    cast(
        case when priced.status = 'completed' then priced.quantity * priced.margin - priced.discount else 0 end
        as decimal(12, 2)
    ) as margin
from priced
inner join customer_base as customers on priced.customer_id = customers.customer_id
