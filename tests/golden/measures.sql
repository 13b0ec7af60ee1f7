-- What a question with MEASURE becomes. The texts are compared; what it becomes is also run, and gives
-- what the third text gives, which a person would write over the tables themselves.

-- case: a ratio is a ratio of aggregates, null-safe
SELECT region, MEASURE(aov) FROM orders GROUP BY ALL ORDER BY MEASURE(revenue) DESC;
-- becomes
SELECT region, (sum(orders.amount) / "nullif"(count_star(), 0)) AS aov FROM orders GROUP BY ALL ORDER BY sum(orders.amount) DESC;
-- by hand
SELECT region, sum(amount) / count(*) AS aov FROM orders GROUP BY region ORDER BY sum(amount) DESC;

-- case: a measure's own filter and the call's hold both
SELECT MEASURE(emea) FILTER (WHERE day < DATE '2026-02-01') FROM orders;
-- becomes
SELECT sum(orders.amount) FILTER (WHERE ((orders.region = 'EMEA') AND ("day" < CAST('2026-02-01' AS DATE)))) AS emea FROM orders;
-- by hand
SELECT sum(amount) AS emea FROM orders WHERE region = 'EMEA' AND day < DATE '2026-02-01';

-- case: rows of NULLs that a join adds are not counted
SELECT d.day, MEASURE(orders), MEASURE(revenue) FROM days d LEFT JOIN orders o ON o.day = d.day WHERE d.day < DATE '2026-01-07' GROUP BY ALL ORDER BY ALL;
-- becomes
SELECT d."day", count_star() FILTER (WHERE (o.id IS NOT NULL)) AS orders, sum(o.amount) AS revenue FROM ("days" AS d LEFT JOIN orders AS o ON ((o."day" = d."day"))) WHERE (d."day" < CAST('2026-01-07' AS DATE)) GROUP BY ALL ORDER BY COLUMNS(*);
-- by hand
SELECT day, (SELECT count(*) FROM orders o WHERE o.day = d.day) AS orders, (SELECT sum(amount) FROM orders o WHERE o.day = d.day) AS revenue FROM days d WHERE day < DATE '2026-01-07' ORDER BY day;

-- case: a CTE passes a mart's rows on, under other names
WITH recent(number, value) AS (SELECT id, amount FROM orders WHERE day >= DATE '2026-02-01') SELECT MEASURE(aov) FROM recent;
-- becomes
WITH recent (number, "value") AS (SELECT id, amount FROM orders WHERE ("day" >= CAST('2026-02-01' AS DATE))) SELECT (sum(recent."value") / "nullif"(count_star(), 0)) AS aov FROM recent;
-- by hand
SELECT sum(amount) / count(*) AS aov FROM orders WHERE day >= DATE '2026-02-01';

-- case: two marts, each aggregated before they meet
WITH t AS (SELECT customer_id, MEASURE(tickets) FROM tickets GROUP BY ALL) SELECT MEASURE(orders), sum(tickets) AS tickets FROM orders LEFT JOIN t USING (customer_id);
-- becomes
WITH t AS (SELECT customer_id, count_star() AS tickets FROM tickets GROUP BY ALL) SELECT count_star() AS orders, sum(tickets) AS tickets FROM (orders LEFT JOIN t USING (customer_id));
-- by hand
SELECT (SELECT count(*) FROM orders) AS orders, (SELECT sum((SELECT nullif(count(*), 0) FROM tickets t WHERE t.customer_id = o.customer_id)) FROM orders o) AS tickets;

-- case: the largest is the largest, however often it comes
SELECT i.item, MEASURE(largest), MEASURE(buyers) FROM orders o JOIN order_items i ON i.order_id = o.id GROUP BY ALL ORDER BY ALL;
-- becomes
SELECT i.item, max(o.amount) AS largest, count(DISTINCT o.customer_id) AS buyers FROM (orders AS o INNER JOIN order_items AS i ON ((i.order_id = o.id))) GROUP BY ALL ORDER BY COLUMNS(*);
-- by hand
SELECT i.item, max(o.amount) AS largest, count(DISTINCT o.customer_id) AS buyers FROM orders o JOIN order_items i ON i.order_id = o.id GROUP BY i.item ORDER BY i.item;

-- case: an estimate
SELECT MEASURE(~buyers) FROM orders;
-- becomes
SELECT approx_count_distinct(orders.customer_id) AS buyers FROM orders;
-- by hand
SELECT approx_count_distinct(customer_id) AS buyers FROM orders;

-- case: a window over the result, and a header that was the text
SELECT region, rank() OVER (ORDER BY MEASURE(revenue) DESC), MEASURE(revenue) / sum(MEASURE(revenue)) OVER () AS share FROM orders GROUP BY ALL ORDER BY ALL;
-- becomes
SELECT region, rank() OVER (ORDER BY sum(orders.amount) DESC) AS "rank() OVER (ORDER BY measure(revenue) DESC)", (sum(orders.amount) / sum(sum(orders.amount)) OVER ()) AS "share" FROM orders GROUP BY ALL ORDER BY COLUMNS(*);
-- by hand
SELECT region, place AS "rank() OVER (ORDER BY measure(revenue) DESC)", revenue / sum(revenue) OVER () AS share FROM (SELECT region, sum(amount) AS revenue, rank() OVER (ORDER BY sum(amount) DESC) AS place FROM orders GROUP BY ALL) ORDER BY ALL;
