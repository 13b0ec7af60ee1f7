"""Three marts over time in a project of one time zone, asked without files: the compiler and DuckDB."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, Literal

import duckdb
import pytest

from serving.content.model import Content, Mart, ProjectSpec
from serving.content.policy import Policy
from serving.semantic.asking.time import time_range
from serving.semantic.asking.words import read_request
from serving.semantic.compile.metrics import compile_metrics
from serving.semantic.model import Model
from serving.semantic.routing.routes import Need, Source
from serving.semantic.routing.source import base_source

NEWEST = date(2026, 4, 15)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu")
MEASURES: dict[str, dict[str, Any]] = {
    "revenue": {"agg": "sum", "expr": "amount"},
    "sales": {"agg": "count"},
    "buyers": {"agg": "count_distinct", "expr": "buyer"},
    "usual": {"agg": "median", "expr": "amount"},
    "aov": {"expr": "revenue / sales"},
    "most": {"agg": "max", "expr": "small"},
    "lost": {"agg": "sum", "expr": "amount", "filter": "region = 'none'", "fill_nulls_with": 0},
    "running": {"cumulative": "revenue"},
    "lately": {"cumulative": "sales", "window": "28 days"},
    "so_far": {"cumulative": "aov", "to_date": "quarter"},
    "this_week": {"cumulative": "sales", "to_date": "week"},
    "reach": {"cumulative": "buyers"},
    "reach_lately": {"cumulative": "buyers", "window": "2 months"},
    "usual_so_far": {"cumulative": "usual", "to_date": "year"},
    "debt": {"agg": "sum", "expr": "-amount"},
    "newest": {"agg": "max", "expr": "sold"},
    "stock": {"agg": "sum", "expr": "amount", "semi_additive": "sold"},
    "stock_so_far": {"cumulative": "stock"},
}
MARTS: dict[str, dict[str, Any]] = {
    "sales": {
        "time": "sold",
        "measures": MEASURES,
        "joins": {"shops": {"mart": "shops", "on": {"shop": "shop"}}},
    },
    "visits": {"time": "on_day", "measures": {"visits": {"agg": "count"}}},
    "shops": {"grain": "shop", "measures": {"shops": {"agg": "count"}}},
}
TABLES = """
create table shops as select * from (values (0, 'old'), (1, 'new'), (2, NULL)) t(shop, age);
create table sales as select
  case when i % 97 = 5 then NULL else to_timestamp(1759190400 + i * 41399) end as sold,
  cast(sold as timestamp) as plain, cast(sold as date) as day,
  case i % 5 when 0 then 'EMEA' when 1 then NULL when 2 then 'AMER' else 'APAC' end as region,
  cast(i * 7919 % 1000 as decimal(18, 2)) / 4 as amount, i * 31 % 23 as buyer, i % 4 as shop,
  cast(i * 37 % 255 as utinyint) as small
from range(400) r(i) where i % 5 > 2 or i between 60 and 330;
create table visits as select cast('2026-02-20' as date) + cast(i % 50 as integer) as on_day,
  case when i % 3 = 0 then 'EMEA' end as region from range(120) r(i) where i % 7 <> 0;
"""
Row = tuple[Any, ...]


class World:
    """Three marts in a project of one time zone and one first day of the week."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, zone: str, starts: str = "monday") -> None:
        self.connection = connection
        self.starts: Literal["monday", "sunday"] = "sunday" if starts == "sunday" else "monday"
        marts = {name: Mart.model_validate({"name": name, **spec}) for name, spec in MARTS.items()}
        project = ProjectSpec(name="p", timezone=zone, week_starts=self.starts)
        content = Content(Path(), project, {}, marts, Policy(), {}, {}, {})
        self.sql(f"set TimeZone = '{zone}'")
        readable = {name: {row[0]: row[1] for row in self.sql(f"describe {name}")} for name in marts}
        self.model = Model(content, readable)

    def text(self, words: dict[str, Any]) -> str:
        request = read_request(words)
        ranges = {span: time_range(span.words, NEWEST, self.starts) for span in request.spans}
        return compile_metrics(self.model, request, ranges, self._source).sql

    def ask(self, **words: Any) -> list[Row]:
        return self.sql(self.text(words))

    def hours(self, **words: Any) -> list[Row]:
        """The answer with its first column as text: instants as the session writes them."""
        return self.sql(f"select cast(c0 as varchar), c1 from ({self.text(words)}) as t(c0, c1)")

    def sql(self, text: str) -> list[Row]:
        return self.connection.execute(text).fetchall()

    def _source(self, need: Need) -> Source:
        mart = self.model.content.marts[need.mart]
        return base_source(mart, need, dict(self.model.readable[need.mart]), self.model.week_starts)


def count(world: World, mart: str, where: str) -> int:
    """Rows by hand."""
    return int(world.sql(f"select count(*) from {mart} where {where}")[0][0])


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        made.execute("set TimeZone = 'UTC'")
        made.execute(TABLES)
        yield made


@pytest.fixture(params=ZONES)
def world(connection: duckdb.DuckDBPyConnection, request: pytest.FixtureRequest) -> World:
    return World(connection, request.param, "sunday" if request.param == "America/New_York" else "monday")


@pytest.fixture
def berlin(connection: duckdb.DuckDBPyConnection) -> World:
    return World(connection, "Europe/Berlin")
