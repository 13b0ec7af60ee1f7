"""Buckets of time, in Python: days of a zone, weeks of either start, hours as instants."""

from datetime import date, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

Moment = date | datetime


def bucket(value: Moment, grain: str, week_starts: str, zone: str) -> Moment:
    """The start of the bucket that holds `value`: a date, or (hours) a time."""
    if isinstance(value, datetime) and value.tzinfo:  # times of one zone are equal whatever their fold
        value = value.astimezone(ZoneInfo("UTC"))
    return _bucket(value, grain, week_starts, zone)


@lru_cache(maxsize=100_000)
def _bucket(value: Moment, grain: str, week_starts: str, zone: str) -> Moment:
    if grain == "hour":
        return hour(value, ZoneInfo(zone))
    return first_day(day_of(value, zone), grain, week_starts)


def day_of(value: Moment, zone: str) -> date:
    """The day in the zone; times without a zone are taken as they are."""
    if not isinstance(value, datetime):
        return value
    return (value.astimezone(ZoneInfo(zone)) if value.tzinfo else value).date()


def hour(value: Moment, zone: tzinfo) -> Moment:
    """The full hour by the clock on the wall; of two equal hours in autumn, the one it was."""
    if not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)
    if value.tzinfo is None:
        return value.replace(minute=0, second=0, microsecond=0)
    wall = value.astimezone(zone)
    since = timedelta(minutes=wall.minute, seconds=wall.second, microseconds=wall.microsecond)
    return value.astimezone(ZoneInfo("UTC")) - since


def first_day(day: date, grain: str, week_starts: str) -> date:
    """The first day of the period."""
    if grain == "day":
        return day
    if grain == "week":
        wanted = 6 if week_starts == "sunday" else 0
        while day.weekday() != wanted:
            day -= timedelta(days=1)
        return day
    month = {"month": day.month, "quarter": (day.month - 1) // 3 * 3 + 1, "year": 1}[grain]
    return date(day.year, month, 1)


def next_start(start: Moment, grain: str) -> Moment:
    """The start of the bucket after the one that starts there; of days and longer."""
    if grain == "hour":
        return start + timedelta(hours=1)
    if grain in ("day", "week"):
        return start + timedelta(days=1 if grain == "day" else 7)
    return later(start, {"month": 1, "quarter": 3, "year": 12}[grain])


def later(day: date, months: int) -> date:
    """The same day so many months later (or earlier), or that month's last day."""
    count = day.year * 12 + day.month - 1 + months
    year, month = divmod(count, 12)
    for number in (day.day, 30, 29, 28):
        try:
            return date(year, month + 1, number)
        except ValueError:
            continue
    raise AssertionError(day)
