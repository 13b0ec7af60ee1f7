"""When a sync runs by itself, from its file to the next moment."""

import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from reverse_etl.errors import MappingInvalid
from serving.content.sync import Sync

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_EVERY = re.compile(r"(?P<number>\d+)\s+(?P<unit>second|minute|hour|day|week)s?")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


def trigger_of(sync: Sync, timezone: str, start: datetime) -> BaseTrigger | None:
    """The trigger of a sync, None for one without a clock; `start` anchors `every`.

    `timezone` is the project's, for schedules that name none. MappingInvalid names file:line.
    """
    schedule = sync.schedule
    if schedule is None or schedule.after is not None:
        return None
    if schedule.every is not None:
        return IntervalTrigger(
            seconds=int(_interval(sync, schedule.every).total_seconds()), start_date=start, timezone="UTC"
        )
    return _cron(sync, schedule.cron or "", schedule.timezone or timezone)


def next_fire(sync: Sync, timezone: str, last: datetime) -> datetime | None:
    """The first scheduled moment after `last`; None for a sync without a clock."""
    trigger = trigger_of(sync, timezone, last)
    if trigger is None:
        return None
    found: datetime | None = trigger.get_next_fire_time(None, last + timedelta(microseconds=1))
    return found


def described(sync: Sync) -> str:
    """The schedule in words, for people."""
    schedule = sync.schedule
    if schedule is None:
        return "by hand"
    if schedule.after is not None:
        return f"after each {schedule.after}"
    if schedule.every is not None:
        return f"every {schedule.every}"
    return f"cron {schedule.cron}" + (f" {schedule.timezone}" if schedule.timezone else "")


def _interval(sync: Sync, text: str) -> timedelta:
    found = _EVERY.fullmatch(text.strip().lower())
    if found is None or int(found["number"]) == 0:
        raise MappingInvalid(
            f"{sync.at('schedule', 'every')}: {text!r} is no interval",
            hint='write for example "15 minutes" or "1 day"',
        )
    return timedelta(seconds=int(found["number"]) * _UNITS[found["unit"]])


def _cron(sync: Sync, text: str, timezone: str) -> BaseTrigger:
    """Five fields as crontab(5) reads them: Sunday is 0 or 7, two restricted day fields mean either."""
    at, parts = sync.at("schedule", "cron"), text.split()
    if len(parts) != 5:
        raise MappingInvalid(f"{at}: {text!r} has {len(parts)} fields", hint="minute hour day month weekday")
    minute, hour, day, month, weekday = parts
    try:
        zone = ZoneInfo(timezone)
        days = _weekdays(weekday)
        common = {"minute": minute, "hour": hour, "month": month, "timezone": zone}
        if day != "*" and days != "*":
            return OrTrigger([CronTrigger(day=day, **common), CronTrigger(day_of_week=days, **common)])
        return CronTrigger(day=day, day_of_week=days, **common)
    except ZoneInfoNotFoundError:
        where = sync.at("schedule", "timezone")
        raise MappingInvalid(
            f"{where}: there is no time zone {timezone!r}", hint="for example Europe/Berlin"
        ) from None
    except ValueError as error:
        raise MappingInvalid(
            f"{at}: {text!r}: {error}", hint="minute hour day month weekday, as in crontab"
        ) from None


def _weekdays(text: str) -> str:
    """Crontab weekdays as a list of names: the scheduler counts from Monday, cron from Sunday."""
    if text == "*":
        return text
    found: set[int] = set()
    for part in text.lower().split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        low = 0 if span == "*" else _weekday(first)
        high = 6 if span == "*" or (step and not dash) else _weekday(last) if dash else low
        if high < low or (step and int(step) < 1):
            raise ValueError(f"{part!r} is no range of weekdays")
        found |= {number % 7 for number in range(low, high + 1, int(step or 1))}
    return ",".join(_DAYS[number] for number in sorted(found))


def _weekday(text: str) -> int:
    if text in _DAYS:
        return _DAYS.index(text)
    if not text.isdigit() or int(text) > 7:
        raise ValueError(f"{text!r} is no weekday")
    return int(text)
