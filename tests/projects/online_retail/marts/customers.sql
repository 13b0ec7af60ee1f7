with countries as (
    select
        customer_id,
        country,
        count(*) as invoices,
        max(invoiced_at) as last_at
    from orders
    where customer_id is not null
    group by customer_id, country
),

homes as (
    select customer_id, country, count(*) over (partition by customer_id) as countries
    from countries
    qualify row_number() over (partition by customer_id order by invoices desc, last_at desc, country) = 1
),

totals as (
    select
        customer_id,
        cast(count(*) filter (where kind = 'sale') as integer) as orders,
        cast(count(*) filter (where cancelled) as integer) as cancellations,
        sum(revenue) as revenue,
        min(invoiced_at) filter (where kind = 'sale') as first_order_at,
        max(invoiced_at) filter (where kind = 'sale') as last_order_at
    from orders
    where customer_id is not null
    group by customer_id
),

newest as (select max(invoiced_at) as at from orders),

buyers as (
    select
        customer_id,
        date_diff('day', cast(last_order_at as date), cast(newest.at as date)) as recency_days,
        least(5, 1 + floor(5 * percent_rank() over (order by cast(last_order_at as date)))) as recency,
        least(5, 1 + floor(5 * percent_rank() over (order by orders))) as frequency,
        least(5, 1 + floor(5 * percent_rank() over (order by revenue))) as monetary
    from totals
    cross join newest
    where orders > 0
)

select
    totals.customer_id,
    homes.country,
    cast(homes.countries as integer) as countries,
    totals.orders,
    totals.cancellations,
    cast(totals.revenue as decimal(12, 2)) as revenue,
    totals.first_order_at,
    totals.last_order_at,
    cast(buyers.recency_days as integer) as recency_days,
    cast(buyers.recency as integer) as recency_score,
    cast(buyers.frequency as integer) as frequency_score,
    cast(buyers.monetary as integer) as monetary_score,
    case
        when buyers.customer_id is null then 'No purchase'
        when buyers.recency >= 4 and buyers.frequency >= 4 then 'Champion'
        when buyers.frequency >= 4 and buyers.recency <= 2 then 'At risk'
        when buyers.frequency >= 3 then 'Loyal'
        when buyers.recency >= 4 then 'New'
        when buyers.recency <= 2 then 'Lost'
        else 'Occasional'
    end as segment
from totals
inner join homes using (customer_id)
left join buyers using (customer_id)
