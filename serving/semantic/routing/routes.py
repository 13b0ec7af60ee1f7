"""What a block of aggregation needs, what rollups offer, and which of them answers it.

A block reads one mart (perhaps joined with others that repeat none of its rows) and aggregates it.
`Need` says what it reads; `Offer` what a rollup keeps, as this person may read it; `Route` which one
was taken and why the others were not; `Source` what the block's text says in either case.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from serving.semantic.leaves import Leaf


class Reason(StrEnum):
    """Why a rollup cannot answer a block. People read these: in the receipt, in `explain`, in the docs."""

    NOT_BUILT = "not_built"  # declared, but not in the version asked
    CHANGED = "changed"  # its definition changed since it was built
    MEASURE = "measure"  # it does not keep an aggregate that is asked for
    DIMENSION = "dimension"  # it does not keep a column that is grouped or filtered by
    GRAIN = "grain"  # its time buckets are coarser than what is asked, or cross them (week, month)
    DISTINCT = "distinct"  # exact distinct counts and quantiles: only at exactly its own dimensions
    RANGE = "range"  # the range cuts through its buckets, and the pieces cannot be put together
    EXPRESSION = "expression"  # the block computes something from single rows
    JOIN = "join"  # the block joins the mart in a way in which rows cannot be taken together
    POLICY = "policy"  # a row rule for this person reads a column that it does not keep
    MASK = "mask"  # a column that it was computed from is masked or hidden for this person
    AGGREGATES = "aggregates_only"  # the mart answers this person in aggregates only
    TIME_ZONE = "time_zone"  # instants are compared in a way that days of a time zone do not answer
    FLOAT = "float"  # sums of floating-point numbers depend on the order of rows
    NAME = "name"  # a name in the question hides it
    MORE_ROWS = "more_rows"  # another one answers from fewer rows


@dataclass(frozen=True)
class Miss:
    """A rollup passed over."""

    rollup: str
    reason: Reason
    words: str  # a sentence that names the column, measure or rule


@dataclass(frozen=True)
class Days:
    """Half-open range of days of a time column: start <= day < end."""

    column: str
    start: date | None = None
    end: date | None = None


@dataclass(frozen=True)
class Need:
    """What one block reads of a mart. Keys of dimensions are `region`, `basket`, `ordered_at.month`."""

    mart: str
    groups: tuple[str, ...]  # dimension keys it groups by
    leaves: tuple[Leaf, ...]
    filters: frozenset[str] = frozenset()  # dimension keys that conditions read
    columns: frozenset[str] = frozenset()  # plain columns that anything else reads (keys of joins)
    days: tuple[Days, ...] = ()
    whole: bool = True  # it groups by `groups` exactly once (no grouping sets, no join above it)


@dataclass(frozen=True)
class Kept:
    """A rollup as it was built into a mart's file: table `mart:name`."""

    mart: str
    name: str
    rows: int
    dimensions: Mapping[
        str, str
    ]  # key = column of the rollup -> expression over the mart's columns, as built
    leaves: Mapping[str, str]  # column of the rollup -> Leaf.kept(), as built
    types: Mapping[str, str]  # column -> DuckDB type
    timezone: str = "UTC"
    bytes: int = 0
    reconciled: tuple[str, ...] = ()  # sentences: what was compared with the mart, and was equal
    newest: Mapping[str, date] = field(default_factory=dict)  # time column -> its last day in the whole mart
    barred: Mapping[str, str] = field(default_factory=dict)  # column -> why the person asking may not have it

    @property
    def table(self) -> str:
        """Its name: no mart, column or CTE can be called so."""
        return f"{self.mart}:{self.name}"


@dataclass(frozen=True)
class Offer:
    """A rollup for one person: usable, or refused with the reason."""

    kept: Kept
    refused: Miss | None = None


@dataclass(frozen=True)
class Route:
    """Where a block's rows come from."""

    mart: str
    rollup: str | None = None  # None: the mart itself
    rows: int = 0  # that the rollup (or the mart) has
    split: bool = False  # whole buckets from the rollup, the edges of the range from the mart
    misses: tuple[Miss, ...] = ()


@dataclass(frozen=True)
class Source:
    """The texts of a block over its route; its alias is the mart's name in every case."""

    route: Route
    table: str  # what stands in FROM, alias included
    dimensions: Mapping[str, str]  # key -> expression over the source
    leaves: Mapping[Leaf, str]  # leaf -> aggregate over the source
    conditions: tuple[str, ...] = ()  # of the ranges of days; all must hold
    reads: tuple[str, ...] = field(default=())  # names that the text reads: mart, `mart:rollup`
