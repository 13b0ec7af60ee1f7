"""The buckets of a range of days, as rows: what a chart shows whether or not anything happened in them."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import cast

from serving.content.semantics import Grain
from serving.errors import QueryRefused
from serving.semantic.asking.request import Axis, MetricRequest
from serving.semantic.asking.time import TimeRange, floor
from serving.semantic.compile.axes import kind, place
from serving.semantic.dimension import COARSER, GRAINS, WeekStart, bucket_sql, quoted
from serving.semantic.model import Model

MAX_BUCKETS = 100_000
STEPS = {"day": "1 DAY", "week": "7 DAY", "month": "1 MONTH", "quarter": "3 MONTH", "year": "1 YEAR"}
_DAYS = {"hour": 1 / 24, "day": 1, "week": 7, "month": 28, "quarter": 90, "year": 365}


def bare(axis: Axis) -> Axis:
    """The axis without its grain."""
    return Axis(axis.name, None, axis.path)


def same_time(one: Axis, other: Axis, request: MetricRequest, model: Model) -> bool:
    """Whether both are the same column for every mart that is asked (`time` and its own name are)."""
    places = [
        (place(bare(one), metric.mart, model), place(bare(other), metric.mart, model))
        for metric in request.metrics
    ]
    return all(here is not None and here == there for here, there in places)


def finest(axes: tuple[Axis, ...]) -> Axis:
    """Of several axes over one time the one whose buckets make up all others'; days go without a grain.

    Raises QueryRefused where there is none: a week is in no month.
    """
    found = min(axes, key=lambda axis: GRAINS.index(axis.grain or "day"))
    for axis in axes:
        if (axis.grain or "day") not in COARSER[found.grain or "day"]:
            problem = f"the buckets of '{axis}' are not made of those of '{found}'"
            raise QueryRefused(problem, hint=f"leave out '{axis}', or '{found}'")
    return found


def check_buckets(axes: Iterable[Axis], request: MetricRequest, model: Model) -> None:
    """Raises QueryRefused for a time without a grain, unless it is a day already."""
    for axis in axes:
        if axis.grain is None and time_type(axis, request, model) != "DATE":
            problem = f"'{axis}' has a value for every instant, and is looked at by buckets here"
            raise QueryRefused(problem, hint=f"ask by {axis}.day, or a longer grain")


def overlap(ranges: Sequence[TimeRange]) -> TimeRange | None:
    """The days that all ranges hold; None where there is no range."""
    if not ranges:
        return None
    start = max(days.start for days in ranges)
    return TimeRange(start, max(start, min(days.end for days in ranges)))


def time_type(axis: Axis, request: MetricRequest, model: Model) -> str:
    """The DuckDB type of the axis without its grain; empty where it is computed."""
    found = place(bare(axis), request.metrics[0].mart, model)
    return kind(found, model) if found else ""


def spine_sql(column: str, grain: Grain, days: TimeRange, week_starts: str, kind: str = "DATE") -> str:
    """A SELECT of one column with the start of each bucket that holds a day of the range.

    `kind` is the type of the time: hours of an instant are those of the session's time zone, as
    `bucket_sql` gives them on days with 23 or 25 of them. Raises QueryRefused for too many buckets.
    """
    if (days.end - days.start).days / _DAYS[grain] > MAX_BUCKETS:
        problem = f"from {days.start} to {days.last} there are more than {MAX_BUCKETS:,} {grain}s"
        raise QueryRefused(problem, hint="ask for a shorter range, or a coarser grain")
    if grain == "hour":
        return _hours(column, days, kind)
    weeks = cast(WeekStart, week_starts)
    first = floor(days.start, grain, weeks)
    last = floor(days.last, grain, weeks) if days.start < days.end else first - timedelta(days=1)
    series = f"generate_series(DATE '{first}', DATE '{last}', INTERVAL {STEPS[grain]})"
    return f"SELECT CAST(sluice_time AS DATE) AS {quoted(column)} FROM {series} AS sluice_series(sluice_time)"


def _hours(column: str, days: TimeRange, kind: str) -> str:
    if not kind:
        raise QueryRefused(
            "the hours of a computed time cannot be listed", hint="ask by its day, or make it a column"
        )
    zoned = "TIMESTAMPTZ" if "TIME ZONE" in kind else "TIMESTAMP"
    # a day may begin at another quarter of an hour than it ends: time zones move by less than an hour, too
    first, last = days.start - timedelta(days=1), days.end + timedelta(days=1)
    series = f"generate_series({zoned} '{first}', {zoned} '{last}', INTERVAL 15 MINUTE)"
    inside = " AND ".join(
        f"CAST(sluice_time AS DATE) {sign} DATE '{day}'"
        for sign, day in ((">=", days.start), ("<", days.end))
    )
    return (
        f"SELECT DISTINCT {bucket_sql('sluice_time', 'hour')} AS {quoted(column)} "
        f"FROM {series} AS sluice_series(sluice_time) WHERE {inside}"
    )
