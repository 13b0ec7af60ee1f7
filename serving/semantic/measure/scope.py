"""What stands in FROM, as far as measures must know it: columns, keys, and whose rows it has."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from serving.content.model import Mart
from serving.semantic.model import Model
from serving.syntax import Node, Path, folded


@dataclass(frozen=True)
class Shown:
    """A column of a relation."""

    name: str  # folded; "" where nothing can name it
    header: str = ""  # as the result spells it
    kind: str = ""  # DuckDB type; "" where it is not known
    own: str = ""  # the column of the relation's mart that it is
    origin: tuple[str, str] = ("", "")  # relation and column of the FROM that it was taken from as it is
    never_null: bool = False
    estimated: bool = False


@dataclass(frozen=True)
class Key:
    """Columns that no two rows share; with `nulls`, rows with a NULL among them may."""

    columns: frozenset[str]
    nulls: bool = False


@dataclass(frozen=True)
class Relation:
    """A mart, a CTE or a subquery. What is not proven is not said: the default knows nothing."""

    columns: tuple[Shown, ...] | None = None
    mart: str = ""  # each row is a row of this mart, and none of its rows stands in two
    beside: tuple[str, ...] = ()  # marts that were joined to it
    keys: tuple[Key, ...] = ()
    single: bool = False  # at most one row

    def column(self, name: str) -> Shown | None:
        """The column of that name."""
        return next((c for c in self.columns or () if c.name == name), None) if name else None

    def own(self, name: str) -> Shown | None:
        """The column that is this column of the mart."""
        wanted = folded(name)
        return next((c for c in self.columns or () if c.name and folded(c.own) == wanted), None)

    def renamed(self, names: Sequence[str]) -> "Relation":
        """The relation under a list of names for its first columns, as in `x(a, b)`."""
        if not names:
            return self
        if self.columns is None:
            return Relation(single=self.single)
        given = [folded(name) for name in names]
        new = [*given, *(column.name for column in self.columns[len(given) :])]
        names_of = {c.name: name for c, name in zip(self.columns, new, strict=False) if c.name}
        pairs = list(zip(self.columns, new, strict=False))
        headers = [*names, *(column.header for column in self.columns[len(given) :])]
        columns = unambiguous(
            [replace(c, name=n, header=h) for (c, n), h in zip(pairs, headers, strict=False)]
        )
        keys = tuple(Key(frozenset(names_of[c] for c in key.columns), key.nulls) for key in self.keys)
        return replace(self, columns=columns, keys=keys)


@dataclass(frozen=True)
class Repeat:
    """Why a join may repeat rows, and what to write instead; both end a sentence."""

    why: str
    cure: str


@dataclass(frozen=True)
class Seat:
    """A relation where it stands in FROM."""

    name: str  # folded; what is before the dot of its columns
    written: str  # as the text spells it; "" for a subquery without a name
    relation: Relation = field(default_factory=Relation)
    repeated: Repeat | None = None
    padded: bool = False  # rows of NULLs may stand in for it
    lateral: bool = False  # it may read what stands to its left

    @property
    def title(self) -> str:
        """How messages call it."""
        mart = self.relation.mart
        if not self.written:
            return "a table without a name"
        return f"'{mart}' ({self.written})" if mart and folded(mart) != self.name else f"'{self.written}'"


Seats = tuple[Seat, ...]
Resolve = Callable[[Node], tuple[Seat, Shown] | None]


def resolver(seats: Seats) -> Resolve:
    """Finds the column that a name means, where that is certain."""

    def resolve(node: Node) -> tuple[Seat, Shown] | None:
        path = [folded(part) for part in node["column_names"]]
        if len(path) == 1:
            found = [(seat, shown) for seat in seats if (shown := seat.relation.column(path[0]))]
            return found[0] if len(found) == 1 else None
        seat = next((seat for seat in seats if seat.name == path[0]), None)
        shown = seat.relation.column(path[1]) if seat and len(path) == 2 else None
        return (seat, shown) if seat and shown else None

    return resolve


def pathed(resolve: Resolve) -> Callable[[Node], Path | None]:
    """A column's path by seat and name, so that `region` and `o.region` are equal."""

    def path(node: Node) -> Path | None:
        found = resolve(node)
        return (found[0].name, found[1].name) if found else None

    return path


def unambiguous(columns: Sequence[Shown]) -> tuple[Shown, ...]:
    """The columns; those that share a name cannot be named."""
    names = [column.name for column in columns]
    return tuple(replace(c, name="") if names.count(c.name) > 1 else c for c in columns)


def mart_relation(model: Model, name: str) -> Relation:
    """A mart as the person reads it. A masked column proves nothing: a mask may make values equal."""
    mart, readable = model.content.marts[name], model.readable[name]
    masked = {folded(column) for column in model.masked.get(name, ())}
    promised = {*mart.grain, *(name for name, spec in mart.columns.items() if "not_null" in spec.tests)}
    certain = {folded(column) for column in promised if model.never_null(name, column)}
    columns = [
        Shown(folded(column), column, kind, column, never_null=folded(column) in certain - masked)
        for column, kind in readable.items()
    ]
    known = {column.name for column in columns} - masked
    keys = tuple(key for key in _keys(model, mart) if key.columns <= known)
    return Relation(tuple(columns), name, keys=keys)


def _keys(model: Model, mart: Mart) -> list[Key]:
    """What the build tested: the grain, unique columns, and the columns that declared joins meet."""
    found: list[tuple[Iterable[str], bool]] = [(mart.grain, False)] if mart.grain else []
    for name, spec in mart.columns.items():
        if "unique" in spec.tests:
            found.append(([name], "not_null" not in spec.tests))
    for other in model.content.marts.values():
        for join in other.joins.values():
            if join.mart == mart.name:
                found.append((join.on.values(), True))
            if other is mart and join.kind == "one_to_one":
                found.append((join.on, True))
    tested = [(tuple(columns), nulls) for columns, nulls in found if model.unique(mart.name, tuple(columns))]
    return [Key(frozenset(map(folded, columns)), nulls=nulls) for columns, nulls in tested]
