"""What one person may see of a world: rows as plain dicts, each with what it is joined to."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import duckdb

from serving.semantic.asking.request import Axis
from tests.property.metrics.calendar_days import bucket, day_of
from tests.property.metrics.world import COMPUTED, READS, Person, World, visible_copy

Row = dict[str, object]


@dataclass(frozen=True)
class Sight:
    """A person's rows of every mart, by position; keys are `kind`, `buyer.segment`, `buyer.area.tier`."""

    world: World
    person: Person

    @cached_property
    def copy(self) -> duckdb.DuckDBPyConnection:
        """Plain tables with these rows; `rid` is the position."""
        return visible_copy(self.world, self.person)

    @cached_property
    def rows(self) -> dict[str, list[Row]]:
        """Every mart's rows, with their partners' columns."""
        plain = {name: self._plain(name) for name in self.world.marts}
        return {name: [dict(self._joined(plain, name, row)) for row in rows] for name, rows in plain.items()}

    @cached_property
    def kinds(self) -> dict[str, dict[str, str]]:
        """Mart -> what its rows can be asked by -> type."""
        return {name: dict(self._kinds(name)) for name in self.world.marts}

    def key(self, fact: str, axis: Axis) -> str | None:
        """What an axis is called in the rows of a mart; None where it has no such thing."""
        path = axis.path[1:] if axis.path and axis.path[0] == fact else axis.path
        name = axis.name
        if name == "time" and not path:
            name = self.world.marts[fact].time or name
        key = ".".join((*path, name))
        return key if key in self.kinds[fact] else None

    def value(self, fact: str, row: Row, axis: Axis) -> object:
        """What a row has there: the value, or its bucket."""
        found = row[self.key(fact, axis) or ""]
        if axis.grain is None or found is None:
            return found
        return bucket(found, axis.grain, self.world.week_starts, self.world.zone)

    def newest(self, fact: str, axis: Axis) -> date | None:
        """The last day with data."""
        values = [row[self.key(fact, axis) or ""] for row in self.rows[fact]]
        days = [day_of(value, self.world.zone) for value in values if value is not None]  # type: ignore[arg-type]
        return max(days, default=None)

    def _plain(self, name: str) -> list[Row]:
        found: list[Row] = self.copy.sql(f'SELECT * FROM "{name}" ORDER BY rid').to_arrow_table().to_pylist()
        for computed in self.world.marts[name].computed:
            if computed in dict(self._own_kinds(name)):
                text = COMPUTED[computed][0]
                values = self.copy.sql(f'SELECT ({text}\n) AS value FROM "{name}" ORDER BY rid').fetchall()
                for row, (value,) in zip(found, values, strict=True):
                    row[computed] = value
        return found

    def _joined(
        self, plain: dict[str, list[Row]], name: str, row: Row | None
    ) -> Iterator[tuple[str, object]]:
        mart = self.world.marts[name]
        yield from ((column, row[column] if row else None) for column, _ in self._own_kinds(name))
        for join in mart.joins:
            partner = next((r for r in plain[join.mart] if row and r["id"] == row[join.key]), None)
            for key, value in self._joined(plain, join.mart, partner):
                yield f"{join.name}.{key}", value

    def _own_kinds(self, name: str) -> Iterator[tuple[str, str]]:
        hidden = {column for mart, column in self.person.hidden if mart == name}
        for column, kind in self.world.marts[name].kinds.items():
            if column not in hidden and not READS.get(column, set()) & hidden:
                yield column, kind

    def _kinds(self, name: str) -> Iterator[tuple[str, str]]:
        yield from self._own_kinds(name)
        for join in self.world.marts[name].joins:
            for key, kind in self._kinds(join.mart):
                yield f"{join.name}.{key}", kind
