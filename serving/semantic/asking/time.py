"""Time ranges in words, and how they shift.

A range is half-open, in whole days of the project's time zone: [start, end). Its words are

- `last N months`: counts the running month, the one that holds the newest day with data: from the
  first day of the month N - 1 months before it up to that day. A chart by month shows N buckets, and its
  shifted twin covers as many days of each
- `last N complete months`: the N months before the running one; `last month` and `previous month`: one
- `this month`, `month to date`: the running month up to the newest day
- `2026-01-01..2026-03-31`: both days included; where these are whole months, its length is in months
- `since 2026-01-01`: up to the newest day; `until 2026-03-31`: that day included, from the beginning of
  time, so that nothing can come before it
"""

import re
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Literal, cast

from serving.content.semantics import Grain

BEGINNING = date.min
"""The start of a range that has none."""

_MONTHS: dict[str, int] = {"month": 1, "quarter": 3, "year": 12}
_LAST = re.compile(r"last (\d{1,4}) (?:(complete) )?(day|week|month|quarter|year)s?")
_BEFORE = re.compile(r"(?:last|previous) (week|month|quarter|year)")
_THIS = re.compile(r"this (week|month|quarter|year)|(week|month|quarter|year) to date")
_BETWEEN = re.compile(r"(\d{4}-\d{2}-\d{2})\s*\.\.\s*(\d{4}-\d{2}-\d{2})")
_OPEN = re.compile(r"(since|until) (\d{4}-\d{2}-\d{2})")


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

    @property
    def bounded(self) -> bool:
        """Whether it begins somewhere, and not at the beginning of time."""
        return self.start != BEGINNING

    def shifted(self, to: Literal["previous period", "previous year"]) -> "TimeRange":
        """The same stretch one period, or one year, earlier; raises ValueError where nothing is earlier."""
        if to == "previous year":
            return self.earlier(months=12)
        return self.earlier(months=self.months) if self.months else self.earlier(days=self.days)

    def earlier(self, *, months: int = 0, days: int = 0) -> "TimeRange":
        """The same stretch so much earlier: its first and its last day, each moved.

        Days that the earlier month lacks become its last one (Feb 29 -> Feb 28), and a range that ends
        with its month ends with the earlier one. Raises ValueError where nothing is earlier.
        """
        if not self.bounded:
            raise ValueError("a range without a start has nothing before it")
        gap = timedelta(days=days)
        try:
            after_last = add_months(self.last, -months) + timedelta(days=1)
            start, end = add_months(self.start, -months), max(add_months(self.end, -months), after_last)
            return replace(self, start=start - gap, end=end - gap)
        except (ValueError, OverflowError):
            raise ValueError("the time before this range is out of the calendar") from None


def is_range(text: object) -> bool:
    """Whether a filter's value is a time range in words."""
    patterns = (_LAST, _BEFORE, _THIS, _BETWEEN, _OPEN)
    return isinstance(text, str) and any(pattern.fullmatch(text) for pattern in patterns)


def time_range(text: str, newest: date, week_starts: Literal["monday", "sunday"] = "monday") -> TimeRange:
    """The range that `text` means where `newest` is the last day with data; raises ValueError."""
    if found := _BETWEEN.fullmatch(text):
        return _between(date.fromisoformat(found[1]), date.fromisoformat(found[2]))
    if found := _OPEN.fullmatch(text):
        day, tomorrow = date.fromisoformat(found[2]), newest + timedelta(days=1)
        if found[1] == "until":
            return TimeRange(BEGINNING, day + timedelta(days=1))
        return TimeRange(day, max(day, tomorrow), days=max(0, (tomorrow - day).days))
    if found := _LAST.fullmatch(text):
        count, complete, grain = int(found[1]), found[2] is not None, found[3]
    elif found := _BEFORE.fullmatch(text):
        count, complete, grain = 1, True, found[1]
    elif found := _THIS.fullmatch(text):
        count, complete, grain = 1, False, found[1] or found[2]
    else:
        raise ValueError(
            f"{text!r} is no time range; write 'last 12 months', 'last 4 complete weeks', 'this year', "
            "'month to date', 'since 2026-01-01' or '2026-01-01..2026-03-31'"
        )
    if count < 1:
        raise ValueError("a time range has at least one period")
    return _last(count, cast(Grain, grain), complete, newest, week_starts)


def _last(
    count: int, grain: Grain, complete: bool, newest: date, week_starts: Literal["monday", "sunday"]
) -> TimeRange:
    running = floor(newest, grain, week_starts)
    end = running if complete else newest + timedelta(days=1)
    back = count if complete else count - 1
    if unit := _MONTHS.get(grain):
        return TimeRange(add_months(running, -back * unit), end, months=count * unit)
    unit = 7 if grain == "week" else 1
    return TimeRange(running - timedelta(days=back * unit), end, days=count * unit)


def _between(first: date, last: date) -> TimeRange:
    end = last + timedelta(days=1)
    months = (end.year - first.year) * 12 + end.month - first.month
    if first.day == end.day == 1 and months > 0:
        return TimeRange(first, end, months=months)
    return TimeRange(first, end, days=(end - first).days)


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
