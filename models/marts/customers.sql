select
    base.customer_id,
    base.name,
    base.email,
    base.phone,
    base.company_id,
    base.company,
    base.industry,
    base.segment,
    base.account_owner,
    base.city,
    base.country,
    base.region,
    base.signed_up_on,
    base.signup_channel,
    base.acquisition,
    cast(coalesce(bought.orders, 0) as integer) as orders,
    cast(coalesce(bought.lifetime_value, 0) as decimal(12, 2)) as lifetime_value,
    bought.first_ordered_on,
    bought.last_ordered_on
from customer_base as base
left join (
    select
        customer_id,
        count(*) as orders,
        sum(revenue) as lifetime_value,
        cast(min(ordered_at) as date) as first_ordered_on,
        cast(max(ordered_at) as date) as last_ordered_on
    from orders
    group by customer_id
) as bought on base.customer_id = bought.customer_id
