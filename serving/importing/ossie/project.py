"""An Apache Ossie document as a draft of a content folder."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from serving.content.model import Column, ProjectSpec, Source
from serving.content.semantics import Dimension, Join, Measure, Rollup
from serving.errors import SluiceError
from serving.importing.expressions import plain_column, quoted, row_expression
from serving.importing.findings import Finding, NotCarried
from serving.importing.names import free_name, renamed, sluice_name, source_name
from serving.importing.ossie.document import (
    VENDOR,
    Dataset,
    FieldSpec,
    Relationship,
    SemanticModel,
    Thing,
    read_document,
)
from serving.importing.ossie.metrics import Metrics, Read
from serving.importing.ossie.sql import digest
from serving.importing.ossie.texts import duckdb_text
from serving.importing.place import Place
from serving.importing.sketch import Draft, Sketch

_TEMPORAL = ("Date", "DateTime", "DateTimeTz")


def import_ossie(path: Path, place: Place) -> Draft:
    """The marts over the tables that the document's datasets stand for.

    Raises SluiceError where the file is no Ossie document, or no dataset of it can become a mart.
    """
    models, form = read_document(path)
    return ossie_draft(models, form, place)


def ossie_draft(models: tuple[SemanticModel, ...], form: str, place: Place) -> Draft:
    """The same of models that were read."""
    findings: list[Finding] = []
    sources: list[Source] = []
    reads: dict[str, Read] = {}
    try:
        for model in models:
            findings += _aside(model)
            for dataset in model.datasets:
                findings += _dataset(dataset, place, sources, reads)
        for model in models:
            for relationship in model.relationships:
                findings += _relationship(relationship, reads)
            metrics = Metrics(reads)
            metrics.add_all(model.metrics)
            findings += metrics.findings
    except ValidationError as error:
        words = f"a {VENDOR} extension does not fit: {error.errors(include_url=False)[0]['msg']}"
        raise SluiceError(words, hint="export the model again, or remove the extension") from error
    if not reads:
        raise SluiceError("no dataset can become a mart", hint="; ".join(each.words for each in findings[:2]))
    for read in reads.values():
        findings += read.sketch.settle_words()
    own = {key: value for key, value in models[0].own().items() if key in ("timezone", "week_starts")}
    return Draft(
        origin=f"the Ossie model {', '.join(model.name for model in models)} ({form})",
        project=ProjectSpec.model_validate({"name": models[0].name, **own}),
        sources=tuple(sources),
        marts=tuple(read.sketch.draft() for read in reads.values()),
        findings=tuple(dict.fromkeys(findings)),
    )


def _aside(model: SemanticModel) -> Iterator[Finding]:
    """Everything in the document that nothing here has a place for."""
    for where in model.strange(model.name):
        yield Finding("left", where, "is no key of Ossie 0.2")
    if model.description:
        yield Finding("left", f"description of model {model.name}", "projects have none")
    parts: list[tuple[str, Thing]] = [(f"model {model.name}", model)]
    parts += [(f"dataset {each.name}", each) for each in model.datasets]
    parts += [(f"field {each.name}.{f.name}", f) for each in model.datasets for f in each.fields_]
    parts += [(f"relationship {each.name}", each) for each in model.relationships]
    parts += [(f"metric {each.name}", each) for each in model.metrics]
    for what, part in parts:
        context = part.ai_context
        for key in ("instructions", "examples", *(context.model_extra or {})):
            if getattr(context, key, None):
                yield Finding("left", f"ai_context {key} of {what}", "has no place here; synonyms have")
        for extension in part.custom_extensions:
            if extension.vendor_name.upper() != VENDOR:
                words = f"is for {extension.vendor_name} only"
                yield Finding("left", f"extension {extension.vendor_name} of {what}", words)
    for relationship in model.relationships:
        if relationship.ai_context.synonyms:
            yield Finding("left", f"synonyms of relationship {relationship.name}", "joins have none")


def _dataset(
    dataset: Dataset, place: Place, sources: list[Source], reads: dict[str, Read]
) -> Iterator[Finding]:
    what = f"dataset {dataset.name}"
    try:
        where = _where(dataset, place)
    except NotCarried as reason:
        yield Finding("left", what, str(reason))
        return
    taken = {source.name for source in sources} | {read.sketch.name for read in reads.values()}
    mart = free_name(sluice_name(dataset.name), taken)
    yield from renamed(what, dataset.name, mart)
    source = Source(name=source_name(mart, {*taken, mart}), **where)
    sources.append(source)
    words = dataset.ai_context.synonyms
    sketch = Sketch(mart, source.name, description=dataset.description, synonyms=words)
    texts: dict[str, str] = {}
    sketch.expect(_readable(dataset), [field.name for field in dataset.fields_])
    for field in dataset.fields_:
        try:
            yield from _field(field, dataset, sketch, texts)
        except NotCarried as reason:
            yield Finding("left", f"field {dataset.name}.{field.name}", str(reason))
    reads[dataset.name.lower()] = Read(sketch, texts)
    own = dataset.own()
    try:
        sketch.grain = tuple(_column(name, sketch, texts) for name in dataset.primary_key)
        for key in dataset.unique_keys if not own else ():
            _unique(tuple(_column(name, sketch, texts) for name in key), sketch)
    except NotCarried as reason:
        yield Finding("left", f"keys of {what}", str(reason))
    if own:
        _put_back(own, sketch)
        return
    yield from _time(dataset, sketch, texts)
    yield from sketch.settle_time()


def _where(dataset: Dataset, place: Place) -> dict[str, str]:
    """Path and table of what the dataset stands for."""
    parts = [part.strip('"`[]') for part in dataset.source.split(".")]
    if any(" " in part or not part for part in parts) or len(parts) > 3:
        raise NotCarried("its source is a query, or no name of a table: make it a table")
    found = place.source(parts[-1], parts[-2] if len(parts) > 1 else "")
    if found is None:
        raise NotCarried(f"there is no {parts[-1]}.parquet in the folder of --parquet")
    return found


def _field(field: FieldSpec, dataset: Dataset, sketch: Sketch, texts: dict[str, str]) -> Iterator[Finding]:
    """A field as words about a column, or as a computed dimension."""
    what = f"field {dataset.name}.{field.name}"
    text = duckdb_text(field.expression)
    own = dict(field.own())
    words = {
        "label": field.label,
        "description": field.description,
        "synonyms": field.ai_context.synonyms,
        "format": own.get("format", ""),
    }
    if "expr" in own:
        if digest(text) == own["of"]:
            texts[field.name.lower()] = str(own["expr"])
            sketch.dimensions[field.name] = Dimension.model_validate({**words, "expr": own["expr"]})
            return
        yield Finding("changed", what, "was edited since its export: its expression counts")
    elif own:
        name = sketch.known(plain_column(text) or field.name)
        texts[field.name.lower()] = quoted(name)
        rest = {key: own[key] for key in ("tags", "tests") if key in own}
        sketch.columns[name] = Column.model_validate({**words, **rest})
        return
    text = row_expression(_unqualified(text, dataset.name))
    texts[field.name.lower()] = text
    yield from sketch.dimension(what, field.name, text, Dimension.model_validate({**words, "expr": text}))


def _readable(dataset: Dataset) -> Iterator[str]:
    """The expressions that are read as they stand."""
    for field in dataset.fields_:
        if "expr" not in field.own():
            try:
                yield row_expression(_unqualified(duckdb_text(field.expression), dataset.name))
            except NotCarried:
                continue  # said with the field


def _unqualified(text: str, dataset: str) -> str:
    """`orders.amount` in a field of orders is `amount`."""
    head, dot, rest = text.partition(".")
    plain = head.strip().lower() == dataset.lower() and dot and plain_column(rest) is not None
    return rest.strip() if plain else text


def _put_back(own: Mapping[str, Any], sketch: Sketch) -> None:
    """What an export put aside of the mart itself."""
    made = sketch.draft().mart
    keys = ("label", "owner", "time", "hierarchies", "rollups", "tests", "freshness", "visible")
    full = type(made).model_validate(
        {**made.model_dump(by_alias=True), **{key: own[key] for key in keys if key in own}}
    )
    sketch.label, sketch.owner, sketch.time = full.label, full.owner, full.time
    sketch.hierarchies, sketch.tests = dict(full.hierarchies), list(full.tests)
    sketch.rollups = {name: Rollup.model_validate(rollup) for name, rollup in full.rollups.items()}
    sketch.freshness, sketch.visible = full.freshness, full.visible
    for name, measure in own.get("measures", {}).items():
        sketch.measures[name] = Measure.model_validate(measure)


def _column(name: str, sketch: Sketch, texts: Mapping[str, str]) -> str:
    """The column that a key names: by its field, or itself."""
    return sketch.column_of(texts.get(name.lower(), quoted(name)), sluice_name(name))


def _unique(key: tuple[str, ...], sketch: Sketch) -> None:
    if not key or set(key) == set(sketch.grain):
        return
    if len(key) == 1:
        sketch.test(key[0], "unique")
        return
    keys = ", ".join(quoted(name) for name in key)
    there = " and ".join(f"{quoted(name)} is not null" for name in key)
    sketch.tests.append(f"select {keys} from {sketch.name} where {there} group by all having count(*) > 1")


def _time(dataset: Dataset, sketch: Sketch, texts: Mapping[str, str]) -> Iterator[Finding]:
    """The mart's time, where one field only can be it."""
    marked = [
        field
        for field in dataset.fields_
        if field.name.lower() in texts and plain_column(texts[field.name.lower()])
        if not (field.dimension is not None and field.dimension.is_time is False)
    ]
    typed = [field for field in marked if field.datatype in _TEMPORAL]
    said = [field for field in marked if field.dimension and field.dimension.is_time and not field.datatype]
    found = typed or said
    if len(found) == 1:
        sketch.time = sketch.known(plain_column(texts[found[0].name.lower()]) or found[0].name)
    elif found:
        names = ", ".join(field.name for field in found)
        words = f"several fields are times ({names}): name one as 'time' of the mart"
        yield Finding("left", f"time of dataset {dataset.name}", words)


def _relationship(relationship: Relationship, reads: Mapping[str, Read]) -> Iterator[Finding]:
    what = f"relationship {relationship.name}"
    here, there = reads.get(relationship.from_.lower()), reads.get(relationship.to.lower())
    if here is None or there is None:
        yield Finding("left", what, "one of its datasets is not imported")
        return
    if here is there:
        yield Finding("left", what, "joins a dataset to itself: add the column in the mart's SQL")
        return
    if len(relationship.from_columns) != len(relationship.to_columns):
        yield Finding("left", what, "has more columns on one side than on the other")
        return
    try:
        pairs = {
            _column(mine, here.sketch, here.texts): _column(yours, there.sketch, there.texts)
            for mine, yours in zip(relationship.from_columns, relationship.to_columns, strict=True)
        }
    except NotCarried as reason:
        yield Finding("left", what, str(reason))
        return
    own = relationship.own()
    sketch, mart = here.sketch, there.sketch.name
    join = Join.model_validate(
        {"mart": mart, "on": pairs, **{key: own[key] for key in ("kind", "description") if key in own}}
    )
    taken = sketch.taken()
    wanted = str(own.get("join", mart))
    name = wanted if wanted not in taken else free_name(sluice_name(relationship.name), taken)
    sketch.joins[name] = join
