"""Running sums and windows, beside SQL by hand."""

from datetime import date, timedelta
from typing import Any, Literal

import pytest

from serving.errors import QueryRefused
from serving.semantic.asking.time import add_months, floor
from tests.spec.time_rig import NEWEST, Row, World, berlin, connection, count, world

__all__ = ["berlin", "connection", "world"]  # fixtures


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
