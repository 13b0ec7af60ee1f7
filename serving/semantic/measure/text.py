"""A measure as a node over the rows of one relation, or the reason why it cannot be one there."""

from dataclasses import dataclass
from typing import Any

from serving.content.model import Mart
from serving.content.validate import near
from serving.errors import QueryRefused
from serving.semantic.leaves import foreign, formula, safe_division
from serving.semantic.measure.scope import Seat
from serving.semantic.model import Model
from serving.syntax import Node, Syntax, column, folded, replaced

_UNMOVED = frozenset({"min", "max", "count_distinct", "approx_count_distinct"})  # by rows that come twice
_SLOT = "sluice_value_"


class Repeated(QueryRefused):
    """A join may repeat the rows that a measure adds up."""


@dataclass(frozen=True)
class Asked:
    """A measure as a question asks for it."""

    name: str
    approximate: bool = False
    only: Node | None = None  # of the rows where this holds
    plain: bool = False  # names without the relation before them

    def __str__(self) -> str:
        return f"MEASURE({'~' if self.approximate else ''}{self.name})"


def spelled(model: Model, syntax: Syntax, seat: Seat, asked: Asked) -> Node:
    """The measure over the rows of the seat.

    Raises Repeated where a join may repeat them, QueryRefused where it has no safe meaning for another
    reason.
    """
    mart = model.content.marts[seat.relation.mart]
    _check_kind(mart, asked.name)
    try:
        found = formula(mart, asked.name, asked.approximate)
    except ValueError as error:
        raise QueryRefused(f"{asked}: {error}", hint=f"write MEASURE({asked.name})") from error
    if seat.repeated and not _UNMOVED.issuperset(leaf.function for leaf in found.leaves):
        problem = f"{asked}: each row of '{mart.name}' may be repeated for {seat.repeated.why}"
        raise Repeated(problem, hint=seat.repeated.cure)
    slots = {leaf: f"{_SLOT}{place}" for place, leaf in enumerate(found.leaves)}
    whole, *parts = syntax.expressions([found.sql(slots.__getitem__), *(leaf.sql() for leaf in found.leaves)])
    values = {}
    for leaf, part in zip(found.leaves, parts, strict=True):
        node = _Named(model, mart, seat, asked).read(part)
        values[slots[leaf]] = _filtered(node, seat, asked)
    whole = _filled(whole, values)
    fill = mart.measures[asked.name].fill_nulls_with
    if fill is None:
        return whole
    (shell,) = syntax.expressions([f"coalesce({_SLOT}0, {fill})"])
    return _filled(shell, {f"{_SLOT}0": whole})


def _filled(node: Node, values: dict[str, Node]) -> Node:
    if node["class"] == "COLUMN_REF":
        return values[node["column_names"][0]]
    return {key: replaced(value, lambda part: _filled(part, values)) for key, value in node.items()}


def _filtered(node: dict[str, Any], seat: Seat, asked: Asked) -> Node:
    """The aggregate over fewer rows: those the question keeps, and none that a join made of NULLs."""
    conditions = [part for part in (node["filter"], asked.only) if part is not None]
    over = node["arguments"][0]["expression"]["class"] if node["arguments"] else ""
    if seat.padded and over != "COLUMN_REF":  # a plain column is NULL there, and counts for nothing
        there = next((c for c in seat.relation.columns or () if c.never_null and c.name), None)
        if there is None:
            raise QueryRefused(
                f"{asked}: the join adds rows of NULLs for {seat.title}, which it would count",
                hint=f"aggregate {seat.title} in a CTE first, and join with that",
            )
        present = column(_path(seat, there.name), "")
        conditions.insert(0, _operator("OPERATOR", "OPERATOR_IS_NOT_NULL", [present]))
    return {**node, "filter": _all(conditions)} if conditions else node


def _operator(name: str, kind: str, children: list[Node]) -> Node:
    nowhere = {key: value for key, value in column((), "").items() if key != "column_names"}
    return {**nowhere, "class": name, "type": kind, "children": children}


def _all(conditions: list[Node]) -> Node:
    """One condition that holds where all do; flat, as the parser makes it."""
    parts: list[Node] = []
    for condition in conditions:
        parts += condition["children"] if condition["type"] == "CONJUNCTION_AND" else [condition]
    return parts[0] if len(parts) == 1 else _operator("CONJUNCTION", "CONJUNCTION_AND", parts)


def _path(seat: Seat, name: str) -> tuple[str, ...]:
    return (seat.written, name) if seat.written else (name,)


class _Named:
    """Puts the relation's own names into an author's expression over the mart's columns."""

    def __init__(self, model: Model, mart: Mart, seat: Seat, asked: Asked) -> None:
        self.readable = {folded(column) for column in model.readable[mart.name]}
        self.mart, self.seat, self.asked = mart, seat, asked

    def read(self, node: Node, bound: frozenset[str] = frozenset()) -> dict[str, Any]:
        """The expression; `bound` are the parameters of the lambdas around it."""
        if node["class"] == "SUBQUERY":
            raise QueryRefused(f"{self.asked}: its definition holds a subquery", hint=_ASK_OWNER)
        if node["class"] == "COLUMN_REF":
            return self._column(node, bound)
        if node["class"] == "LAMBDA":
            bound = bound | {folded(part) for part in _parameters(node["lhs"])}
        return {key: replaced(value, lambda part: self.read(part, bound)) for key, value in node.items()}

    def _column(self, node: Node, bound: frozenset[str]) -> dict[str, Any]:
        first, *rest = node["column_names"]
        if folded(first) in bound:
            return dict(node)
        if rest and folded(first) == folded(self.mart.name) and folded(first) not in self.readable:
            first, *rest = rest
        if folded(first) not in self.readable:
            problem = f"{self.asked} reads a column of '{self.mart.name}' that is hidden from you"
            raise QueryRefused(problem, hint=_ASK_OWNER)
        shown = self.seat.relation.own(first)
        if shown is None:
            raise QueryRefused(
                f"{self.asked} reads '{first}', which {self.seat.title} does not show",
                hint=f"add {first} to its SELECT, or write {self.asked} there",
            )
        own = first if shown.name == folded(first) else shown.name
        path = (own,) if self.asked.plain else _path(self.seat, own)
        return {**node, "column_names": [*path, *rest]}


def _parameters(node: Node) -> list[str]:
    """The names before the arrow of a lambda."""
    if node["class"] == "COLUMN_REF":
        return list(node["column_names"])
    return [name for part in node["arguments"] for name in part["expression"]["column_names"]]


def _check_kind(mart: Mart, name: str) -> None:
    """Refuse measures that no single aggregate says, with the request that does."""
    for part in _parts(mart, name):
        measure = mart.measures[part]
        ask = f"python -m serving metrics {mart.name}.{name}"
        time = measure.semi_additive or mart.time or "time"
        if measure.cumulative is not None:
            problem = f"'{part}' adds up over time, which depends on the buckets of the result"
            raise QueryRefused(f"MEASURE({name}): {problem}", hint=f"ask {ask} --by {time}.month")
        if measure.semi_additive is not None:
            problem = f"'{part}' is never added up over {measure.semi_additive}"
            raise QueryRefused(f"MEASURE({name}): {problem}", hint=f"ask {ask} --by {time}.month")
        if others := foreign(measure):
            problem = f"'{part}' uses {', '.join(others)} of other marts, each to be aggregated apart"
            raise QueryRefused(f"MEASURE({name}): {problem}", hint=f"ask {ask}")


def _parts(mart: Mart, name: str) -> list[str]:
    """The measure and all measures of this mart that it is made of."""
    found = [name]
    for part in found:
        measure = mart.measures.get(part)
        if measure is None:
            hint = near(part, mart.measures)
            raise QueryRefused(f"MEASURE({name}) uses '{part}', which is no measure", hint=hint)
        if measure.agg is None and measure.expr is not None:
            found += [n for n in safe_division(measure.expr)[1] if "." not in n and n not in found]
    return found


_ASK_OWNER = "ask the mart's owner"
