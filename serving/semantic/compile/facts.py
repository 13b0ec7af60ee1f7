"""What a request computes, apart: parts (one measure over the rows of one mart), gathered into facts that
are each aggregated alone, and the expressions that make metrics of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from serving.content.semantics import Measure
from serving.content.validate import near
from serving.errors import QueryRefused
from serving.semantic.asking.request import Metric, MetricRequest
from serving.semantic.compile.axes import reads_only
from serving.semantic.leaves import Formula, formula, mark, safe_division
from serving.semantic.model import Model


@dataclass(frozen=True)
class Expression:
    """A metric over parts: `text` holds one mark per part, in their order."""

    text: str
    parts: tuple[Metric, ...]
    filled: int | float | None = None  # instead of NULL

    def sql(self, value: Callable[[Metric], str]) -> str:
        """The expression, each part as `value` says it."""
        text = self.text
        for index, part in enumerate(self.parts):
            text = text.replace(mark(index), value(part))
        return text if self.filled is None else f"coalesce({text}, {self.filled})"


@dataclass(frozen=True)
class Fact:
    """Parts that are computed from the same rows of a mart: all of them, or those of its last day."""

    mart: str
    parts: tuple[Metric, ...] = ()
    last: Measure | None = None  # semi-additive as this measure says
    cumulative: bool = False  # one part, by cumulative.py


def header(metric: Metric, request: MetricRequest) -> str:
    """The metric's column: its measure, or mart_measure where another column is called so."""
    same = sum(other.measure == metric.measure for other in dict.fromkeys(request.metrics))
    axis = any(other.header == metric.measure for other in request.by)
    return f"{metric.mart}_{metric.measure}" if same > 1 or axis else metric.measure


def expression(metric: Metric, model: Model) -> Expression:
    """What the metric is made of; raises QueryRefused where this person has no such metric."""
    return _expression(metric, metric, model, ())


def facts(parts: Sequence[Metric], model: Model) -> list[Fact]:
    """The parts by the rows that they are computed from, in the order of their first part."""
    found: dict[object, Fact] = {}
    for part in dict.fromkeys(parts):
        spec = model.content.marts[part.mart].measures[part.measure]
        last = spec if spec.semi_additive else None
        key: object = (
            part if spec.cumulative else (part.mart, last and (last.semi_additive, last.take, last.per))
        )
        fact = found.get(key) or Fact(part.mart, (), last, spec.cumulative is not None)
        found[key] = Fact(fact.mart, (*fact.parts, part), fact.last, fact.cumulative)
    return list(found.values())


def part_formula(part: Metric, model: Model) -> Formula:
    """The part's formula over its mart's rows; checked before, by `expression`."""
    return formula(model.content.marts[part.mart], part.measure, part.approximate)


def empties(metric: Expression, model: Model) -> str:
    """The metric's value over no rows, as SQL."""
    return metric.sql(lambda part: part_formula(part, model).empty)


def by_mart(request: MetricRequest, model: Model) -> Mapping[str, list[Metric]]:
    """The marts whose rows the request reads, each with the metrics that make it do so."""
    found: dict[str, list[Metric]] = {}
    for metric in all_metrics(request):
        for part in expression(metric, model).parts:
            found.setdefault(part.mart, [])
            if metric not in found[part.mart]:
                found[part.mart].append(metric)
    return found


def all_metrics(request: MetricRequest) -> tuple[Metric, ...]:
    """The metrics that are shown, then those that only groups or values are chosen by."""
    top = [request.top.metric] if request.top and request.top.metric else []
    return tuple(dict.fromkeys((*request.metrics, *(having.metric for having in request.having), *top)))


def _expression(metric: Metric, asked: Metric, model: Model, inside: tuple[str, ...]) -> Expression:
    spec = _measure(metric, asked, model)
    name = f"{metric.mart}.{metric.measure}"
    if name in inside:
        circle = " -> ".join([*inside, name])
        raise QueryRefused(f"the measures {circle} refer to each other in a circle")
    if _alone(metric, model, ()):
        return Expression(mark(0), (_checked(metric, asked, model),), spec.fill_nulls_with)
    text, names = safe_division(spec.expr or "")
    found = [_expression(_other(metric, other), asked, model, (*inside, name)) for other in names]
    parts = tuple(dict.fromkeys(part for other in found for part in other.parts))
    if metric == asked and metric.approximate and not any(part.approximate for part in parts):
        raise QueryRefused(f"nothing in '{asked.measure}' can be estimated", hint=f"ask for {str(asked)[1:]}")
    places = {part: f"sluice_part_{index}_" for index, part in enumerate(parts)}
    for index, other in reversed(list(enumerate(found))):
        text = text.replace(mark(index), f"({Expression(other.text, other.parts).sql(places.__getitem__)})")
    for index, part in enumerate(parts):
        text = text.replace(places[part], mark(index))
    return Expression(f"({text})", parts, spec.fill_nulls_with)


def _measure(metric: Metric, asked: Metric, model: Model) -> Measure:
    if metric.mart not in model.readable:
        if metric.mart == asked.mart:
            raise QueryRefused(
                f"there is no mart '{metric.mart}' for you", hint=near(metric.mart, model.readable)
            )
        raise _hidden(asked)
    measures = model.content.marts[metric.mart].measures
    if metric.measure not in measures:
        hint = near(metric.measure, measures)
        raise QueryRefused(f"'{metric.mart}' has no measure '{metric.measure}'", hint=hint)
    return measures[metric.measure]


def _alone(metric: Metric, model: Model, inside: tuple[str, ...]) -> bool:
    """Whether the measure is one part: nothing below it is of other rows than all of its mart's."""
    spec = model.content.marts[metric.mart].measures[metric.measure]
    if spec.agg is not None or spec.cumulative is not None:
        return not (inside and (spec.semi_additive or spec.cumulative))
    measures = model.content.marts[metric.mart].measures
    return metric.measure not in inside and all(
        name in measures and _alone(Metric(metric.mart, name), model, (*inside, metric.measure))
        for name in safe_division(spec.expr or "")[1]
    )


def _other(metric: Metric, name: str) -> Metric:
    mart, _, measure = name.rpartition(".")
    return Metric(mart or metric.mart, measure, metric.approximate)


def _checked(metric: Metric, asked: Metric, model: Model) -> Metric:
    """The part, estimated only where it can be; every column it reads is this person's to read."""
    mart = model.content.marts[metric.mart]
    if metric.approximate:
        try:
            formula(mart, metric.measure, approximate=True)
        except ValueError as error:
            if metric == asked:
                raise QueryRefused(str(error), hint=f"ask for {str(asked)[1:]}") from error
            metric = Metric(metric.mart, metric.measure)
    spec = mart.measures[metric.measure]
    texts = [t for leaf in part_formula(metric, model).leaves for t in (leaf.expr, leaf.filter) if t]
    columns = [spec.semi_additive, *spec.per] if spec.semi_additive else []
    readable = model.readable[metric.mart]
    if not all(reads_only(t, metric.mart, model) for t in texts) or any(c not in readable for c in columns):
        raise _hidden(asked)
    return metric


def _hidden(asked: Metric) -> QueryRefused:
    hint = "ask for another measure, or the mart's owner"
    return QueryRefused(f"the measure '{asked.measure}' needs a column that is hidden from you", hint=hint)
