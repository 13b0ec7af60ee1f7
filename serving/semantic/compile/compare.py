"""A request beside the same request earlier.

A bucket of time is compared with the one that lies one shift before it; what is not a time is compared
with itself. Where two days look at one (Feb 29 and 28 at Feb 28 of the year before; the last days of a
long month at the last of a short one) both show it, and a day that none looks at is shown nowhere:
rows are never repeated, and totals, which are of the whole range, have every day once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from serving.content.semantics import Grain
from serving.errors import QueryRefused
from serving.semantic.asking.request import Axis, MetricRequest, Span
from serving.semantic.asking.time import TimeRange
from serving.semantic.compile.block import KIND
from serving.semantic.compile.facts import expression, part_formula
from serving.semantic.compile.relation import Column, Relation
from serving.semantic.compile.spine import bare, check_buckets, same_time
from serving.semantic.dimension import quoted
from serving.semantic.leaves import COUNTS, mark
from serving.semantic.model import Model

_UNITS: Mapping[Grain, tuple[int, int]] = {  # months and days
    "day": (0, 1),
    "week": (0, 7),
    "month": (1, 0),
    "quarter": (3, 0),
    "year": (12, 0),
}
_HERE = "sluice_here"
_INTEGERS = "TINYINT SMALLINT INTEGER BIGINT HUGEINT".split()
_KINDS = (*_INTEGERS, *(f"U{name}" for name in _INTEGERS), "DECIMAL", "FLOAT", "DOUBLE")


@dataclass(frozen=True)
class Comparison:
    """Which days are compared with: `ranges` is what the request's spans mean then.

    `months` and `days` say how far back; the buckets of `axes` are shown that much later.
    """

    ranges: Mapping[Span, TimeRange]
    months: int
    days: int
    axes: tuple[Axis, ...]


def comparison(request: MetricRequest, ranges: Mapping[Span, TimeRange], model: Model) -> Comparison:
    """What the request is compared with; raises QueryRefused, with the nearest request, where nothing fits.

    The span that moves is the one of a time in `by`, or the only one. 'previous period': back by the
    range's own length, so that a running month meets as many days of the one before. 'previous year': 12
    months; 364 days where `by` has weeks, so that weeks and weekdays meet their like.
    """
    assert request.compare is not None
    _numbers(request, model)
    span, axes = _moving(request, model)
    months, days = _distance(request, ranges[span], axes)
    if not months and not days:
        raise QueryRefused(f"'{span.words}' holds no day", hint="give the range an earlier start")
    for axis in axes:
        _fit(axis, months, days, request)
    try:
        then = ranges[span].earlier(months=months, days=days)
    except ValueError as error:
        hint = f"give the range a start: where '{bare(span.axis)}: last 12 months'"
        raise QueryRefused(f"'{span.words}' cannot be compared: {error}", hint=hint) from error
    return Comparison({**ranges, span: then}, months, days, axes)


def compare_sql(now: Relation, then: Relation, found: Comparison) -> str:
    """The keys, then each metric with `_before`, `_change` and `_change_rate`, of groups of either side.

    A group without rows on one side has there what its metrics are over no rows: counts 0, others NULL.
    `_change` is now - before, NULL where either is; `_change_rate` is the change as a share of the size of
    before, so that its sign is the change's: from -10 to -5 is + 0.5. It is NULL where before is 0.
    """
    moved = {axis.header: axis for axis in found.axes}
    back = {key: _moved(f"n.{_key(key)}", moved.get(key), found, "-") for key in now.keys}
    later = {key: _moved(f"t.{_key(key)}", moved.get(key), found, "+") for key in now.keys}
    keys = [_key(key) for key in now.keys]
    both = [
        f"CASE WHEN n.{_HERE} THEN n.{_key(key)} ELSE {later[key]} END AS {_key(key)}" for key in now.keys
    ]
    both += [text for column in now.metrics for text in _sides(column)]
    shown = [*keys, *(text for column in now.metrics for text in _change(column))]
    equal = [f"t.{_key(key)} IS NOT DISTINCT FROM {back[key]}" for key in now.keys]
    looked_at = [
        f"t.{_key(key)} IS NOT DISTINCT FROM {_moved(later[key], axis, found, '-')}"
        for key, axis in moved.items()
    ]
    n, t = (f"(SELECT *, TRUE AS {_HERE} FROM {quoted(side.name)})" for side in (now, then))
    where = f"\nWHERE n.{_HERE} OR ({' AND '.join(looked_at)})" if looked_at else ""
    return (
        f"SELECT {', '.join(shown)}\nFROM (\nSELECT {', '.join(both)}\nFROM {n} AS n\n"
        f"FULL JOIN {t} AS t ON {' AND '.join(equal) or 'TRUE'}{where}\n)"
    )


def _sides(column: Column) -> tuple[str, str]:
    """The metric now and before."""
    name, before = quoted(column.header), quoted(f"{column.header}_before")
    return (
        f"CASE WHEN n.{_HERE} THEN n.{name} ELSE {column.empty} END AS {name}",
        f"CASE WHEN t.{_HERE} THEN t.{name} ELSE {column.empty} END AS {before}",
    )


def _change(column: Column) -> tuple[str, ...]:
    """Both, and how they differ."""
    now, before = quoted(column.header), quoted(f"{column.header}_before")
    # 0 as BIGINT: small and unsigned numbers have no room for a difference
    wide = f"({before} + CAST(0 AS BIGINT))"
    change = f"{now} + CAST(0 AS BIGINT) - {wide}"
    return (
        now,
        before,
        f"{change} AS {quoted(f'{column.header}_change')}",
        f"({change}) / NULLIF(abs({wide}), 0) AS {quoted(f'{column.header}_change_rate')}",
    )


def _numbers(request: MetricRequest, model: Model) -> None:
    """Refuse metrics that are plainly no numbers: the first day, the last name."""
    for metric in (*request.metrics, *(having.metric for having in request.having)):
        found = expression(metric, model)
        formula = part_formula(found.parts[0], model)
        if found.text != mark(0) or formula.text != mark(0) or formula.leaves[0].function in COUNTS:
            continue
        columns = {name.casefold(): kind for name, kind in model.readable[found.parts[0].mart].items()}
        kind = columns.get((formula.leaves[0].expr or "").strip().casefold(), "")
        if kind and not kind.startswith(_KINDS):
            problem = f"'{metric}' is no number that could change: it holds {kind}"
            raise QueryRefused(problem, hint=f"leave out the comparison, or '{metric}'")


def _moving(request: MetricRequest, model: Model) -> tuple[Span, tuple[Axis, ...]]:
    """The span that is moved, and the axes of `by` over its time."""
    for axis in request.by:
        for span in request.spans:
            if same_time(axis, span.axis, request, model):
                same = [other for other in request.by if same_time(axis, other, request, model)]
                check_buckets(same, request, model)
                return _alone(span, request, model), tuple(same)
    if len(request.spans) == 1:
        return request.spans[0], ()
    timed = next((axis for axis in request.by if axis.grain is not None), None)
    name = "ordered_at" if timed is None else str(bare(timed))
    if request.spans:
        times = ", ".join(f"'{span.axis}'" for span in request.spans)
        problem = f"'{request.compare}' could move the range of {times}, and none of them is in 'by'"
        raise QueryRefused(problem, hint=f"keep one of them, or ask by {request.spans[0].axis}.month")
    problem = f"'{request.compare}' needs a range of time to compare"
    raise QueryRefused(problem, hint=f"add where: '{name}: last 12 months'")


def _alone(span: Span, request: MetricRequest, model: Model) -> Span:
    same = [other for other in request.spans if same_time(span.axis, other.axis, request, model)]
    if len(same) > 1:
        words = " and ".join(f"'{other.words}'" for other in same)
        raise QueryRefused(f"{words} are two ranges of '{span.axis}'", hint="compare with one of them")
    return span


def _distance(request: MetricRequest, days: TimeRange, axes: tuple[Axis, ...]) -> tuple[int, int]:
    """How many months and days back."""
    assert request.compare is not None
    match request.compare.to:
        case "previous period":
            length = days.days or (days.end - days.start).days
            return (days.months, 0) if days.months else (0, length)
        case "previous year":
            return (0, 364) if any(axis.grain == "week" for axis in axes) else (12, 0)
    months, length = _UNITS[request.compare.grain]
    return request.compare.count * months, request.compare.count * length


def _fit(axis: Axis, months: int, days: int, request: MetricRequest) -> None:
    """Refuse to move buckets by anything but whole ones."""
    unit, length = _UNITS.get(axis.grain or "hour", (0, 1))
    if unit and (days or months % unit):
        back = f"{max(1, round((months or days / 30.4) / unit))} {axis.grain}s earlier"
    elif length > 1 and (months or days % length):
        back = f"{max(1, round((days + months * 30.4) / length))} {axis.grain}s earlier"
    else:
        return
    problem = f"'{request.compare}' moves '{axis}' by a part of a {axis.grain}"
    raise QueryRefused(problem, hint=f"compare with '{back}', or ask by {bare(axis)}.day")


def _moved(text: str, axis: Axis | None, found: Comparison, sign: str) -> str:
    """A bucket so much later (or earlier) as its own type; anything but a bucket stays."""
    if axis is None:
        return text
    step = f"INTERVAL {found.months} MONTH" if found.months else f"INTERVAL {found.days} DAY"
    moved = f"{text} {sign} {step}"
    return f"({moved})" if axis.grain == "hour" else f"CAST({moved} AS DATE)"


def _key(key: str) -> str:
    return key if key == KIND else quoted(key)
