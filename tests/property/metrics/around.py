"""What stands around the groups of a request: the same groups earlier, and buckets without any row."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from serving.semantic.asking.request import Axis, MetricRequest, Span
from serving.semantic.asking.time import TimeRange
from tests.property.metrics.calendar_days import Moment, bucket, day_of, later
from tests.property.metrics.chosen import Ranges
from tests.property.metrics.lines import Key, Line
from tests.property.metrics.sight import Sight
from tests.property.metrics.world import COMPUTED

_UNITS = {"day": (0, 1), "week": (0, 7), "month": (1, 0), "quarter": (3, 0), "year": (12, 0)}


def moving(sight: Sight, mart: str, request: MetricRequest) -> tuple[Span | None, tuple[Axis, ...]]:
    """The span that a comparison moves, and the axes over its time."""
    for axis in request.by:
        for span in request.spans:
            if sight.key(mart, axis) == sight.key(mart, span.axis):
                same = [a for a in request.by if sight.key(mart, a) == sight.key(mart, span.axis)]
                return span, tuple(same)
    return (request.spans[0] if len(request.spans) == 1 else None), ()


def distance(request: MetricRequest, days: TimeRange, axes: Sequence[Axis]) -> tuple[int, int]:
    """Months and days back."""
    compare = request.compare
    assert compare is not None
    if compare.to == "previous period":
        return (days.months, 0) if days.months else (0, days.days)
    if compare.to == "previous year":
        return (0, 364) if any(axis.grain == "week" for axis in axes) else (12, 0)
    months, length = _UNITS[compare.grain]
    return compare.count * months, compare.count * length


def fits(axis: Axis, months: int, days: int) -> bool:
    """Whether so much time is made of whole buckets."""
    if axis.grain == "week":
        return not months and days % 7 == 0
    return axis.grain == "day" or (not days and months % _UNITS[str(axis.grain)][0] == 0)


def earlier(ranges: Ranges, span: Span, months: int, days: int) -> Ranges:
    """What the spans mean then."""
    return {**ranges, span: ranges[span].earlier(months=months, days=days)}


def paired(
    request: MetricRequest,
    axes: Sequence[Axis],
    now: Sequence[Line],
    then: Sequence[Line],
    months: int,
    days: int,
) -> Iterable[Line]:
    """Each row beside the one that lies so much earlier; then rows of then that nothing of now looks at."""
    places = [place for place, axis in enumerate(request.by) if axis in axes]

    def moved(key: Key, sign: int) -> Key:
        found = list(key)
        for place in places:
            if isinstance(found[place], date):
                found[place] = later(found[place], sign * months) + timedelta(days=sign * days)  # type: ignore[arg-type]
        return tuple(found)

    before = {(line.place, line.rest, line.key): line for line in then}
    met = set()
    for line in now:
        there = (line.place, line.rest, moved(line.key, -1))
        met.add(there)
        yield replace(line, before=before[there].rows if there in before else {})
    for there, line in before.items():
        shown = moved(line.key, 1)
        if there not in met and moved(shown, -1) == line.key:
            yield replace(line, key=shown, rows={}, before=line.rows)


def filled(
    sight: Sight,
    mart: str,
    request: MetricRequest,
    ranges: Ranges,
    given: Sequence[Line],
    then: Sequence[Line],
) -> Iterable[Line]:
    """The rows, and one for each bucket without one, for each combination of the other axes now or then."""
    yield from given
    axes, days = filled_axes(sight, mart, request, ranges)
    places = [place for place, axis in enumerate(request.by) if axis in axes]
    groups = [line for line in (*given, *then) if line.place == 0 and not line.rest]
    known = {line.key for line in given if line.place == 0 and not line.rest}
    rests = {tuple(v for p, v in enumerate(line.key) if p not in places) for line in groups}
    if len(places) == len(request.by):
        rests = {()}
    for buckets in _buckets(sight, mart, axes, days):
        for rest in rests:
            values = iter(rest)
            shown = dict(zip(places, buckets, strict=True))
            key = tuple(shown[p] if p in shown else next(values) for p in range(len(request.by)))
            if key not in known:
                yield Line(key, {})


def filled_axes(
    sight: Sight, mart: str, request: MetricRequest, ranges: Ranges
) -> tuple[tuple[Axis, ...], TimeRange]:
    """The axes over the first time that a span bounds, and its days."""
    timed = [axis for axis in request.by if axis.grain or _dated(sight, mart, axis)]
    for axis in timed:
        bounds = [ranges[s] for s in request.spans if sight.key(mart, s.axis) == sight.key(mart, axis)]
        if bounds:
            same = tuple(a for a in request.by if sight.key(mart, a) == sight.key(mart, axis))
            return same, TimeRange(max(b.start for b in bounds), min(b.end for b in bounds))
    raise LookupError("nothing to fill")


def _dated(sight: Sight, mart: str, axis: Axis) -> bool:
    """Whether its values are days: a plain column, of the mart or of one joined."""
    key = sight.key(mart, axis) or ""
    return sight.kinds[mart][key] == "DATE" and key.rpartition(".")[2] not in COMPUTED


def _buckets(sight: Sight, mart: str, axes: Sequence[Axis], days: TimeRange) -> Iterable[Key]:
    zone, week = sight.world.zone, sight.world.week_starts
    moments: Iterable[Moment] = [days.start + timedelta(days=n) for n in range((days.end - days.start).days)]
    if any(axis.grain == "hour" for axis in axes):
        zoned = "ZONE" in sight.kinds[mart][sight.key(mart, axes[0]) or ""]
        moments = _quarters(days, ZoneInfo(zone) if zoned else None)
    found = (tuple(bucket(moment, a.grain or "day", week, zone) for a in axes) for moment in moments)
    return dict.fromkeys(found)


def _quarters(days: TimeRange, zone: ZoneInfo | None) -> Iterable[datetime]:
    """Every quarter of an hour of the days."""
    at = datetime.combine(days.start - timedelta(days=1), time(), UTC if zone else None)
    end = datetime.combine(days.end + timedelta(days=1), time(), UTC if zone else None)
    while at < end:
        if days.start <= day_of(at, zone.key if zone else "UTC") < days.end:
            yield at
        at += timedelta(minutes=15)
