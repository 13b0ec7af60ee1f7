-- values of every kind; doubles are multiples of 1/4, so that their sums do not depend on the order
select
    i::integer as id,
    ['EMEA', 'AMER', 'APAC', 'emea '][1 + i % 4] as region,
    (i * 7 % 13)::integer as customer_id,
    case when i % 11 = 0 then null else (i * 37 % 500 - 60) / 4 end::decimal(10, 2) as amount,
    case when i % 9 = 0 then null else (i * 101) % 23 - 3 end::bigint as quantity,
    case when i % 7 = 0 then null else (i * 13 % 40 - 8) / 4 end::double as price,
    case i % 10
        when 0 then null when 1 then '' when 2 then i::varchar when 3 then '2026-02-30' when 4 then 'x;''"y'
        when 5 then '12.5' when 6 then 'Ünïcødé 🦆' when 7 then '2026-01-15' when 8 then ' 7 ' else 'paid' end as note,
    case when i % 13 = 0 then null else date '2026-01-01' + (i * 17 % 120)::integer end as sold_on,
    timestamp '2026-01-01 00:00:00' + interval 1 hour * (i * 311 % 2900) as sold_at,
    case i % 5 when 0 then null when 1 then [] else ['a' || i % 3, 'b'] end::varchar[] as tags,
    case when i % 6 = 0 then null else {'w': i % 4, 'label': 'L' || i % 3} end::struct(w integer, label varchar) as box,
    case i % 3 when 0 then null else i % 3 = 1 end as paid,
    case when i % 8 = 0 then null else map(['k', 'n' || i % 2], [i, i % 5]) end::map(varchar, integer) as props
from range(1, 61) numbers(i)
