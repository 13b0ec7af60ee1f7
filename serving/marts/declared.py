"""The rollups of a mart's YAML as tables to be built."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serving.content.model import Mart
from serving.errors import BuildFailed
from serving.semantic.dimension import dimension_sql
from serving.semantic.leaves import Leaf, formula
from serving.syntax import folded

UNPUBLISHED = "nothing was published; the last version serves on"
_MANNER = "1"  # of building rollups: another one gives other files


@dataclass(frozen=True)
class DeclaredRollup:
    """A rollup as its table is to be: leaves by dimensions."""

    mart: str
    name: str
    at: str  # file:line
    dimensions: Mapping[str, str]  # key -> expression over the mart's columns
    leaves: Mapping[str, Leaf]  # column -> leaf
    measures: Mapping[str, tuple[str, ...]]  # column -> the measures that it is kept for

    @property
    def table(self) -> str:
        """Its table in the mart's file."""
        return f"{self.mart}:{self.name}"

    @property
    def kept(self) -> Mapping[str, str]:
        """Column -> the aggregate that it keeps, as SQL."""
        return {column: leaf.kept() for column, leaf in self.leaves.items()}


def declared_rollups(mart: Mart, week_starts: str) -> tuple[DeclaredRollup, ...]:
    """The rollups of a mart that was checked; raises BuildFailed where a dimension stands in one twice."""
    return tuple(_declared(mart, name, week_starts) for name in mart.rollups)


def rollups_digest(rollups: Sequence[DeclaredRollup]) -> str:
    """Changes whenever the tables of these rollups may, over the same rows of the mart; '' without any."""
    if not rollups:
        return ""
    parts = [_MANNER, *(repr((r.name, [*r.dimensions.items()], [*r.kept.items()])) for r in rollups)]
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=6).hexdigest()


def _declared(mart: Mart, name: str, week_starts: str) -> DeclaredRollup:
    spec, at = mart.rollups[name], mart.at("rollups", name)
    if len({folded(key) for key in spec.dimensions}) < len(spec.dimensions):
        raise BuildFailed(f"{at}: the rollup '{name}' names a dimension twice", hint="name it once")
    serves: dict[Leaf, list[str]] = {Leaf("count"): []}
    dimensions = {key: dimension_sql(mart, key, week_starts) for key in spec.dimensions}
    for measure in spec.measures:
        for leaf in formula(mart, measure.removeprefix("~"), measure.startswith("~")).leaves:
            serves.setdefault(leaf, []).append(measure)
    leaves = {leaf.column: leaf for leaf in serves}
    measures = {leaf.column: tuple(names) for leaf, names in serves.items()}
    return DeclaredRollup(mart.name, name, at, dimensions, leaves, measures)
