"""A row for each bucket of a range."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from serving.errors import QueryRefused
from serving.semantic.asking.time import floor
from tests.spec.time_rig import World, berlin, connection, world

__all__ = ["berlin", "connection", "world"]  # fixtures


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
