"""Whether one right is wider than another. Where that cannot be proven, they are `different`.

`different` means that something may be gained: whoever must not widen anything by accident
treats it as a gain.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from serving.rights.rules import NO_ROWS

Effect = Literal["wider", "narrower", "different", "none"]

_FINER: Mapping[str, tuple[str, ...]] = {  # grain -> grains that tell more
    "year": ("quarter", "month", "week", "day", "hour"),
    "quarter": ("month", "day", "hour"),
    "month": ("day", "hour"),
    "week": ("day", "hour"),
    "day": ("hour",),
    "hour": (),
}


def masks(before: str, after: str) -> Effect:
    """Two sights of a column: `seen`, `hidden`, or a mask as people read it."""
    if before == after:
        return "none"
    return _effect(tells_no_more(after, before), tells_no_more(before, after))


def tells_no_more(one: str, other: str) -> bool:
    """Whether everything that `one` tells of a value could be worked out from `other`."""
    if one == other or one == "hidden" or other == "seen":
        return True
    if other == "hidden" or one == "seen":
        return False
    if one == "null" or one.startswith("constant "):
        return True
    (kind, size), (other_kind, other_size) = _taken_apart(one), _taken_apart(other)
    if kind != other_kind:
        return False
    if kind == "truncate":
        return other_size in _FINER.get(size, ())
    return kind == "bucket" and float(size) % float(other_size) == 0  # others by their text only, above


def rows(before: Iterable[str], after: Iterable[str]) -> Effect:
    """Two sets of row rules, each of which must hold in full."""
    first, second = tuple(before), tuple(after)
    return _effect(_covers(first, second), _covers(second, first))


def amounts(before: float | None, after: float | None) -> Effect:
    """Two limits; None is without end."""
    if before == after:
        return "none"
    return "wider" if after is None or (before is not None and after > before) else "narrower"


def _effect(no_wider: bool, no_narrower: bool) -> Effect:
    if no_wider:
        return "none" if no_narrower else "narrower"
    return "wider" if no_narrower else "different"


def _covers(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    """Whether every row that fulfils `narrow` is known to fulfil `wide`."""
    return all(any(_implies(rule, wanted) for rule in narrow) for wanted in wide)


def _implies(rule: str, wanted: str) -> bool:
    if rule in (wanted, NO_ROWS):
        return True
    one, other = _values(rule), _values(wanted)
    return one is not None and other is not None and one[0] == other[0] and one[1] <= other[1]


def _values(rule: str) -> tuple[str, frozenset[str]] | None:
    """The column and the values it may have, where the rule says nothing else."""
    try:
        tree = sqlglot.parse_one(rule, dialect="duckdb")
    except SqlglotError:
        return None
    if isinstance(tree, exp.EQ):
        inside = [tree.expression]
    elif isinstance(tree, exp.In) and not tree.args.get("query"):
        inside = tree.expressions
    else:
        return None
    if not isinstance(tree.this, exp.Column) or not all(isinstance(v, exp.Literal) for v in inside):
        return None
    return tree.this.name, frozenset(value.sql("duckdb") for value in inside)


def _taken_apart(mask: str) -> tuple[str, str]:
    found = re.fullmatch(r"(bucket|truncate) (\S+)", mask)
    return (found[1], found[2]) if found else (mask, "")
