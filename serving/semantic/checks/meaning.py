"""What a mart's YAML says about meaning, as one reader may see it: hidden columns have no name in it."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from serving.content.model import Content, Mart
from serving.semantic.checks.definition import definition, estimable, made_of, texts
from serving.semantic.routing.routes import Kept

Hidden = Mapping[str, Collection[str]]  # mart that the reader may read -> its columns that they may not


@dataclass(frozen=True)
class DimensionEntry:
    """A computed dimension."""

    name: str
    label: str
    description: str
    synonyms: tuple[str, ...]
    expr: str


@dataclass(frozen=True)
class MeasureEntry:
    """A measure; `estimate` is what to ask for where an estimate will do, empty where it is exact only."""

    name: str
    label: str
    description: str
    synonyms: tuple[str, ...]
    format: str
    computed: str  # "sum(amount) where paid"
    estimate: str


@dataclass(frozen=True)
class JoinEntry:
    """A way to the dimensions of another mart."""

    name: str
    mart: str
    on: Mapping[str, str]  # column here -> column there
    kind: str
    description: str


@dataclass(frozen=True)
class RollupEntry:
    """A rollup; `rows` is None where it is not built, or the reader sees a part of the mart's rows."""

    name: str
    description: str
    dimensions: tuple[str, ...]
    measures: tuple[str, ...]
    built: bool
    rows: int | None
    reconciled: tuple[str, ...]  # what was compared with the mart; only for who sees all of it


@dataclass(frozen=True)
class Meaning:
    """All of it, of one mart."""

    time: str | None
    dimensions: tuple[DimensionEntry, ...]
    measures: tuple[MeasureEntry, ...]
    joins: tuple[JoinEntry, ...]
    hierarchies: Mapping[str, tuple[str, ...]]  # from the whole to the part
    rollups: tuple[RollupEntry, ...]


def meaning(content: Content, name: str, hidden: Hidden, kept: Collection[Kept], *, whole: bool) -> Meaning:
    """What the reader may know; `whole`: they see every row and value, so totals tell them nothing new."""
    mart = content.marts[name]
    mine = hidden.get(name, ())
    measures = tuple(
        MeasureEntry(
            key,
            spec.title(key),
            spec.description,
            spec.synonyms,
            spec.format,
            definition(spec),
            f"~{name}.{key}" if estimable(content, mart, key) else "",
        )
        for key, spec in mart.measures.items()
        if _readable(content, mart, key, hidden)
    )
    dimensions = tuple(
        DimensionEntry(key, spec.title(key), spec.description, spec.synonyms, spec.expr)
        for key, spec in mart.dimensions.items()
        if not says(spec.expr, mine)
    )
    gone = {*mine, *(mart.dimensions.keys() - {entry.name for entry in dimensions})}
    return Meaning(
        mart.time if mart.time not in gone else None,
        dimensions,
        measures,
        tuple(_joins(mart, hidden)),
        dict(_hierarchies(mart, gone)),
        tuple(_rollups(mart, gone, {entry.name for entry in measures}, kept, whole=whole)),
    )


def says(text: str, names: Collection[str]) -> bool:
    """Whether a text speaks of one of the names, in any case: SQL reads `Salary` and `salary` alike."""
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) for name in names)


def _readable(content: Content, mart: Mart, name: str, hidden: Hidden) -> bool:
    """Whether nothing behind the measure is hidden, in this mart or in another."""
    return all(
        there.name in hidden and not any(says(text, hidden[there.name]) for text in texts(there, spec))
        for there, spec in made_of(content, mart, name)
    )


def _joins(mart: Mart, hidden: Hidden) -> Iterator[JoinEntry]:
    for name, join in mart.joins.items():
        here, there = hidden.get(mart.name, ()), hidden.get(join.mart)
        if there is None or not {*here}.isdisjoint(join.on) or not {*there}.isdisjoint(join.on.values()):
            continue
        yield JoinEntry(name, join.mart, dict(join.on), join.kind, join.description)


def _hierarchies(mart: Mart, gone: Collection[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, levels in mart.hierarchies.items():
        left = tuple(level for level in levels if level.partition(".")[0] not in gone)
        if len(left) > 1:
            yield name, left


def _rollups(
    mart: Mart, gone: Collection[str], measures: Collection[str], kept: Collection[Kept], *, whole: bool
) -> Iterator[RollupEntry]:
    built = {each.name: each for each in kept}
    for name, rollup in mart.rollups.items():
        if not {key.partition(".")[0] for key in rollup.dimensions}.isdisjoint(gone):
            continue
        found = built.get(name)
        yield RollupEntry(
            name,
            rollup.description,
            rollup.dimensions,
            tuple(word for word in rollup.measures if word.removeprefix("~") in measures),
            found is not None,
            found.rows if found is not None and whole else None,
            found.reconciled if found is not None and whole else (),
        )
