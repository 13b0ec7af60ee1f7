with spans as (
    select
        customers.number,
        customers.customer_id,
        customers.region,
        customers.segment,
        customers.basket_percent,
        opens.starts_at as opens_at,
        closes.starts_at + closes.weight as closes_at,
        cast(
            greatest(1, customers.eagerness * (closes.starts_at + closes.weight - opens.starts_at) // opens.total)
            as bigint
        ) as orders_share
    from customer_base as customers
    inner join trading_days as opens on customers.region = opens.region and customers.buys_from = opens.day
    inner join trading_days as closes on customers.region = closes.region and customers.buys_until = closes.day
),

shares as (
    select
        *,
        cast(sum(orders_share) over (order by number) as bigint) - orders_share as share_starts_at,
        cast(sum(orders_share) over () as bigint) as share_total
    from spans
),

-- Every customer gets a run of whole numbers as long as the share; all runs together are exactly the orders.
bought as (
    select
        *,
        unnest(range(share_starts_at * wanted // share_total, (share_starts_at + orders_share) * wanted // share_total))
        as serial
    from (select *, cast(200000 * getvariable('scale') as bigint) as wanted from shares)
),

positioned as (
    select
        serial,
        customer_id,
        region,
        segment,
        basket_percent,
        opens_at + cast(hash(serial, 'day') % cast(closes_at - opens_at as ubigint) as bigint) as position
    from bought
),

day_slots as (
    select region, day, unnest(range(starts_at, starts_at + weight)) as position
    from trading_days
),

dated as (
    select
        positioned.*,
        day_slots.day,
        cast(day_slots.day as timestamp)
        + to_seconds(cast(25200 + (hash(serial, 'hour') % 27000 + hash(serial, 'minute') % 27000) as bigint)) as ordered_at,
        cast(hash(serial, 'status') % 1000 as integer) as status_draw,
        cast(hash(serial, 'code') % 100 as integer) as code_draw
    from positioned
    inner join day_slots on positioned.region = day_slots.region and positioned.position = day_slots.position
)

select
    1000000 + row_number() over (order by ordered_at, serial) as order_id,
    customer_id,
    region,
    segment,
    basket_percent,
    ordered_at,
    case
        when status_draw < (case region when 'APAC' then 19 when 'AMER' then 17 else 14 end) then 'cancelled'
        when status_draw < (case segment when 'Consumer' then 55 else 34 end) then 'refunded'
        else 'completed'
    end as status,
    case
        when month(day) = 11 and day(day) between 24 and 30 and code_draw < 45 then 'BLACKWEEK20'
        when segment <> 'Consumer' and code_draw < 9 then 'TRADE10'
        when segment = 'Consumer' and code_draw < 7 then 'WELCOME10'
        when month(day) in (4, 5) and code_draw between 20 and 27 then 'SPRING15'
        when code_draw between 90 and 92 then 'PINE5'
    end as discount_code
from dated
