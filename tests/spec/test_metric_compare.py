"""Metrics beside themselves earlier, and SQL by hand."""

from datetime import date, timedelta
from typing import Any

import duckdb
import pytest

from serving.errors import QueryRefused
from serving.semantic.asking.time import floor
from tests.spec.time_rig import NEWEST, Row, World, berlin, connection, count, world

__all__ = ["berlin", "connection", "world"]  # fixtures


def aggregated(world: World, where: str, by: str) -> dict[Row, Row]:
    """Revenue and number of sales by hand."""
    rows = world.sql(f"select {by}, sum(amount), count(*) from sales where {where} group by all")
    return {row[:-2]: row[-2:] for row in rows}


def days(start: date, end: date) -> str:
    return f"cast(sold as date) >= '{start}' and cast(sold as date) < '{end}'"


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
