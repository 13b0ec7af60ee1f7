"""A range of days over buckets of time: the whole buckets inside it, and the edges that are left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal, cast

from serving.content.semantics import Grain
from serving.semantic.asking.time import add_months, floor
from serving.semantic.dimension import quoted, split_grain
from serving.semantic.routing.routes import Days

_MONTHS = {"month": 1, "quarter": 3, "year": 12}


@dataclass(frozen=True)
class Stretch:
    """A range of days of the mart as a rollup's column tells it.

    `inside` are the whole buckets; `edges` the parts of the range that lie in buckets cut by it.
    """

    days: Days
    key: str
    kind: str  # the column's type
    inside: Days
    edges: tuple[Days, ...] = ()

    @property
    def grain(self) -> Grain:
        """What its buckets are."""
        return split_grain(self.key)[1] or "day"

    def conditions(self, table: str = "") -> list[str]:
        """The whole buckets as conditions on the rollup's column; `table` qualifies it."""
        column = f"{quoted(table)}.{quoted(self.key)}" if table else quoted(self.key)
        if "TIME ZONE" in self.kind:  # an hour may come twice: only the day itself says on which side it is
            column = f"CAST({column} AS DATE)"
        found = []
        if self.inside.start is not None:
            found.append(f"{column} >= DATE '{self.inside.start}'")
        if self.inside.end is not None:
            found.append(f"{column} < DATE '{self.inside.end}'")
        return found

    @property
    def edge_days(self) -> int:
        """How many days lie at its edges."""
        return sum((edge.end - edge.start).days for edge in self.edges if edge.start and edge.end)


def best_stretch(
    days: Days, keys: Sequence[str], types: Mapping[str, str], week_starts: str
) -> Stretch | None:
    """The range by that of the columns which leaves the fewest days at its edges; None: no whole bucket."""
    found = [stretch(days, key, types[key], week_starts) for key in keys]
    whole = [each for each in found if each is not None]
    return min(whole, key=lambda each: each.edge_days, default=None)


def stretch(days: Days, key: str, kind: str, week_starts: str) -> Stretch | None:
    """The range by one column of buckets; None where no whole bucket lies within it."""
    grain = split_grain(key)[1]
    if grain in (None, "hour", "day"):
        return Stretch(days, key, kind, days)
    starts = cast(Literal["monday", "sunday"], week_starts)
    try:
        first = None if days.start is None else _ceiling(days.start, grain, starts)
        last = None if days.end is None else floor(days.end, grain, starts)
    except (ValueError, OverflowError):  # the calendar ends within the bucket
        return None
    inside = Days(days.column, first, last)
    edges = []
    if first is not None and first != days.start:
        edges.append(Days(days.column, days.start, first))
    if last is not None and last != days.end:
        edges.append(Days(days.column, last, days.end))
    if edges and first is not None and last is not None and first >= last:
        return None
    return Stretch(days, key, kind, inside, tuple(edges))


def _ceiling(day: date, grain: Grain, week_starts: Literal["monday", "sunday"]) -> date:
    start = floor(day, grain, week_starts)
    if start == day:
        return day
    return start + timedelta(days=7) if grain == "week" else add_months(start, _MONTHS[grain])
