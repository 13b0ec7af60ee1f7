"""What a compiler of metric requests knows, and what it gives back."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from serving.content.model import Content
from serving.semantic.routing.routes import Need, Route, Source

Sourcer = Callable[[Need], Source]
"""Chooses where a block's rows come from: the mart, or a rollup of it. Asked once per block."""


@dataclass(frozen=True)
class Claim:
    """What a data test says of a mart's rows: no two agree in all columns, or none lacks one of them."""

    mart: str
    columns: frozenset[str]
    kind: Literal["unique", "not_null"]


@dataclass(frozen=True)
class Model:
    """The definitions, and what one person may read of the marts they speak of."""

    content: Content
    readable: Mapping[str, Mapping[str, str]]  # visible, built mart -> column the person sees -> DuckDB type
    masked: Mapping[str, Collection[str]] = field(default_factory=dict)  # mart -> columns seen through a mask
    proven: Collection[Claim] | None = None  # by green tests of the version asked; None: all that is declared

    def unique(self, mart: str, columns: Collection[str]) -> bool:
        """Whether it is tested that no two rows of the mart agree in all of the columns."""
        claims = self.proven
        return claims is None or any(
            claim.kind == "unique" and claim.mart == mart and claim.columns <= set(columns)
            for claim in claims
        )

    def never_null(self, mart: str, column: str) -> bool:
        """Whether it is tested that every row of the mart has the column."""
        claims = self.proven
        return claims is None or any(
            claim.kind == "not_null" and claim.mart == mart and column in claim.columns for claim in claims
        )

    @property
    def week_starts(self) -> str:
        """The project's first day of the week."""
        return self.content.project.week_starts


@dataclass(frozen=True)
class Compiled:
    """A metric request as SQL over marts and rollups, both by the names that the door binds."""

    sql: str
    routes: tuple[Route, ...]  # one per block, in the order of the text
    reads: frozenset[str]  # names that the text reads: marts, and `mart:rollup`
    approximate: tuple[str, ...] = ()  # headers of columns that are estimates (≈)
