"""Whether a join repeats the rows of what it joins.

Rows of a relation are not repeated where every other relation of the FROM is met at most once: by
equality with a key that is proven. What cannot be proven counts as repeating.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from serving.semantic.measure.scope import Repeat, Resolve, Seat, Seats, resolver
from serving.semantic.measure.types import keeps_apart, kind_of
from serving.syntax import Node, folded, walk

Leaf = Callable[[Node], Seats]  # what a table, subquery or the like brings into FROM
_PLAIN = frozenset("COLUMN_REF CONSTANT CAST TYPE PARAMETER".split())
_PURE = frozenset(
    """
    + - concat date_trunc day left lower ltrim month right rtrim strftime substr substring trim upper year ||
    """.split()
)
_PADS_LEFT, _PADS_RIGHT = ("RIGHT", "FULL"), ("LEFT", "FULL")


@dataclass(frozen=True)
class Pin:
    """A column that is equal to something read from other relations (`by`) in every joined row."""

    seat: str
    column: str
    by: frozenset[str]
    nulls: bool  # NULL is equal to NULL
    apart: bool  # values that differ stay different in the comparison


@dataclass(frozen=True)
class _Inner:
    """Relations joined so that only rows that meet all conditions stay."""

    children: tuple[Seats, ...]
    conditions: tuple[Node, ...] = ()
    pins: tuple[Pin, ...] = ()  # of USING


def seats(table: Node, leaf: Leaf, where: Node | None) -> Seats:
    """All relations of a FROM, with what is known about their rows in the joined rows."""
    return _seated(_inner(table, leaf), _conjuncts(where))


def _inner(table: Node, leaf: Leaf) -> _Inner:
    if table["type"] != "JOIN":
        found = leaf(table)
        return _Inner((found,) if found else ())
    if table["join_type"] != "INNER" or table["ref_type"] not in ("REGULAR", "CROSS"):
        return _Inner((_outer(table, leaf),))
    left, right = _inner(table["left"], leaf), _inner(table["right"], leaf)
    using = _using(table, _all(left.children), _all(right.children))
    conditions = (*left.conditions, *right.conditions, *_conjuncts(table.get("condition")))
    return _Inner((*left.children, *right.children), conditions, (*left.pins, *right.pins, *using))


def _seated(inner: _Inner, where: Sequence[Node]) -> Seats:
    """Each child of an inner join, repeated where the others are not met once."""
    found = _all(inner.children)
    pins = [*inner.pins, *_pins((*inner.conditions, *where), found)]
    seated: list[Seat] = []
    for place, child in enumerate(inner.children):
        why = _repeats(place, inner.children, pins)
        seated += [replace(seat, repeated=seat.repeated or why) for seat in child]
    return tuple(seated)


def _repeats(start: int, children: Sequence[Seats], pins: Sequence[Pin]) -> Repeat | None:
    """By what rows of a child are repeated: what its rows do not determine, step by step."""
    known, found = _names(children[start]), {start}
    while True:
        for place, child in enumerate(children):
            early = any(seat.lateral for seat in child) and not found.issuperset(range(place))
            if place not in found and not early and met_once(child, known, pins):
                known, found = known | _names(child), found | {place}
                break
        else:
            break
    missing = [child for place, child in enumerate(children) if place not in found]
    return _why(missing[0], pins) if missing else None


def _outer(table: Node, leaf: Leaf) -> Seats:
    """The relations of a join that is not an inner one."""
    left, right = seats(table["left"], leaf, None), seats(table["right"], leaf, None)
    kind, way = table["join_type"], table["ref_type"]
    if kind in ("SEMI", "ANTI") and way == "REGULAR":
        return left
    both = (*left, *right)
    pins = [*_using(table, left, right), *_pins(_conjuncts(table.get("condition")), both)]
    of_left = None if met_once(right, _names(left), pins) else _why(right, pins)
    of_right = None if met_once(left, _names(right), pins) else _why(left, pins)
    if way == "ASOF" and kind in ("INNER", "LEFT"):
        of_left = None  # finds one row at most
    elif way == "POSITIONAL":
        of_left = of_right = None  # pairs rows, and fills up the shorter side
        kind = "FULL"
    elif way not in ("REGULAR", "CROSS") or kind not in ("INNER", "LEFT", "RIGHT", "FULL"):
        word = way if way != "REGULAR" else kind
        of_left = of_right = Repeat(f"the rows that a {word} JOIN finds for it", "write JOIN … USING (…)")
    return (
        *_marked(left, of_left, padded=kind in _PADS_LEFT),
        *_marked(right, of_right, padded=kind in _PADS_RIGHT),
    )


def _marked(side: Seats, why: Repeat | None, *, padded: bool) -> Iterator[Seat]:
    for seat in side:
        yield replace(seat, repeated=seat.repeated or why, padded=seat.padded or padded)


def met_once(side: Seats, known: frozenset[str], pins: Sequence[Pin]) -> bool:
    """Whether rows of the relations `known` meet at most one row of the side each."""
    if all(seat.relation.single and not seat.padded for seat in side):
        return True
    for seat in side:
        mine = [pin for pin in pins if pin.seat == seat.name and pin.apart and pin.by <= known]
        for key in () if seat.repeated else seat.relation.keys:
            several = key.nulls or seat.padded  # rows without the key
            if key.columns <= {pin.column for pin in mine if not (pin.nulls and several)}:
                return True
    return False


def _why(side: Seats, pins: Sequence[Pin]) -> Repeat:
    """Why a side may be met by more than one row."""
    titles = " and ".join(seat.title for seat in side)
    compared = {pin.column: pin.apart for seat in side for pin in pins if pin.seat == seat.name}
    columns = ", ".join(compared)
    if not compared:
        cure = "join ON what is equal on both sides, or aggregate one side in a CTE first"
        return Repeat(f"its {titles} rows: nothing of {titles} is compared for equality", cure)
    if not all(compared.values()):
        kind = f"{columns} of {titles} is compared with a value of another or unknown type"
        return Repeat(f"its {titles} rows: {kind}", "CAST the other side to its type")
    cure = f"aggregate {titles} by {columns} in a CTE first, and join with that"
    return Repeat(f"its {titles} rows: {titles} is not known to be unique by {columns}", cure)


def _pins(conditions: Sequence[Node], found: Seats) -> Iterator[Pin]:
    resolve = resolver(found)
    for condition in conditions:
        if condition.get("type") in ("COMPARE_EQUAL", "COMPARE_NOT_DISTINCT_FROM"):
            left, right = condition["left"], condition["right"]
            nulls = condition["type"] == "COMPARE_NOT_DISTINCT_FROM"
            yield from _pin(left, right, resolve, nulls=nulls)
            yield from _pin(right, left, resolve, nulls=nulls)


def _pin(key: Node, value: Node, resolve: Resolve, *, nulls: bool) -> Iterator[Pin]:
    target = resolve(key) if key["class"] == "COLUMN_REF" else None
    by = _reads(value, resolve)
    if target is None or by is None or target[0].name in by:
        return
    apart = keeps_apart(target[1].kind, kind_of(value, resolve))
    yield Pin(target[0].name, target[1].name, by, nulls, apart)


def _reads(value: Node, resolve: Resolve) -> frozenset[str] | None:
    """The relations that a value is computed from; None where that is not certain."""
    read: set[str] = set()
    for node in walk(value):
        kind = node.get("class")
        if kind == "COLUMN_REF":
            found = resolve(node)
            if found is None:
                return None
            read.add(found[0].name)
        elif kind == "FUNCTION":
            if node["function_name"].lower() not in _PURE:
                return None
        elif kind is not None and kind not in _PLAIN:
            return None
    return frozenset(read)


def _using(table: Node, left: Seats, right: Seats) -> Iterator[Pin]:
    for name in map(folded, table["using_columns"]):
        here = [(seat, shown) for seat in left if (shown := seat.relation.column(name))]
        there = [(seat, shown) for seat in right if (shown := seat.relation.column(name))]
        for mine, others, side in ((there, here, left), (here, there, right)):
            if len(mine) == 1:
                seat, shown = mine[0]
                apart = bool(others) and all(keeps_apart(shown.kind, other.kind) for _, other in others)
                by = frozenset(other.name for other, _ in others) or _names(side)
                yield Pin(seat.name, name, by, nulls=False, apart=apart)


def _conjuncts(condition: Node | None) -> tuple[Node, ...]:
    """What must hold, all of it."""
    if condition is None:
        return ()
    if condition.get("type") == "CONJUNCTION_AND":
        return tuple(part for child in condition["children"] for part in _conjuncts(child))
    return (condition,)


def _all(children: Sequence[Seats]) -> Seats:
    return tuple(seat for child in children for seat in child)


def _names(side: Seats) -> frozenset[str]:
    return frozenset(seat.name for seat in side)
