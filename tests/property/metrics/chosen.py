"""Which rows pass: conditions and ranges of days, row by row, in Python."""

from collections.abc import Mapping
from datetime import date, datetime

from serving.semantic.asking.request import Axis, Filter, MetricRequest, Span
from serving.semantic.asking.time import TimeRange
from tests.property.metrics.calendar_days import day_of
from tests.property.metrics.sight import Row, Sight

Ranges = Mapping[Span, TimeRange]


def chosen(
    sight: Sight, mart: str, request: MetricRequest, ranges: Ranges, without: Axis | None = None
) -> list[int]:
    """The positions of the rows that pass; `without`: the ranges of that axis do not count."""
    found = []
    for rid, row in enumerate(sight.rows[mart]):
        if all(_passes(sight, mart, row, condition) for condition in request.filters) and all(
            within(sight, mart, row, span.axis, ranges[span])
            for span in request.spans
            if without is None or sight.key(mart, span.axis) != sight.key(mart, without)
        ):
            found.append(rid)
    return found


def within(sight: Sight, mart: str, row: Row, axis: Axis, days: TimeRange) -> bool:
    """Whether a row's day lies in the range."""
    value = sight.value(mart, row, axis)
    if value is None:
        return False
    day = day_of(value, sight.world.zone)  # type: ignore[arg-type]
    return not (days.start and day < days.start) and not (days.end and day >= days.end)


def _passes(sight: Sight, mart: str, row: Row, condition: Filter) -> bool:
    value = sight.value(mart, row, condition.axis)
    wanted = [_like(value, one) for one in condition.values]
    match condition.op:
        case "is null":
            return value is None
        case "is not null":
            return value is not None
        case "in":
            return value in wanted
        case "not in":
            return value not in wanted if value is not None else _kept_without_value(wanted)
    if value is None:
        return False
    (one,) = wanted
    match condition.op:
        case "=":
            return bool(value == one)
        case "!=":
            return bool(value != one)
        case "<":
            return bool(value < one)  # type: ignore[operator]
        case "<=":
            return bool(value <= one)  # type: ignore[operator]
        case ">":
            return bool(value > one)  # type: ignore[operator]
        case ">=":
            return bool(value >= one)  # type: ignore[operator]
        case "contains":
            return str(one).lower() in str(value).lower()
    raise AssertionError(condition.op)


def _kept_without_value(wanted: list[object]) -> bool:
    return False


def _like(value: object, text: object) -> object:
    """A day or time that was written as text."""
    if isinstance(value, datetime) and isinstance(text, str):
        return datetime.fromisoformat(text)
    if isinstance(value, date) and isinstance(text, str):
        return date.fromisoformat(text)
    return text
