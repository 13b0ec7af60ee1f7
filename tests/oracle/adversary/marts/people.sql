select
    (i % 15)::integer as customer_id,
    case when i % 6 = 0 then null else 'Name ' || (i % 9) end as full_name,
    case when i % 5 = 0 then null when i = 7 then '' else 'p' || (i % 12) || '@example.com' end as email,
    case when i % 4 = 0 then null when i = 5 then '+1' else '+49 30 ' || (1000 + i * 77) end as phone,
    case when i % 7 = 0 then null else date '1960-01-31' + (i * 997 % 15000)::integer end as born,
    case when i % 8 = 0 then null else 1000 + i * 137 % 4000 end::integer as income,
    (i % 6 * 12.345)::decimal(8, 3) as score,
    ['EMEA', 'AMER', 'APAC', null][1 + i % 4] as region,
    case i % 3 when 0 then 'A' || i when 1 then '77' else null end as badge
from range(0, 24) numbers(i)
