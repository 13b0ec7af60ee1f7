"""What a generated query reads from: marts, joins of every kind, subqueries, VALUES, series."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.oracle.choices import Choices
from tests.oracle.expressions import Cell, Expressions

Schema = Mapping[str, Mapping[str, str]]  # mart -> column -> family
ON = ("join", "left join", "right join", "full join", "semi join", "anti join", "inner join")


@dataclass(frozen=True)
class From:
    """A FROM clause, and the columns that can be named over it."""

    text: str
    scope: tuple[Cell, ...]
    mart: str = ""  # the one mart it reads, where it is just that

    def of(self, *families: str) -> list[str]:
        """The columns of those families."""
        return [cell.text for cell in self.scope if cell.family in families]


class Tables:
    """Grows FROM clauses; `names` are the marts and CTEs at hand, with their columns."""

    def __init__(self, choices: Choices, expressions: Expressions, schema: Schema) -> None:
        self.choices, self.expressions, self.names = choices, expressions, dict(schema)

    def bare(self, alias: str = "") -> From:
        """One mart or CTE; its columns unqualified without an alias."""
        name = self.choices.pick(sorted(self.names, key=lambda known: len(self.names[known]), reverse=True))
        prefix = f"{alias}." if alias else ""
        scope = tuple(Cell(f"{prefix}{column}", kind) for column, kind in self.names[name].items())
        return From(f"{name} {alias}".strip(), scope, name)

    def grow(self, depth: int = 2) -> From:
        """Anything that can stand after FROM."""
        shape = self.choices.pick(
            ("bare",) * 4
            + ("aliased", "join", "join", "join", "subquery", "using", "natural", "asof", "cross", "comma")
            + ("positional", "values", "series", "unnest", "lateral", "renamed", "sample_of_union", "three")
        )
        if depth <= 0 or shape in ("bare", "aliased"):
            return self.bare("a" if shape == "aliased" else "")
        grown: From = getattr(self, f"_{shape}")(depth - 1)
        return grown

    def _pair(self) -> tuple[From, From]:
        return self.bare("a"), self.bare("b")

    def _on(self, left: From, right: From) -> str:
        """A condition that mostly is an equality of columns."""
        both = [family for family in ("num", "text", "date") if left.of(family) and right.of(family)]
        if not both:
            return "true"
        family = self.choices.pick(both)
        same = [(one, two) for one in left.of(family) for two in right.of(family) if one[2:] == two[2:]]
        one, two = (
            self.choices.pick(same)
            if same
            else (self.choices.pick(left.of(family)), self.choices.pick(right.of(family)))
        )
        condition = f"{one} {self.choices.pick(('=', '=', '=', '>', 'is not distinct from'))} {two}"
        if self.choices.chance(25):
            condition += f" and {self.expressions.grow((*left.scope, *right.scope), 'bool', 1)}"
        return condition

    def _join(self, depth: int) -> From:
        left, right = self._pair()
        kind = self.choices.pick(ON)
        scope = left.scope if kind in ("semi join", "anti join") else left.scope + right.scope
        return From(f"{left.text} {kind} {right.text} on {self._on(left, right)}", scope)

    def _three(self, depth: int) -> From:
        two, third = self._join(depth), self.bare("c")
        return From(
            f"{two.text} {self.choices.pick(ON[:2])} {third.text} on {self._on(two, third)}",
            two.scope + third.scope,
        )

    def _common(self, left: From, right: From) -> list[str]:
        return [
            c.text[2:]
            for c in left.scope
            if Cell(f"b.{c.text[2:]}", c.family) in right.scope and c.family in ("num", "text")
        ]

    def _using(self, depth: int) -> From:
        left, right = self._pair()
        common = self._common(left, right)
        if not common:
            return From(f"{left.text} cross join {right.text}", left.scope + right.scope)
        names = ", ".join(self.choices.some(common, 1, 2))
        kind = self.choices.pick(ON)
        scope = left.scope if kind in ("semi join", "anti join") else left.scope + right.scope
        return From(f"{left.text} {kind} {right.text} using ({names})", scope)

    def _natural(self, depth: int) -> From:
        left, right = self._pair()
        kind = self.choices.pick(("natural join", "natural left join", "natural full join"))
        return From(f"{left.text} {kind} {right.text}", left.scope + right.scope)

    def _cross(self, depth: int) -> From:
        left, right = self._pair()
        return From(f"{left.text} cross join {right.text}", left.scope + right.scope)

    def _comma(self, depth: int) -> From:
        left, right = self._pair()
        return From(f"{left.text}, {right.text}", left.scope + right.scope)

    def _positional(self, depth: int) -> From:
        left, right = self._pair()
        return From(f"{left.text} positional join {right.text}", left.scope + right.scope)

    def _asof(self, depth: int) -> From:
        left, right = self._pair()
        for family in ("date", "ts", "num"):
            if left.of(family) and right.of(family):
                one, two = self.choices.pick(left.of(family)), self.choices.pick(right.of(family))
                kind = self.choices.pick(("asof join", "asof left join"))
                # several rows of the right may be equally near: only what they share can be named
                scope = (*left.scope, Cell(two, family))
                return From(f"{left.text} {kind} {right.text} on {one} >= {two}", scope)
        return left

    def _subquery(self, depth: int) -> From:
        inner = self.grow(depth)
        cells = [self.expressions.any_of(inner.scope) for _ in range(1 + self.choices.below(3))]
        chosen = ", ".join(f"{cell.text} as c{number}" for number, cell in enumerate(cells, 1))
        where = f" where {self.expressions.grow(inner.scope, 'bool', 1)}" if self.choices.chance(40) else ""
        scope = tuple(Cell(f"q.c{number}", cell.family) for number, cell in enumerate(cells, 1))
        return From(f"(select {chosen} from {inner.text}{where}) q", scope)

    def _renamed(self, depth: int) -> From:
        inner = self.bare()
        names = [f"x{number}" for number in range(len(inner.scope))]
        scope = tuple(Cell(f"r.{name}", cell.family) for name, cell in zip(names, inner.scope, strict=True))
        return From(f"{inner.mart} as r({', '.join(names)})", scope, inner.mart)

    def _sample_of_union(self, depth: int) -> From:
        name = self.bare().mart
        scope = tuple(Cell(f"u.{column}", kind) for column, kind in self.names[name].items())
        return From(f"(from {name} union all by name from {name}) u", scope)

    def _values(self, depth: int) -> From:
        rows = "(1, 'EMEA', date '2026-01-15'), (2, null, null), (3, 'paid', date '2026-03-01')"
        left = self.bare("a")
        scope = (Cell("v.n", "num"), Cell("v.t", "text"), Cell("v.d", "date"))
        if self.choices.chance(50):
            return From(f"(values {rows}) v(n, t, d)", scope)
        keys = left.of("text")
        on = f"{self.choices.pick(keys)} = v.t" if keys else "true"
        return From(f"{left.text} left join (values {rows}) v(n, t, d) on {on}", left.scope + scope)

    def _series(self, depth: int) -> From:
        left = self.bare("a")
        function = self.choices.pick(("range(0, 8, 2)", "generate_series(1, 5)"))
        keys = left.of("num")
        on = f"s.n = {self.choices.pick(keys)}" if keys else "true"
        return From(f"{function} s(n) left join {left.text} on {on}", (*left.scope, Cell("s.n", "num")))

    def _unnest(self, depth: int) -> From:
        left = self.bare("a")
        lists = left.of("list") or ["['x', 'y']"]
        return From(
            f"{left.text}, unnest({self.choices.pick(lists)}) as e(tag)", (*left.scope, Cell("e.tag", "text"))
        )

    def _lateral(self, depth: int) -> From:
        left, right = self._pair()
        cell = self.expressions.any_of((*right.scope, *left.scope), ("num", "text"), 1)
        aggregate = self.choices.pick(("max", "min", "count"))
        family = "num" if aggregate == "count" else cell.family
        where = self._on(left, right)
        text = (
            f"{left.text}, lateral (select {aggregate}({cell.text}) as m from {right.text} where {where}) l"
        )
        return From(text, (*left.scope, Cell("l.m", family)))


def families(columns: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Columns with the families of their DuckDB types; types that the grammar does not know are left out."""
    found: dict[str, str] = {}
    for name, kind in columns:
        head = kind.split("(")[0]
        if kind == "VARCHAR[]":
            found[name] = "list"
        elif head in ("STRUCT", "MAP"):
            found[name] = head.lower()
        elif kind in _FAMILIES or head == "DECIMAL":
            found[name] = _FAMILIES.get(kind, "num")
    return found


_FAMILIES = {
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"), "num"),
    **dict.fromkeys(("FLOAT", "DOUBLE"), "real"),
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"), "ts"),
    "VARCHAR": "text",
    "DATE": "date",
    "BOOLEAN": "bool",
}
