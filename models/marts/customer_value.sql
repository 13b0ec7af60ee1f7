with newest as (select cast(max(ordered_at) as date) as day from orders),

support as (
    select customer_id, cast(count(*) filter (where status in ('open', 'waiting for customer')) as integer) as open_tickets
    from tickets
    group by customer_id
)

select
    customers.customer_id,
    customers.name,
    customers.email,
    customers.company_id,
    customers.company,
    customers.country,
    customers.region,
    customers.segment,
    customers.account_owner,
    customers.signed_up_on,
    customers.orders,
    customers.lifetime_value,
    customers.last_ordered_on,
    coalesce(support.open_tickets, 0) as open_tickets,
    case
        when customers.lifetime_value >= 50000 then 'A'
        when customers.lifetime_value >= 5000 then 'B'
        when customers.orders > 0 then 'C'
        else 'D'
    end as tier,
    case
        when customers.last_ordered_on is null then 'prospect'
        when customers.last_ordered_on >= newest.day - 45 then 'healthy'
        when customers.last_ordered_on >= newest.day - 120 then 'cooling'
        when customers.last_ordered_on >= newest.day - 365 then 'at risk'
        else 'lost'
    end as health
from customers
cross join newest
left join support on customers.customer_id = support.customer_id
