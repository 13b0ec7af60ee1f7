"""Rollups that could answer blocks of the log: sets of dimensions, alone and in pairs, chosen greedily."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from serving.content.semantics import Grain
from serving.semantic.dimension import COARSER, GRAINS, split_grain
from serving.semantic.routing.routes import Days, Need

Dimensions = tuple[str, ...]
CLOSEST = 24  # sets of dimensions of a mart that are looked at, and as many put together from two
WORTH = 0.01  # of all rows read: a rollup that saves less is not worth its file
SMALLER = 0.2  # of the mart's rows: a rollup with more of them is not worth its file


@dataclass(frozen=True)
class Want:
    """The same need of one person's questions, and how many rows it reads today."""

    need: Need
    user: str
    times: int
    rows: int


Serves = Callable[[Dimensions, Want], bool]


def dimensions_for(need: Need, compared: Iterable[str]) -> Dimensions:
    """What a rollup keeps at least to answer it; `compared` are the columns of the asker's row rules."""
    keys = {*need.groups, *need.filters, *need.columns, *compared}
    return together([*keys, *(f"{days.column}.{_grain(days)}" for days in need.days)])


def together(keys: Iterable[str]) -> Dimensions:
    """The keys with one grain of each time, from which all that are asked follow; times first."""
    grains: dict[str, set[Grain]] = {}
    plain: set[str] = set()
    for key in keys:
        name, grain = split_grain(key)
        if grain is None:
            plain.add(name)
        else:
            grains.setdefault(name, set()).add(grain)
    times = [f"{name}.{_finest(asked)}" for name, asked in grains.items() if name not in plain]
    return (*sorted(times), *sorted(plain))


def candidates(closures: Mapping[Dimensions, int]) -> tuple[list[Dimensions], list[Dimensions]]:
    """The heaviest sets of dimensions, and what pairs of them make; values are rows read for each set."""
    alone = sorted(closures, key=lambda dims: (-closures[dims], dims))[:CLOSEST]
    pairs = {together((*a, *b)): closures[a] + closures[b] for a, b in combinations(alone, 2)}
    new = [dims for dims in sorted(pairs, key=lambda dims: (-pairs[dims], dims)) if dims not in alone]
    return alone, new[:CLOSEST]


def choose_greedily(
    wants: Sequence[Want], sizes: Mapping[Dimensions, int], serves: Serves, most: int
) -> list[Dimensions]:
    """One after the other, each the one that saves the most rows beside those before it.

    `sizes` are the rows of each candidate. A coarser need is served by a finer candidate, so one that was
    put together may win over both of its parts.
    """
    served = {dims: [want for want in wants if serves(dims, want)] for dims in sizes}
    reading = {want: want.rows for want in wants}
    enough = WORTH * sum(want.times * want.rows for want in wants)
    chosen: list[Dimensions] = []

    def saved(dims: Dimensions) -> int:
        return sum(want.times * max(0, reading[want] - sizes[dims]) for want in served[dims])

    while sizes and len(chosen) < most:
        best = max(sizes, key=lambda dims: (saved(dims), -sizes[dims], -len(dims), dims))
        if saved(best) <= enough:
            break
        chosen.append(best)
        reading |= {want: min(reading[want], sizes[best]) for want in served[best]}
    return chosen


def _finest(asked: Iterable[Grain]) -> Grain:
    """The coarsest grain from which all of them follow."""
    return next(grain for grain in reversed(GRAINS) if all(one in COARSER[grain] for one in asked))


def _grain(days: Days) -> Grain:
    """The coarsest grain whose buckets the range does not cut."""
    ends = [day for day in (days.start, days.end) if day is not None]
    return "month" if all(day.day == 1 for day in ends) else "day"
