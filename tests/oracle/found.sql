-- Questions over tests/oracle/adversary that the two worlds once answered differently, or nearly.
-- Each is asked for every person of that project, in every run.

-- a value breaks the second arm, after the answer has begun: the failure must come as one, not as a dead worker
select full_name as k from people union all select v.t from (values (1, 'EMEA'), (2, null)) v(n, t) where (v.t)::boolean;
-- the policy's constant may fold the filter, or the filter may be met too late: both are the planner's choice
select badge::int from people where badge = 'nowhere';
-- hidden values stand in the way of every one of these
select note::int from sales where region = 'EMEA' and sold_on >= date '2026-02-01';
select count(*) from people where email::int > 0 or phone::date is null;
select income::tinyint, score::int from people order by all;
select c.*, s.* from people c full join sales s using (customer_id) order by all;
describe people;
from (describe sales);
show tables;
select column_name, min, max, count from (summarize people);
with recursive sales as (select id, region from sales where id < 9 union all select id + 20, region from sales where id < 30) from sales order by all;
-- more rows than a scalar may have
select id, (select region from rates i where i.level = s.id % 5) from sales s order by all;
-- which side of the join is built first depends on how many rows the engine expects
select a.region as g, sum(distinct a.level) from rates a left join (values (1, 'EMEA', date '2026-01-15'), (2, null, null), (3, 'paid', date '2026-03-01')) v(n, t, d) on a.region = v.t where a.day = (v.t)::date group by all;
-- the engine casts a struct's field while it scans, before the policy's filter, even below a SECURE VIEW
select (box.label)::int from sales;
select (box.label)::date from sales where id > 0;
select count(*) from sales where (box.label)::int > 0;
select region, max((struct_extract(box, 'label'))::boolean) from sales group by all;
