-- What a question becomes where rollups answer its blocks. The texts are compared, and both are run:
-- headers, types, rows and their order are equal.

-- answered by: by_region
SELECT region, sum(amount), count(*) FROM orders GROUP BY ALL ORDER BY region;
-- reads:
SELECT orders.region AS region, sum(orders.sum_ee60604ae5e3) AS "sum(amount)", CAST(COALESCE(sum(orders.count_2e50ec80483d), 0) AS BIGINT) AS "count_star()" FROM "orders:by_region" AS orders GROUP BY ALL ORDER BY orders.region;

-- answered by: by_region
SELECT o.REGION, Sum(o.Amount) AS revenue FROM orders AS o GROUP BY 1 ORDER BY revenue DESC, 1 LIMIT 3;
-- reads:
SELECT o.region AS region, sum(o.sum_ee60604ae5e3) AS revenue FROM "orders:by_region" AS o GROUP BY 1 ORDER BY revenue DESC, 1 LIMIT 3;

-- answered by: by_month
SELECT date_trunc('month', ordered_at) AS month, sum(amount) / count(*) FROM orders GROUP BY month ORDER BY month;
-- reads:
SELECT CAST(orders."ordered_at.month" AS TIMESTAMP) AS "month", (sum(orders.sum_ee60604ae5e3) / CAST(COALESCE(sum(orders.count_2e50ec80483d), 0) AS BIGINT)) AS "(sum(amount) / count_star())" FROM "orders:by_month" AS orders GROUP BY "month" ORDER BY "month";

-- answered by: by_month
SELECT date_trunc('quarter', ordered_at)::date AS quarter, avg(pieces) FROM orders WHERE ordered_at >= '2026-01-01' AND ordered_at < '2026-04-01' AND region IN ('EMEA', 'AMER') GROUP BY ALL ORDER BY ALL;
-- reads:
SELECT CAST(date_trunc('quarter', orders."ordered_at.month") AS DATE) AS "quarter", (sum(orders.sum_6cf1b2e60d61) / "nullif"(CAST(COALESCE(sum(orders.count_202938d0bd65), 0) AS BIGINT), 0)) AS "avg(pieces)" FROM "orders:by_month" AS orders WHERE ((orders."ordered_at.month" >= CAST('2026-01-01' AS DATE)) AND (orders."ordered_at.month" < CAST('2026-04-01' AS DATE)) AND (orders.region IN ('EMEA', 'AMER'))) GROUP BY ALL ORDER BY COLUMNS(*);

-- answered by: by_month
SELECT count(*), sum(amount) FROM orders WHERE ordered_at BETWEEN '2026-01-15' AND '2026-03-10 23:59:59.999999' AND segment = 'S1';
-- reads:
SELECT CAST(COALESCE(sum(orders.count_2e50ec80483d), 0) AS BIGINT) AS "count_star()", sum(orders.sum_ee60604ae5e3) AS "sum(amount)" FROM ((SELECT segment, count_2e50ec80483d, sum_ee60604ae5e3 FROM "orders:by_month" WHERE (("ordered_at.month" >= CAST('2026-02-01' AS DATE)) AND ("ordered_at.month" < CAST('2026-03-01' AS DATE)))) UNION ALL (SELECT segment, count_star(), sum(amount) FROM orders WHERE (((ordered_at >= CAST('2026-01-15' AS DATE)) AND (ordered_at < CAST('2026-02-01' AS DATE))) OR ((ordered_at >= CAST('2026-03-01' AS DATE)) AND (ordered_at < CAST('2026-03-11' AS DATE)))) GROUP BY 1)) AS orders WHERE (orders.segment = 'S1');

-- answered by: by_day
SELECT case when pieces < 5 then 'small' else 'large' end AS basket, sum(amount) FILTER (WHERE region = 'EMEA'), count(*) FILTER (WHERE region IS NULL) FROM orders GROUP BY ALL ORDER BY basket;
-- reads:
SELECT orders.basket AS basket, sum(orders.sum_d0524ade1638) AS "sum(amount) FILTER (WHERE (region = 'EMEA'))", CAST(COALESCE(sum(orders.count_2e50ec80483d) FILTER (WHERE (orders.region IS NULL)), 0) AS BIGINT) AS "count_star() FILTER (WHERE (region IS NULL))" FROM "orders:by_day" AS orders GROUP BY ALL ORDER BY basket;

-- answered by: by_date
WITH monthly AS (SELECT year(day) AS y, month(day) AS m, sum(amount) FROM orders WHERE day <= DATE '2026-03-05' GROUP BY ALL) SELECT * FROM monthly ORDER BY y, m;
-- reads:
WITH monthly AS (SELECT "year"(CAST(date_trunc('year', orders."day.day") AS DATE)) AS y, "month"(CAST(date_trunc('month', orders."day.day") AS DATE)) AS m, sum(orders.sum_ee60604ae5e3) AS "sum(amount)" FROM "orders:by_date" AS orders WHERE (orders."day.day" < CAST('2026-03-06' AS DATE)) GROUP BY ALL) SELECT * FROM monthly ORDER BY y, m;

-- answered by: by_region
SELECT region, rank() OVER (ORDER BY sum(amount) DESC) AS position FROM orders GROUP BY region QUALIFY position <= 2 ORDER BY position;
-- reads:
SELECT orders.region AS region, rank() OVER (ORDER BY sum(orders.sum_ee60604ae5e3) DESC) AS "position" FROM "orders:by_region" AS orders GROUP BY orders.region QUALIFY ("position" <= 2) ORDER BY "position";

-- answered by: by_month
SELECT region, segment, grouping(segment) AS part, count(*) FROM orders GROUP BY ROLLUP (region, segment) ORDER BY ALL;
-- reads:
SELECT orders.region AS region, orders.segment AS segment, GROUPING(orders.segment) AS part, CAST(COALESCE(sum(orders.count_2e50ec80483d), 0) AS BIGINT) AS "count_star()" FROM "orders:by_month" AS orders GROUP BY GROUPING SETS ((),(orders.region),(orders.region, orders.segment)) ORDER BY COLUMNS(*);

-- answered by: by_month
SELECT DISTINCT region FROM orders WHERE ordered_at >= DATE '2026-01-01' ORDER BY region;
-- reads:
SELECT DISTINCT orders.region AS region FROM "orders:by_month" AS orders WHERE (orders."ordered_at.month" >= CAST('2026-01-01' AS DATE)) ORDER BY orders.region;

-- answered by: by_region, by_region
SELECT region, (SELECT sum(amount) FROM orders) FROM orders GROUP BY region ORDER BY region;
-- reads:
SELECT orders.region AS region, (SELECT sum(orders.sum_ee60604ae5e3) AS "sum(amount)" FROM "orders:by_region" AS orders) AS "(SELECT sum(amount) FROM orders)" FROM "orders:by_region" AS orders GROUP BY orders.region ORDER BY orders.region;

-- answered by: by_region
SELECT region, count(DISTINCT buyer), median(amount) FROM orders WHERE region <> '' GROUP BY region ORDER BY region;
-- reads:
SELECT orders.region AS region, COALESCE(max(orders.count_distinct_2ee759f42480), 0) AS "count(DISTINCT buyer)", max(orders.median_34a346f33f69) AS "median(amount)" FROM "orders:by_region" AS orders WHERE (orders.region != '') GROUP BY orders.region ORDER BY orders.region;

-- answered by: by_day
SELECT approx_count_distinct(buyer) FROM orders WHERE ordered_at >= '2026-02-01';
-- reads:
SELECT finalize(combine_aggr(orders.approx_count_distinct_0df56ca5f639)) AS "approx_count_distinct(buyer)" FROM "orders:by_day" AS orders WHERE (orders."ordered_at.day" >= CAST('2026-02-01' AS DATE));

-- answered by: by_day
SELECT sum(amount) FROM orders WHERE ordered_at >= (DATE '2026-01-01' + INTERVAL 1 MONTH);
-- reads:
SELECT sum(orders.sum_ee60604ae5e3) AS "sum(amount)" FROM "orders:by_day" AS orders WHERE (orders."ordered_at.day" >= (CAST('2026-01-01' AS DATE) + to_months(CAST(trunc(CAST(1 AS DOUBLE)) AS INTEGER))));

-- answered by: by_hour
SELECT date_trunc('hour', seen_at) AS hour, count(*) FROM orders WHERE CAST(seen_at AS DATE) = DATE '2026-03-08' GROUP BY hour ORDER BY hour;
-- reads:
SELECT orders."seen_at.hour" AS "hour", CAST(COALESCE(sum(orders.count_2e50ec80483d), 0) AS BIGINT) AS "count_star()" FROM "orders:by_hour" AS orders WHERE ((CAST(orders."seen_at.hour" AS DATE) >= CAST('2026-03-08' AS DATE)) AND (CAST(orders."seen_at.hour" AS DATE) < CAST('2026-03-09' AS DATE))) GROUP BY "hour" ORDER BY "hour";

-- answered by: by_month
SELECT r.rank, sum(o.amount) FROM orders AS o JOIN regions AS r ON o.region = r.name WHERE o.ordered_at >= DATE '2026-02-01' GROUP BY r.rank ORDER BY r.rank;
-- reads:
SELECT r.rank, sum(o.sum_ee60604ae5e3) AS "sum(o.amount)" FROM ("orders:by_month" AS o INNER JOIN regions AS r ON ((o.region = r."name"))) WHERE (o."ordered_at.month" >= CAST('2026-02-01' AS DATE)) GROUP BY r.rank ORDER BY r.rank;

-- answered by: by_region
SELECT name, (SELECT count(*) FROM orders AS o WHERE o.region = r.name) FROM regions AS r ORDER BY name;
-- reads:
SELECT "name", (SELECT CAST(COALESCE(sum(o.count_2e50ec80483d), 0) AS BIGINT) AS "count_star()" FROM "orders:by_region" AS o WHERE (o.region = r."name")) AS "(SELECT count_star() FROM orders AS o WHERE (o.region = r.""name""))" FROM regions AS r ORDER BY "name";

-- answered by: by_region, by_region
SELECT region, sum(amount) FROM orders GROUP BY region UNION ALL SELECT 'all', sum(amount) FROM orders ORDER BY 2, 1;
-- reads:
(SELECT orders.region AS region, sum(orders.sum_ee60604ae5e3) AS "sum(amount)" FROM "orders:by_region" AS orders GROUP BY orders.region) UNION ALL (SELECT 'all', sum(orders.sum_ee60604ae5e3) AS "sum(amount)" FROM "orders:by_region" AS orders) ORDER BY 2, 1;
