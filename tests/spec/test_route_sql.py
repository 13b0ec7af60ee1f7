"""Plain SQL over a mart: which blocks rollups answer, and why not."""

from collections.abc import Iterator
from datetime import date

import pytest

from serving.semantic.routing.routes import Days, Need, Reason, Source
from tests.spec.route_rig import ROWS, Rig, make_rig


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    made = make_rig()
    yield made
    made.db.close()


@pytest.fixture(scope="module")
def sunday() -> Iterator[Rig]:
    """Weeks start on Sunday, and the clocks of Havana go back over midnight."""
    made = make_rig("sunday", "America/Havana")
    yield made
    made.db.close()


def need(rig: Rig, sql: str) -> Need:
    """What the only block asks of the sourcer."""
    asked: list[Need] = []

    def sourcer(found: Need) -> Source:
        asked.append(found)
        return rig.source(found)

    rig.routed(sql, sourcer)
    (only,) = asked
    return only


ANSWERED = [
    ("by_region", "select region, sum(amount), count(*), count(1) from orders group by region"),
    ("by_region", 'select REGION, Orders."region" as again, SUM(Amount) from orders group by all'),
    ("by_region", "select o.region, sum(o.amount) s from orders o group by o.region order by s limit 2"),
    ("by_region", "from orders select region, count(*) c group by region having c > 5 order by c, region"),
    ("by_region", "select region from orders group by 1 order by sum(amount) desc limit 2 offset 1"),
    ("by_region", "select distinct region from orders order by region"),
    ("by_region", "select coalesce(region, '-') r, count(*) from orders group by r order by r"),
    ("by_region", "select count(*), sum(amount) from orders where region = 'nowhere'"),
    ("by_region", "select count(*) from orders where not (region = 'EMEA' or region is null)"),
    ("by_region", "select region, sum(amount) / sum(sum(amount)) over () from orders group by region"),
    ("by_region", "select region from orders group by 1 qualify rank() over (order by sum(amount)) = 1"),
    ("by_region", "select region, median(amount), count(distinct buyer) from orders group by region"),
    ("by_region", "select max(region), count(distinct region) from orders"),
    (
        "by_region",
        "select region, count(*) from orders where region in (select name from regions) group by 1",
    ),
    ("by_region", "select region, count(*) from orders group by grouping sets ((region), ()) order by all"),
    ("by_region", "select region, count(*) filter (where region <> 'EMEA') from orders group by region"),
    ("by_region", "select region, sum(amount) as amount from orders group by 1 order by amount desc"),
    ("by_region", "select sum(amount) as region from orders"),
    ("by_region", "select lower(region) as region, count(*) as id from orders group by all order by region"),
    ("by_region", "select region, sum(amount) as amount from orders group by 1 having sum(amount) > 5"),
    ("by_month", "select segment, avg(pieces) filter (where region = 'EMEA') from orders group by 1"),
    ("by_region", "select x.region, n from (select region, count(*) n from orders group by 1) x"),
    ("by_region", "with orders as (select region, sum(amount) from orders group by 1) from orders"),
    ("by_region", "select sum(s) from (select sum(amount) s from orders group by region) as orders"),
    ("by_region", "describe select region, sum(amount), count(*) from orders group by 1"),
    ("by_month", "select segment, grouping(segment), count(*) from orders group by rollup(region, segment)"),
    ("by_month", "select (region, segment), count(*) from orders group by 1"),
    (
        "by_month",
        "pivot (select region, segment, count(*) n from orders group by all) on segment in ('S1') "
        "using sum(n) group by region",
    ),
    ("by_month", "select date_trunc('MONTH', ordered_at), avg(pieces), mean(pieces) from orders group by 1"),
    ("by_month", "select date_trunc('year', ordered_at)::date, sum(pieces) from orders group by all"),
    (
        "by_month",
        "select date_trunc('month', ordered_at) m from orders where m > date '2026-01-01' group by m",
    ),
    (
        "by_month",
        "select extract(year from ordered_at) y, quarter(ordered_at) q, count(*) from orders group by all",
    ),
    (
        "by_month",
        "select sum(revenue) from (select sum(amount) revenue from orders group by month(ordered_at))",
    ),
    (
        "by_month",
        "select count(*) from orders where ordered_at >= '2026-01-10' and ordered_at < '2026-03-05'",
    ),
    ("by_day", "select ordered_at::date, sum(amount * 2), min(amount), max(amount) from orders group by 1"),
    ("by_day", "select date_trunc('week', ordered_at), sum(amount) from orders group by 1"),
    ("by_day", "select case when pieces < 5 then 'small' else 'large' end, count(*) from orders group by 1"),
    ("by_day", "select sum(amount) filter (where region = 'EMEA'), count(ordered_at) from orders"),
    ("by_day", "select approx_count_distinct(buyer) from orders"),
    ("by_day", "select region, count(*) from orders where ordered_at >= current_date - 30 group by 1"),
    (
        "by_day",
        "select count(*) filter (where ordered_at < timestamp '2026-02-01' - interval 3 days) from orders",
    ),
    ("by_day", "select count(*) from orders where ordered_at < date '2026-01-05' or region is null"),
    ("by_date", "select day, date_trunc('month', day), dayname(day), count(*) from orders group by all"),
    (
        "by_date",
        "select count(*) from orders where day > timestamp '2026-01-10 10:00' and day <= '2026-02-01'",
    ),
    ("by_date", "select count(*) from orders where '2026-01-10' = day"),
    ("by_hour", "select date_trunc('hour', seen_at), sum(amount) from orders group by 1"),
    (
        "by_hour",
        "select seen_at::date, sum(amount) from orders where seen_at::date > '2026-03-08' group by 1",
    ),
]


@pytest.mark.parametrize(("rollup", "sql"), ANSWERED)
def test_a_rollup_answers_with_the_same_headers_types_rows_and_order(rig: Rig, rollup: str, sql: str) -> None:
    assert rig.rollups(sql) == [rollup]


JOINED = [
    (
        "by_region",
        "select r.rank, sum(o.amount) from orders o join regions r on o.region = r.name group by 1",
    ),
    (
        "by_region",
        "select R.RANK, RANK + 1, count(*) from orders o, regions r group by r.rank, rank + 1, region",
    ),
    ("by_region", "select name, sum(amount) from regions, orders where region = name group by name"),
    (
        "by_region",
        "select region, rank, count(*) from orders left join regions on region = name group by all",
    ),
    ("by_region", "select count(*) from orders o anti join regions r on o.region = r.name"),
    ("by_region", "select count(*), sum(amount) from orders cross join regions"),
    (
        "by_region",
        "select region, count(*) from orders join (select 'EMEA' region) using (region) group by region",
    ),
    (
        "by_region",
        "select distinct o.region, rank from orders o join regions r on name = region order by all",
    ),
    ("by_region", "select name, (select sum(amount) from orders where region = regions.name) from regions"),
    (
        "by_day",
        "select rank, avg(pieces) from orders join regions on region = name where ordered_at >= "
        "'2026-01-05' and ordered_at < '2026-03-20' group by rank",
    ),
]


@pytest.mark.parametrize(("rollup", "sql"), JOINED)
def test_joins_over_dimensions_take_groups_for_their_rows(rig: Rig, rollup: str, sql: str) -> None:
    assert rig.rollups(sql) == [rollup]


def test_of_two_marts_in_one_block_one_is_answered_by_a_rollup(rig: Rig) -> None:
    sql = "select a.region, sum(a.amount) from orders a join orders b on a.region = b.region group by 1"
    assert rig.rollups(sql) == ["by_region", None]


PASSED_OVER = [
    (Reason.EXPRESSION, "single rows", "select * from orders"),
    (Reason.EXPRESSION, "single rows", "select region from orders"),
    (Reason.EXPRESSION, "single rows", "select 'x' from orders group by all"),
    (Reason.EXPRESSION, "single rows", "select sum(amount) over (partition by region) from orders"),
    (Reason.EXPRESSION, "DISTINCT ON", "select distinct on (region) region, count(*) from orders group by 1"),
    (Reason.EXPRESSION, "whole rows", "select columns(*), count(*) from orders group by all"),
    (Reason.EXPRESSION, "whole rows", "select distinct * from orders"),
    (Reason.EXPRESSION, "details.a", "select details.a, count(*) from orders group by 1"),
    (Reason.EXPRESSION, "parts of a value", "select details['a'], count(*) from orders group by 1"),
    (Reason.EXPRESSION, "'o'", "select count(*) from orders o group by o"),
    (Reason.EXPRESSION, "random()", "select count(*) from orders where random() < 2"),
    (Reason.EXPRESSION, "sample", "select count(*) from orders using sample 100%"),
    (Reason.EXPRESSION, "PIVOT", "from orders pivot (sum(amount) for region in ('EMEA') group by segment)"),
    (Reason.EXPRESSION, "groups by nothing", "select count(*) from orders group by 'x'"),
    (
        Reason.EXPRESSION,
        "list_transform()",
        "select list_transform([1], lambda x: x), count(*) from orders group by 1",
    ),
    (
        Reason.EXPRESSION,
        "LIMIT",
        "select region, count(*) from orders group by 1 order by 1 limit (select 1)",
    ),
    (
        Reason.EXPRESSION,
        "'region' in a subquery",
        "select count(*) from orders where exists (select 1 from regions where name = region)",
    ),
    (
        Reason.EXPRESSION,
        "'orders.region' in a subquery",
        "select count(*) from orders where (select count(*) from regions where name = orders.region) > 0",
    ),
    (
        Reason.EXPRESSION,
        "'name' is no plain column",
        "select name, (select sum(amount) from orders where region = name) from regions",
    ),
    (Reason.MEASURE, "avg(amount) is no measure of orders", "select avg(amount) from orders"),
    (Reason.MEASURE, "sum(DISTINCT amount)", "select sum(distinct amount) from orders"),
    (Reason.MEASURE, "string_agg", "select string_agg(region, ',') from orders"),
    (Reason.MEASURE, "(amount ORDER BY id)", "select first(amount order by id) from orders"),
    (
        Reason.MEASURE,
        "FILTER",
        "select sum(amount) filter (where region = 'EMEA' and pieces > 1), "
        "median(amount) filter (where region = 'EMEA') from orders",
    ),
    (Reason.MEASURE, 'min("ordered_at")', "select min(ordered_at) from orders"),
    (
        Reason.RANGE,
        "ordered_at >= … AND",
        "select count(*) from orders where ordered_at <= date '2026-02-03'",
    ),
    (Reason.RANGE, "10:00", "select count(*) from orders where ordered_at >= timestamp '2026-02-03 10:00'"),
    (
        Reason.RANGE,
        "BETWEEN",
        "select count(*) from orders where ordered_at between '2026-01-01' and '2026-02-01'",
    ),
    (
        Reason.RANGE,
        "holds no day",
        "select count(*) from orders where day > '2026-02-01' and day < '2026-01-01'",
    ),
    (
        Reason.TIME_ZONE,
        "CAST(… AS DATE)",
        "select date_trunc('day', seen_at), count(*) from orders group by 1",
    ),
    (
        Reason.TIME_ZONE,
        "CAST(seen_at AS DATE)",
        "select count(*) from orders where seen_at >= date '2026-03-08'",
    ),
    (
        Reason.NAME,
        "'region' hides",
        "select lower(region) as region, count(*) from orders group by region having region = 'EMEA'",
    ),
    (
        Reason.NAME,
        "'basket'",
        "select region, sum(amount) as basket from orders group by region order by basket",
    ),
    (Reason.NAME, "'ordered_at.month'", 'select count(*) as "ordered_at.month" from orders'),
    (Reason.NAME, "renamed", "select count(*) from orders as o(a, b)"),
    (Reason.NAME, "CTE", 'with "orders:by_day" as (select 1) select count(*) from orders'),
    (
        Reason.JOIN,
        "a LEFT join",
        "select name, count(region) from regions left join orders on region = name group by 1",
    ),
    (Reason.JOIN, "a NATURAL join", "select count(*) from orders natural join (select 'EMEA' as region)"),
    (Reason.JOIN, "'o.pieces'", "select count(*) from orders o, lateral (select 1 where o.pieces > 3)"),
    (Reason.EXPRESSION, "'rank'", "select sum(amount), sum(rank) from orders join regions on region = name"),
    (Reason.DIMENSION, "'amount'", "select count(*) from orders join regions on amount > rank"),
]


@pytest.mark.parametrize(("reason", "words", "sql"), PASSED_OVER)
def test_what_no_rollup_can_answer_is_asked_of_the_mart_with_the_reason_for_each(
    rig: Rig, reason: Reason, words: str, sql: str
) -> None:
    text, routes = rig.routed(sql)
    assert text == sql
    (route,) = routes
    assert route.rollup is None
    assert {miss.rollup for miss in route.misses} == set(rig.model.content.marts["orders"].rollups)
    assert any(miss.reason is reason and words in miss.words for miss in route.misses), route.misses


def test_every_block_has_its_route_in_the_order_of_the_text(rig: Rig) -> None:
    sql = (
        "with a as (select region, sum(amount) s from orders group by 1), b as (select * from orders) "
        "select (select count(*) from b), (select sum(s) from a), (select max(day) from orders) "
        "union all select sum(pieces), 0, null from orders order by 1"
    )
    assert rig.rollups(sql) == ["by_region", None, None, "by_month"]


def test_a_name_that_a_cte_hides_is_no_mart(rig: Rig) -> None:
    assert rig.routed("with orders as (select 1 amount) select sum(amount) from orders")[1] == ()
    assert rig.routed("select sum(rank) from regions")[1] == ()


def test_a_question_that_no_rollup_answers_comes_back_itself(rig: Rig) -> None:
    tree = rig.tree("select avg(amount) from orders")
    assert rig.routed_tree(tree).tree is tree


def test_a_column_that_the_person_does_not_see_is_no_measure_for_them(rig: Rig) -> None:
    seen = {name: kind for name, kind in rig.model.readable["orders"].items() if name != "amount"}
    ((reason, words),) = set(rig.seeing(seen).misses("select sum(amount) from orders").values())
    assert (reason, words) == (Reason.EXPRESSION, "'amount' is no plain column of orders")


@pytest.mark.parametrize(
    ("condition", "start", "end"),
    [
        ("ordered_at >= '2026-01-02'", "2026-01-02", None),
        ("ordered_at > '2026-01-01 23:59:59.999999'", "2026-01-02", None),
        ("ordered_at < timestamp '2026-01-02 00:00'", None, "2026-01-02"),
        ("ordered_at <= timestamp '2026-01-01 23:59:59.999999'", None, "2026-01-02"),
        ("date '2026-01-02' <= ordered_at", "2026-01-02", None),
        ("ordered_at::date = '2026-01-02'", "2026-01-02", "2026-01-03"),
        ("ordered_at::date > '2026-01-02'", "2026-01-03", None),
        ("ordered_at::date between '2026-01-02' and date '2026-01-05'", "2026-01-02", "2026-01-06"),
        ("ordered_at >= '2026-01-02' and ordered_at >= '2026-01-04'", "2026-01-04", None),
    ],
)
def test_ranges_of_whole_days_are_asked_as_days(
    rig: Rig, condition: str, start: str | None, end: str | None
) -> None:
    (days,) = need(rig, f"select count(*) from orders where {condition}").days
    assert days == Days("ordered_at", _day(start), _day(end))


def test_the_need_says_what_is_grouped_filtered_and_whether_once(rig: Rig) -> None:
    once = need(rig, "select region, count(*) from orders where segment = 'S1' group by region")
    assert (once.groups, once.filters, once.whole) == (("region",), frozenset({"segment"}), True)
    again = need(rig, "select region, count(*) from orders group by cube(region)")
    assert (again.groups, again.whole) == (("region",), False)
    coarser = need(rig, "select upper(segment), count(*) from orders group by all")
    assert (coarser.groups, coarser.whole) == (("segment",), False)


@pytest.mark.parametrize("sql", [sql for _, sql in ANSWERED])
def test_the_same_holds_for_weeks_from_sunday_in_another_time_zone(sunday: Rig, sql: str) -> None:
    sunday.rollups(sql)


def test_weeks_from_sunday_are_put_together_from_days(sunday: Rig) -> None:
    sql = "select date_trunc('week', ordered_at)::date w, week(ordered_at), count(*) from orders group by all"
    assert sunday.rollups(sql) == ["by_day"]


def test_a_mart_without_rows_counts_nothing() -> None:
    empty = make_rig(rows=f"SELECT * FROM ({ROWS}) WHERE false")
    for _, sql in ANSWERED:
        empty.rollups(sql)
    assert empty.rollups("select 'x' as k, count(*), sum(amount) from orders group by all") == ["by_day"]


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)
