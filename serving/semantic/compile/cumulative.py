"""Cumulative measures: a bucket shows the measure over all rows before its end, not those within it.

The end of a bucket is the last of its days that the request's range holds, so that a running month shows
what there is so far. A trailing window is as long before that end; `to_date` begins with the period that
holds the last day. A range bounds which buckets are shown, and never from when on rows count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from serving.content.semantics import Grain, Measure
from serving.errors import QueryRefused
from serving.semantic.asking.request import Axis, Metric, MetricRequest, Span
from serving.semantic.asking.time import TimeRange
from serving.semantic.compile.axes import place
from serving.semantic.compile.block import Block, BlockText, block_rows, block_sql
from serving.semantic.compile.facts import expression, header, part_formula
from serving.semantic.compile.spine import STEPS, bare, check_buckets, finest, overlap, spine_sql, time_type
from serving.semantic.dimension import bucket_sql, quoted
from serving.semantic.leaves import Formula, mark
from serving.semantic.model import Model, Sourcer

_PARTS = ("count", "sum", "min", "max")  # values of days make up the value of any days, to the last digit
_DAYS, _SPINE, _RUNNING = "sluice_days", "sluice_spine", "sluice_running"  # CTEs
_BUCKET, _UNTIL, _SINCE = "sluice_bucket", "sluice_until", "sluice_since"
_VALUE, _HERE = "sluice_value", "sluice_here"


@dataclass(frozen=True)
class _Plan:
    """A cumulative measure by the axes of one grouping set."""

    spec: Measure
    formula: Formula
    header: str
    by: tuple[Axis, ...]
    time: Axis | None  # the axis of `by` whose buckets are shown, if there is one
    timed: tuple[Axis, ...]  # all axes of `by` over the time that it runs along
    day: Axis
    days: TimeRange | None  # the range over that time, where there is one
    week_starts: str

    @property
    def others(self) -> tuple[Axis, ...]:
        """The axes that are not of that time."""
        return tuple(axis for axis in self.by if axis not in self.timed)


def cumulative_sql(
    part: Metric,
    request: MetricRequest,
    ranges: Mapping[Span, TimeRange],
    model: Model,
    sourcer: Sourcer,
) -> BlockText:
    """The request's axes and the measure, as one SELECT: each bucket x combination seen before its end.

    It runs along the first axis of `by` over a column of time of the mart, the mart's `time` before others;
    without one, the value is that at the end of the range, or at the newest day of the rows that pass.
    All buckets from the first to the last of the range (of the rows, where it is open) are there; without
    other axes, also those before the first row. Raises QueryRefused for hours, for semi-additive
    measures and for marts without a time.
    """
    plan = _plan(part, request, ranges, model)
    spans = tuple(
        (span.axis, ranges[span])
        for span in request.spans
        if _column(span.axis, part.mart, model) != plan.day.name
    )
    block = Block(part.mart, (plan.day, *plan.others), (), request.filters, spans)
    if all(leaf.function in _PARTS for leaf in plan.formula.leaves):
        return _by_day(plan, block, model, sourcer)
    return _by_row(plan, replace(block, columns=(plan.day.name,)), model, sourcer)


def _plan(part: Metric, request: MetricRequest, ranges: Mapping[Span, TimeRange], model: Model) -> _Plan:
    mart = model.content.marts[part.mart]
    _cumulated(part, model)
    columns = {axis: _column(axis, part.mart, model) for axis in request.by}
    grained = [
        axis
        for axis in request.by
        if columns[axis] and (axis.grain or time_type(axis, request, model).startswith(("DATE", "TIMESTAMP")))
    ]
    along = next((axis for axis in grained if columns[axis] == mart.time), next(iter(grained), None))
    name = columns[along] if along else mart.time
    if name is None or name not in model.readable[part.mart]:
        problem = f"'{part.measure}' is cumulative, and '{part.mart}' does not say along which time"
        raise QueryRefused(problem, hint="ask by a grain of one of its times, or give the mart a 'time'")
    timed = tuple(axis for axis in request.by if columns[axis] == name)
    check_buckets(timed, request, model)
    for axis in timed:
        if axis.grain == "hour":
            problem = f"'{part.measure}' is cumulative: it has a value at the end of days, not by '{axis}'"
            raise QueryRefused(problem, hint=f"ask by {bare(axis)}.day, or a longer grain")
    spans = [ranges[span] for span in request.spans if _column(span.axis, part.mart, model) == name]
    return _Plan(
        mart.measures[part.measure],
        part_formula(part, model),
        header(part, request),
        request.by,
        finest(timed) if timed else None,
        timed,
        Axis(name, "day"),
        overlap(spans),
        model.week_starts,
    )


def _cumulated(part: Metric, model: Model) -> None:
    """Refuse what has no value over rows of several days."""
    mart = model.content.marts[part.mart]
    base = Metric(part.mart, mart.measures[part.measure].cumulative or "")
    spec = mart.measures[base.measure]
    if spec.semi_additive or spec.cumulative or expression(base, model).parts != (base,):
        problem = f"'{part.measure}' cumulates '{base.measure}', which is not an aggregate of all rows alike"
        raise QueryRefused(problem, hint="cumulate its parts, and derive the measure from those")


def _column(axis: Axis, mart: str, model: Model) -> str | None:
    """The mart's own, plain column that the axis is of."""
    found = place(bare(axis), mart, model)
    if found is None or found.joins or found.column in model.content.marts[mart].dimensions:
        return None
    return found.column


def _by_day(plan: _Plan, block: Block, model: Model, sourcer: Sourcer) -> BlockText:
    """From the values of days: each row is read once, and a rollup may answer."""
    outputs = tuple((leaf.column, Formula(mark(0), (leaf,))) for leaf in plan.formula.leaves)
    days = block_sql(replace(block, outputs=outputs), model, sourcer)
    value = plan.formula.sql(lambda leaf: leaf.merged(f"d.{quoted(leaf.column)}"))
    day, *others = (f"d.{quoted(axis.header)}" for axis in block.axes)
    values = _values(value, f"{_DAYS} AS d", day, others, plan, "")
    return BlockText(_text(plan, days.text, values), days.route, days.reads)


def _by_row(plan: _Plan, block: Block, model: Model, sourcer: Sourcer) -> BlockText:
    """From the rows themselves: each is read once per bucket that it counts for."""
    rows = block_rows(replace(block, outputs=((plan.header, plan.formula),)), model, sourcer)
    named = [f"{text} AS {quoted(axis.header)}" for text, axis in zip(rows.axes, block.axes, strict=True)]
    days = f"SELECT DISTINCT {', '.join(named)}\nFROM {rows.table}{rows.where}"
    value = plan.formula.sql(rows.leaves.__getitem__)
    values = _values(value, rows.table, rows.axes[0], rows.axes[1:], plan, rows.where)
    return BlockText(_text(plan, days, values), rows.route, rows.reads)


def _values(value: str, table: str, day: str, others: Sequence[str], plan: _Plan, where: str) -> str:
    """The measure of each bucket and combination that has rows in its stretch of time."""
    named = [f"{text} AS {quoted(axis.header)}" for text, axis in zip(others, plan.others, strict=True)]
    since = f"{day} >= {_SPINE}.{_SINCE} AND " if plan.spec.window or plan.spec.to_date else ""
    shown = ", ".join([f"{_SPINE}.{_BUCKET}", *named, f"{value} AS {_VALUE}", f"TRUE AS {_HERE}"])
    return (
        f"SELECT {shown}\nFROM {table}\nJOIN {_SPINE} ON {since}{day} < {_SPINE}.{_UNTIL}{where}"
        f"\nGROUP BY {', '.join([f'{_SPINE}.{_BUCKET}', *others])}"
    )


def _text(plan: _Plan, days: str, values: str) -> str:
    others = [quoted(axis.header) for axis in plan.others]
    shown = []
    for axis in plan.by:
        name = quoted(axis.header)
        if axis not in plan.timed:
            shown.append(f"g.{name}")
        elif axis == plan.time:
            shown.append(f"s.{_BUCKET} AS {name}")
        else:
            shown.append(f"{bucket_sql(f's.{_BUCKET}', axis.grain or 'day', plan.week_starts)} AS {name}")
    shown.append(
        f"CASE WHEN v.{_HERE} THEN v.{_VALUE} ELSE {plan.formula.empty} END AS {quoted(plan.header)}"
    )
    seen = ""
    if others:
        first = f"min({quoted(plan.day.header)}) AS sluice_first"
        groups = f"SELECT {', '.join([*others, first])} FROM {_DAYS} GROUP BY {', '.join(others)}"
        seen = f"\nJOIN ({groups}) AS g ON g.sluice_first < s.{_UNTIL}"
    equal = [f"v.{_BUCKET} = s.{_BUCKET}", *(f"v.{name} IS NOT DISTINCT FROM g.{name}" for name in others)]
    return (
        f"WITH {_DAYS} AS (\n{days}\n), {_SPINE} AS (\n{_spine(plan)}\n), {_RUNNING} AS (\n{values}\n)\n"
        f"SELECT {', '.join(shown)}\nFROM {_SPINE} AS s{seen}\n"
        f"LEFT JOIN {_RUNNING} AS v ON {' AND '.join(equal)}"
    )


def _spine(plan: _Plan) -> str:
    """Each bucket with the day after its last one, and the first day that counts for it."""
    end = f"DATE '{plan.days.end}'" if plan.days else None
    newest = f"(SELECT max({quoted(plan.day.header)}) FROM {_DAYS})"
    if plan.time is None:
        until = end or f"CAST({newest} + INTERVAL 1 DAY AS DATE)"
        buckets = f"SELECT {until} AS {_BUCKET}"
        until = _BUCKET
    else:
        grain = plan.time.grain or "day"
        until = f"CAST({_BUCKET} + INTERVAL {STEPS[grain]} AS DATE)"
        until = f"least({until}, {end})" if end else until
        buckets = _buckets(plan, grain, end, newest)
    shown = [_BUCKET, f"{until} AS {_UNTIL}"]
    if plan.spec.window:
        count, unit = plan.spec.window.split()
        shown.append(f"CAST({until} - INTERVAL {count} {unit.removesuffix('s').upper()} AS DATE) AS {_SINCE}")
    elif plan.spec.to_date:
        last = f"CAST({until} - INTERVAL 1 DAY AS DATE)"
        shown.append(f"{bucket_sql(last, plan.spec.to_date, plan.week_starts)} AS {_SINCE}")
    return f"SELECT {', '.join(shown)} FROM ({buckets})"


def _buckets(plan: _Plan, grain: Grain, end: str | None, newest: str) -> str:
    if plan.days is not None and plan.days.bounded:
        return spine_sql(_BUCKET, grain, plan.days, plan.week_starts)
    before = f" WHERE {quoted(plan.day.header)} < {end}" if end else ""
    oldest = f"(SELECT min({quoted(plan.day.header)}) FROM {_DAYS}{before})"
    last = f"CAST({end} - INTERVAL 1 DAY AS DATE)" if end else newest
    first, last = (f"CAST({bucket_sql(day, grain, plan.week_starts)} AS TIMESTAMP)" for day in (oldest, last))
    return (
        f"SELECT CAST(unnest(generate_series({first}, {last}, INTERVAL {STEPS[grain]})) AS DATE) AS {_BUCKET}"
    )
