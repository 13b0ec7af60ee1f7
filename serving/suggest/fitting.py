"""Whether a rollup, as it would be built, answers a person's block: decided where questions are routed."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from serving.content.model import Mart
from serving.governance.access import View
from serving.governance.rollup_view import rollup_view
from serving.marts.artifact import MartFile
from serving.marts.declared import DeclaredRollup
from serving.semantic.dimension import dimension_sql
from serving.semantic.leaves import Leaf
from serving.semantic.routing.choose import choose
from serving.semantic.routing.fit import Unfit, fit
from serving.semantic.routing.routes import Kept, Miss, Need, Offer, Reason, Source
from serving.suggest.candidates import Dimensions, Want
from serving.suggest.measures import ROWS, measures_by_leaf, measures_for

Types = Callable[[Mapping[str, str]], Mapping[str, str]]


@dataclass(eq=False)
class Fitting:
    """A built mart, its measures, and how each person sees it."""

    mart: Mart
    file: MartFile
    week_starts: str
    timezone: str
    views: Mapping[str, View]  # by person
    types_of: Types  # asks the engine
    _types: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.kinds = dict(self.file.columns)
        self.known = measures_by_leaf(self.mart)

    def learn(self, sets: Collection[Dimensions], leaves: Collection[Leaf]) -> None:
        """Ask for the types of everything that candidates may keep."""
        keys = {key for dims in sets for key in dims}
        self._types |= self.types_of({key: self._text(key) for key in sorted(keys)})
        self._types |= self.types_of({leaf.column: leaf.kept() for leaf in (ROWS, *leaves)})

    def texts(self, dimensions: Dimensions) -> list[str]:
        """The expressions behind the keys."""
        return [self._text(key) for key in dimensions]

    def unfit(self, dimensions: Dimensions, want: Want) -> Unfit | None:
        """Why a rollup by these dimensions, with all that the block asks for, would not answer it."""
        need = want.need
        try:
            measures_for(need.leaves, self.known)
        except KeyError:
            leaf = next(leaf for leaf in need.leaves if leaf not in self.known and leaf != ROWS)
            if not all(name in dimensions for name in self.kinds if leaf.expr == f'"{name}"'):
                return Unfit(Reason.MEASURE, f"{leaf.sql()} is no measure of {self.mart.name}")
        try:
            kept = self._kept(dimensions, need.leaves)
            offer, rows = self.offer(kept, want.user), self.file.rows
            fit(offer, need, self.mart, self.kinds, self.week_starts, self.timezone, rows)
        except Unfit as reason:
            return reason
        return None

    def declared(self, name: str, dimensions: Dimensions, wants: Sequence[Want]) -> DeclaredRollup:
        """The rollup as its YAML would declare it for these blocks."""
        asked = dict.fromkeys((ROWS, *(leaf for want in wants for leaf in want.need.leaves)))
        leaves = {leaf.column: leaf for leaf in asked if leaf in self.known or leaf == ROWS}
        names = {column: (self.known.get(leaf, "rows"),) for column, leaf in leaves.items()}
        texts = {key: self._text(key) for key in dimensions}
        return DeclaredRollup(self.mart.name, name, self.mart.at("rollups"), texts, leaves, names)

    def offer(self, kept: Kept, user: str) -> Offer:
        """The rollup as the person may read it."""
        found = rollup_view(kept, self.views[user], self.kinds)
        return Offer(kept, found) if isinstance(found, Miss) else Offer(found[1])

    def source(self, need: Need, user: str, kept: Sequence[Kept]) -> Source:
        """Where the block would find its rows with only these rollups there."""
        offers = [self.offer(one, user) for one in kept]
        rows = self.file.rows
        return choose(need, self.mart, self.kinds, offers, self.week_starts, self.timezone, rows)

    def _kept(self, dimensions: Dimensions, leaves: Sequence[Leaf]) -> Kept:
        kept = {leaf.column: leaf.kept() for leaf in (ROWS, *leaves) if leaf in self.known or leaf == ROWS}
        texts = {key: self._text(key) for key in dimensions}
        types = {name: self._types[name] for name in (*texts, *kept)}
        return Kept(self.mart.name, "suggested", 0, texts, kept, types, self.timezone)

    def _text(self, key: str) -> str:
        return dimension_sql(self.mart, key, self.week_starts)


def block_sql(need: Need, source: Source) -> str:
    """A block by itself, as it reads its source; other conditions than ranges of days are left out."""
    shown = [*(source.dimensions[key] for key in need.groups), *(source.leaves[leaf] for leaf in need.leaves)]
    where = f" WHERE {' AND '.join(source.conditions)}" if source.conditions else ""
    places = ", ".join(str(place + 1) for place in range(len(need.groups)))
    grouped = f" GROUP BY {places}" if places else ""
    return f"SELECT {', '.join(shown) or 'count(*)'} FROM {source.table}{where}{grouped}"
