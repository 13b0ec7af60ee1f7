"""Metrics as pages show them: the answer, and how its rows and columns are to be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property

import pyarrow as pa

from serving.answer import Answer
from serving.content.model import Content
from serving.content.semantics import Described
from serving.errors import QueryRefused
from serving.governance.access import aggregate_rule
from serving.identity import User
from serving.project import Project
from serving.semantic.asking.request import Axis, MetricRequest, Order, Span
from serving.semantic.asking.time import TimeRange
from serving.semantic.compile.axes import place
from serving.semantic.compile.compare import comparison
from serving.semantic.compile.facts import by_mart, header
from serving.semantic.compile.metrics import ROW_KIND
from serving.semantic.model import Model

Ranges = tuple[tuple[Span, TimeRange], ...]
BESIDE = {"_before": "before", "_change": "change", "_change_rate": "change in %"}  # columns of a comparison
TOTAL, ALL = "Total", "all"


@dataclass(frozen=True)
class Shown:
    """An answer to a metric request."""

    request: MetricRequest
    answer: Answer
    dimensions: tuple[str, ...]  # the columns that are dimensions, in order
    measures: tuple[str, ...]  # the columns that are metrics, without what a comparison puts beside them
    formats: Mapping[str, str]  # measure -> d3-like format
    labels: Mapping[str, str]  # column -> its label, where the mart gives one
    ranges: Ranges = ()
    befores: Mapping[str, float] = field(default_factory=dict)  # measure -> earlier, where there is one row
    notes: tuple[str, ...] = ()  # what of the request was left out, and why

    @property
    def before(self) -> float | None:
        """The first metric earlier."""
        return self.befores.get(self.measures[0])

    @property
    def span(self) -> TimeRange | None:
        """The days shown; None: all of them."""
        return self.ranges[0][1] if self.ranges else None

    @property
    def period(self) -> str:
        """The days shown, in words."""
        return "" if self.span is None else period_words(self.span)

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Of each row of `rows`: 'group', 'other', 'subtotal' or 'total'."""
        return tuple(sorted(self._kinds, key=_RANK.index))

    @cached_property
    def rows(self) -> pa.Table:
        """The rows as people read them: groups, the rest of a top by name, then totals."""
        table = self.answer.table
        kinds = self._kinds
        order = sorted(range(table.num_rows), key=lambda row: _RANK.index(kinds[row]))
        table = table.take(pa.array(order, pa.int64()))
        if ROW_KIND in table.column_names:
            table = table.drop_columns([ROW_KIND])
        return self._named(table)

    @cached_property
    def groups(self) -> pa.Table:
        """The rows that a chart draws: those of `rows` without totals."""
        return self.rows.slice(0, sum(kind in ("group", "other") for kind in self.kinds))

    @property
    def column_formats(self) -> dict[str, str]:
        """Every column of numbers -> its format."""
        found = dict(self.formats)
        for name, form in self.formats.items():
            found |= {f"{name}_before": form, f"{name}_change": _signed(form), f"{name}_change_rate": "+.1%"}
        return found

    @property
    def _kinds(self) -> tuple[str, ...]:
        table = self.answer.table
        if ROW_KIND not in table.column_names:
            return ("group",) * int(table.num_rows)
        return tuple(str(kind) for kind in table.column(ROW_KIND).to_pylist())

    def _named(self, table: pa.Table) -> pa.Table:
        """The rest and the totals by name, in columns that hold texts then."""
        if set(self.kinds) <= {"group"}:
            return table
        for place_, name in enumerate(self.dimensions):
            values = table.column(name).to_pylist()
            if words := self._words(place_, values):
                texts = [
                    words.get(row, None if value is None else str(value)) for row, value in enumerate(values)
                ]
                table = table.set_column(place_, name, pa.array(texts, pa.string()))
        return table

    def _words(self, column: int, values: list[object]) -> dict[int, str]:
        """Row -> what stands in the column instead of no value."""
        best = self.request.top
        topped = best is not None and best.axis.header == self.dimensions[column]
        rest = "Other" if "Other" not in values else "All other"
        found = {}
        for row, kind in enumerate(self.kinds):
            if kind == "other" and topped:
                found[row] = rest
            elif kind == "total":
                found[row] = TOTAL if column == 0 else ""
            elif kind == "subtotal" and values[row] is None:
                found[row] = ALL
        return found


_RANK = ("group", "other", "subtotal", "total")


def show_metrics(
    project: Project, request: MetricRequest, user: User, surface: str, *, lenient: bool = False
) -> Shown:
    """Ask, and say how the answer is read; raises QueryRefused.

    `lenient` leaves out what cannot be had beside the numbers (a comparison without a range; totals, the
    rest and gaps where a mart answers in aggregates only) and says so in `notes`.
    """
    model = project.model(user)
    ranges = project.ranges(request, user, surface)
    asked, notes = _fitting(project, request, ranges, model, user) if lenient else (request, ())
    answer = project.ask(metrics=asked, user=user, surface=surface)
    measures = tuple(header(metric, asked) for metric in asked.metrics)
    befores = _numbers(answer, {name: f"{name}_before" for name in measures})
    if (
        asked.compare is None
        and request.compare is not None
        and not request.by
        and _comparable(request, ranges)
    ):
        earlier = _earlier(request, ranges, model)
        then = project.ask(metrics=earlier, user=user, surface=surface)
        befores = _numbers(then, {name: name for name in measures})
    return Shown(
        asked,
        answer,
        tuple(axis.header for axis in asked.by),
        measures,
        {
            name: _spec(project.content, metric.mart, metric.measure).format
            for name, metric in zip(measures, asked.metrics, strict=True)
        },
        _labels(asked, model),
        ranges,
        befores,
        notes,
    )


def in_aggregates(project: Project, request: MetricRequest, user: User, model: Model) -> bool:
    """Whether a mart that the request reads answers this person in aggregates only."""
    return any(aggregate_rule(project.content, mart, user) for mart in by_mart(request, model))


def period_words(days: TimeRange) -> str:
    """`1 Jan 2026 – 31 Mar 2026`"""
    last = f"{days.last.day} {days.last:%b %Y}"
    if days.start == date.min:
        return f"up to {last}"
    return f"{days.start.day} {days.start:%b %Y} – {last}"


def axis_label(axis: Axis, mart: str, model: Model) -> str:
    """`Customers › segment`, as one mart reaches it; without its grain, and empty where nothing gives a label
    and it is the mart's own."""
    found = place(axis, mart, model)
    if found is None:
        return ""
    spec = _described(model.content, found.mart, found.column)
    if not found.joins:
        return spec.label if spec else ""
    title = (spec or Described()).title(found.column)
    return " › ".join([*(name.replace("_", " ").capitalize() for name in found.joins), title])


def _described(content: Content, mart: str, column: str) -> Described | None:
    spec = content.marts[mart]
    return spec.dimensions.get(column) or spec.columns.get(column)


def _labels(request: MetricRequest, model: Model) -> dict[str, str]:
    found = {}
    home = request.metrics[0].mart
    for axis in request.by:
        if label := axis_label(axis, home, model):
            found[axis.header] = f"{label} by {axis.grain}" if axis.grain else label
        elif axis.grain:
            words = ".".join((*axis.path, axis.name)).replace("_", " ").capitalize()
            found[axis.header] = f"{words} by {axis.grain}"
    for metric in request.metrics:
        name, spec = header(metric, request), _spec(model.content, metric.mart, metric.measure)
        if name != metric.measure:
            found[name] = f"{spec.title(metric.measure)} ({metric.mart.replace('_', ' ')})"
        elif spec.label:
            found[name] = spec.label
    return found


def _spec(content: Content, mart: str, measure: str) -> Described:
    return content.marts[mart].measures[measure]


def _fitting(
    project: Project, request: MetricRequest, ranges: Ranges, model: Model, user: User
) -> tuple[MetricRequest, tuple[str, ...]]:
    """The request without what has no answer beside the numbers, and notes."""
    notes = []
    if request.compare is not None:
        try:
            if _comparable(request, ranges):
                comparison(request, dict(ranges), model)
            else:
                request = replace(request, compare=None)
        except QueryRefused as refusal:
            request = replace(request, compare=None)
            notes.append(f"not compared: {refusal.problem}")
    if not in_aggregates(project, request, user, model):
        return request, tuple(notes)
    gone = [("totals", bool(request.totals)), ("the rest", request.top is not None and request.top.other)]
    gone += [("what was before", request.compare is not None and bool(request.by))]
    if lost := [what for what, wanted in gone if wanted]:
        notes.append(f"without {' and '.join(lost)}, as you are answered in aggregates only")
    return _bare(request), tuple(notes)


def _bare(request: MetricRequest) -> MetricRequest:
    """One block of aggregation: the largest values by their order."""
    best = request.top
    plain = replace(request, compare=None, totals=(), fill=False, top=None)
    if best is None:
        return plain
    by = header(best.metric or request.metrics[0], request)
    return replace(plain, order=(Order(by, descending=True),), limit=best.count)


def _comparable(request: MetricRequest, ranges: Ranges) -> bool:
    return any(days.bounded for _, days in ranges)


def _earlier(request: MetricRequest, ranges: Ranges, model: Model) -> MetricRequest:
    """The same request over the days that it is compared with."""
    then = comparison(request, dict(ranges), model).ranges
    spans = (
        Span(span.axis, f"{days.start}..{days.last}") if days.bounded else span for span, days in then.items()
    )
    return replace(_bare(request), spans=tuple(spans))


def _numbers(answer: Answer, columns: Mapping[str, str]) -> dict[str, float]:
    """Of an answer of one row, the columns that have a value."""
    if answer.table.num_rows != 1:
        return {}
    (row,) = answer.table.to_pylist()
    return {name: float(row[column]) for name, column in columns.items() if row.get(column) is not None}


def _signed(form: str) -> str:
    """The format with a plus before what grew."""
    if "+" in form or not form:
        return form
    return f"{form[0]}+{form[1:]}" if form[0] in "$£€¥" else f"+{form}"
