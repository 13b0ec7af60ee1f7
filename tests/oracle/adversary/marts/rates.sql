select
    region,
    date '2026-01-01' + (7 * n)::integer as day,
    timestamp '2026-01-01 12:00:00' + interval 36 hour * n as moment,
    ((n * 7 + ascii(region)) % 32 / 4)::double as rate,
    (n % 5)::smallint as level
from range(0, 12) numbers(n), (values ('EMEA'), ('AMER'), ('APAC')) regions(region)
