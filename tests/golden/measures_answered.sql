-- Questions with MEASURE, and what a person would write over the tables themselves: both give the same
-- rows under the same headers.

-- case: alone
select measure(revenue) from orders;
-- by hand
select sum(amount) as revenue from orders;

-- case: in any case
select MeAsUrE(Revenue) from ORDERS;
-- by hand
select sum(amount) as revenue from orders;

-- case: by a dimension
select region, measure(revenue) from orders group by all;
-- by hand
select region, sum(amount) as revenue from orders group by region;

-- case: a ratio over nothing
select measure(aov), measure(margin), measure(orders) from orders where false;
-- by hand
select null::decimal(38,2)/1 as aov, null::double as margin, 0::bigint as orders;

-- case: under an alias that a column has
select region as amount, measure(revenue) from orders group by all order by measure(revenue);
-- by hand
select region as amount, sum(orders.amount) as revenue from orders group by region order by 2;

-- case: inside an expression
select round(measure(revenue) / 3, 1), 1 + measure(orders) as more from orders;
-- by hand
select round(sum(amount) / 3, 1) as "round((measure(revenue) / 3), 1)", 1 + count(*) as more from orders;

-- case: having and order by
select region from orders group by region having measure(orders) > 1 order by measure(revenue) desc;
-- by hand
select region from orders group by region having count(*) > 1;

-- case: qualify
select region, measure(revenue) from orders group by region qualify rank() over (order by measure(revenue)
desc) = 1;
-- by hand
select region, sum(amount) as revenue from orders group by region qualify rank() over (order by sum(amount)
desc) = 1;

-- case: a window over the result
select region, measure(revenue) / sum(measure(revenue)) over () as share from orders group by all;
-- by hand
select region, sum(amount) / sum(sum(amount)) over () as share from orders group by all;

-- case: rollup of groups
select region, measure(aov) from orders group by rollup (region);
-- by hand
select region, sum(amount) / nullif(count(*), 0) as aov from orders group by rollup (region);

-- case: distinct
select distinct measure(orders) from orders group by region;
-- by hand
select distinct count(*) as orders from orders group by region;

-- case: a filter of the call
select measure(revenue) filter (where day >= date '2026-02-01'), measure(emea) filter (amount > 15) from
orders;
-- by hand
select sum(amount) filter (day >= date '2026-02-01') as revenue, sum(amount) filter (region = 'EMEA' and
amount > 15) as emea from orders;

-- case: a filter of a ratio
select measure(aov) filter (where region = 'EMEA') from orders;
-- by hand
select sum(amount) / nullif(count(*), 0) as aov from orders where region = 'EMEA';

-- case: filled nulls
select measure(filled) from orders;
-- by hand
select 0::decimal(38,2) as filled;

-- case: an estimate
select region, measure(~buyers) from orders group by all;
-- by hand
select region, approx_count_distinct(customer_id) as buyers from orders group by all;

-- case: a lambda whose name is a column
select measure(tagged) from orders o;
-- by hand
select max(amount + 1) as tagged from orders;

-- case: qualified by the alias
select measure(o.revenue) from orders o;
-- by hand
select sum(amount) as revenue from orders;

-- case: qualified by the mart
select measure(orders.revenue) from orders o;
-- by hand
select sum(amount) as revenue from orders;

-- case: a cte that passes rows on
with x as (select * from orders where region = 'EMEA') select measure(revenue) from x;
-- by hand
select sum(amount) as revenue from orders where region = 'EMEA';

-- case: a cte of the mart's name
with orders as (from orders where region = 'EMEA') select measure(revenue) from orders;
-- by hand
select sum(amount) as revenue from orders where region = 'EMEA';

-- case: columns listed and renamed
with x(a, b) as (select id, amount as value from orders) select measure(revenue) from x;
-- by hand
select sum(amount) as revenue from orders;

-- case: through two subqueries
select measure(aov) from (select id, amount from (select * exclude (cost) from orders) a limit 4) b;
-- by hand
select sum(amount) / nullif(count(*), 0) as aov from (select * from orders limit 4);

-- case: a subquery without a name
select measure(revenue) from (select * from orders where id > 2);
-- by hand
select sum(amount) as revenue from orders where id > 2;

-- case: the header outside
with x as (select region, measure(revenue) from orders group by all) select revenue from x;
-- by hand
select sum(amount) as revenue from orders group by region;

-- case: union of two
select measure(revenue) from orders union all select measure(priced) from order_items order by revenue;
-- by hand
select sum(amount) as revenue from orders union all select sum(price) from order_items;

-- case: a scalar subquery
select (select measure(revenue) from orders) as r, measure(people) from customers;
-- by hand
select (select sum(amount) from orders) as r, count(*) as people from customers;

-- case: correlated
select customer_id, (select measure(revenue) from orders o where o.customer_id = c.customer_id) as r from
customers c;
-- by hand
select customer_id, (select sum(o.amount) from orders o where o.customer_id = c.customer_id) as r from
customers c;

-- case: in a subquery of WHERE
select count(*) as n from customers where customer_id in (select customer_id from orders group by 1 having
measure(revenue) > 25);
-- by hand
select 3::bigint as n;

-- case: compared with the average of groups
select region from orders group by region having measure(revenue) > (select avg(revenue) from (select
measure(revenue) from orders group by region));
-- by hand
select region from orders group by region having sum(amount) > (select avg(r) from (select sum(amount) as r
from orders group by region));

-- case: joined many to one
select segment, measure(revenue), measure(orders) from orders join customers using (customer_id) group by
all;
-- by hand
select segment, sum(o.amount) as revenue, count(*) as orders from orders o join customers c on o.customer_id
= c.customer_id group by all;

-- case: joined left
select c.segment, measure(aov) from orders o left join customers c on c.customer_id = o.customer_id group by
1;
-- by hand
select c.segment, sum(o.amount) / nullif(count(*), 0) as aov from orders o left join customers c on
c.customer_id = o.customer_id group by 1;

-- case: joined by commas
select segment, measure(orders) from customers c, orders o where c.customer_id = o.customer_id and amount >
10 group by all;
-- by hand
select segment, count(*) as orders from orders o join customers c on o.customer_id = c.customer_id where
amount > 10 group by all;

-- case: joined by a unique column of NULLs
select measure(a.people) from customers a join customers b on a.card = b.card where a.segment = 'A';
-- by hand
select count(*) as people from customers where segment = 'A' and card is not null;

-- case: joined with an aggregate of itself
with c as (select customer_id, measure(tickets) from tickets group by customer_id) select measure(revenue),
sum(tickets) as t from orders left join c using (customer_id);
-- by hand
select 150.00::decimal(38,2) as revenue, 6::hugeint as t;

-- case: joined with groups by month
with m as (select date_trunc('month', day) as month, count(*) as n from orders group by all) select m.n,
measure(revenue) from orders o join m on date_trunc('month', o.day) = m.month group by all;
-- by hand
select n, sum(s) as revenue from (select count(*) as n, sum(amount) as s from orders where day is not null
group by date_trunc('month', day)) group by n;

-- case: joined with distinct rows
select measure(revenue) from orders o join (select distinct customer_id from tickets) t on t.customer_id =
o.customer_id;
-- by hand
select sum(amount) as revenue from orders where customer_id in (1, 3);

-- case: joined with one row
select measure(revenue), max(t.all_tickets) as n from orders cross join (select count(*) as all_tickets from
tickets) t;
-- by hand
select sum(amount) as revenue, 4::bigint as n from orders;

-- case: a lateral aggregate
select measure(revenue), sum(t.n) as n from orders o, lateral (select count(*) as n from tickets where
tickets.customer_id = o.customer_id) t;
-- by hand
select sum(amount) as revenue, 6::hugeint as n from orders;

-- case: semi and anti
select measure(revenue) from orders o semi join tickets t on t.customer_id = o.customer_id anti join
order_items i on i.order_id = o.id;
-- by hand
select 50.00::decimal(38,2) as revenue;

-- case: asof
select measure(orders) from orders o asof left join tickets t on o.customer_id = t.customer_id and o.day >=
t.opened;
-- by hand
select count(*) as orders from orders;

-- case: chain of keys
select segment, points, measure(priced) from order_items i join orders o on o.id = i.order_id join customers
c on c.customer_id = o.customer_id join profiles p on p.customer_id = c.customer_id group by all;
-- by hand
select c.segment, p.points, sum(i.price) as priced from order_items i join orders o on o.id = i.order_id
join customers c on c.customer_id = o.customer_id join profiles p on p.customer_id = c.customer_id group by
all;

-- case: two marts, one to one
select measure(people), measure(points) from customers c join profiles p on c.customer_id = p.customer_id;
-- by hand
select 3::bigint as people, 24::hugeint as points;

-- case: two marts, each in its own CTE
with o as (select customer_id, measure(revenue) from orders group by all), t as (select customer_id,
measure(tickets) from tickets group by all) select customer_id, revenue, tickets from o full join t using
(customer_id);
-- by hand
select coalesce(o.customer_id, t.customer_id) as customer_id, r as revenue, n as tickets from (select
customer_id, sum(amount) as r from orders group by 1) o full join (select customer_id, count(*) as n from
tickets group by 1) t on o.customer_id = t.customer_id;

-- case: what repetition cannot move
select measure(largest), measure(spread), measure(buyers), measure(~buyers) as about from orders o join
order_items i on i.order_id = o.id;
-- by hand
select 40::decimal(12,2) as largest, 30::decimal(13,2) as spread, 3::bigint as buyers, 3::bigint as about;

-- case: rows of NULLs that a join adds
select d.day, measure(revenue), measure(orders), measure(missing) from days d left join orders o on o.day =
d.day group by d.day;
-- by hand
select d.day, sum(o.amount) as revenue, count(o.id) as orders, count(o.id) filter (o.amount is null) as
missing from days d left join orders o on o.day = d.day group by d.day;

-- case: full join counts its own rows only
select measure(orders), measure(missing) from orders o full join customers c on c.customer_id =
o.customer_id;
-- by hand
select 6::bigint as orders, 1::bigint as missing;

-- case: full join of two marts
select measure(points), measure(people) from profiles p full join customers c using (customer_id);
-- by hand
select 24::hugeint as points, 4::bigint as people;

-- case: positional
select measure(orders), measure(tickets) from orders positional join tickets;
-- by hand
select 6::bigint as orders, 4::bigint as tickets;

-- case: rows of a join passed on
with x as (select o.*, c.segment from orders o left join customers c using (customer_id)) select segment,
measure(revenue) from x group by all;
-- by hand
select segment, sum(amount) as revenue from orders left join customers using (customer_id) group by all;

-- case: keys of a passed on mart
with c as (select segment, customer_id as k from customers) select segment, measure(orders) from orders join
c on k = customer_id group by all;
-- by hand
select segment, count(*) as orders from orders join customers using (customer_id) group by all;

-- case: distinct on
with t as (select distinct on (customer_id) customer_id, opened from tickets order by opened) select
measure(orders) from orders join t on t.customer_id = orders.customer_id;
-- by hand
select 4::bigint as orders;

-- case: union makes keys
with c as (select customer_id from tickets union select customer_id from customers) select measure(orders)
from orders join c using (customer_id);
-- by hand
select 5::bigint as orders;

-- case: a subquery shows values written down
select measure(orders) from orders join (values (1)) v(x) on v.x = orders.customer_id;
-- by hand
select 2::bigint as orders;

-- case: pivot
pivot orders on region in ('EMEA', 'AMER') using measure(revenue) group by customer_id;
-- by hand
pivot orders on region in ('EMEA', 'AMER') using sum(amount) group by customer_id;

-- case: pivot with two
pivot orders on region in ('EMEA') using measure(revenue), measure(orders) as n group by customer_id;
-- by hand
pivot orders on region in ('EMEA') using sum(amount) as revenue, count(*) as n group by customer_id;

-- case: describe
describe select region, measure(aov) from orders group by all;
-- by hand
describe select region, sum(amount) / nullif(count(*), 0) as aov from orders group by all;

-- case: summarize
summarize select measure(revenue) from orders;
-- by hand
summarize select sum(amount) as revenue from orders;

-- case: a recursive CTE beside it
with recursive n(i) as (select 1 union all select i + 1 from n where i < 3) select i, (select
measure(orders) from orders where id <= n.i) as c from n;
-- by hand
select * from (values (1, 1::bigint), (2, 2), (3, 3)) v(i, c);

-- case: inside a recursive CTE
with recursive n(i) as (select measure(orders) from orders union all select i - 1 from n where i > 5) select
i from n;
-- by hand
select unnest([6::bigint, 5]) as i;

-- case: named window and order by all
select region, rank() over w as place, measure(revenue) from orders group by region window w as (order by
measure(revenue)) order by all;
-- by hand
select region, rank() over (order by sum(amount)) as place, sum(amount) as revenue from orders group by
region;
