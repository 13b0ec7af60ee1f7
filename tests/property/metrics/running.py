"""The rows of a cumulative measure: for each bucket all that came before its end."""

from collections.abc import Sequence
from datetime import date, timedelta

from serving.semantic.asking.request import Axis, MetricRequest
from serving.semantic.asking.time import TimeRange
from tests.property.metrics.calendar_days import bucket, day_of, first_day, later, next_start
from tests.property.metrics.chosen import Ranges, chosen
from tests.property.metrics.sight import Sight

Key = tuple[object, ...]
_MONTHS = {"month": 1, "quarter": 3, "year": 12}


def running(
    sight: Sight, mart: str, name: str, request: MetricRequest, ranges: Ranges, by: Sequence[Axis]
) -> dict[Key, list[int]]:
    """Every bucket from the first to the last x every combination that was seen before its end."""
    time = time_axis(sight, mart, by)
    timed = [axis for axis in by if sight.key(mart, axis) == sight.key(mart, time)]
    others = [axis for axis in by if axis not in timed]
    passing = chosen(sight, mart, request, ranges, without=time)
    days = {rid: _day(sight, mart, rid, time) for rid in passing}
    found: dict[Key, list[int]] = {}
    for shown, until in _ends(sight, mart, request, ranges, timed, time, [d for d in days.values() if d]):
        since = _since(sight, mart, name, until)
        seen: dict[Key, list[int]] = {} if others else {(): []}
        for rid, day in days.items():
            if day is None or day >= until:
                continue
            key = tuple(sight.value(mart, sight.rows[mart][rid], axis) for axis in others)
            inside = seen.setdefault(key, [])
            if since is None or day >= since:
                inside.append(rid)
        for key, positions in seen.items():
            values = dict(zip(others, key, strict=True)) | shown
            found[tuple(values[axis] for axis in by)] = positions
    return found


def time_axis(sight: Sight, mart: str, by: Sequence[Axis]) -> Axis:
    """The time it runs along: of the times in `by` the mart's own before others; without any, that."""
    own = {c.name for c in sight.world.marts[mart].table.columns if c.timely}
    timed = [axis for axis in by if sight.key(mart, axis) in own]
    main = [axis for axis in timed if sight.key(mart, axis) == sight.world.marts[mart].time]
    found = next(iter([*main, *timed]), Axis("time"))
    return Axis(found.name, None, found.path)


def _ends(
    sight: Sight,
    mart: str,
    request: MetricRequest,
    ranges: Ranges,
    timed: Sequence[Axis],
    time: Axis,
    days: Sequence[date],
) -> list[tuple[dict[Axis, object], date]]:
    """Each bucket (its value on every axis of that time), and the day after the last that it holds."""
    bounds = [ranges[s] for s in request.spans if sight.key(mart, s.axis) == sight.key(mart, time)]
    span = _whole(bounds, days)
    if span is None:
        return []
    if not timed:
        return [({}, span.end)]
    found: dict[Key, date] = {}
    day, end = span.start, span.end
    if not bounds:  # nothing cuts the last bucket
        grains = [axis.grain or "day" for axis in timed]
        end = min(next_start(first_day(max(days), g, sight.world.week_starts), g) for g in grains)
    while day < end:
        key = tuple(bucket(day, a.grain or "day", sight.world.week_starts, sight.world.zone) for a in timed)
        day += timedelta(days=1)
        found[key] = day
    return [(dict(zip(timed, key, strict=True)), until) for key, until in found.items()]


def _whole(bounds: Sequence[TimeRange], days: Sequence[date]) -> TimeRange | None:
    if bounds:
        return TimeRange(max(b.start for b in bounds), min(b.end for b in bounds))
    return TimeRange(min(days), max(days) + timedelta(days=1)) if days else None


def _since(sight: Sight, mart: str, name: str, until: date) -> date | None:
    spec = sight.world.marts[mart].measures[name].spec
    if grain := spec.get("to_date"):
        return first_day(until - timedelta(days=1), str(grain), sight.world.week_starts)
    if window := spec.get("window"):
        count, unit = str(window).rstrip("s").split()
        if months := _MONTHS.get(unit):
            return later(until, -int(count) * months)
        return until - timedelta(days=int(count) * (7 if unit == "week" else 1))
    return None


def _day(sight: Sight, mart: str, rid: int, time: Axis) -> date | None:
    value = sight.value(mart, sight.rows[mart][rid], time)
    return None if value is None else day_of(value, sight.world.zone)  # type: ignore[arg-type]
