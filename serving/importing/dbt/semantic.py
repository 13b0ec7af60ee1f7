"""MetricFlow's semantic models: times, dimensions and entities, as what a mart says of itself."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from serving.content.semantics import Dimension, Join
from serving.importing.dbt.metricflow import DbtDimension, Entity, SemanticModel
from serving.importing.expressions import plain_column, row_expression
from serving.importing.findings import Finding, NotCarried
from serving.importing.names import free_name, renamed, sluice_name
from serving.importing.sketch import Sketch
from serving.semantic.dimension import GRAINS

_UNIQUE = ("primary", "unique")


@dataclass(frozen=True)
class Modelled:
    """A semantic model whose relation is a mart."""

    spec: SemanticModel
    sketch: Sketch
    read: str  # the dialect of its SQL

    def dimension(self, name: str) -> DbtDimension | None:
        """Its dimension of that name."""
        return next((each for each in self.spec.dimensions if each.name.lower() == name.lower()), None)

    def time(self, name: str) -> str:
        """The column that a time dimension is; raises NotCarried where there is none."""
        found = self.dimension(name)
        if found is None:
            raise NotCarried(f"its time dimension '{name}' is not in semantic model {self.spec.name}")
        return self.sketch.column_of(row_expression(found.text, self.read), sluice_name(found.name))


def add_meaning(model: Modelled) -> Iterator[Finding]:
    """Description, time, dimensions and grain of the mart."""
    spec, sketch = model.spec, model.sketch
    sketch.label = sketch.label or spec.label
    sketch.description = sketch.description or " ".join(spec.description.split())
    if spec.defaults.agg_time_dimension:
        try:
            sketch.time = sketch.time or model.time(spec.defaults.agg_time_dimension)
        except NotCarried as reason:
            yield Finding("left", f"agg_time_dimension of semantic model {spec.name}", str(reason))
    texts = [dimension.text for dimension in spec.dimensions] + [entity.text for entity in spec.entities]
    texts += [measure.expr for measure in spec.measures if measure.expr]
    sketch.expect(_readable(texts, model.read), [dimension.name for dimension in spec.dimensions])
    for dimension in spec.dimensions:
        what = f"dimension {spec.name}.{dimension.name}"
        try:
            yield from _dimension(model, what, dimension)
        except NotCarried as reason:
            yield Finding("left", what, str(reason))
    for entity in spec.entities:
        if entity.type == "primary" and not sketch.grain:
            column = plain_column(entity.text)
            sketch.grain = (sketch.known(column),) if column else ()


def _readable(texts: list[str], read: str) -> Iterator[str]:
    for text in texts:
        try:
            yield row_expression(text, read)
        except NotCarried:
            continue  # said where the text stands


def _dimension(model: Modelled, what: str, dimension: DbtDimension) -> Iterator[Finding]:
    if dimension.type not in ("categorical", "time"):
        raise NotCarried(f"is of type {dimension.type}, which is not known here")
    if sluice_name(dimension.name) in model.sketch.added:
        return  # a column of the mart's SQL by now
    about = Dimension(expr="_", label=dimension.label, description=" ".join(dimension.description.split()))
    text = row_expression(dimension.text, model.read)
    yield from model.sketch.dimension(what, dimension.name, text, about)
    if any(dimension.type_params.validity_params.values()):
        yield Finding("left", f"validity of {what}", "joins are by equal columns, not by what was valid when")
    grain = dimension.type_params.time_granularity
    if dimension.type == "time" and grain != "day":
        words = f"is of {grain}s in dbt; here its grain is that of a request: {dimension.name}.{grain}"
        if grain not in GRAINS:
            words = f"is cut to {grain}s in dbt; here it is the column as it is"
        yield Finding("changed", what, words)


def add_joins(models: Mapping[str, Modelled]) -> Iterator[Finding]:
    """A join for each entity that is the key of another mart."""
    for model in models.values():
        for entity in model.spec.entities:
            if entity.type == "natural":
                words = "is a natural key: not unique, so nothing can be joined by it"
                yield Finding("left", f"entity {model.spec.name}.{entity.name}", words)
            elif entity.type in ("foreign", *_UNIQUE):
                yield from _joins(model, entity, models)
            else:
                words = f"is of type {entity.type}, which is not known here"
                yield Finding("left", f"entity {model.spec.name}.{entity.name}", words)


def _joins(model: Modelled, entity: Entity, models: Mapping[str, Modelled]) -> Iterator[Finding]:
    found = False
    for other in models.values():
        key = next((each for each in other.spec.entities if each.name == entity.name), None)
        if key is None or key.type not in _UNIQUE or other.sketch is model.sketch:
            continue
        found = True
        what = f"entity {model.spec.name}.{entity.name}"
        try:
            yield from _join(what, model, entity, other, key)
        except NotCarried as reason:
            yield Finding("left", what, str(reason))
    if not found and entity.type == "foreign":
        what = f"entity {model.spec.name}.{entity.name}"
        yield Finding("left", what, "is the key of no mart that is imported: no join")


def _join(what: str, model: Modelled, entity: Entity, other: Modelled, key: Entity) -> Iterator[Finding]:
    here = model.sketch.column_of(row_expression(entity.text, model.read), sluice_name(entity.name))
    there = other.sketch.column_of(row_expression(key.text, other.read), sluice_name(key.name))
    sketch, mart = model.sketch, other.sketch.name
    same = Join(
        mart=mart,
        on={here: there},
        kind="many_to_one" if entity.type == "foreign" else "one_to_one",
        description=" ".join(entity.description.split()),
    )
    if any(join.mart == mart and dict(join.on) == {here: there} for join in sketch.joins.values()):
        return
    taken = sketch.taken()
    name = mart if mart not in taken else free_name(f"{sluice_name(entity.name)}_{mart}"[:63], taken)
    yield from renamed(f"{what}: the join to {mart}", mart, name)
    sketch.joins[name] = same
