"""A row for each bucket of a range, whether or not anything happened in it."""

from collections.abc import Mapping

from serving.errors import QueryRefused
from serving.semantic.asking.request import Axis, MetricRequest, Span
from serving.semantic.asking.time import TimeRange
from serving.semantic.compile.block import KIND
from serving.semantic.compile.relation import Relation
from serving.semantic.compile.spine import (
    bare,
    check_buckets,
    finest,
    overlap,
    same_time,
    spine_sql,
    time_type,
)
from serving.semantic.dimension import bucket_sql, quoted
from serving.semantic.model import Model

_HINT = "ask by a grain of a time, as in by: ordered_at.month, where: 'ordered_at: last 12 months'"
_HERE = "sluice_here"


def fill_sql(
    relation: Relation,
    request: MetricRequest,
    ranges: Mapping[Span, TimeRange],
    model: Model,
    before: Relation | None = None,
) -> str:
    """The rows of the relation, and one for each missing bucket x combination of other axes that occurs.

    Where it will be compared with `before`, combinations that occur there count, too. The buckets are
    those of the first axis of `by` whose time has a span with a start. Metrics of new rows are what they
    are over no rows. Only plain groups are filled up: totals and the rest of a top stay as they are.
    Without other axes each bucket is shown, even where there is no row at all. The columns are the
    relation's. Raises QueryRefused where no span bounds an axis of time.
    """
    group, days = filled_axes(request, ranges, model)
    if request.top is not None and request.top.axis in group:
        problem = f"a top of '{request.top.axis}' leaves buckets out that filling gaps would put back, empty"
        raise QueryRefused(problem, hint="leave out 'fill', or take the top of another dimension")
    time = finest(group)
    spine = spine_sql(
        time.header, time.grain or "day", days, model.week_starts, time_type(time, request, model)
    )
    others = [quoted(axis.header) for axis in request.by if axis not in group]
    rows, kinds = quoted(relation.name), KIND in relation.keys
    detail = f" WHERE {KIND} = 0" if kinds else ""
    sides = [rows, *([quoted(before.name)] if before else [])]
    occur = " UNION ".join(
        f"SELECT DISTINCT {', '.join(others) or '1'} FROM {side}{detail}" for side in sides
    )
    occur = occur if others else "SELECT 1"
    bucket = f"s.{quoted(time.header)}"
    shown = {quoted(axis.header): f"g.{quoted(axis.header)}" for axis in request.by}
    shown |= {quoted(a.header): _coarser(bucket, a, time, model) for a in group}
    shown |= {KIND: f"0 AS {KIND}"} if kinds else {}
    metrics = [
        f"CASE WHEN r.{_HERE} THEN r.{quoted(m.header)} ELSE {m.empty} END AS {quoted(m.header)}"
        for m in relation.metrics
    ]
    equal = [f"r.{quoted(time.header)} = {bucket}"]
    equal += [f"r.{name} IS NOT DISTINCT FROM g.{name}" for name in others]
    text = (
        f"SELECT {', '.join([*(shown[_key(key)] for key in relation.keys), *metrics])}\n"
        f"FROM ({spine}) AS s CROSS JOIN ({occur}) AS g\n"
        f"LEFT JOIN (SELECT *, TRUE AS {_HERE} FROM {rows}{detail}) AS r ON {' AND '.join(equal)}"
    )
    if not kinds:
        return text
    columns = [*map(_key, relation.keys), *(quoted(m.header) for m in relation.metrics)]
    return f"{text}\nUNION ALL\nSELECT {', '.join(columns)} FROM {rows} WHERE {KIND} <> 0"


def filled_axes(
    request: MetricRequest, ranges: Mapping[Span, TimeRange], model: Model
) -> tuple[tuple[Axis, ...], TimeRange]:
    """The axes of `by` over the first time that a span bounds, and the days from the first to the last one.

    Raises QueryRefused, with the nearest request, where there are none.
    """
    timed = [a for a in request.by if a.grain is not None or time_type(a, request, model) == "DATE"]
    if not timed:
        raise QueryRefused("only buckets of time can be filled up, and there are none in 'by'", hint=_HINT)
    for axis in timed:
        bounds = [ranges[span] for span in request.spans if same_time(axis, span.axis, request, model)]
        found = overlap(bounds)
        if found is not None and found.bounded:
            same = tuple(other for other in request.by if same_time(axis, other, request, model))
            check_buckets(same, request, model)
            return same, found
    problem = f"nothing says from when to when the buckets of '{timed[0]}' are to be filled up"
    raise QueryRefused(problem, hint=f"add where: '{bare(timed[0])}: last 12 months'")


def _coarser(bucket: str, axis: Axis, time: Axis, model: Model) -> str:
    if axis == time:
        return bucket
    return f"{bucket_sql(bucket, axis.grain or 'day', model.week_starts)} AS {quoted(axis.header)}"


def _key(key: str) -> str:
    return key if key == KIND else quoted(key)
