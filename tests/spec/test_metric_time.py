"""Time in metric requests: ranges in words, comparison with earlier, gaps, running sums."""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import duckdb
import pytest

from serving.content.model import Content, Mart, ProjectSpec
from serving.content.policy import Policy
from serving.errors import QueryRefused
from serving.semantic.metrics import compile_metrics
from serving.semantic.model import Model
from serving.semantic.routes import Need, Source
from serving.semantic.source import base_source
from serving.semantic.time import BEGINNING, TimeRange, add_months, floor, is_range, time_range
from serving.semantic.words import read_request

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


# --- ranges in words


@pytest.mark.parametrize(
    ("words", "start", "end"),
    [
        ("last 2 complete months", date(2026, 2, 1), date(2026, 4, 1)),
        ("last 7 complete days", date(2026, 4, 8), date(2026, 4, 15)),
        ("last 1 complete quarter", date(2026, 1, 1), date(2026, 4, 1)),
        ("last month", date(2026, 3, 1), date(2026, 4, 1)),
        ("previous year", date(2025, 1, 1), date(2026, 1, 1)),
        ("last week", date(2026, 4, 6), date(2026, 4, 13)),
        ("year to date", date(2026, 1, 1), date(2026, 4, 16)),
        ("month to date", date(2026, 4, 1), date(2026, 4, 16)),
        ("week to date", date(2026, 4, 13), date(2026, 4, 16)),
        ("since 2026-02-03", date(2026, 2, 3), date(2026, 4, 16)),
        ("since 2027-01-01", date(2027, 1, 1), date(2027, 1, 1)),
        ("until 2026-02-03", BEGINNING, date(2026, 2, 4)),
    ],
)
def test_complete_periods_periods_to_date_and_open_ranges(words: str, start: date, end: date) -> None:
    assert is_range(words)
    span = time_range(words, NEWEST)
    assert (span.start, span.end) == (start, end)


def test_weeks_of_ranges_begin_on_the_projects_day() -> None:
    assert time_range("week to date", NEWEST, "sunday").start == date(2026, 4, 12)
    week = time_range("last week", NEWEST, "sunday")
    assert (week.start, week.last) == (date(2026, 4, 5), date(2026, 4, 11))
    assert time_range("last 3 complete weeks", NEWEST, "sunday").start == date(2026, 3, 22)


def test_whole_months_from_day_to_day_have_their_length_in_months() -> None:
    quarter = time_range("2026-01-01..2026-03-31", NEWEST)
    assert quarter == TimeRange(date(2026, 1, 1), date(2026, 4, 1), months=3)
    assert quarter.shifted("previous period").start == date(2025, 10, 1)
    assert time_range("2026-01-02..2026-04-01", NEWEST).days == 90


def test_shifts_know_short_months_and_leap_years() -> None:
    def moved(first: str, last: str, **back: int) -> tuple[date, date]:
        found = TimeRange(date.fromisoformat(first), date.fromisoformat(last) + timedelta(days=1)).earlier(
            **back
        )
        return found.start, found.last

    assert moved("2024-02-29", "2024-02-29", months=12) == (date(2023, 2, 28), date(2023, 2, 28))
    assert moved("2024-02-28", "2024-02-28", months=12) == (date(2023, 2, 28), date(2023, 2, 28))
    assert moved("2024-02-01", "2024-02-29", months=12) == (date(2023, 2, 1), date(2023, 2, 28))
    assert moved("2025-02-01", "2025-02-28", months=12) == (date(2024, 2, 1), date(2024, 2, 29))
    assert moved("2026-03-01", "2026-03-30", months=1) == (date(2026, 2, 1), date(2026, 2, 28))
    assert moved("2026-02-01", "2026-02-27", months=1) == (date(2026, 1, 1), date(2026, 1, 27))


def test_a_range_without_a_start_has_nothing_before_it() -> None:
    span = time_range("until 2026-02-03", NEWEST)
    assert not span.bounded
    with pytest.raises(ValueError, match="nothing before it"):
        span.shifted("previous year")


# --- comparison


def aggregated(world: World, where: str, by: str) -> dict[Row, Row]:
    """Revenue and number of sales by hand."""
    rows = world.sql(f"select {by}, sum(amount), count(*) from sales where {where} group by all")
    return {row[:-2]: row[-2:] for row in rows}


def days(start: date, end: date) -> str:
    return f"cast(sold as date) >= '{start}' and cast(sold as date) < '{end}'"


def count(world: World, mart: str, where: str) -> int:
    """Rows by hand."""
    return int(world.sql(f"select count(*) from {mart} where {where}")[0][0])


def side_by_side(now: dict[Row, Row], then: dict[Row, Row]) -> list[Row]:
    rows = []
    for key in now.keys() | then.keys():
        (revenue, sales), (revenue_before, sales_before) = now.get(key, (None, 0)), then.get(key, (None, 0))
        change = None if revenue is None or revenue_before is None else revenue - revenue_before
        rate = float(change) / float(revenue_before) if change is not None and revenue_before else None
        count = sales - sales_before
        share = count / sales_before if sales_before else None
        rows.append((*key, revenue, revenue_before, change, rate, sales, sales_before, count, share))
    return sorted(rows, key=repr)


def test_months_of_a_running_range_meet_as_many_days_of_the_months_before(world: World) -> None:
    found = world.ask(
        metrics=["sales.revenue", "sales.sales"],
        by=["sold.month", "region"],
        where="sold: last 3 months",
        compare="previous period",
    )
    month = "cast(date_trunc('month', sold) as date)"
    now = aggregated(world, days(date(2026, 2, 1), date(2026, 4, 16)), f"{month}, region")
    later = f"cast({month} + interval 3 month as date)"
    then = aggregated(world, days(date(2025, 11, 1), date(2026, 1, 16)), f"{later}, region")
    assert sorted(found, key=repr) == side_by_side(now, then)
    assert {row[1] for row in found} == {"EMEA", "AMER", "APAC", None}


def test_weeks_meet_the_weeks_of_52_weeks_before(world: World) -> None:
    found = world.ask(
        metrics=["sales.revenue", "sales.sales"],
        by="time.week",
        where="time: last 20 weeks",
        compare="previous year",
    )
    first = floor(NEWEST, "week", world.starts) - timedelta(weeks=19)
    week = "cast(date_trunc('week', cast(sold as date) {0}) {1} as date)"
    start = week.format("+ 1", "- interval 1 day") if world.starts == "sunday" else week.format("", "")
    now = aggregated(world, days(first, date(2026, 4, 16)), start)
    gap = timedelta(days=364)
    then = aggregated(
        world, days(first - gap, date(2026, 4, 16) - gap), f"cast({start} + interval 364 day as date)"
    )
    assert sorted(found, key=repr) == side_by_side(now, then)
    offset = world.ask(
        metrics="sales.sales", by="sold.week", where="sold: last 20 weeks", compare="20 weeks earlier"
    )
    gap = timedelta(weeks=20)
    earlier = aggregated(world, days(first - gap, date(2026, 4, 16) - gap), "1")
    assert sum(row[2] for row in offset) == earlier[1,][1]


def test_a_group_on_one_side_only_stays_with_counts_of_0_and_no_sum(berlin: World) -> None:
    found = berlin.ask(
        metrics=["sales.revenue", "sales.sales", "sales.lost", "sales.most"],
        by="region",
        where=["sold: 2025-10-04..2025-10-06", "region in ('EMEA', 'APAC', null)"],
        compare="6 months earlier",
    )
    (apac,) = found
    region, revenue, before, change, rate, *rest = apac
    assert region == "APAC" and revenue is not None
    assert (before, change, rate) == (None, None, None)
    assert rest[1:4] == [0, rest[0], None]
    assert rest[4:8] == [0, 0, 0, None]


def test_a_change_has_room_for_unsigned_numbers_and_its_rate_has_its_sign(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    world = World(connection, "UTC")
    now, before, change, rate = world.ask(
        metrics="sales.most", where="sold: 2026-02-01..2026-02-03", compare="3 days earlier"
    )[0]
    assert change == now - before
    assert rate == change / before
    loss, before, _, rate = world.ask(
        metrics="sales.debt", where="sold: 2026-02-01..2026-02-03", compare="3 days earlier"
    )[0]
    assert before < 0
    assert rate == float(loss - before) / float(-before)
    smaller = world.ask(
        metrics="sales.most", by="day", where="day: 2026-02-01..2026-02-28", compare="1 day earlier"
    )
    assert any(row[3] is not None and row[3] < 0 for row in smaller)


def test_two_days_may_look_at_one_and_no_row_is_repeated(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        "create schema if not exists leap; create or replace table leap.visits as select * from (values "
        "(date '2023-01-31'), (date '2023-02-27'), (date '2023-02-28'), (date '2023-02-28'),"
        "(date '2023-03-01'), (date '2024-02-28'), (date '2024-02-29'), (date '2024-03-01')) t(on_day)"
    )
    connection.execute("set search_path = 'leap,main'")
    try:
        world = World(connection, "UTC")
        asked = {"metrics": "visits.visits", "by": "on_day.day", "where": "on_day: 2024-02-27..2024-03-01"}
        found = world.ask(**asked, compare="previous year")
        assert [(str(row[0]), row[1], row[2]) for row in found] == [
            ("2024-02-27", 0, 1),
            ("2024-02-28", 1, 2),
            ("2024-02-29", 1, 2),
            ("2024-03-01", 1, 1),
        ]
        total = world.ask(
            metrics="visits.visits", where="on_day: 2024-02-27..2024-03-01", compare="previous year"
        )
        assert total[0][:2] == (3, 4)
        back = world.ask(
            metrics="visits.visits",
            by="time.day",
            where="time: 2024-02-28..2024-02-29",
            compare="1 month earlier",
        )
        assert [row[1:3] for row in back] == [(1, 0), (1, 0)]
        asked["where"] = "on_day: 2023-02-01..2023-02-28"
        unseen = world.ask(**asked, compare="previous period", totals=True)
        assert [(str(row[0]), *row[1:3]) for row in unseen] == [
            ("2023-02-27", 1, 0),
            ("2023-02-28", 2, 0),
            ("None", 3, 1),
        ]
    finally:
        connection.execute("reset search_path")


def test_totals_of_either_side_are_aggregated_from_their_own_rows(berlin: World) -> None:
    found = berlin.ask(
        metrics=["sales.buyers", "sales.aov"],
        by=["region", "shops.age"],
        where="sold: last 2 months",
        compare="previous period",
        totals=[["region"], ["shops.age"], []],
    )
    assert [row[-1] for row in found].count("total") == 1
    assert len({row[:2] for row in found if row[-1] == "subtotal"}) < len(
        [r for r in found if r[-1] == "subtotal"]
    )
    total = found[-1]

    def by_hand(start: str, end: str) -> Row:
        where = days(date.fromisoformat(start), date.fromisoformat(end))
        return berlin.sql(f"select count(distinct buyer), sum(amount) / count(*) from sales where {where}")[0]

    now, then = by_hand("2026-03-01", "2026-04-16"), by_hand("2026-01-01", "2026-02-16")
    assert (total[2], total[3], total[6], total[7]) == (now[0], then[0], now[1], then[1])


def test_marts_are_compared_together_by_their_own_times(berlin: World) -> None:
    found = berlin.ask(
        metrics=["sales.sales", "visits.visits"],
        by="time.month",
        where="time: last 2 months",
        compare="previous period",
    )
    by_hand = [
        [count(berlin, mart, f"cast({time} as date) between '{first}' and '{last}'")
         for mart, time in (("sales", "sold"), ("visits", "on_day"))
         for first, last in (now, then)]
        for now, then in (
            (("2026-03-01", "2026-03-31"), ("2026-01-01", "2026-01-31")),
            (("2026-04-01", "2026-04-15"), ("2026-02-01", "2026-02-15")),
        )
    ]  # fmt: skip
    assert [[row[1], row[2], row[5], row[6]] for row in found] == by_hand


@pytest.mark.parametrize(
    ("words", "problem", "hint"),
    [
        ({}, "needs a range of time", "add where: 'ordered_at: last 12 months'"),
        ({"by": "sold.month"}, "needs a range of time", "add where: 'sold: last 12 months'"),
        ({"where": "sold: until 2026-01-01"}, "nothing before it", "sold: last 12 months"),
        (
            {"where": ["sold: last 3 months", "day: last 3 months"]},
            "could move the range of 'sold', 'day'",
            "keep one",
        ),
        ({"by": "sold", "where": "sold: last 3 days"}, "by buckets", "sold.day"),
        ({"where": "sold: since 2030-01-01"}, "holds no day", "earlier start"),
        ({"metrics": "sales.newest", "where": "sold: last 3 days"}, "no number", "leave out"),
        ({"by": "sold.month", "where": "sold: last 30 days"}, "by a part of a month", "1 months earlier"),
        ({"by": "sold.week", "where": "sold: last 3 months"}, "by a part of a week", "13 weeks earlier"),
        (
            {"by": "sold.quarter", "where": "sold: last 1 month"},
            "by a part of a quarter",
            "1 quarters earlier",
        ),
        (
            {"by": ["sold.week", "sold.month"], "where": "sold: last 4 weeks"},
            "by a part of a month",
            "sold.day",
        ),
    ],
)
def test_a_comparison_without_a_safe_meaning_is_refused(
    berlin: World, words: dict[str, Any], problem: str, hint: str
) -> None:
    with pytest.raises(QueryRefused) as refused:
        berlin.text({"metrics": "sales.sales", "compare": "previous period", **words})
    assert problem in refused.value.problem
    assert hint in refused.value.hint


# --- gaps


def test_each_bucket_of_a_range_has_a_row_for_each_combination_that_occurs(world: World) -> None:
    asked = {
        "metrics": ["sales.sales", "sales.revenue", "sales.lost"],
        "by": ["sold.week", "region", "shops.age"],
    }
    where = ["sold: 2025-09-25..2025-12-31", "region <> 'APAC'"]
    found = world.ask(**asked, where=where, fill=True)
    seen = {row[:3]: row for row in world.ask(**asked, where=where)}
    first, last = (
        floor(date(2025, 9, 25), "week", world.starts),
        floor(date(2025, 12, 31), "week", world.starts),
    )
    weeks = [first + timedelta(weeks=n) for n in range((last - first).days // 7 + 1)]
    others = {key[1:] for key in seen}
    assert {row[:3] for row in found} == {(week, *other) for week in weeks for other in others}
    assert len(found) == len(weeks) * len(others) > len(seen)
    for row in found:
        assert row == seen.get(row[:3], (*row[:3], 0, None, Decimal(0)))


def test_without_other_axes_every_bucket_is_there_even_over_nothing(berlin: World) -> None:
    found = berlin.ask(
        metrics="sales.sales", by="sold.month", where="sold: 2027-01-15..2027-03-01", fill=True
    )
    assert found == [(date(2027, month, 1), 0) for month in (1, 2, 3)]
    assert (
        berlin.ask(
            metrics="sales.sales",
            by=["sold.month", "region"],
            where="sold: 2027-01-15..2027-03-01",
            fill=True,
        )
        == []
    )


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2025-10-26", 25),
        ("America/New_York", "2026-03-08", 23),
        ("Asia/Kathmandu", "2026-03-08", 24),
        ("Australia/Lord_Howe", "2026-04-05", 25),  # the clock goes back by half an hour
    ],
)
def test_hours_are_those_of_the_time_zone(
    connection: duckdb.DuckDBPyConnection, zone: str, day: str, hours: int
) -> None:
    world = World(connection, zone)
    found = world.hours(metrics="sales.sales", by="sold.hour", where=f"sold: {day}..{day}", fill=True)
    assert len(found) == len({row[0] for row in found}) == hours
    assert (
        sum(row[1] for row in found)
        == world.sql(f"select count(*) from sales where cast(sold as date) = '{day}'")[0][0]
    )
    assert found[0][0].startswith(f"{day} 00:00:00")
    plain = world.ask(metrics="sales.sales", by="plain.hour", where=f"plain: {day}..{day}", fill=True)
    assert len(plain) == 24


def test_gaps_are_filled_for_combinations_of_either_side_of_a_comparison(berlin: World) -> None:
    asked = {
        "metrics": "sales.sales",
        "by": ["sold.day", "region"],
        "fill": True,
        "compare": "3 months earlier",
    }
    found = berlin.ask(**asked, where="sold: 2026-04-03..2026-04-04")
    sides = [
        {
            region
            for (region,) in berlin.sql(f"select distinct region from sales where cast(sold as date) {days}")
        }
        for days in ("between '2026-04-03' and '2026-04-04'", "between '2026-01-03' and '2026-01-04'")
    ]
    assert sides[1] - sides[0]
    assert len(found) == 2 * len(sides[0] | sides[1])
    assert all(row[2] is not None and row[3] is not None for row in found)


def test_coarser_buckets_of_the_same_time_follow_the_finest(berlin: World) -> None:
    found = berlin.ask(
        metrics="sales.sales",
        by=["sold.quarter", "time.month"],
        where="time: 2026-03-01..2026-05-31",
        fill=True,
    )
    assert [row[:2] for row in found] == [
        (date(2026, 1, 1), date(2026, 3, 1)),
        (date(2026, 4, 1), date(2026, 4, 1)),
        (date(2026, 4, 1), date(2026, 5, 1)),
    ]


def test_totals_and_the_rest_of_a_top_are_not_filled_up(berlin: World) -> None:
    found = berlin.ask(
        metrics="sales.sales",
        by=["sold.month", "region"],
        where="sold: 2026-01-01..2026-12-31",
        fill=True,
        top="1 region, other",
        totals=[["sold.month"], []],
    )
    kinds = [row[-1] for row in found]
    assert kinds.count("group") == 12
    assert 0 < kinds.count("other") <= kinds.count("subtotal") == 4
    assert kinds.count("total") == 1


@pytest.mark.parametrize(
    ("words", "problem", "hint"),
    [
        ({"by": "region"}, "only buckets of time", "ordered_at.month"),
        ({"by": "sold.month"}, "from when to when", "add where: 'sold: last 12 months'"),
        (
            {"by": "sold.month", "where": "sold: until 2026-01-01"},
            "from when to when",
            "sold: last 12 months",
        ),
        ({"by": "sold.month", "where": "day: last 3 months"}, "from when to when", "sold: last 12 months"),
        ({"by": ["sold.week", "sold.month"], "where": "sold: last 3 months"}, "are not made of", "leave out"),
        ({"by": "sold.day", "where": "sold: since 1500-01-01"}, "more than 100,000 days", "shorter"),
    ],
)
def test_a_gap_without_bounds_is_refused(
    berlin: World, words: dict[str, Any], problem: str, hint: str
) -> None:
    with pytest.raises(QueryRefused) as refused:
        berlin.text({"metrics": "sales.sales", "fill": True, **words})
    assert problem in refused.value.problem
    assert hint in refused.value.hint


# --- cumulative

AGGREGATES = {
    "running": "sum(amount) filter ({0})",
    "lately": "count(*) filter ({0})",
    "so_far": "sum(amount) filter ({0}) / nullif(count(*) filter ({0}), 0)",
    "this_week": "count(*) filter ({0})",
    "reach": "count(distinct buyer) filter ({0})",
    "reach_lately": "count(distinct buyer) filter ({0})",
    "usual_so_far": "median(amount) filter ({0})",
}


def since(name: str, until: date, starts: Literal["monday", "sunday"]) -> date:
    last = until - timedelta(days=1)
    match name:
        case "lately":
            return until - timedelta(days=28)
        case "reach_lately":
            return add_months(until, -2)
        case "so_far":
            return floor(last, "quarter")
        case "this_week":
            return floor(last, "week", starts)
        case "usual_so_far":
            return floor(last, "year")
    return date(1900, 1, 1)


def running_by_hand(world: World, name: str, ends: list[tuple[date, date]]) -> list[Row]:
    """By bucket and region: over rows before its end, for regions that there were by then."""
    rows = []
    for bucket, until in ends:
        value = AGGREGATES[name].format(f"where cast(sold as date) >= '{since(name, until, world.starts)}'")
        before = f"cast(sold as date) < '{until}' and shop <> 3"
        rows += world.sql(
            f"select date '{bucket}', region, {value} from sales where {before} group by region"
        )
    return sorted(rows, key=repr)


@pytest.mark.parametrize("name", AGGREGATES)
def test_a_bucket_of_a_cumulative_measure_counts_all_rows_before_its_end(world: World, name: str) -> None:
    found = world.ask(
        metrics=f"sales.{name}", by=["sold.month", "region"], where=["sold: last 5 months", "shop <> 3"]
    )
    starts = [date(2025, 12, 1), date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1), date(2026, 4, 1)]
    ends = [(start, min(add_months(start, 1), date(2026, 4, 16))) for start in starts]
    assert sorted(found, key=repr) == running_by_hand(world, name, ends)


@pytest.mark.parametrize("name", ["running", "lately", "reach"])
def test_without_a_range_buckets_go_from_the_first_row_to_the_last(world: World, name: str) -> None:
    found = world.ask(metrics=f"sales.{name}", by=["region", "time.week"], where="shop <> 3")
    bounds = world.sql("select min(cast(sold as date)), max(cast(sold as date)) from sales where shop <> 3")[
        0
    ]
    first, last = (floor(day, "week", world.starts) for day in bounds)
    weeks = [first + timedelta(weeks=n) for n in range((last - first).days // 7 + 1)]
    by_hand = running_by_hand(world, name, [(week, week + timedelta(days=7)) for week in weeks])
    assert sorted(((week, region, value) for region, week, value in found), key=repr) == by_hand


def test_without_an_axis_of_time_the_value_is_that_at_the_end(world: World) -> None:
    until = world.sql("select max(cast(sold as date)) + 1 from sales where shop <> 3")[0][0]
    for name in ("running", "lately", "reach_lately", "so_far"):
        for where, end in (
            ([], until),
            (["sold: until 2026-01-10"], date(2026, 1, 11)),
            (["sold: last 2 days"], date(2026, 4, 16)),
        ):
            found = world.ask(metrics=f"sales.{name}", by="region", where=["shop <> 3", *where])
            assert sorted(((NEWEST, *row) for row in found), key=repr) == running_by_hand(
                world, name, [(NEWEST, end)]
            )


def test_it_runs_along_another_time_of_the_mart_if_that_is_asked_by(berlin: World) -> None:
    by_grain = berlin.ask(metrics="sales.lately", by="day.day", where="day: 2026-03-01..2026-03-05")
    assert by_grain == berlin.ask(metrics="sales.lately", by="day", where="day: 2026-03-01..2026-03-05")
    for day, found in by_grain:
        assert found == count(berlin, "sales", f"day between date '{day}' - 27 and '{day}'")
    assert len(by_grain) == 5


def test_every_bucket_is_there_even_before_the_first_row(berlin: World) -> None:
    found = berlin.ask(
        metrics=["sales.running", "sales.lately"], by="sold.month", where="sold: 2025-08-01..2025-10-31"
    )
    assert [row[0].month for row in found] == [8, 9, 10]
    assert found[0][1:] == (None, 0)
    assert (
        found[2][1]
        == berlin.sql("select sum(amount) from sales where cast(sold as date) < '2025-11-01'")[0][0]
    )
    (alone,) = berlin.ask(metrics="sales.running", where="region = 'nowhere'")
    assert alone == (None,)


def test_cumulative_measures_stand_beside_others_compare_and_have_totals(berlin: World) -> None:
    found = berlin.ask(
        metrics=["sales.running", "sales.revenue", "sales.reach"],
        by=["sold.month", "region"],
        where="sold: last 3 months",
        totals=[["sold.month"], []],
    )
    ends = {date(2026, 2, 1): "2026-03-01", date(2026, 3, 1): "2026-04-01", date(2026, 4, 1): "2026-04-16"}
    subtotals = [row for row in found if row[-1] == "subtotal"]
    assert [row[0] for row in subtotals] == list(ends)
    for row in [*subtotals, found[-1]]:
        end = ends.get(row[0], "2026-04-16")
        by_hand = f"select sum(amount), count(distinct buyer) from sales where cast(sold as date) < '{end}'"
        assert (row[2], row[4]) == berlin.sql(by_hand)[0]
    compared = berlin.ask(
        metrics="sales.running", by="sold.month", where="sold: last 3 months", compare="previous period"
    )
    before = [
        berlin.sql(f"select sum(amount) from sales where cast(sold as date) < '{end}'")[0][0]
        for end in ("2025-12-01", "2026-01-01", "2026-01-16")
    ]
    assert [row[2] for row in compared] == before


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ({"metrics": "sales.running", "by": "sold.hour"}, "by 'sold.hour'"),
        ({"metrics": "sales.running", "by": "sold"}, "by buckets"),
        ({"metrics": "sales.running", "by": "plain"}, "by buckets"),
        ({"metrics": "sales.stock_so_far", "by": "sold.month"}, "cumulates 'stock'"),
    ],
)
def test_a_cumulative_measure_without_a_safe_meaning_is_refused(
    berlin: World, words: dict[str, Any], problem: str
) -> None:
    with pytest.raises(QueryRefused) as refused:
        berlin.text(words)
    assert problem in refused.value.problem
    assert refused.value.hint
