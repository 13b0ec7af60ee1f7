"""A mart with its rollups in an engine of the test's own: a question is asked both ways and compared."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from serving.content.model import Content, Mart, ProjectSpec
from serving.content.policy import Policy
from serving.semantic.dimension import dimension_sql, quoted
from serving.semantic.leaves import Leaf, formula
from serving.semantic.model import Model, Sourcer
from serving.semantic.routing.choose import choose
from serving.semantic.routing.query import Routed, route_query
from serving.semantic.routing.routes import Kept, Need, Offer, Reason, Route, Source
from serving.syntax import Node, Syntax

ROWS = """\
select i as id,
    case i % 5 when 0 then 'EMEA' when 1 then 'AMER' when 2 then 'it''s' when 3 then '' end as region,
    case when i % 7 > 0 then 'S' || (i % 3) end as segment,
    case when i % 83 > 0 then timestamp '2025-12-20' + to_hours((i * 7) % 2900) + to_minutes(i % 60) end
        as ordered_at,
    case when i % 67 > 0 then date '2025-12-28' + ((i * 11) % 100)::int end as day,
    timestamptz '2026-03-07 20:00:00 UTC' + to_minutes((i * 37) % 4000) as seen_at,
    ((i * 13) % 701 - 100)::decimal(12,2) as amount,
    (i % 17)::integer as pieces,
    i / 7 as score,
    i % 29 as buyer,
    {'a': i} as details
from range(1500) rows(i)
"""
ORDERS = Mart.model_validate(
    {
        "name": "orders",
        "dimensions": {
            "basket": {"expr": "case when pieces < 5 then 'small' else 'large' end"},
            "place": {"expr": "upper(region)"},
        },
        "measures": {
            "revenue": {"agg": "sum", "expr": "amount"},
            "orders": {"agg": "count"},
            "aov": {"expr": "revenue / orders"},
            "pieces": {"agg": "sum", "expr": "pieces"},
            "per_order": {"agg": "avg", "expr": "pieces"},
            "smallest": {"agg": "min", "expr": "amount"},
            "largest": {"agg": "max", "expr": "amount"},
            "dated": {"agg": "count", "expr": "ordered_at"},
            "emea": {"agg": "sum", "expr": "amount", "filter": "region = 'EMEA'"},
            "double": {"agg": "sum", "expr": "amount * 2"},
            "score": {"agg": "sum", "expr": "score"},
            "buyers": {"agg": "count_distinct", "expr": "buyer"},
            "middle": {"agg": "median", "expr": "amount"},
            "high": {"agg": "quantile", "expr": "amount", "quantile": 0.9},
        },
        "rollups": {
            "by_day": {
                "dimensions": ["ordered_at.day", "region", "basket"],
                "measures": "revenue aov pieces per_order smallest largest dated emea double ~buyers".split(
                    " "
                ),
            },
            "by_month": {
                "dimensions": ["ordered_at.month", "region", "segment"],
                "measures": "revenue orders aov pieces per_order".split(),
            },
            "by_region": {
                "dimensions": ["region"],
                "measures": "revenue orders buyers middle high score".split(),
            },
            "by_date": {"dimensions": ["day.day", "region"], "measures": ["revenue", "orders"]},
            "by_hour": {"dimensions": ["seen_at.hour"], "measures": ["revenue", "orders"]},
        },
    }
)
PLAIN = Mart.model_validate({"name": "regions"})


@dataclass(frozen=True)
class Rig:
    """The mart `orders` and what its rollups keep; `regions` has no rollup."""

    db: duckdb.DuckDBPyConnection
    model: Model
    offers: tuple[Offer, ...]
    syntax: Syntax

    def source(self, need: Need) -> Source:
        """The source that the product chooses."""
        mart = self.model.content.marts[need.mart]
        content = self.model.content.project
        kinds = self.model.readable[need.mart]
        return choose(need, mart, kinds, self.offers, content.week_starts, content.timezone, 1500)

    def tree(self, sql: str) -> Node:
        return self.syntax.tree(sql)

    def routed_tree(self, tree: Node, sourcer: Sourcer | None = None) -> Routed:
        return route_query(tree, self.model, sourcer or self.source, self.syntax)

    def routed(self, sql: str, sourcer: Sourcer | None = None) -> tuple[str, tuple[Route, ...]]:
        """The question as it may be asked of rollups."""
        tree = self.tree(sql)
        found = self.routed_tree(tree, sourcer)
        return (sql if found.tree is tree else self.syntax.text(found.tree)), found.routes

    def seeing(self, columns: Mapping[str, str]) -> "Rig":
        """The same for a person who sees only these columns of the mart."""
        return replace(self, model=replace(self.model, readable={"orders": columns}))

    def rollups(self, sql: str) -> list[str | None]:
        """Which rollup answers each block; both answers are equal: headers, types, rows and their order."""
        text, routes = self.routed(sql)
        is_ordered = "order by" in sql.lower().rpartition(" from ")[2]
        assert self.answer(sql, is_ordered) == self.answer(text, is_ordered), text
        assert (text == sql) == all(route.rollup is None for route in routes)
        return [route.rollup for route in routes]

    def misses(self, sql: str) -> dict[str, tuple[Reason, str]]:
        """Why each rollup passed over does not answer the only block."""
        _, (route,) = self.routed(sql)
        assert route.rollup is None
        return {miss.rollup: (miss.reason, miss.words) for miss in route.misses}

    def answer(self, sql: str, is_ordered: bool = True) -> tuple[list[str], list[str], list[Any]]:
        """Headers, types and rows, sorted where the question asks for no order."""
        found = self.db.sql(sql)
        headers, types = found.columns, [str(kind) for kind in found.types]
        has_zone = any("TIME ZONE" in kind for kind in types)  # of which fetchall() needs another package
        rows: list[Any] = found.to_arrow_table().to_pylist() if has_zone else found.fetchall()
        return headers, types, rows if is_ordered else sorted(rows, key=repr)


def make_rig(week_starts: str = "monday", timezone: str = "UTC", rows: str = ROWS) -> Rig:
    """The tables, built; days are of `timezone`."""
    db = duckdb.connect()
    db.execute(f"SET TimeZone = '{timezone}'")
    db.execute(f"CREATE TABLE orders AS {rows}").fetchall()
    db.execute(
        "CREATE TABLE regions AS SELECT 'EMEA' AS name, 1 AS rank UNION ALL SELECT 'AMER', 2"
    ).fetchall()
    readable = {name: _kinds(db, name) for name in ("orders", "regions")}
    project = ProjectSpec.model_validate({"name": "p", "week_starts": week_starts, "timezone": timezone})
    marts = {"orders": ORDERS, "regions": PLAIN}
    content = Content(Path(), project, {}, marts, Policy(), {}, {}, {})
    offers = tuple(_kept(db, name, week_starts, timezone) for name in ORDERS.rollups)

    def tree(sql: str) -> Node:
        (found,) = db.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()[0]
        parsed: Node = json.loads(found)
        return parsed

    def text(node: Node) -> str:
        found = db.execute("SELECT json_deserialize_sql(?::JSON)", [json.dumps(node)]).fetchall()
        return str(found[0][0])

    return Rig(db, Model(content, readable), offers, Syntax(tree, text))


def _kinds(db: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    return {row[0]: row[1] for row in db.execute(f"DESCRIBE {quoted(table)}").fetchall()}


def _leaves(name: str) -> Sequence[Leaf]:
    rollup = ORDERS.rollups[name]
    found = [formula(ORDERS, word.lstrip("~"), word.startswith("~")) for word in rollup.measures]
    return list(dict.fromkeys([Leaf("count"), *(leaf for each in found for leaf in each.leaves)]))


def _kept(db: duckdb.DuckDBPyConnection, name: str, week_starts: str, timezone: str) -> Offer:
    texts = {key: dimension_sql(ORDERS, key, week_starts) for key in ORDERS.rollups[name].dimensions}
    kept = {leaf.column: leaf.kept() for leaf in _leaves(name)}
    shown = ", ".join(f"{text} AS {quoted(column)}" for column, text in {**texts, **kept}.items())
    table = f"orders:{name}"
    db.execute(f"CREATE TABLE {quoted(table)} AS SELECT {shown} FROM orders GROUP BY ALL").fetchall()
    ((rows,),) = db.execute(f"SELECT count(*) FROM {quoted(table)}").fetchall()
    return Offer(Kept("orders", name, rows, texts, kept, _kinds(db, table), timezone))
