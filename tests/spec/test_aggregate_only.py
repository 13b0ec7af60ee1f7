"""Aggregate-only marts: what is answered, with what, and what is refused."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from serving.content.model import Content, Mart, ProjectSpec
from serving.content.policy import AggregateRule, Policy
from serving.errors import QueryRefused
from serving.governance.aggregate_only import aggregate_only
from serving.governance.aggregate_words import AGGREGATES, SCALARS
from serving.semantic.asking.spans import newest_sql
from serving.semantic.asking.time import time_range
from serving.semantic.asking.words import read_request
from serving.semantic.compile.metrics import compile_metrics
from serving.semantic.compile.values import values_sql
from serving.semantic.model import Model
from serving.semantic.routing.source import base_source

# EMEA: 4 customers; no region: 3; APAC (2 customers) and AMER (1) are the remainder: 3 customers
DATA = """
create table orders (id int, customer_id int, region varchar, amount decimal(12,2), bonus int, note varchar,
                     day date, place struct(city varchar));
insert into orders values
 (1, 1, 'EMEA', 10, null, 'ten',    '2026-01-05', {city: 'Rome'}),
 (2, 1, 'EMEA', 20, null, 'twenty', '2026-01-06', {city: 'Rome'}),
 (3, 2, 'EMEA', 30, null, 'thirty', '2026-02-05', {city: 'Rome'}),
 (4, 3, 'EMEA', 40, null, 'forty',  '2026-02-06', {city: 'Oslo'}),
 (5, 4, 'EMEA', 50, 9000, 'SECRET', '2026-02-07', {city: 'Oslo'}),
 (6, 5, 'APAC', 60, 1,    'sixty',  '2026-02-08', {city: 'Oslo'}),
 (7, 5, 'APAC', 70, 2,    'x',      '2026-02-09', {city: 'Oslo'}),
 (8, 6, 'APAC', 80, 3,    'y',      '2026-02-10', {city: 'Oslo'}),
 (9, 7, 'AMER', 90, 4,    'z',      '2026-02-11', {city: 'Oslo'}),
 (10, 8, null, 100, 5,    'a',      '2026-02-12', {city: 'Oslo'}),
 (11, 9, null, 110, 6,    'b',      '2026-02-13', {city: 'Oslo'}),
 (12, 10, null, 120, 7,   'c',      '2026-02-14', {city: 'Oslo'});
create table regions as select unnest(['EMEA', 'APAC']) as region, unnest([1, 9]) as number;
"""
COLUMNS = ("id", "customer_id", "region", "amount", "bonus", "note", "day", "place")
RULE = AggregateRule(mart="orders", min_group=3, of="customer_id")


class Shop:
    """The orders in plain DuckDB, and the rewriting in front of them."""

    def __init__(self) -> None:
        self.duckdb = duckdb.connect(":memory:")
        self.duckdb.execute(DATA)

    def tree(self, sql: str) -> Any:
        return json.loads(self._one("select json_serialize_sql(?::varchar)", sql))

    def text(self, tree: Any) -> str:
        return self._one("select json_deserialize_sql(?::json)", json.dumps(tree))

    def _one(self, sql: str, value: str) -> str:
        (row,) = self.duckdb.execute(sql, [value]).fetchall()
        return str(row[0])

    def rewritten(self, sql: str, rule: AggregateRule = RULE, measures: tuple[str, ...] = ()) -> str:
        rules, columns = {"orders": rule}, {"orders": COLUMNS}
        return aggregate_only(self.tree(sql), rules, columns, self.tree, self.text, {"orders": measures})

    def ask(
        self, sql: str, rule: AggregateRule = RULE, measures: tuple[str, ...] = ()
    ) -> list[tuple[Any, ...]]:
        return self.duckdb.execute(self.rewritten(sql, rule, measures)).fetchall()


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.duckdb.close()


def test_small_groups_become_one_remainder_group_with_null_keys(shop: Shop) -> None:
    sql = "select region, count(*) as n, sum(amount) as s from orders group by region order by s"
    assert shop.ask(sql) == [("EMEA", 5, 150), (None, 4, 300), (None, 3, 330)]


def test_a_null_group_that_is_large_enough_stays_apart_from_the_remainder(shop: Shop) -> None:
    assert sorted(shop.ask("select count(*) from orders group by region")) == [(3,), (4,), (5,)]


def test_a_remainder_that_is_too_small_is_as_if_its_rows_did_not_exist(shop: Shop) -> None:
    sql = "select region, count(*) from orders where region {} group by region"
    assert shop.ask(sql.format("in ('EMEA', 'AMER')")) == shop.ask(sql.format("= 'EMEA'")) == [("EMEA", 5)]
    assert shop.ask(sql.format("= 'AMER'")) == shop.ask(sql.format("= 'nowhere'")) == []


def test_a_total_over_too_few_is_null_and_so_is_one_over_nobody(shop: Shop) -> None:
    sql = "select count(*), count(amount), sum(amount), avg(amount) from orders where id {}"
    assert shop.ask(sql.format("= 5")) == shop.ask(sql.format("= 999")) == [(None,) * 4]
    assert shop.ask(sql.format("in (1, 2, 6, 7)"))[0][0] is None  # four rows, but of two customers
    assert shop.ask(sql.format("in (1, 3, 4)"))[0][0] == 3


def test_without_of_rows_are_counted(shop: Shop) -> None:
    rule = AggregateRule(mart="orders", min_group=3)
    rows = shop.ask("select region, count(*) from orders group by 1 order by 2, 1", rule)
    assert rows == [("APAC", 3), (None, 3), ("EMEA", 5)]  # AMER's one row is told nowhere


def test_an_aggregate_that_too_few_contribute_to_is_null(shop: Shop) -> None:
    sql = (
        "select count(*), sum(bonus), count(bonus), sum(coalesce(bonus, 0)) from orders where region = 'EMEA'"
    )
    assert shop.ask(sql) == [(5, None, None, None)]


def test_unique_keys_leave_the_remainder_only(shop: Shop) -> None:
    for key in ("id", "note", "id || region", "amount * 2"):
        assert shop.ask(f"select {key}, count(*) from orders where region is not null group by all") in (
            [(None, 9)],
            [(None, 9), (None, 3)],
        )


def test_having_order_and_limit_see_the_suppressed_result(shop: Shop) -> None:
    sql = "select region, count(*) n from orders group by region having {} order by {} limit 2"
    assert shop.ask(sql.format("count(*) < 3", "n")) == []
    assert shop.ask(sql.format("region = 'AMER'", "n")) == []
    assert shop.ask(sql.format("true", "sum(amount) desc")) == [(None, 3), (None, 4)]


def test_distinct_lists_only_what_may_be_told(shop: Shop) -> None:
    assert shop.ask("select distinct region from orders order by 1 nulls last") == [("EMEA",), (None,)]
    assert shop.ask("select distinct region from orders where region is not null") == [("EMEA",)]


def test_around_a_block_everything_is_free(shop: Shop) -> None:
    block = "select region, count(*) as n from orders group by region"
    for sql, expected in {
        f"with g as ({block}) select (select sum(n) from g) - max(n) from g": [(7,)],
        f"select sum(n) filter (n > 3) over () from ({block}) limit 1": [(9,)],
        f"select r.number from regions r join ({block}) g using (region)": [(1,)],
        f"from ({block}) select region where n > 4": [("EMEA",)],
        f"{block} having n > 4 union all select 'x', 3 order by 1": [("EMEA", 5), ("x", 3)],
        "select number, (select count(*) from orders) n from regions order by 1": [(1, 12), (9, 12)],
        f"select region, row_number() over (order by n desc) from ({block}) limit 1": [("EMEA", 1)],
        f"pivot ({block}) on region in ('EMEA', 'AMER') using sum(n)": [(5, None)],
    }.items():
        assert shop.ask(sql) == expected, sql


ACCEPTED = [
    "select region, count(*), avg(amount)/2, round(sum(o.amount), 2)::int from orders o group by all",
    "select COUNT(*), REGION from ORDERS group by region",
    "select \"region\" r, r || 'x', sum(amount) as s, s / 2 from orders group by all",
    "select count(), count(1), count(id), count(distinct customer_id), approx_count_distinct(id) from orders",
    "select cast(date_trunc('month', day) as date), extract(year from day) from orders group by 1, 2",
    "select o.place.city, stddev(amount), var_pop(amount) from orders as o group by 1",
    "select case when amount > 50 then 'big' end, day + interval 1 day, count(*) from orders group by all",
    "select coalesce(sum(amount), 0) / nullif(count(*), 0) from orders",
    "select if(region is null, 'x', region), ifnull(region, 'y'), count(*) from orders group by all",
    "select region not in ('x') and region not like 'a%' or not id between 1 and 3 from orders group by 1",
    "select upper(region) as region from orders group by region having count(*) > 1 order by region",
    "select 'x', 1 + 1, count(*) from orders group by all order by all",
    'select x: count(*), "a""b": sum(amount) from orders limit 3 offset 0',
    "select number, (select sum(amount) from orders where region = 'EMEA') from regions",
    "select * from (select count(*), sum(amount) + 1 from orders), regions",
]


@pytest.mark.parametrize("sql", ACCEPTED)
def test_headers_and_types_are_duckdbs_own(shop: Shop, sql: str) -> None:
    plain, governed = shop.duckdb.sql(sql), shop.duckdb.sql(shop.rewritten(sql))
    assert governed.columns == plain.columns
    assert governed.types == plain.types


@pytest.mark.parametrize("sql", ACCEPTED)
def test_with_groups_large_enough_the_answer_is_duckdbs_own(shop: Shop, sql: str) -> None:
    """With ten copies of everybody no group of these questions is small."""
    crowd = Shop()
    crowd.duckdb.execute(
        """update orders set bonus = coalesce(bonus, 1);
        insert into orders select o.* replace (customer_id + 100 * i as customer_id)
        from orders o, range(1, 10) t(i)"""
    )
    assert sorted(map(repr, crowd.ask(sql))) == sorted(map(repr, crowd.duckdb.sql(sql).fetchall()))


REFUSED = {
    "this shows single rows": [
        "select * from orders",
        "from orders",
        "table orders",
        "describe orders",
        "summarize orders",
        "select columns('a.*') from orders",
        "select count(orders.*) from orders",
        "select count(*) from (select * from orders)",
        "select 1 from orders",
        "with x as (from orders) select count(*) from x",
    ],
    "is neither a group key nor inside an aggregate": [
        "select amount from orders",
        "select region, count(*) from orders group by 1 order by amount",
        "select region, count(*) from orders group by 1 having id = 5",
        "select region || note, count(*) from orders group by region",
        "select 1 in (select id from orders)",
    ],
    "shows values of single rows": [
        "select max(amount) from orders",
        "select region, min(note) from orders group by 1",
        "select any_value(note), count(*) from orders",
        "select first(note order by id) from orders",
        "select list(amount) from orders",
        "select string_agg(note) from orders",
        "select median(amount), mode(note) from orders",
        "select quantile_cont(amount, 0.99) from orders",
        "select arg_max(note, amount) from orders",
        "select histogram(note) from orders",
        "select sum(amount) + max(amount) from orders",
        "select region, count(*) from orders group by 1 having max(amount) > 3",
        "select region, count(*) from orders group by 1 order by max(amount)",
    ],
    "can pick out single rows": [
        "select sum(case when id = 5 then amount end) from orders",
        "select sum(if(id = 5, amount, 0)) from orders",
        "select count(nullif(id = 5, false)) from orders",
        "select sum((id = 5)::int) from orders",
        "select sum(amount * (1 // (1 + abs(id - 5)))) from orders",
        "select sum(amount / (1 + (id - 5) * (id - 5) * 1e18)) from orders",
        "select sum(amount + 1e16) from orders",
        "select sum(round(amount / 90)) from orders",
        "select sum(coalesce(bonus, amount)) from orders",
        "select count(distinct note || id) from orders",
        "select count(try_cast(note as int)) from orders",
        "select avg(greatest(amount, 100)) from orders",
    ],
    "FILTER makes a smaller group": [
        "select sum(amount) filter (where id = 5) from orders",
        "select region, count(*) filter (id = 5) from orders group by 1",
    ],
    "window function": [
        "select sum(amount) over (order by id) from orders",
        "select region, count(*), rank() over (order by count(*)) from orders group by 1",
        "select region from orders group by 1 order by row_number() over ()",
    ],
    "QUALIFY": ["select region, count(*) from orders group by 1 qualify row_number() over () = 1"],
    "ROLLUP, CUBE and GROUPING SETS": [
        "select region, count(*) from orders group by rollup (region)",
        "select region, count(*) from orders group by cube (region, day)",
        "select region, count(*) from orders group by grouping sets ((region), ())",
    ],
    "a sample": [
        "select count(*) from orders tablesample 10%",
        "select count(*) from orders using sample 3 rows",
    ],
    "DISTINCT ON": ["select distinct on (region) region, count(*) from orders group by region"],
    "(DISTINCT …) shows single values": ["select sum(distinct amount) from orders"],
    "joined with nothing": [
        "select count(*) from orders join regions using (region)",
        "select count(*) from orders, regions",
        "select count(*) from orders a join orders b on a.id = b.id",
        "select count(*) from regions semi join orders using (region)",
        "pivot orders on region in ('EMEA') using count(*)",
        "unpivot orders on id into name n value v",
    ],
    "no subquery": [
        "select count(*) from orders where region in (select region from regions)",
        "select (select 1), count(*) from orders",
        "select region, count(*) from orders group by 1 having count(*) > (select min(number) from regions)",
    ],
    "LIMIT takes a plain number": ["select count(*) from orders limit (select number from regions limit 1)"],
    "no column": [
        "select number, (select count(*) from orders where id = number) from regions",
        "select count(*) from regions, lateral (select sum(amount) from orders where id = regions.number)",
        "select orders, count(*) from orders group by 1",
        "select rowid, count(*) from orders group by 1",
        "select place.city, count(*) from orders group by 1",
        'select (select count(*) from orders where "\u212aey" = 1) from (select 1 as "\u212aey")',
    ],
    "a query may read it once": [
        "select (select sum(amount) from orders) - (select sum(amount) from orders where id <> 5)",
        "select region, count(*) from orders group by 1 union all select null, count(*) from orders",
    ],
    "no CTE may have its name": [
        "with orders as (select 1 as id) select * from orders",
        "with recursive ORDERS as (select id from orders union all select 1) select * from orders",
    ],
    "cannot be used with it": [
        "select random() < 0.5, count(*) from orders group by 1",
        "select count(*) from orders where hash(note) = 1",
        "select count(*) from orders where list_sum([x for x in [id]]) = 1",
        "select count_if(id = 5) from orders",
        "select region, grouping(region), count(*) from orders group by region",
        "select region, count(*) from orders group by #1",
    ],
    "an aggregate cannot stand in": [
        "select count(*) from orders where count(*) > 3",
        "select count(*) as n from orders where n > 3",
        "select count(*) from orders group by 1",
        "select sum(count(*) + 1) from orders",
    ],
    "its columns keep their own names": ["select count(*) from orders as o(a, b)"],
    "GROUP BY 3": ["select region, count(*) from orders group by 3"],
}


@pytest.mark.parametrize(("words", "sql"), [(words, sql) for words, all_ in REFUSED.items() for sql in all_])
def test_what_could_show_a_small_group_is_refused_with_a_hint(shop: Shop, words: str, sql: str) -> None:
    with pytest.raises(QueryRefused) as refusal:
        shop.rewritten(sql)
    assert words in refusal.value.problem
    assert refusal.value.hint


@pytest.mark.parametrize(
    "expression",
    ["note::int", "note::date", "id + 2147483647", "note::int > 3", "strptime(note, '%Y')", "1 // (id - 5)"],
)
@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) from orders where ({}) is not null",
        "select count(*) from orders where id = 5 and ({}) is null",
        "select {}, count(*) from orders group by 1",
        "select distinct {} from orders",
    ],
)
def test_no_single_row_makes_a_question_fail(shop: Shop, sql: str, expression: str) -> None:
    """An error would print a value, or at least tell that there is one."""
    assert "SECRET" not in repr(shop.ask(sql.format(expression)))


def test_an_expression_that_a_measure_declares_may_be_added_up(shop: Shop) -> None:
    sql = "select sum(o.amount * (1 - Bonus)) from orders o"
    assert shop.ask(sql, measures=("amount * (1 - bonus)",)) == shop.duckdb.sql(sql).fetchall()
    with pytest.raises(QueryRefused, match="pick out single rows"):
        shop.ask(
            "select max(amount * 2), sum(amount * 3) from orders".replace("max", "sum"),
            measures=("amount * 2",),
        )


def test_a_measure_does_not_excuse_what_its_expression_may_not_hold(shop: Shop) -> None:
    with pytest.raises(QueryRefused, match="no subquery"):
        shop.ask("select sum((select 1)) from orders", measures=("(select 1)",))


def test_what_groups_are_counted_by_must_be_visible(shop: Shop) -> None:
    rules, columns = {"orders": RULE}, {"orders": ("id", "amount")}
    with pytest.raises(QueryRefused, match="hidden from you"):
        aggregate_only(shop.tree("select count(*) from orders"), rules, columns, shop.tree, shop.text)


def test_parameters_stay_parameters(shop: Shop) -> None:
    text = shop.rewritten(
        "select region, count(*) + ? from orders where id <> ? group by all order by 2 limit ?"
    )
    assert shop.duckdb.execute(text, [100, 5, 1]).fetchall() == [(None, 103)]


def test_a_question_with_aliases_that_double_is_refused_and_not_expanded(shop: Shop) -> None:
    items = ["count(*) as a0", *(f"a{i} + a{i} as a{i + 1}" for i in range(40))]
    with pytest.raises(QueryRefused, match="too large"):
        shop.rewritten(f"select {', '.join(items)} from orders")


def test_deep_questions_are_refused_and_do_not_crash(shop: Shop) -> None:
    for depth in (300, 3000):  # the first is too deep for this program, the second for DuckDB
        with pytest.raises(QueryRefused):
            shop.rewritten(f"select {'1 + ' * depth} count(*) from orders")


def test_every_function_of_one_row_is_a_function_of_that_row_alone(shop: Shop) -> None:
    """Asked of the engine itself, so that an upgrade which changes one is noticed."""
    known = shop.duckdb.execute(
        "select function_name, function_type, stability from duckdb_functions()"
    ).fetchall()
    assert not {name for name, kind, _ in known if kind not in ("scalar", "macro")} & SCALARS
    assert not {name for name, _, stability in known if stability == "VOLATILE"} & SCALARS
    assert {name for name, kind, _ in known if kind == "aggregate"} >= AGGREGATES


MART = Mart.model_validate(
    {
        "name": "orders",
        "measures": {
            "revenue": {"agg": "sum", "expr": "amount"},
            "orders": {"agg": "count"},
            "buyers": {"agg": "count_distinct", "expr": "customer_id"},
            "mean": {"agg": "avg", "expr": "amount"},
            "aov": {"expr": "revenue / orders"},
            "top": {"agg": "max", "expr": "amount"},
        },
        "dimensions": {"size": {"expr": "case when amount < 55 then 'small' else 'large' end"}},
    }
)


TYPES = {"region": "VARCHAR", "day": "DATE", "amount": "DECIMAL(12,2)", "customer_id": "INTEGER"}
MODEL = Model(
    Content(Path(), ProjectSpec(name="p"), {}, {"orders": MART}, Policy(), {}, {}, {}), {"orders": TYPES}
)


def compiled(**words: object) -> str:
    """The text of a metric request over the mart itself."""
    request = read_request(words)
    ranges = {span: time_range(span.words, date(2026, 12, 31)) for span in request.spans}
    return compile_metrics(MODEL, request, ranges, lambda need: base_source(MART, need, TYPES, "monday")).sql


@pytest.mark.parametrize("metric", ["revenue", "orders", "buyers", "mean", "aov"])
def test_metric_requests_are_answered(shop: Shop, metric: str) -> None:
    sql = compiled(
        metrics=f"orders.{metric}",
        by=["region", "size", "day.month"],
        where=["day: 2026-01-01..2026-12-31", "region in ('EMEA', 'APAC')"],
        order=f"-{metric}",
        limit=10,
    )
    assert shop.duckdb.sql(shop.rewritten(sql)).columns == ["region", "size", "day_month", metric]
    # EMEA, small, February: customers 2, 3, 4; the remainder: customers 1, 5 and 6
    february = ("EMEA", "small", date(2026, 2, 1))
    expected = {"revenue": (240, 120), "orders": (5, 3), "buyers": (3, 3), "mean": (48, 40), "aov": (48, 40)}
    rest, small = expected[metric]
    assert sorted(shop.ask(sql), key=repr) == [(*february, small), (None, None, None, pytest.approx(rest))]
    assert shop.ask(compiled(metrics=f"orders.{metric}"))[0][0] is not None


def test_a_measure_that_shows_a_single_value_is_refused(shop: Shop) -> None:
    with pytest.raises(QueryRefused, match=r"max\(\) shows values of single rows"):
        shop.ask(compiled(metrics="orders.top", by="region"))


def test_filters_offer_only_values_that_may_be_told(shop: Shop) -> None:
    assert shop.ask(values_sql(MART, "region")) == [("EMEA",)]
    assert shop.ask(values_sql(MART, "size")) == [("large",), ("small",)]


def test_the_newest_day_that_may_be_told_is_one_with_enough_people(shop: Shop) -> None:
    assert shop.ask(newest_sql("orders", "day")) == [(None,)]
    three = "select 20 + i, 20 + i, 'EMEA', 1, null, 'n', '2026-01-02', null from range(3) r(i)"
    shop.duckdb.execute(f"insert into orders {three}").fetchall()
    assert shop.ask(newest_sql("orders", "day")) == [(date(2026, 1, 2),)]
    shop.duckdb.execute("delete from orders where id >= 20").fetchall()
