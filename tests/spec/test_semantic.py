"""Metric requests and dashboard tiles: the numbers, the ranges, the words."""

from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from serving import Project, open_project
from serving.content.model import Tile
from serving.dashboard import Choice, answer_tile
from serving.errors import QueryRefused
from serving.project import check_project
from serving.semantic.asking.time import TimeRange, add_months, floor, time_range
from serving.semantic.asking.words import read_request
from tests.conftest import SHOP

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


def ask(project: Project, user: str, **words: object) -> list[dict[str, object]]:
    return list(project.ask(metrics=read_request(words), user=user).table.to_pylist())


def test_a_ratio_is_a_ratio_of_aggregates_and_null_over_nothing(shop: Project) -> None:
    assert ask(shop, ANA, metrics=["orders.aov"]) == [{"aov": pytest.approx(131.25 / 5)}]
    none = "region = 'APAC'"
    assert ask(shop, ANA, metrics=["orders.aov", "orders.orders"], where=none) == [{"aov": None, "orders": 0}]


def test_metrics_by_month_and_region_equal_the_sums_by_hand(shop: Project) -> None:
    found = ask(shop, ANA, metrics=["orders.revenue"], by=["day.month", "region"])
    assert found == [
        {"day_month": date(2026, 1, 1), "region": "EMEA", "revenue": Decimal("15.00")},
        {"day_month": date(2026, 2, 1), "region": "AMER", "revenue": Decimal("7.00")},
        {"day_month": date(2026, 2, 1), "region": "EMEA", "revenue": Decimal("100.00")},
        {"day_month": date(2026, 3, 1), "region": "AMER", "revenue": Decimal("9.25")},
    ]


def test_a_tile_is_filtered_and_compared_and_says_what_it_shows(shop: Project) -> None:
    tile = Tile(title="Revenue", metrics=("orders.revenue",), chart="number", compare="previous period")
    choices: dict[str, Choice] = {"day": "last 1 month", "region": ("AMER", "EMEA"), "segment": ("x",)}
    answer = answer_tile(shop, tile, choices, shop.user(ANA))
    assert answer.table.to_pylist() == [
        {
            "revenue": Decimal("9.25"),
            "revenue_before": None,
            "revenue_change": None,
            "revenue_change_rate": None,
        }
    ]
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
    assert ask(project, ANA, metrics=["orders.a", "orders.b", "orders.c"]) == [{"a": 15, "b": 30, "c": 1.5}]
    project.close()


def test_shifting_keeps_the_length_of_a_range_in_days() -> None:
    span = TimeRange(date(2026, 1, 1), date(2026, 1, 31), days=30)
    assert span.shifted("previous period") == TimeRange(date(2025, 12, 2), date(2026, 1, 1), days=30)


TWO_MARTS = {
    "marts/orders.yml": SHOP["marts/orders.yml"] + "  buyers: {agg: count_distinct, expr: customer_id}\n",
    "marts/customers.yml": SHOP["marts/customers.yml"] + "measures: {people: {agg: count, label: Heads}}\n",
    "orders.csv": SHOP["orders.csv"] + "6,1,EMEA,5.00,five,2026-02-04\n",
}


@pytest.fixture
def two_marts(shop_files: Callable[..., Path]) -> Iterator[Project]:
    closed = "aggregates:\n  - {mart: orders, min_group: 2, of: id, except: [steward]}\n"
    folder = shop_files({**TWO_MARTS, "policies/access.yml": SHOP["policies/access.yml"] + closed})
    project = open_project(folder, var=folder.parent / "var")
    project.build()
    yield project
    project.close()


def test_a_tile_shows_several_marts_with_totals_and_says_what_it_is_for_others(two_marts: Project) -> None:
    tile = Tile(
        title="All",
        metrics=("orders.revenue", "~orders.buyers", "customers.people"),
        by=("region",),
        totals=True,
        order=("value",),
    )
    answer = answer_tile(two_marts, tile, {"day": "last 2 months", "region": "all"}, two_marts.user(ANA))
    shown = answer.shown
    assert shown is not None
    assert shown.rows.column("region").to_pylist()[-1] == "Total"
    assert shown.kinds[-1] == "total"
    assert shown.labels["people"] == "Heads"
    assert answer.answer.receipt.approximate == ("buyers",)
    assert answer.unfiltered == ("day",)  # customers have no day

    board = Tile(title="R", metrics=("orders.revenue",), chart="number", compare="previous period")
    theirs = answer_tile(two_marts, board, {"day": "2026-02-01..2026-02-28"}, two_marts.user(EMIL))
    assert (theirs.table.to_pylist(), theirs.before) == ([{"revenue": Decimal("105.00")}], 15.0)
    top = Tile(title="T", metrics=("orders.revenue",), by=("region",), top="1 region, other", totals=True)
    assert answer_tile(two_marts, top, {}, two_marts.user(EMIL)).notes == (
        "without totals and the rest, as you are answered in aggregates only",
    )


def test_a_comparison_shows_both_and_lines_show_every_bucket(shop: Project) -> None:
    tile = Tile(
        title="R", metrics=("orders.orders",), by=("day.month",), chart="line", compare="previous year"
    )
    shown = answer_tile(shop, tile, {"day": "2025-12-01..2026-04-30"}, shop.user(ANA)).shown
    assert shown is not None
    assert shown.groups.column("orders").to_pylist() == [0, 2, 2, 1, 0]
    assert shown.column_formats["orders_change_rate"] == "+.1%"
    whole = answer_tile(shop, tile, {"day": "all"}, shop.user(ANA))
    assert whole.table.column_names == ["day_month", "orders"]  # all of time has nothing before it


@pytest.mark.parametrize(
    ("tile", "problem"),
    [
        ("metrics: [~orders.nope]", "there is no measure of orders 'nope'"),
        ("metrics: [orders.revenue], where: [region is]", "cannot be read"),
        ("metrics: [orders.revenue], by: [region], top: many", "cannot be read"),
        ("metrics: [orders.revenue], compare: yesterday", "compare"),
        ("metrics: [orders.revenue], by: [region], totals: true, limit: 3", "write 'top' alone"),
        ("sql: select 1, where: [region is null]", "belong to 'metrics'"),
    ],
)
def test_a_tile_that_says_nothing_is_a_problem_of_its_line(
    shop_files: Callable[..., Path], tile: str, problem: str
) -> None:
    text = f"title: S\ntiles:\n  - {{title: T, {tile}}}\n"
    _, _, problems = check_project(shop_files({"dashboards/sales.yml": text}))
    found = [str(one) for one in problems if problem in str(one)]
    assert [one for one in found if "dashboards/sales.yml:3" in one], problems
