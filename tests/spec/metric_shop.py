"""A small shop in DuckDB with marts, measures and joins over it, to ask metric requests of."""

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from serving.content.model import Content, Mart, ProjectSpec
from serving.content.policy import Policy
from serving.governance.tree import read_tree
from serving.semantic.asking.request import Axis, Metric, MetricRequest
from serving.semantic.asking.time import time_range
from serving.semantic.compile.metrics import compile_metrics
from serving.semantic.model import Compiled, Model
from serving.semantic.routing.routes import Need, Source
from serving.semantic.routing.source import base_source

MARTS: dict[str, dict[str, Any]] = {
    "orders": {
        "grain": "order_id",
        "time": "ordered_at",
        "dimensions": {"size": {"expr": "case when amount < 50 then 'small' else 'large' end"}},
        "measures": {
            "revenue": {"agg": "sum", "expr": "amount"},
            "orders": {"agg": "count"},
            "done": {"agg": "count", "filter": "status = 'done'"},
            "buyers": {"agg": "count_distinct", "expr": "customer_id"},
            "typical": {"agg": "median", "expr": "amount"},
            "aov": {"expr": "revenue / orders"},
            "per_ticket": {"expr": "revenue / tickets.tickets"},
            "amount": {"agg": "sum", "expr": "amount"},
            "so_far": {"cumulative": "revenue"},
            "margin": {"agg": "sum", "expr": "amount - cost"},
            "lost": {"agg": "sum", "expr": "amount", "filter": "status = 'lost'", "fill_nulls_with": 0},
        },
        "joins": {"customers": {"mart": "customers", "on": {"customer_id": "customer_id"}}},
    },
    "tickets": {
        "time": "opened_on",
        "measures": {"tickets": {"agg": "count"}, "worst": {"agg": "max", "expr": "minutes"}},
        "joins": {"orders": {"mart": "orders", "on": {"order_id": "order_id"}}},
    },
    "customers": {
        "grain": "customer_id",
        "dimensions": {"loud": {"expr": "upper(segment)"}},
        "measures": {"customers": {"agg": "count"}},
        "joins": {"cities": {"mart": "cities", "on": {"city": "city"}}},
    },
    "cities": {"grain": "city"},
    "items": {
        "measures": {
            "per_order": {"expr": "quantity / orders.orders"},
            "quantity": {"agg": "sum", "expr": "quantity"},
        },
        "joins": {"orders": {"mart": "orders", "on": {"order_id": "order_id"}}},
    },
    "stock": {
        "time": "day",
        "measures": {
            "pieces": {"agg": "sum", "expr": "pieces", "semi_additive": "day"},
            "first_pieces": {"agg": "sum", "expr": "pieces", "semi_additive": "day", "take": "first"},
            "each_last": {"agg": "sum", "expr": "pieces", "semi_additive": "day", "per": ["shop"]},
            "counts": {"agg": "count"},
            "share": {"expr": "pieces / counts"},
        },
    },
}
TABLES = """
create table cities as select * from (values ('Rome', 'IT'), ('Oslo', 'NO')) t(city, country);
create table customers as select * from (values
  (1, 'pro', 'Rome'), (2, 'pro', 'Oslo'), (3, 'home', 'Rome'), (4, NULL, NULL)) t(customer_id, segment, city);
create table orders as select * from (values
  (1, 1, 'EMEA', 'done', 10.00::decimal(18,2), 1.00::decimal(18,2), timestamp '2026-01-05 10:00'),
  (2, 1, 'EMEA', 'done', 30.00, 2, timestamp '2026-01-31 23:59'),
  (3, 2, 'EMEA', 'lost', 60.00, 3, timestamp '2026-02-01 00:00'),
  (4, 3, 'AMER', 'done', 80.00, 4, timestamp '2026-02-14 12:00'),
  (5, 4, NULL, 'open', 5.00, 5, timestamp '2026-02-20 08:00'),
  (6, 9, NULL, NULL, 7.00, 6, NULL), (7, NULL, 'APAC', 'done', 7.00, 7, timestamp '2026-03-01 08:00')
  ) t(order_id, customer_id, region, status, amount, cost, ordered_at);
create table tickets as select * from (values
  (1, 1, 'EMEA', date '2026-01-06', 5), (2, 1, 'EMEA', date '2026-02-07', 50),
  (3, 4, 'AMER', date '2026-02-15', 9),
  (4, NULL, NULL, date '2026-02-15', 3), (5, NULL, 'LATAM', date '2026-03-02', 8)
  ) t(ticket_id, order_id, region, opened_on, minutes);
create table items as select * from (values
  (1, 'tea', 3), (1, 'cup', 1), (2, 'tea', 2), (4, 'cup', 5)) t(order_id, category, quantity);
create table stock as select * from (values
  ('A', 'x', date '2026-01-01', 5), ('A', 'x', date '2026-01-31', 7), ('A', 'y', date '2026-01-30', 11),
  ('B', 'x', date '2026-01-15', 2), ('B', 'x', date '2026-02-02', 1), ('C', 'x', NULL, 100)
  ) t(shop, product, day, pieces);
"""


class Shop:
    """The tables in DuckDB, and the definitions over them."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        hidden: Mapping[str, tuple[str, ...]] | None = None,
        masked: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.connection = connection
        hidden = hidden or {}
        marts = {name: Mart.model_validate({"name": name, **spec}) for name, spec in MARTS.items()}
        content = Content(Path(), ProjectSpec(name="p"), {}, marts, Policy(), {}, {}, {})
        readable = {
            name: {column: kind for column, kind in self._kinds(name) if column not in hidden.get(name, ())}
            for name in marts
            if hidden.get(name) != ("*",)
        }
        self.model = Model(content, readable, masked or {})

    def compiled(self, request: MetricRequest) -> Compiled:
        ranges = {span: time_range(span.words, date(2026, 3, 2)) for span in request.spans}
        made = compile_metrics(self.model, request, ranges, self._source)
        tree = self.connection.execute("select json_serialize_sql(?)", [made.sql]).fetchall()[0][0]
        assert set(made.reads) == read_tree(json.loads(tree)).tables & MARTS.keys()
        return made

    def ask(self, request: MetricRequest) -> list[tuple[Any, ...]]:
        return self.sql(self.compiled(request).sql)

    def sql(self, text: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(text).fetchall()

    def headers(self, request: MetricRequest) -> list[str]:
        return [column[0] for column in self.connection.execute(self.compiled(request).sql).description]

    def _source(self, need: Need) -> Source:
        mart = self.model.content.marts[need.mart]
        return base_source(mart, need, dict(self.model.readable[need.mart]), self.model.week_starts)

    def _kinds(self, mart: str) -> list[tuple[str, str]]:
        return [(row[0], row[1]) for row in self.sql(f"describe {mart}")]


def metrics(*names: str) -> tuple[Metric, ...]:
    return tuple(
        Metric(*name.removeprefix("~").split("."), approximate=name.startswith("~")) for name in names
    )


def axis(text: str) -> Axis:
    *path, name = text.split(".")
    if name in ("day", "week", "month", "quarter", "year") and path:
        return Axis(path[-1], name, tuple(path[:-1]))
    return Axis(name, None, tuple(path))


def axes(*texts: str) -> tuple[Axis, ...]:
    return tuple(map(axis, texts))
