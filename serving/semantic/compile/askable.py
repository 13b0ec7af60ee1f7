"""What one person may ask: metrics, and the dimensions that all of the chosen ones can be broken down by."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from serving.content.semantics import Described
from serving.errors import QueryRefused
from serving.semantic.asking.phrases import written_axis, written_metric
from serving.semantic.asking.request import Axis, Metric, MetricRequest
from serving.semantic.checks.definition import definition, estimable
from serving.semantic.compile.axes import TIME, Place, kind, names, place, walkable
from serving.semantic.compile.facts import by_mart, expression
from serving.semantic.model import Model

FAR = 2  # joins that are offered; further ones can be written


@dataclass(frozen=True)
class AskableMetric:
    """A measure as people choose it; `estimate` where `~name` may be asked for."""

    name: str  # orders.revenue
    mart: str
    label: str
    description: str
    synonyms: tuple[str, ...]
    format: str
    computed: str
    estimate: bool


@dataclass(frozen=True)
class AskableDimension:
    """A dimension as people choose it: `customers.segment`, called `Customers › Segment`."""

    name: str
    label: str
    description: str
    synonyms: tuple[str, ...]
    type: str  # DuckDB's; empty for what is computed
    time: bool  # whether it has grains


@dataclass(frozen=True)
class AskableMart:
    """A mart that has measures."""

    mart: str
    label: str
    description: str
    time: str | None
    metrics: tuple[AskableMetric, ...]
    dimensions: tuple[AskableDimension, ...]


def askable_marts(model: Model) -> tuple[AskableMart, ...]:
    """Every mart with a measure that this person may ask, in order of their names."""
    found = []
    for name in sorted(model.readable):
        mart = model.content.marts[name]
        if metrics := tuple(_metrics(name, model)):
            time = mart.time if mart.time in model.readable[name] else None
            label = mart.label or name.replace("_", " ").capitalize()
            dimensions = askable_dimensions(model, (name,))
            found.append(AskableMart(name, label, mart.description, time, metrics, dimensions))
    return tuple(found)


def askable_dimensions(model: Model, marts: Sequence[str]) -> tuple[AskableDimension, ...]:
    """The dimensions that the rows of all of these marts reach: own ones first, then those behind joins."""
    if not marts:
        return ()
    axes = list(_axes(marts[0], (), model))
    if len(marts) > 1:
        axes.insert(0, Axis(TIME))
    shared = [axis for axis in axes if all(place(axis, mart, model) for mart in marts)]
    return tuple(_dimension(axis, marts, model) for axis in shared)


def marts_read(model: Model, metrics: Sequence[Metric]) -> tuple[str, ...]:
    """The marts whose rows the metrics read; raises QueryRefused for one that this person has not."""
    return tuple(by_mart(MetricRequest(tuple(metrics)), model))


def _metrics(mart: str, model: Model) -> Iterator[AskableMetric]:
    spec = model.content.marts[mart]
    for name, measure in spec.measures.items():
        metric = Metric(mart, name)
        try:
            expression(metric, model)
        except QueryRefused:  # it needs what this person may not read
            continue
        yield AskableMetric(
            written_metric(metric),
            mart,
            measure.title(name),
            measure.description,
            measure.synonyms,
            measure.format,
            definition(measure),
            estimable(model.content, spec, name),
        )


def _axes(mart: str, path: tuple[str, ...], model: Model) -> Iterator[Axis]:
    for name in names(mart, model):
        yield Axis(name, None, path)
    if len(path) == FAR:
        return
    for name, join in model.content.marts[mart].joins.items():
        if walkable(mart, join, model):
            yield from _axes(join.mart, (*path, name), model)


def _dimension(axis: Axis, marts: Sequence[str], model: Model) -> AskableDimension:
    if axis.name == TIME and not axis.path and len(marts) > 1:
        return AskableDimension(TIME, "Time", "Each mart's own time", (), "", time=True)
    found = place(axis, marts[0], model)
    assert found is not None
    spec, typed = _spec(found, model), kind(found, model)
    steps = [name.replace("_", " ").capitalize() for name in found.joins]
    return AskableDimension(
        written_axis(axis),
        " › ".join([*steps, spec.title(found.column)]),
        spec.description,
        spec.synonyms,
        typed,
        typed.startswith(("DATE", "TIMESTAMP")),
    )


def _spec(found: Place, model: Model) -> Described:
    mart = model.content.marts[found.mart]
    return mart.dimensions.get(found.column) or mart.columns.get(found.column) or Described()
