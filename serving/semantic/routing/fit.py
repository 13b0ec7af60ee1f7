"""How one rollup answers one need: each dimension, aggregate and range of days as a text over its columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from serving.content.model import Mart
from serving.semantic.dimension import COARSER, GRAINS, bucket_sql, dimension_sql, quoted, split_grain
from serving.semantic.leaves import AVERAGED, WHOLE, Leaf
from serving.semantic.routing.buckets import Stretch, best_stretch
from serving.semantic.routing.reads import columns_read, is_steady
from serving.semantic.routing.routes import Days, Kept, Need, Offer, Reason

_INEXACT = ("FLOAT", "DOUBLE", "UHUGEINT", "BIGNUM")  # types that the engine adds as floating-point numbers
_BITS = {"TINYINT": 7, "UTINYINT": 8, "SMALLINT": 15, "USMALLINT": 16, "INTEGER": 31, "UINTEGER": 32}
_SETTLED = ("min", "max", "count_distinct", "approx_count_distinct")  # rows that come twice change nothing


class Unfit(Exception):
    """The rollup cannot answer: the reason, and a sentence that names the thing."""

    def __init__(self, reason: Reason, words: str) -> None:
        super().__init__(words)
        self.reason, self.words = reason, words


@dataclass(frozen=True)
class Fit:
    """The texts over the rollup (under the mart's name), and its columns that they read."""

    kept: Kept
    dimensions: Mapping[str, str]
    leaves: Mapping[Leaf, str]
    stretches: tuple[Stretch, ...]
    uses: tuple[str, ...]

    @property
    def ragged(self) -> Stretch | None:
        """The range whose edges only the mart can answer."""
        return next((each for each in self.stretches if each.edges), None)


def fit(
    offer: Offer,
    need: Need,
    mart: Mart,
    kinds: Mapping[str, str],
    week_starts: str,
    timezone: str,
    rows: int,
) -> Fit:
    """The rollup's answer; raises Unfit. `rows` is how many the mart has."""
    if offer.refused is not None:
        raise Unfit(offer.refused.reason, offer.refused.words)
    kept = offer.kept
    if kept.timezone != timezone:
        built = f"it was built for days of {kept.timezone}, and the project's are {timezone}"
        raise Unfit(Reason.TIME_ZONE, built)
    found = _Fitting(kept, need, mart, kinds, week_starts, rows)
    for name in sorted(need.columns):
        found.plain(name)
    dimensions = {key: found.dimension(key) for key in dict.fromkeys((*need.groups, *sorted(need.filters)))}
    leaves = {leaf: found.leaf(leaf) for leaf in need.leaves}
    stretches = tuple(found.stretch(days) for days in joined(need.days))
    ragged = [each for each in stretches if each.edges]
    if len(ragged) > 1:
        both = " and ".join(f"'{each.days.column}'" for each in ragged)
        raise Unfit(Reason.RANGE, f"the ranges of {both} both cut through its buckets")
    if ragged and (whole := [leaf for leaf in need.leaves if leaf.function in WHOLE and found.is_kept(leaf)]):
        cut = f"the range cuts through its {ragged[0].grain}s of '{ragged[0].days.column}'"
        raise Unfit(Reason.RANGE, f"{cut}, and parts of {whole[0].sql()} cannot be put together")
    if not found.uses:
        raise Unfit(Reason.EXPRESSION, "the block aggregates nothing that it could keep")
    return Fit(kept, dimensions, leaves, stretches, tuple(found.uses))


def joined(ranges: Sequence[Days]) -> tuple[Days, ...]:
    """One range for each column: what all of its ranges have in common."""
    found: dict[str, Days] = {}
    for days in ranges:
        known = found.get(days.column, Days(days.column))
        starts = [day for day in (known.start, days.start) if day is not None]
        ends = [day for day in (known.end, days.end) if day is not None]
        found[days.column] = Days(days.column, max(starts, default=None), min(ends, default=None))
    return tuple(found.values())


@dataclass(frozen=True)
class _Fitting:
    kept: Kept
    need: Need
    mart: Mart
    kinds: Mapping[str, str]
    week_starts: str
    rows: int
    uses: dict[str, None] = field(default_factory=dict)  # in the order of their first use

    def dimension(self, key: str) -> str:
        """The dimension over the rollup's columns."""
        name, grain = split_grain(key)
        if key in self.kept.dimensions:
            return self._stored(key)
        if grain is not None:
            finer = [name, *(f"{name}.{each}" for each in GRAINS if grain in COARSER[each])]
            if (source := next((each for each in finer if each in self.kept.dimensions), None)) is not None:
                return bucket_sql(self._stored(source), grain, self.week_starts)
        text = dimension_sql(self.mart, key, self.week_starts)
        read = columns_read(text, self.mart.name, self.kinds)
        if read and all(column in self.kept.dimensions for column in read):
            self._must_be_steady(key, text)
            for column in sorted(read):
                self.plain(column)
            return text
        raise self._absent(key)

    def plain(self, column: str) -> None:
        """Make sure that the mart's column stands in the rollup as it is."""
        if column not in self.kept.dimensions:
            raise self._absent(column)
        if self.kept.dimensions[column] != quoted(column) or self.kept.types[column] != self.kinds[column]:
            raise Unfit(Reason.CHANGED, f"'{column}' was something else when it was built")
        if (barrier := self._barrier(column)) is not None:
            raise barrier
        self.uses[column] = None

    def leaf(self, leaf: Leaf) -> str:
        """The aggregate over the rollup's columns."""
        if leaf.function == AVERAGED:
            return self._average(leaf)
        if not (self.is_kept(leaf) and (leaf.mergeable or self._is_whole)) and self._over_dimensions(leaf):
            return leaf.sql()
        if not self.is_kept(leaf):
            raise Unfit(Reason.MEASURE, f"it does not keep {leaf.sql()}")
        if (barrier := self._barrier(leaf.column)) is not None:
            raise barrier
        self._must_be_steady(leaf.sql(), leaf.kept())
        self._must_be_exact(leaf)
        column = f"{quoted(self.mart.name)}.{quoted(leaf.column)}"
        self.uses[leaf.column] = None
        if leaf.mergeable:
            return leaf.merged(column)
        if self._is_whole:
            return f"max({column})" if leaf.empty == "NULL" else f"coalesce(max({column}), {leaf.empty})"
        own = ", ".join(self.kept.dimensions) or "nothing"
        words = f"{leaf.sql()} of its groups says nothing about larger ones: only by exactly {own}"
        raise Unfit(Reason.DISTINCT, words)

    def is_kept(self, leaf: Leaf) -> bool:
        """Whether the rollup has a column of this aggregate."""
        return self.kept.leaves.get(leaf.column) == leaf.kept()

    def stretch(self, days: Days) -> Stretch:
        """The range as the rollup's buckets tell it."""
        column = quoted(days.column)
        texts = {days.column: column}
        texts |= {f"{days.column}.{each}": bucket_sql(column, each, self.week_starts) for each in GRAINS}
        stored = [key for key, text in texts.items() if self.kept.dimensions.get(key) == text]
        if not stored:
            raise self._absent(days.column)
        free = [key for key in stored if self._barrier(key) is None]
        if not free:
            raise self._barrier(stored[0]) or self._absent(days.column)
        found = best_stretch(self._open(days), free, self.kept.types, self.week_starts)
        if found is None:
            grains = " or ".join(split_grain(key)[1] or "day" for key in free)
            raise Unfit(Reason.RANGE, f"no whole {grains} of '{days.column}' lies within the range")
        return found

    def _open(self, days: Days) -> Days:
        """The range without an end that no row reaches: it would only cut the last bucket in two.

        Its start stays, which rows without a time do not pass.
        """
        newest = self.kept.newest.get(days.column)
        if newest is None or days.start is None or days.end is None or days.end <= newest:
            return days
        return replace(days, end=None)

    def _stored(self, key: str) -> str:
        today = dimension_sql(self.mart, key, self.week_starts) if self._known(key) else None
        if self.kept.dimensions[key] != today:
            raise Unfit(Reason.CHANGED, f"'{key}' was defined in another way when it was built")
        if (barrier := self._barrier(key)) is not None:
            raise barrier
        self._must_be_steady(key, today)
        self.uses[key] = None
        return f"{quoted(self.mart.name)}.{quoted(key)}"

    def _known(self, key: str) -> bool:
        name, _ = split_grain(key)
        return name in self.mart.dimensions or name in self.kinds

    def _over_dimensions(self, leaf: Leaf) -> bool:
        """Whether the rollup's own rows give the same: it keeps the columns, and how often is no matter."""
        if leaf.function not in _SETTLED or not is_steady(leaf.sql()):
            return False
        read = columns_read(leaf.sql(), self.mart.name, self.kinds)
        if not read or not all(column in self.kept.dimensions for column in read):
            return False
        for column in sorted(read):
            self.plain(column)
        return True

    @property
    def _is_whole(self) -> bool:
        """Whether each group that is asked for is one row of the rollup."""
        return self.need.whole and set(self.need.groups) == set(self.kept.dimensions)

    def _must_be_exact(self, leaf: Leaf) -> None:
        if leaf.function == "sum" and any(word in self.kept.types[leaf.column] for word in _INEXACT):
            words = f"{leaf.sql()} adds floating-point numbers, and their order changes the last digits"
            raise Unfit(Reason.FLOAT, words)

    def _average(self, leaf: Leaf) -> str:
        """Of whole numbers whose sum a DOUBLE holds: else avg() and the quotient differ in the last digit."""
        total, rows = replace(leaf, function="sum"), replace(leaf, function="count")
        quotient = f"({self.leaf(total)} / NULLIF({self.leaf(rows)}, 0))"
        bits = _BITS.get(self.kinds.get((leaf.expr or "").strip().strip('"'), ""))
        if bits is None or self.rows << bits > 2**53:
            words = f"the engine rounds {leaf.sql()} in its own way; MEASURE(…) is the same everywhere"
            raise Unfit(Reason.FLOAT, words)
        return quotient

    def _must_be_steady(self, name: str, text: str) -> None:
        if not is_steady(text):
            words = f"'{name}' asks the clock, chance or a setting: it was another when the rollup was built"
            raise Unfit(Reason.EXPRESSION, words)

    def _barrier(self, column: str) -> Unfit | None:
        words = self.kept.barred.get(column)
        return None if words is None else Unfit(Reason.MASK, words)

    def _absent(self, key: str) -> Unfit:
        name, grain = split_grain(key)
        kept = [other for other in self.kept.dimensions if split_grain(other)[0] == name]
        if kept and (grain is not None or name not in self.kept.dimensions):
            return Unfit(Reason.GRAIN, f"it keeps {', '.join(kept)}, from which '{key}' does not follow")
        return Unfit(Reason.DIMENSION, f"it does not keep '{key}'")
