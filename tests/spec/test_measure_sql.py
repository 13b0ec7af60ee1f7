"""MEASURE in SQL: what it becomes gives the numbers of plain DuckDB, or it is refused in clear words."""

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from serving.content.model import Content, Mart, ProjectSpec
from serving.content.policy import Policy
from serving.errors import QueryRefused
from serving.governance.names import parse_question, table_names
from serving.governance.tree import read_tree
from serving.semantic.measure.call import Expanded, expand_measures
from serving.semantic.model import Model
from serving.syntax import Syntax

DATA = """
create table orders (id int, customer_id int, region varchar, amount decimal(12,2), cost decimal(12,2),
                     day date, secret int, code varchar);
insert into orders values
 (1, 1, 'EMEA', 10, 4, '2026-01-05', 1, '1'), (2, 1, 'EMEA', 20, 5, '2026-01-20', 1, '01'),
 (3, 2, 'EMEA', 30, 6, '2026-02-03', 1, '2'), (4, 3, 'AMER', 40, 7, '2026-02-10', 1, '3'),
 (5, 3, null, 50, 8, '2026-03-01', 1, '4'), (6, null, null, null, 9, null, 1, null);
create table customers (customer_id int, segment varchar, email varchar, card varchar, number varchar);
insert into customers values (1, 'A', 'a@x', 'c1', '1'), (2, 'B', 'b@x', null, '01'),
 (3, 'A', 'c@x', null, '2'),
 (4, 'C', 'd@x', 'c4', '4');
create table order_items (order_id int, item int, price decimal(12,2));
insert into order_items values (1, 1, 6), (1, 2, 4), (2, 1, 20), (3, 1, 10), (3, 2, 20), (4, 1, 40);
create table tickets (ticket_id int, customer_id int, opened date);
insert into tickets values (1, 1, '2026-01-06'), (2, 1, '2026-01-07'), (3, 3, '2026-02-11'),
 (4, 9, '2026-02-12');
create table profiles (customer_id int, points int);
insert into profiles values (1, 7), (2, 8), (3, 9);
create table days as
 select unnest(generate_series(date '2026-01-01', date '2026-03-31', interval 1 day))::date as day;
"""


def mart(name: str, **content: Any) -> Mart:
    return Mart.model_validate({"name": name, **content})


MARTS = {
    "orders": mart(
        "orders",
        grain="id",
        time="day",
        measures={
            "revenue": {"agg": "sum", "expr": "amount"},
            "orders": {"agg": "count"},
            "aov": {"expr": "revenue / orders"},
            "margin": {"expr": "(revenue - cost) / revenue"},
            "cost": {"agg": "sum", "expr": "cost"},
            "emea": {"agg": "sum", "expr": "amount", "filter": "region = 'EMEA'"},
            "missing": {"agg": "count", "filter": "amount is null"},
            "largest": {"agg": "max", "expr": "amount"},
            "buyers": {"agg": "count_distinct", "expr": "customer_id"},
            "spread": {"expr": "largest - smallest"},
            "smallest": {"agg": "min", "expr": "amount"},
            "middle": {"agg": "median", "expr": "amount"},
            "filled": {"agg": "sum", "expr": "amount", "filter": "region = 'none'", "fill_nulls_with": 0},
            "hidden": {"agg": "sum", "expr": "hidden_column"},
            "tagged": {"agg": "max", "expr": "list_sum(list_transform([amount], lambda cost: cost + 1))"},
            "running": {"cumulative": "revenue", "window": "28 days"},
            "stock": {"agg": "sum", "expr": "amount", "semi_additive": "day"},
            "twice_stock": {"expr": "stock * 2"},
            "per_ticket": {"expr": "revenue / tickets.tickets"},
            "shared": {"agg": "count"},
        },
        joins={"customers": {"mart": "customers", "on": {"customer_id": "customer_id"}}},
    ),
    "customers": mart(
        "customers",
        columns={
            "customer_id": {"tests": ["unique", "not_null"]},
            "email": {"tests": ["unique"]},
            "card": {"tests": ["unique"]},
            "number": {"tests": ["unique", "not_null"]},
        },
        measures={"people": {"agg": "count"}, "segments": {"agg": "count_distinct", "expr": "segment"}},
    ),
    "order_items": mart(
        "order_items", grain=["order_id", "item"], measures={"priced": {"agg": "sum", "expr": "price"}}
    ),
    "tickets": mart(
        "tickets", grain="ticket_id", measures={"tickets": {"agg": "count"}, "shared": {"agg": "count"}}
    ),
    "profiles": mart(
        "profiles",
        measures={"points": {"agg": "sum", "expr": "points"}},
        joins={
            "customers": {"mart": "customers", "on": {"customer_id": "customer_id"}, "kind": "one_to_one"}
        },
    ),
    "days": mart("days", grain="day"),
    "unseen": mart("unseen", measures={"ghosts": {"agg": "count"}}),
}
CONTENT = Content(Path(), ProjectSpec.model_validate({"name": "shop"}), {}, MARTS, Policy(), {}, {}, {})


class Shop:
    """The tables in plain DuckDB, whose parser and printer the expansion works on."""

    def __init__(self) -> None:
        self.duckdb = duckdb.connect(":memory:")
        self.duckdb.execute(DATA)
        self.syntax = Syntax(self.tree, self.print)
        self.model = Model(CONTENT, {name: self._columns(name) for name in MARTS if name != "unseen"}, {})

    def tree(self, sql: str) -> Any:
        return json.loads(self._one("select json_serialize_sql(?::varchar)", sql))

    def print(self, tree: Any) -> str:
        return self._one("select json_deserialize_sql(?::json)", json.dumps(tree))

    def expanded(self, sql: str, model: Model | None = None) -> Expanded:
        return expand_measures(self.tree(sql), model or self.model, self.syntax)

    def text(self, sql: str, model: Model | None = None) -> str:
        return self.syntax.text(self.expanded(sql, model).tree)

    def rows(self, sql: str) -> tuple[list[str], list[str]]:
        """Headers, and rows in an order of their own."""
        answer = self.duckdb.execute(sql)
        return [column[0] for column in answer.description], sorted(map(repr, answer.fetchall()))

    def _columns(self, name: str) -> dict[str, str]:
        found = self.duckdb.execute(f"describe {name}").fetchall()
        return {row[0]: row[1] for row in found if row[0] != "secret"}

    def _one(self, sql: str, value: str) -> str:
        (row,) = self.duckdb.execute(sql, [value]).fetchall()
        return str(row[0])


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop()


GOLDEN = Path(__file__).parent.parent / "golden"
AGREED = (GOLDEN / "measures.sql").read_text()
ANSWERED = (GOLDEN / "measures_answered.sql").read_text()
REFUSED = (GOLDEN / "measures_refused.sql").read_text()
BECOMES = re.findall(r"-- case: (.*?)\n(.*?);\n-- becomes\n(.*?);\n-- by hand\n(.*?);\n", AGREED, re.DOTALL)
SAME = re.findall(r"-- case: (.*?)\n(.*?);\n-- by hand\n(.*?);\n", ANSWERED, re.DOTALL)
WORDS = re.findall(r"(?<=\n\n)(.*?);\n-- (.*?)\n", REFUSED, re.DOTALL)


def test_all_cases_of_the_files_are_run() -> None:
    assert len(BECOMES) == AGREED.count("-- becomes") > 5
    assert len(SAME) == ANSWERED.count("-- by hand") > 50
    assert len(WORDS) == REFUSED.count(";\n") > 50


@pytest.mark.parametrize(("asked", "by_hand"), [case[1:] for case in SAME], ids=[case[0] for case in SAME])
def test_a_measure_gives_what_the_same_question_by_hand_gives(shop: Shop, asked: str, by_hand: str) -> None:
    text = shop.text(asked)
    assert "measure(" not in text.lower().replace('"round((measure(revenue) / 3), 1)"', "")
    headers, rows = shop.rows(text)
    assert (headers, rows) == shop.rows(by_hand)


@pytest.mark.parametrize(("sql", "words"), WORDS)
def test_what_has_no_safe_meaning_is_refused_with_the_reason_and_what_to_write(
    shop: Shop, sql: str, words: str
) -> None:
    with pytest.raises(QueryRefused) as refusal:
        shop.text(sql)
    for part in words.split("|"):
        assert part in str(refusal.value)


def test_a_question_without_a_measure_is_left_as_it_is(shop: Shop) -> None:
    tree = shop.tree("select sum(amount) from orders")
    assert expand_measures(tree, shop.model, shop.syntax).tree is tree


def test_the_tree_that_was_given_is_not_changed(shop: Shop) -> None:
    tree = shop.tree("select measure(aov) from orders")
    before = json.dumps(tree)
    expand_measures(tree, shop.model, shop.syntax)
    assert json.dumps(tree) == before


def test_a_masked_column_is_no_key_and_tells_no_row_from_one_of_nulls(shop: Shop) -> None:
    """A mask may give two customers one number, or all of them none."""
    masked = Model(CONTENT, shop.model.readable, {"customers": ["customer_id"], "orders": ["id"]})
    with pytest.raises(QueryRefused, match="not known to be unique by customer_id"):
        shop.text("select measure(revenue) from orders join customers using (customer_id)", masked)
    with pytest.raises(QueryRefused, match="adds rows of NULLs"):
        shop.text("select measure(orders) from days d left join orders o on o.day = d.day", masked)


def test_estimates_are_followed_to_the_columns_of_the_result(shop: Shop) -> None:
    cases = {
        "select region, measure(~buyers), measure(buyers) as exact from orders group by all": ("buyers",),
        "with x as (select measure(~buyers) as B from orders) select b + 1, b as c, 2 as d from x": (
            "(b + 1)",
            "c",
        ),
        "select * from (select measure(~middle) as m, region from orders group by all)": ("m",),
        "select (select measure(~buyers) from orders) as s, measure(people) from customers": ("s",),
        "select measure(buyers) as b from orders union all select measure(~buyers) from orders": ("b",),
        "with x(n) as (select measure(~buyers) from orders) select (select x.n) as inside from x": (
            "inside",
        ),
        "select measure(buyers) from orders": (),
    }
    for sql, headers in cases.items():
        expanded = shop.expanded(sql)
        assert expanded.approximate == headers
        assert set(headers) <= set(shop.rows(shop.syntax.text(expanded.tree))[0])


def test_the_printed_text_is_read_again_as_the_same_tree_with_values_in_it(shop: Shop) -> None:
    tree = shop.tree(
        "select x, (values (1)) from (values (1), (2)) v(x), (select * from (values (3)) limit 1)"
    )
    assert shop.rows(shop.syntax.text(tree))[1] == ["(1, 1)", "(2, 1)"]


@pytest.mark.parametrize(
    ("asked", "becomes", "by_hand"), [c[1:] for c in BECOMES], ids=[c[0] for c in BECOMES]
)
def test_a_question_becomes_the_text_that_was_agreed(
    shop: Shop, asked: str, becomes: str, by_hand: str
) -> None:
    assert shop.text(asked) == becomes
    assert shop.rows(becomes) == shop.rows(by_hand)


@pytest.mark.parametrize(
    "sql",
    ["select measure(revenue), measure(~buyers) from orders", "select measure(revenue) over () from orders"],
)
def test_both_parsers_let_a_call_pass_to_where_it_is_spelled_out(shop: Shop, sql: str) -> None:
    reading = read_tree(shop.tree(sql))
    assert "measure" in reading.functions
    assert table_names(parse_question(sql)) == reading.tables == {"orders"}


WAYS = ["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "SEMI JOIN", "ASOF JOIN"]
TABLES = [
    "one",
    "pair",
    "(SELECT * FROM one WHERE v > 20)",
    "(SELECT x, sum(v) AS v, min(id) AS id, max(u) AS u FROM pair GROUP BY x)",
    "(SELECT max(id) AS id, 1 AS u, 2 AS x FROM pair)",
    "(SELECT id, u, x FROM one UNION SELECT id, u, x FROM pair)",
    "(SELECT DISTINCT ON (x) * FROM pair ORDER BY row)",
    "(SELECT p.* FROM pair p LEFT JOIN one q ON p.x = q.id)",
]
COLUMNS = dict.fromkeys(("row", "id", "u", "x", "v"), "INTEGER")


def conditions(chance: random.Random, left: list[str], right: str) -> str:
    """Some comparisons of what stands to the left with what is joined."""
    keys = ["id", "u", "x"]
    sides = [(f"{chance.choice(left)}.{chance.choice(keys)}", f"{right}.{chance.choice(keys)}") for _ in "ab"]
    parts = [f"{one} {chance.choice(['=', '=', '=', '>='])} {other}" for one, other in sides]
    return " AND ".join(parts[: chance.choice([1, 1, 2])])


def joined(chance: random.Random) -> tuple[str, list[str]]:
    """A FROM of two to four tables, and the names that can be read from it."""
    text, names = f"{chance.choice(TABLES)} t0", ["t0"]
    for place in range(1, chance.choice([2, 3, 4])):
        way, table = chance.choice(WAYS), chance.choice(TABLES)
        text += f" {way} {table} t{place} ON {conditions(chance, names, f't{place}')}"
        names += [f"t{place}"] * (way != "SEMI JOIN")
    return text, names


def test_whatever_join_is_accepted_counts_every_row_once(shop: Shop) -> None:
    """Against the distinct rows of the same join; unique columns hold NULLs."""
    chance = random.Random(7)
    measures = {"total": {"agg": "sum", "expr": "v"}, "rows": {"agg": "count"}}
    marts = {
        "one": mart("one", grain="id", columns={"u": {"tests": ["unique"]}}, measures=measures),
        "pair": mart("pair", grain=["id", "x"], measures=measures),
    }
    content = replace(CONTENT, marts=marts)
    model = Model(content, dict.fromkeys(marts, COLUMNS))
    shop.duckdb.execute("""
        create table one as select * from (values (0, 1, 1, 1, 10), (1, 2, null, 1, 30), (2, 3, null, 2, 40))
            listed(row, id, u, x, v);
        create table pair as select * from (values (0, 1, 1, 1, 1), (1, 1, 1, 2, 20), (2, 2, null, 1, 50),
            (3, 2, 3, 3, 70)) listed(row, id, u, x, v)""")
    accepted = 0
    for _ in range(700):
        table, names = joined(chance)
        name = chance.choice(names)
        try:
            text = shop.text(
                f"SELECT MEASURE({name}.total) AS v, MEASURE({name}.rows) AS n FROM {table}", model
            )
            found = shop.rows(text)
        except (QueryRefused, duckdb.BinderException):  # an ASOF JOIN without its inequality, for one
            continue
        rows = f"SELECT DISTINCT {name}.row, {name}.v FROM {table}"
        by_hand = f"SELECT sum(v) AS v, count(*) AS n FROM ({rows}) WHERE row IS NOT NULL"
        assert found == shop.rows(by_hand), text
        accepted += 1
    assert accepted > 40
