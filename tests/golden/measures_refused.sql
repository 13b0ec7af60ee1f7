-- Questions that have no safe meaning, and words of the refusal: the reason, and after | the hint.

select measure(revnue) from orders;
-- orders has no measure 'revnue'|did you mean 'revenue'?

select measure(people) from orders;
-- orders has no measure 'people'|it is a measure of customers

select measure(ghosts) from orders;
-- orders has no measure 'ghosts'

select measure(ghosts) from unseen;
-- MEASURE(ghosts): 'unseen' passes no mart's rows on

select measure(t.revenue) from orders;
-- MEASURE(t.revenue): 't' does not stand in FROM here|known here: orders

select measure(shared) from orders o join tickets t on o.id = t.ticket_id;
-- MEASURE(shared) may be of o or t: each has a measure of that name|write MEASURE(o.shared)

select measure(revenue) from orders a join orders b using (id);
-- may be of a or b|write MEASURE(a.revenue)

select measure(revenue);
-- there is no mart in FROM|add FROM

select (select measure(revenue)) from orders;
-- there is no mart in FROM

select measure(revenue) from range(3);
-- passes no mart's rows on

select 1 from orders where measure(revenue) > 3;
-- MEASURE cannot stand in WHERE|filter groups with HAVING

select region from orders group by measure(revenue);
-- MEASURE cannot stand in GROUP BY|group by dimensions

select sum(measure(revenue)) from orders;
-- cannot stand in another aggregate|in a subquery or CTE first

select sum(amount) filter (where measure(revenue) > 3) from orders;
-- cannot stand in FILTER

select measure(revenue) filter (where measure(orders) > 3) from orders;
-- cannot stand in FILTER

select 1 from orders o join customers c on measure(o.revenue) = c.customer_id;
-- cannot stand in a join condition

select region from orders group by all limit measure(orders);
-- cannot stand in LIMIT

select measure(revenue) from orders union all select 1 order by measure(revenue);
-- cannot stand in ORDER BY of a UNION

with recursive n(i) using key (i, max(measure(revenue))) as (select 1 union select i from n) from n;
-- cannot stand in

from unnest([measure(revenue)]);
-- cannot stand in this place

select measure(revenue) over (partition by region) from orders;
-- is not a window function|sum(MEASURE(revenue)) OVER

select measure(revenue, cost) from orders;
-- takes the name of one measure|as in MEASURE(revenue)

select measure('revenue') from orders;
-- takes the name of one measure

select measure(distinct revenue) from orders;
-- takes the name of one measure

select measure(revenue order by id) from orders;
-- takes the name of one measure

select measure() from orders;
-- takes the name of one measure

select revenue.measure() from orders;
-- takes the name of one measure

select measure(~revenue) from orders;
-- nothing in 'revenue' can be estimated|write MEASURE(revenue)

select measure(running) from orders;
-- 'running' adds up over time|python -m serving metrics orders.running --by day.month

select measure(stock) from orders;
-- 'stock' is never added up over day|python -m serving metrics orders.stock --by day.month

select measure(twice_stock) from orders;
-- 'stock' is never added up over day

select measure(per_ticket) from orders;
-- uses tickets.tickets of other marts|python -m serving metrics orders.per_ticket

select measure(hidden) from orders;
-- reads a column of 'orders' that is hidden from you|ask the mart's owner

select measure(revenue) from orders o join order_items i on i.order_id = o.id;
-- each row of 'orders' may be repeated for its 'order_items' (i) rows: 'order_items' (i) is not known to be unique by order_id|aggregate 'order_items' (i) by order_id in a CTE first, and join with that; or ask python -m serving metrics orders.revenue

select measure(o.revenue) from customers c left join orders o using (customer_id) left join order_items i on
i.order_id = o.id;
-- may be repeated for its 'order_items' (i) rows

select measure(revenue) from orders, tickets;
-- nothing of 'tickets' is compared for equality|join ON what is equal

select measure(revenue) from orders o join tickets t on t.customer_id >= o.customer_id;
-- nothing of 'tickets' (t) is compared

select measure(revenue) from orders natural join customers;
-- a NATURAL JOIN finds for it|JOIN … USING

select measure(revenue), measure(tickets) from orders o join tickets t using (customer_id);
-- 'tickets' (t) is not known to be unique by customer_id|python -m serving metrics orders.revenue tickets.tickets

select measure(people) from orders join customers using (customer_id);
-- each row of 'customers' may be repeated

select measure(revenue) from orders o join customers c on o.customer_id = c.number;
-- number of 'customers' (c) is compared with a value of another or unknown type|CAST the other side

select measure(revenue) from orders o join customers c on o.code is not distinct from c.card;
-- not known to be unique by card

select measure(revenue) from orders o join customers c on o.customer_id = c.customer_id or true;
-- nothing of 'customers' (c)

select measure(revenue) from orders o join customers c on c.customer_id = (random() * 3)::int;
-- nothing of 'customers' (c)

select measure(revenue) from orders o, customers c, tickets t where c.customer_id = t.customer_id;
-- may be repeated

select measure(revenue) from orders o, lateral (select customer_id as k from customers) x;
-- may be repeated

select measure(revenue) from orders o join (select customer_id, opened from tickets group by all) t using
(customer_id);
-- 't' is not known to be unique by customer_id

select measure(revenue) from orders o join (select customer_id + 0 as customer_id from customers) c using
(customer_id);
-- 'c'

select measure(revenue) from orders o join (select *, unnest([1, 2]) as n from customers) c using
(customer_id);
-- 'c'

select measure(revenue) from orders o join (select * from customers union all from customers) c using
(customer_id);
-- 'c'

select measure(revenue) from orders o join (select * exclude (customer_id), 1 as customer_id from customers)
c using (customer_id);
-- (c)

with x as (select region, sum(amount) as amount from orders group by all) select measure(revenue) from x;
-- 'x' passes no mart's rows on|belongs into the SELECT that reads the mart

with x as (select id from orders) select measure(revenue) from x;
-- reads 'amount', which 'orders' (x) does not show|add amount

with x as (select * replace (amount * 2 as amount) from orders) select measure(revenue) from x;
-- reads 'amount', which

with x as (select distinct region, amount from orders) select measure(revenue) from x;
-- passes no mart's rows on

with x as (select *, unnest([1, 2]) as n from orders) select measure(revenue) from x;
-- passes no mart's rows on

with x as (select o.* from orders o join tickets using (customer_id)) select measure(orders) from x;
-- passes no mart's rows on

select measure(missing) from (select * exclude (id) from orders) o right join customers c using
(customer_id);
-- adds rows of NULLs

pivot orders on region in ('EMEA') using measure(aov);
-- PIVOT takes measures of one aggregate only

pivot orders on region in ('EMEA') using measure(~buyers);
-- cannot stand in PIVOT

with x as (select measure(~buyers) as b from orders) select columns('b') from x;
-- cannot be followed through this list

select measure(~buyers) as b from orders union by name select 1 as c;
-- cannot be followed through this query

select measure(o.revenue) from orders o, customers c, lateral (select c.customer_id::int as k) r
where c.customer_id = r.k;
-- each row of 'orders' may be repeated

select measure(revenue) from orders cross join ((select 1 as x) a full join (select 2 as y) b on false);
-- each row of 'orders' may be repeated

select measure(revenue) from orders o join (select c.customer_id as k from customers c join tickets t
on t.customer_id = c.customer_id) x on x.k = o.customer_id;
-- is not known to be unique by k

select measure(revenue) from orders o join (select customer_id, customer_id::int as opened from tickets
group by opened, customer_id) t on t.customer_id = o.customer_id and t.opened = o.customer_id;
-- is not known to be unique by customer_id, opened

with x as (select o.*, t.opened from orders o join tickets t on t.ticket_id = o.id) select measure(shared) from x;
-- passes no mart's rows on

with x as (select o.*, t.opened from tickets t left join orders o on o.id = t.ticket_id) select measure(shared) from x;
-- MEASURE(shared) may be of tickets or orders, which 'tickets' (x) joins|write MEASURE(tickets.shared) there
