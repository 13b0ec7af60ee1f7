"""A metric request as typed values: which measures, by what, of which rows, compared with when.

One vocabulary for Python, the command line, REST, dashboards and the explorer; `words.py` reads it
from texts and mappings. Names mean, everywhere:

- metric `orders.revenue`; `~orders.buyers` asks for an estimate (≈)
- dimension `region` (of every mart asked), `orders.region`, `customers.segment` (through joins, by the
  name of the join), `time` (each mart's own time column); with a grain: `ordered_at.month`, `time.week`
"""

from dataclasses import dataclass
from typing import Literal

from serving.content.semantics import Grain
from serving.content.spec import Scalar

Op = Literal["=", "!=", "<", "<=", ">", ">=", "in", "not in", "is null", "is not null", "contains"]


@dataclass(frozen=True)
class Metric:
    """A measure of a mart; `approximate`: its distinct counts and quantiles may be estimated."""

    mart: str
    measure: str
    approximate: bool = False

    def __str__(self) -> str:
        return f"{'~' if self.approximate else ''}{self.mart}.{self.measure}"


@dataclass(frozen=True)
class Axis:
    """A dimension as people write it: `path` are names of joins (or a mart), before the name."""

    name: str  # column, computed dimension, or `time`
    grain: Grain | None = None
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ".".join((*self.path, self.name, *((self.grain,) if self.grain else ())))

    @property
    def header(self) -> str:
        """The column of the answer: `ordered_at.month` -> `ordered_at_month`."""
        return str(self).replace(".", "_")


@dataclass(frozen=True)
class Filter:
    """Rows of which the dimension (without grain: its value; with one: its bucket) compares so."""

    axis: Axis
    op: Op
    values: tuple[Scalar | None, ...] = ()  # one; for `in`, `not in` several, maybe None; for `is null` none


@dataclass(frozen=True)
class Span:
    """Rows within a range of days of a time dimension, in words: 'last 12 months', 'this year',
    '2026-01-01..2026-03-31' (see time.py). Days are the project's time zone's."""

    axis: Axis  # without grain
    words: str


@dataclass(frozen=True)
class Having:
    """Groups of which the metric compares so."""

    metric: Metric
    op: Literal["=", "!=", "<", "<=", ">", ">="]
    value: int | float


@dataclass(frozen=True)
class Compare:
    """The same request earlier: one whole range back, a year back, or `count` x `grain` back."""

    to: Literal["previous period", "previous year", "offset"]
    count: int = 1
    grain: Grain = "day"

    def __str__(self) -> str:
        return self.to if self.to != "offset" else f"{self.count} {self.grain}s earlier"


@dataclass(frozen=True)
class Top:
    """The `count` values of a dimension with the largest `metric`; `other` gathers the rest in one row."""

    axis: Axis
    count: int
    metric: Metric | None = None  # default: the first one
    other: bool = False


@dataclass(frozen=True)
class Order:
    """Sort by a column of the answer (its header)."""

    header: str
    descending: bool = False


@dataclass(frozen=True)
class MetricRequest:
    """Metrics of one mart or several, by shared dimensions.

    The answer has one column per axis, then one per metric (named by its measure; by mart_measure where
    two metrics share that), with `compare` also `<metric>_before`, `<metric>_change` and
    `<metric>_change_rate`; and, where `totals` or a `top` with `other` add rows of another kind, a last
    column `row_kind`: 'group', 'other', 'subtotal' or 'total'. NULLs of a dimension are a group.
    """

    metrics: tuple[Metric, ...]
    by: tuple[Axis, ...] = ()
    filters: tuple[Filter, ...] = ()
    spans: tuple[Span, ...] = ()
    having: tuple[Having, ...] = ()
    compare: Compare | None = None
    top: Top | None = None
    totals: tuple[tuple[Axis, ...], ...] = ()  # what each total keeps of `by`; ((),) is the grand total
    fill: bool = False  # a row for each bucket of a bounded span
    order: tuple[Order, ...] = ()  # default: by the axes
    limit: int | None = None
