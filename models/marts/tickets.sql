with order_count as (select count(*) as orders from orders),

numbered as (
    select unnest(generate_series(1, cast(12000 * getvariable('scale') as bigint))) as number
),

drawn as (
    select
        number,
        1000001 + cast(hash(number, 'order') % cast(orders as ubigint) as bigint) as order_id,
        cast(hash(number, 'topic') % 100 as integer) as topic_draw,
        cast(hash(number, 'wording') % 3 as integer) as wording,
        cast(hash(number, 'priority') % 100 as integer) as priority_draw,
        cast(hash(number, 'wait') % 7200 as bigint) as wait_minutes,
        cast(hash(number, 'pace') % 1000 as integer) as pace,
        cast(hash(number, 'rating') % 100 as integer) as rating_draw,
        cast(hash(number, 'rates') % 100 as integer) as rates_draw,
        cast(hash(number, 'status') % 100 as integer) as status_draw,
        cast(hash(number, 'channel') % 100 as integer) as channel_draw,
        cast(hash(number, 'agent') % 6 as integer) as agent_draw
    from numbered
    cross join order_count
),

opened as (
    select
        drawn.*,
        orders.customer_id,
        orders.customer,
        orders.company,
        orders.segment,
        orders.country,
        orders.region,
        orders.ordered_at + to_minutes(30 + wait_minutes) as created_at,
        case
            when topic_draw < 31 then 'Delivery'
            when topic_draw < 46 then 'Damaged goods'
            when topic_draw < 56 then 'Wrong item'
            when topic_draw < 71 then 'Billing'
            when topic_draw < 84 then 'Returns'
            when topic_draw < 94 then 'Product question'
            else 'Account'
        end as topic,
        case
            when orders.segment = 'Enterprise' and priority_draw < 20 then 'urgent'
            when priority_draw < 6 then 'urgent'
            when priority_draw < 24 then 'high'
            when priority_draw < 78 then 'normal'
            else 'low'
        end as priority
    from drawn
    inner join orders on drawn.order_id = orders.order_id
    where orders.ordered_at + to_minutes(30 + wait_minutes) < timestamp '2026-11-16'
),

answered as (
    select
        *,
        -- the team got faster over the years; nobody answers quickly at weekends
        cast(
            (case priority when 'urgent' then 18 when 'high' then 55 when 'normal' then 170 else 320 end)
            * (0.35 + pace / 500.0 + (case when pace > 960 then 6 else 0 end))
            * (1.35 - 0.2 * date_diff('month', date '2024-01-01', created_at) / 12)
            * (case when isodow(created_at) > 5 then 1.9 else 1 end)
            as integer
        ) as first_response_minutes,
        date_diff('day', cast(created_at as date), date '2026-11-15') as age
    from opened
),

settled as (
    select
        *,
        case
            when age < 2 and status_draw < 70 then 'open'
            when age < 7 and status_draw < 30 then 'open'
            when age < 14 and status_draw < 30 then 'waiting for customer'
            when age < 30 and status_draw < 8 then 'open'
            when age < 45 then 'solved'
            else 'closed'
        end as status
    from answered
)

select
    500000 + row_number() over (order by created_at, number) as ticket_id,
    created_at,
    status,
    priority,
    topic,
    case topic
        when 'Delivery'
            then [
                'Order ' || order_id || ' has not arrived',
                'Where is order ' || order_id || '?',
                'Parcel marked delivered, not here'
            ]
        when 'Damaged goods' then ['Bags split open in order ' || order_id, 'Mug arrived broken', 'Kettle lid dented on arrival']
        when 'Wrong item'
            then [
                'Received beans instead of ground',
                'Wrong size in order ' || order_id,
                'Missing one item of order ' || order_id
            ]
        when 'Billing'
            then [
                'VAT number missing on invoice ' || order_id,
                'Charged twice for order ' || order_id,
                'Please resend the invoice'
            ]
        when 'Returns'
            then [
                'Return label for order ' || order_id,
                'Refund for order ' || order_id || ' still open',
                'Exchange for another roast'
            ]
        when 'Product question' then ['Which grind for a moka pot?', 'Is the decaf water processed?', 'Lead time for 20 kg']
        else ['Cannot sign in', 'Change the delivery address', 'Add a colleague to our account']
    end[1 + wording] as subject,
    case when channel_draw < 58 then 'E-mail' when channel_draw < 84 then 'Chat' else 'Phone' end as channel,
    ['Priya', 'Owen', 'Saskia', 'Mateus', 'Hana', 'Kofi'][1 + agent_draw] as agent,
    order_id,
    customer_id,
    customer,
    company,
    segment,
    country,
    region,
    case when not (status = 'open' and age < 2 and status_draw < 35) then first_response_minutes end
    as first_response_minutes,
    -- who waits long is less happy; every other customer gives no rating
    case
        when status in ('solved', 'closed') and rates_draw < 47
            then cast(
                greatest(1, 5 - rating_draw // 45 - rating_draw // 80 - rating_draw // 93 - first_response_minutes // 420)
                as integer
            )
    end as satisfaction
from settled
