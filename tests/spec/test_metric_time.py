"""Ranges of time in words, and how they shift."""

from datetime import date, timedelta

import pytest

from serving.semantic.asking.time import BEGINNING, TimeRange, is_range, time_range
from tests.spec.time_rig import NEWEST


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
