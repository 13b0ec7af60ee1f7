"""When a sync runs by itself, from its file to the next moment."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from reverse_etl.errors import MappingInvalid
from serving.content.sync import AfterSync, Sync, duration

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NEXT = timedelta(microseconds=1)


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
    found: datetime | None = trigger.get_next_fire_time(None, last.astimezone(UTC) + _NEXT)
    return found


def described(sync: Sync) -> str:
    """The schedule in words, for people."""
    schedule = sync.schedule
    if schedule is None:
        return "by hand"
    if isinstance(schedule.after, AfterSync):
        return f"after sync {schedule.after.sync}"
    if schedule.after is not None:
        return "after each build"
    if schedule.every is not None:
        return f"every {schedule.every}"
    return f"cron {schedule.cron}" + (f" {schedule.timezone}" if schedule.timezone else "")


class WallClock(BaseTrigger):  # type: ignore[misc]
    """A cron trigger that keeps to one fire per moment on the wall when the clocks change.

    A time that spring leaves out fires once, as much later as the clock jumped. A time that
    autumn shows twice fires at its first showing, unless the hours are `*`: those go on.
    """

    def __init__(self, cron: BaseTrigger, zone: ZoneInfo, *, every_hour: bool) -> None:
        self._cron, self._zone, self._every_hour = cron, zone, every_hour

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        """The first moment after `previous`, or from `now` on where there was none."""
        # Only ever asked for the first fire from a UTC moment on: with the one before, the cron
        # trigger compares times on the wall, and stands still in the hour that comes twice.
        start = previous.astimezone(UTC) + _NEXT if previous else now.astimezone(UTC)
        while (found := self._cron.get_next_fire_time(None, start)) is not None:
            moment: datetime = found.astimezone(UTC)
            shown = moment.astimezone(self._zone)
            if moment >= start and (shown.fold == 0 or self._every_hour):
                return shown
            start = max(moment, start) + _NEXT
        return None


def _interval(sync: Sync, text: str) -> timedelta:
    try:
        return duration(text)
    except ValueError as error:
        raise MappingInvalid(f"{sync.at('schedule', 'every')}: {error}") from None


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
        cron: BaseTrigger = CronTrigger(day=day, day_of_week=days, **common)
        if day != "*" and days != "*":
            cron = OrTrigger([CronTrigger(day=day, **common), CronTrigger(day_of_week=days, **common)])
        return WallClock(cron, zone, every_hour=hour.startswith("*"))
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
