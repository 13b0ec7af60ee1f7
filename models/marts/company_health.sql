with newest as (select max(ordered_at) as at from orders),

people as (
    select
        company_id,
        cast(count(*) as integer) as contacts,
        sum(orders) as orders,
        sum(lifetime_value) as lifetime_value,
        max(last_ordered_on) as last_ordered_on
    from customers
    where company_id is not null
    group by company_id
),

recent as (
    select
        customers.company_id,
        sum(orders.revenue) filter (where orders.ordered_at > newest.at - interval 90 days) as revenue_90_days,
        sum(orders.revenue) filter (where orders.ordered_at <= newest.at - interval 90 days) as revenue_before
    from orders
    inner join customers on orders.customer_id = customers.customer_id
    cross join newest
    where customers.company_id is not null and orders.ordered_at > newest.at - interval 180 days
    group by customers.company_id
),

support as (
    select
        customers.company_id,
        cast(count(*) filter (where tickets.status in ('open', 'waiting for customer')) as integer) as open_tickets,
        cast(round(avg(tickets.satisfaction), 2) as decimal(4, 2)) as satisfaction
    from tickets
    inner join customers on tickets.customer_id = customers.customer_id
    where customers.company_id is not null
    group by customers.company_id
),

counted as (
    select
        base.*,
        coalesce(people.contacts, 0) as contacts,
        cast(coalesce(people.orders, 0) as integer) as orders,
        cast(coalesce(people.lifetime_value, 0) as decimal(12, 2)) as lifetime_value,
        people.last_ordered_on,
        cast(coalesce(recent.revenue_90_days, 0) as decimal(12, 2)) as revenue_90_days,
        cast(coalesce(recent.revenue_before, 0) as decimal(12, 2)) as revenue_before,
        coalesce(support.open_tickets, 0) as open_tickets,
        support.satisfaction
    from company_base as base
    left join people on base.company_id = people.company_id
    left join recent on base.company_id = recent.company_id
    left join support on base.company_id = support.company_id
)

select
    *,
    case
        when orders = 0 then 'prospect'
        when revenue_90_days = 0 then 'silent'
        when revenue_90_days < 0.6 * revenue_before or satisfaction < 3 then 'at risk'
        when revenue_90_days > 1.3 * revenue_before then 'growing'
        else 'steady'
    end as health
from counted
