"""Metric requests and dashboard tiles: the numbers, the ranges, the words."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from serving import Project, open_project
from serving.content.model import Tile
from serving.dashboard import answer_tile
from serving.errors import QueryRefused
from serving.semantic.compile import MetricRequest, compile_request
from serving.semantic.time import TimeRange, add_months, floor, time_range

ANA, EMIL = "ana@example.com", "emil@example.com"
NEWEST = date(2026, 11, 15)


@pytest.mark.parametrize(
    ("words", "start", "end"),
    [
        ("last 12 months", date(2025, 12, 1), date(2026, 11, 16)),
        ("last 1 month", date(2026, 11, 1), date(2026, 11, 16)),
        ("last 7 days", date(2026, 11, 9), date(2026, 11, 16)),
        ("last 2 weeks", date(2026, 11, 2), date(2026, 11, 16)),
        ("last 2 quarters", date(2026, 7, 1), date(2026, 11, 16)),
        ("this year", date(2026, 1, 1), date(2026, 11, 16)),
        ("2026-01-01..2026-03-31", date(2026, 1, 1), date(2026, 4, 1)),
    ],
)
def test_a_range_in_words_is_half_open_and_ends_with_the_data(words: str, start: date, end: date) -> None:
    span = time_range(words, NEWEST)
    assert (span.start, span.end) == (start, end)


def test_the_previous_period_covers_as_many_days_of_each_month() -> None:
    span = time_range("last 12 months", NEWEST)
    before = span.shifted("previous period")
    assert (before.start, before.end) == (date(2024, 12, 1), date(2025, 11, 16))
    week = time_range("last 7 days", NEWEST).shifted("previous period")
    assert (week.start, week.end) == (date(2026, 11, 2), date(2026, 11, 9))
    year = time_range("last 7 days", NEWEST).shifted("previous year")
    assert (year.start, year.end) == (date(2025, 11, 9), date(2025, 11, 16))


@pytest.mark.parametrize("words", ["last 0 days", "last years", "yesterday", "2026-01-01", "last -3 days"])
def test_what_is_no_range_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match="time range"):
        time_range(words, NEWEST)


def test_months_and_weeks_of_the_calendar() -> None:
    assert add_months(date(2024, 3, 31), -1) == date(2024, 2, 29)
    assert add_months(date(2026, 1, 15), -1) == date(2025, 12, 15)
    assert add_months(date(2026, 11, 15), 2) == date(2027, 1, 15)
    assert floor(date(2026, 11, 15), "week") == date(2026, 11, 9)
    assert floor(date(2026, 11, 15), "week", "sunday") == date(2026, 11, 15)
    assert floor(date(2026, 11, 15), "quarter") == date(2026, 10, 1)


def ask(project: Project, user: str, **request: object) -> list[dict[str, object]]:
    mart = project.content.marts["orders"]
    sql = compile_request(mart, MetricRequest("orders", **request))  # type: ignore[arg-type]
    return project.ask(sql, user=user).table.to_pylist()


def test_a_ratio_is_a_ratio_of_aggregates_and_null_over_nothing(shop: Project) -> None:
    assert ask(shop, ANA, metrics=("aov",)) == [{"aov": pytest.approx(131.25 / 5)}]
    nothing = {"region": ("APAC",)}
    assert ask(shop, ANA, metrics=("aov", "orders"), filters=nothing) == [{"aov": None, "orders": 0}]


def test_metrics_by_month_and_region_equal_the_sums_by_hand(shop: Project) -> None:
    found = ask(shop, ANA, metrics=("revenue",), by=("day.month", "region"))
    assert found == [
        {"day_month": date(2026, 1, 1), "region": "EMEA", "revenue": Decimal("15.00")},
        {"day_month": date(2026, 2, 1), "region": "AMER", "revenue": Decimal("7.00")},
        {"day_month": date(2026, 2, 1), "region": "EMEA", "revenue": Decimal("100.00")},
        {"day_month": date(2026, 3, 1), "region": "AMER", "revenue": Decimal("9.25")},
    ]


def test_a_tile_is_filtered_and_compared_and_says_what_it_shows(shop: Project) -> None:
    tile = Tile(title="Revenue", metrics=("orders.revenue",), chart="number", compare="previous period")
    choices = {"day": "last 1 month", "region": ("AMER", "EMEA"), "segment": ("x",)}
    answer = answer_tile(shop, tile, choices, shop.user(ANA))
    assert answer.table.to_pylist() == [{"revenue": Decimal("9.25")}]
    assert answer.before == 0 or answer.before is None
    assert answer.period == "1 Mar 2026 – 1 Mar 2026"
    assert answer.unfiltered == ("segment",)
    assert answer.formats == {"revenue": "$,.2f"}


def test_a_tiles_range_ends_with_the_rows_its_reader_may_see(shop: Project) -> None:
    """Otherwise the end of the range would tell Emil about a day on which only AMER sold."""
    tile = Tile(title="Revenue", metrics=("orders.revenue",), chart="number")
    answer = answer_tile(shop, tile, {"day": "last 1 month"}, shop.user(EMIL))
    assert answer.period == "1 Feb 2026 – 3 Feb 2026"
    assert answer.table.to_pylist() == [{"revenue": Decimal("100.00")}]


def test_a_tile_over_a_mart_that_is_not_granted_is_refused(shop: Project) -> None:
    tile = Tile(title="All", sql="select * from raw_orders", chart="table")
    with pytest.raises(QueryRefused):
        answer_tile(shop, tile, {}, shop.user(EMIL))


def test_measures_of_measures_expand_through_every_level(shop_files: Callable[..., Path]) -> None:
    measures = "measures:\n  a: {agg: sum, expr: id}\n  b: {expr: a * 2}\n  c: {expr: (b + a) / b}\n"
    folder = shop_files({"marts/orders.yml": measures})
    project = open_project(folder, var=folder.parent / "var")
    project.build()
    assert ask(project, ANA, metrics=("a", "b", "c")) == [{"a": 15, "b": 30, "c": 1.5}]
    project.close()


def test_shifting_keeps_the_length_of_a_range_in_days() -> None:
    span = TimeRange(date(2026, 1, 1), date(2026, 1, 31), days=30)
    assert span.shifted("previous period") == TimeRange(date(2025, 12, 2), date(2026, 1, 1), days=30)
