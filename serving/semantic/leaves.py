"""What a measure is made of: leaves, the aggregates of a mart's rows, and a formula over them.

A ratio is a ratio of leaves, never an aggregate of ratios. Each leaf knows three texts: how it is
computed from the mart's rows, how a rollup keeps it, and how kept values become one value.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import sqlglot
from sqlglot import exp

from serving.content.model import Mart
from serving.content.semantics import Measure

Function = Literal[
    "count",
    "sum",
    "min",
    "max",
    "avg",
    "count_distinct",
    "median",
    "quantile",
    "approx_count_distinct",
    "approx_quantile",
]
STATES = ("approx_count_distinct", "approx_quantile")  # kept as the engine's aggregate states
WHOLE = ("count_distinct", "median", "quantile")  # the value of a group says nothing about a larger one
COUNTS = ("count", "count_distinct", "approx_count_distinct")  # 0 where there are no rows, not NULL
AVERAGED: Literal["avg"] = "avg"  # as a question writes it; a measure's average is a quotient


@dataclass(frozen=True)
class Leaf:
    """One aggregate of a mart's rows. `expr` and `filter` are the author's SQL over the mart's columns."""

    function: Function
    expr: str | None = None  # None: count(*)
    filter: str | None = None
    quantile: float | None = None

    @property
    def column(self) -> str:
        """The rollup's column that keeps it: the same leaf, the same name."""
        return f"{self.function}_{hashlib.blake2b(self.sql().encode(), digest_size=6).hexdigest()}"

    @property
    def mergeable(self) -> bool:
        """Whether the values of parts make up the value of the whole."""
        return self.function not in WHOLE

    @property
    def approximate(self) -> bool:
        """Whether its value is an estimate."""
        return self.function.startswith("approx_")

    @property
    def empty(self) -> str:
        """Its value over no rows."""
        return "0" if self.function in COUNTS else "NULL"

    def sql(self) -> str:
        """The aggregate over the mart's rows."""
        return self._call(state=False)

    def kept(self) -> str:
        """The aggregate as a rollup keeps it."""
        return self._call(state=self.function in STATES)

    def merged(self, column: str) -> str:
        """The leaf's value from what rows of a rollup keep; `column` is SQL."""
        match self.function:
            case "count":
                return f"CAST(coalesce(sum({column}), 0) AS BIGINT)"
            case "sum" | "min" | "max":
                return f"{self.function}({column})"
            case "approx_count_distinct" | "approx_quantile":
                return f"finalize(combine_aggr({column}))"
            case _:
                raise ValueError(f"{self.function} of parts cannot be put together")

    def _call(self, *, state: bool) -> str:
        expr = self.expr
        match self.function:
            case "count":
                call = f"count({expr or '*'})"
            case "count_distinct":
                call = f"count(DISTINCT {expr})"
            case "quantile":
                call = f"quantile_cont({expr}, {self.quantile})"
            case "approx_quantile":
                call = f"approx_quantile({expr}, {self.quantile})"
            case function:
                call = f"{function}({expr})"
        where = f" FILTER (WHERE {self.filter})" if self.filter else ""
        return f"{call}{where}{' EXPORT_STATE' if state else ''}"


@dataclass(frozen=True)
class Formula:
    """A measure as an expression over leaves: `text` holds one mark per leaf, in order of `leaves`."""

    text: str
    leaves: tuple[Leaf, ...]

    def sql(self, value: Callable[[Leaf], str]) -> str:
        """The expression, each leaf as `value` says it."""
        text = self.text
        for place, leaf in enumerate(self.leaves):
            text = text.replace(mark(place), value(leaf))
        return text

    @property
    def approximate(self) -> bool:
        """Whether its value is an estimate."""
        return any(leaf.approximate for leaf in self.leaves)

    @property
    def empty(self) -> str:
        """Its value over no rows, as SQL."""
        return self.sql(lambda leaf: leaf.empty)


def formula(mart: Mart, name: str, approximate: bool = False) -> Formula:
    """The formula of a measure of this mart; `approximate` estimates distinct counts and quantiles.

    Semi-additive measures give the formula of their aggregate; cumulative ones that of the measure they
    cumulate. Raises KeyError for an unknown measure, ValueError where measures refer to each other in a
    circle, to other marts, or where nothing in it can be estimated.
    """
    found = _formula(_Marted(mart), name, approximate, ())
    if approximate and not any(leaf.approximate for leaf in found.leaves):
        raise ValueError(f"nothing in '{name}' can be estimated: `~` is for distinct counts and quantiles")
    return found


def measure_sql(mart: Mart, name: str) -> str:
    """A measure as one expression over the mart's rows; raises as `formula` does."""
    return formula(mart, name).sql(Leaf.sql)


def foreign(measure: Measure) -> tuple[str, ...]:
    """The `mart.measure` names of other marts that a derived measure uses."""
    if measure.agg is not None or measure.expr is None:
        return ()
    tree = _parsed(measure.expr)
    return tuple(dict.fromkeys(f"{c.table}.{c.name}" for c in tree.find_all(exp.Column) if c.table))


@lru_cache(maxsize=10_000)
def safe_division(text: str) -> tuple[str, tuple[str, ...]]:
    """A derived expression with NULLIF on every divisor, and the names it uses as `{mark}`s in it.

    Returns the text with marks in place of the names, and the names in order of their marks.
    """
    tree = _parsed(text).copy()
    for division in list(tree.find_all(exp.Div, exp.IntDiv, exp.Mod)):
        division.set("expression", exp.func("NULLIF", division.expression, exp.Literal.number(0)))
    names = list(dict.fromkeys(_dotted(column) for column in tree.find_all(exp.Column)))
    marks = {name: exp.to_identifier(mark(place), quoted=False) for place, name in enumerate(names)}

    def marked(node: exp.Expr) -> exp.Expr:
        return exp.column(marks[_dotted(node)].copy()) if isinstance(node, exp.Column) else node

    return tree.transform(marked).sql("duckdb", comments=False), tuple(names)


@dataclass(frozen=True, eq=False)
class _Marted:
    """A mart as a key of caches: by identity, since content is replaced whole."""

    mart: Mart

    def __hash__(self) -> int:
        return id(self.mart)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Marted) and other.mart is self.mart


@lru_cache(maxsize=10_000)
def _formula(key: _Marted, name: str, approximate: bool, inside: tuple[str, ...]) -> Formula:
    mart = key.mart
    if name in inside:
        raise ValueError(f"the measures {' -> '.join([*inside, name])} refer to each other in a circle")
    measure = mart.measures[name]
    if measure.cumulative is not None:
        return _formula(key, measure.cumulative, approximate, (*inside, name))
    if measure.agg == "avg":
        # the engine's avg of decimals has a last digit that depends on what else the query asks
        both = Leaf("sum", measure.expr, measure.filter), Leaf("count", measure.expr, measure.filter)
        return Formula(f"({mark(0)} / NULLIF({mark(1)}, 0))", both)
    if measure.agg is not None:
        return Formula(mark(0), (_leaf(measure, approximate),))
    text, names = safe_division(measure.expr or "")
    if others := [other for other in names if "." in other]:
        raise ValueError(f"'{name}' uses {', '.join(others)} of other marts")
    parts = {other: _formula(key, other, approximate, (*inside, name)) for other in names}
    leaves = tuple(dict.fromkeys(leaf for part in parts.values() for leaf in part.leaves))
    places = {leaf: f"sluice_part_{place}_" for place, leaf in enumerate(leaves)}
    for place, other in reversed(list(enumerate(names))):
        text = text.replace(mark(place), f"({parts[other].sql(places.__getitem__)})")
    for place, leaf in enumerate(leaves):
        text = text.replace(places[leaf], mark(place))
    return Formula(f"({text})", leaves)


def _leaf(measure: Measure, approximate: bool) -> Leaf:
    function = measure.agg
    assert function is not None
    if approximate and function == "count_distinct":
        return Leaf("approx_count_distinct", measure.expr, measure.filter)
    if approximate and function in ("median", "quantile"):
        part = 0.5 if function == "median" else measure.quantile
        return Leaf("approx_quantile", measure.expr, measure.filter, part)
    return Leaf(function, measure.expr, measure.filter, measure.quantile)


def mark(place: int) -> str:
    """What stands for the leaf, or the name, at that place of a formula's text."""
    return f"sluice_leaf_{place}_"


def _dotted(column: exp.Expr) -> str:
    return f"{column.table}.{column.name}" if isinstance(column, exp.Column) and column.table else column.name


@lru_cache(maxsize=10_000)
def _parsed(text: str) -> exp.Expr:
    return sqlglot.parse_one(text, dialect="duckdb")
