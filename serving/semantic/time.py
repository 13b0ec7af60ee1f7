"""Time ranges in words, and how they shift.

A range is half-open, in whole days: [start, end). `last N months` counts the running month:
it starts on the first day of the month N - 1 months before the newest day, so that a chart
by month shows N buckets and its shifted twin covers as many days of each.
"""

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal, cast

from serving.content.semantics import Grain

_LAST = re.compile(r"last (\d{1,4}) (day|week|month|quarter|year)s?")
_THIS = re.compile(r"this (week|month|quarter|year)")
_BETWEEN = re.compile(r"(\d{4}-\d{2}-\d{2})\s*\.\.\s*(\d{4}-\d{2}-\d{2})")


@dataclass(frozen=True)
class TimeRange:
    """Days from `start` (included) to `end` (excluded); `months`/`days` is its natural length."""

    start: date
    end: date
    months: int = 0
    days: int = 0

    @property
    def last(self) -> date:
        """The last day that is included."""
        return self.end - timedelta(days=1)

    def shifted(self, to: Literal["previous period", "previous year"]) -> "TimeRange":
        """The same stretch one period, or one year, earlier."""
        if to == "previous year":
            return self._back(months=12)
        return self._back(months=self.months) if self.months else self._back(days=self.days)

    def _back(self, *, months: int = 0, days: int = 0) -> "TimeRange":
        gap = timedelta(days=days)
        moved = (add_months(self.start, -months) - gap, add_months(self.end, -months) - gap)
        return TimeRange(*moved, self.months, self.days)


def is_range(text: object) -> bool:
    """Whether a filter's value is a time range in words."""
    return isinstance(text, str) and any(pattern.fullmatch(text) for pattern in (_LAST, _THIS, _BETWEEN))


def time_range(text: str, newest: date, week_starts: Literal["monday", "sunday"] = "monday") -> TimeRange:
    """The range that `text` means where `newest` is the last day with data; raises ValueError."""
    if found := _BETWEEN.fullmatch(text):
        start, end = date.fromisoformat(found[1]), date.fromisoformat(found[2]) + timedelta(days=1)
        return TimeRange(start, end, days=(end - start).days)
    if found := _LAST.fullmatch(text):
        count, grain = int(found[1]), cast(Grain, found[2])
    elif found := _THIS.fullmatch(text):
        count, grain = 1, cast(Grain, found[1])
    else:
        raise ValueError(
            f"{text!r} is no time range; write 'last 12 months', 'this year' or '2026-01-01..2026-03-31'"
        )
    if count < 1:
        raise ValueError("a time range has at least one period")
    end = newest + timedelta(days=1)
    if grain in ("day", "week"):
        days = count * (7 if grain == "week" else 1)
        if grain == "week":
            return TimeRange(floor(newest, "week", week_starts) - timedelta(days=days - 7), end, days=days)
        return TimeRange(end - timedelta(days=days), end, days=days)
    months = count * {"month": 1, "quarter": 3, "year": 12}[grain]
    unit = {"month": 1, "quarter": 3, "year": 12}[grain]
    return TimeRange(add_months(floor(newest, grain), unit - months), end, months=months)


def floor(day: date, grain: Grain, week_starts: Literal["monday", "sunday"] = "monday") -> date:
    """The first day of the period that holds `day`."""
    match grain:
        case "week":
            return day - timedelta(days=(day.weekday() + (week_starts == "sunday")) % 7)
        case "month":
            return day.replace(day=1)
        case "quarter":
            return day.replace(month=day.month - (day.month - 1) % 3, day=1)
        case "year":
            return day.replace(month=1, day=1)
    return day


def add_months(day: date, months: int) -> date:
    """The same day of another month, or that month's last day."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    last = (date(year + (month == 11), (month + 1) % 12 + 1, 1) - timedelta(days=1)).day
    return date(year, month + 1, min(day.day, last))
