"""What a compiler of metric requests knows, and what it gives back."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from serving.content.model import Content
from serving.semantic.routes import Need, Route, Source

Sourcer = Callable[[Need], Source]
"""Chooses where a block's rows come from: the mart, or a rollup of it. Asked once per block."""


@dataclass(frozen=True)
class Model:
    """The definitions, and what one person may read of the marts they speak of."""

    content: Content
    readable: Mapping[str, Mapping[str, str]]  # visible, built mart -> column the person sees -> DuckDB type
    masked: Mapping[str, Collection[str]] = field(default_factory=dict)  # mart -> columns seen through a mask

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
