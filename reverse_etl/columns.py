"""The source's columns, as a sync's file may name them."""

import difflib
from dataclasses import dataclass

import pyarrow as pa
from sqlglot import exp

from reverse_etl.errors import MappingInvalid
from reverse_etl.wire import plain_type, sendable
from serving.content.sync import Sync


@dataclass(frozen=True)
class Found:
    """A column of the source: the expression that reads it, its type and its place."""

    expr: exp.Expr
    kind: pa.DataType
    index: int

    @property
    def moment(self) -> bool:
        """Dates, times and timestamps."""
        plain = plain_type(self.kind)
        return bool(pa.types.is_temporal(plain))


@dataclass(frozen=True)
class Columns:
    """Finds columns by the names that a sync uses."""

    sync: Sync
    schema: pa.Schema

    def short(self, name: str) -> bool:
        """Whether the field is written as `field: column`, without keys of its own."""
        return self.sync.fields[name].model_fields_set == {"column"}

    def find(self, name: str, *path: str) -> Found:
        """The column; refused with the nearest name where there is none."""
        names = self.schema.names
        found = [i for i, known in enumerate(names) if known == name] or [
            i for i, known in enumerate(names) if known.lower() == name.lower()
        ]
        at = self.sync.at(*path)
        if not found:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the source has {', '.join(names)}"
            raise MappingInvalid(f"{at}: the source has no column {name!r}", hint=hint)
        if len(found) > 1:
            raise MappingInvalid(
                f"{at}: the source has {len(found)} columns {name!r}", hint="give each a name of its own"
            )
        kind = self.schema.field(found[0]).type
        if not sendable(kind):
            raise MappingInvalid(
                f"{at}: column {name!r} is {kind} and has no JSON form",
                hint="encode it in the mart, for example with base64() or hex()",
            )
        return Found(exp.column(f"c{found[0]}"), kind, found[0])
