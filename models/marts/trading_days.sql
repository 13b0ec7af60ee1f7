-- Whole-number weights: their running sums are the same on every machine and with any number of threads.
with days as (
    select
        cast(day as date) as day,
        date_diff('day', date '2024-01-01', cast(day as date)) as age,
        isodow(day) as weekday,
        month(day) as month,
        cast(day as date) between date_trunc('year', day) + interval 327 days
        and date_trunc('year', day) + interval 335 days as black_week
    from generate_series(timestamp '2024-01-01', timestamp '2026-11-15', interval 1 day) as series (day)
),

regions as (
    select *
    from (
        values
        ('EMEA', 1, [104, 108, 110, 112, 106, 90, 70]),
        ('AMER', 3, [98, 102, 106, 108, 110, 96, 80]),
        ('APAC', 6, [100, 104, 104, 106, 112, 98, 76])
    ) as listed (region, growth, weekdays)
),

weighted as (
    select
        regions.region,
        days.day,
        cast(
            (1000 + regions.growth * days.age / 10)
            * regions.weekdays[days.weekday]
            * [88, 86, 95, 94, 97, 92, 86, 90, 102, 108, 126, 158][days.month]
            * (case when days.black_week then 14 else 10 end)
            * (92 + hash(days.age, regions.region) % 17) / 50000000
            as bigint
        ) as weight
    from days
    cross join regions
)

select
    region,
    day,
    weight,
    cast(sum(weight) over (partition by region order by day) as bigint) - weight as starts_at,
    cast(sum(weight) over (partition by region) as bigint) as total
from weighted
