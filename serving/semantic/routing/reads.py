"""Which columns a text of an author reads, and whether it says the same tomorrow. When in doubt: unclear."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from serving.syntax import folded

_STATE = " EXPORT_STATE"  # only DuckDB knows it
_WANDERING = (
    exp.CurrentDate,
    exp.CurrentDatetime,
    exp.CurrentTime,
    exp.CurrentTimestamp,
    exp.CurrentTimestampLTZ,
    exp.CurrentUser,
    exp.Localtime,
    exp.Localtimestamp,
    exp.Rand,
    exp.Randn,
    exp.SessionUser,
    exp.Uuid,
)
_WANDERING_NAMES = frozenset(
    """
    age current_date current_localtime current_localtimestamp current_setting current_time current_timestamp
    gen_random_uuid get_current_time get_current_timestamp getvariable localtime localtimestamp nextval now
    random setseed today transaction_timestamp txid_current uuid uuidv4 uuidv7
    """.split()
)
_MANY = (exp.Columns, exp.Query, exp.Values, exp.Placeholder, exp.Parameter, exp.Command)


@dataclass(frozen=True)
class _Reading:
    """`paths` are the folded parts of each column's name; None where nobody can say what it reads."""

    paths: frozenset[tuple[str, ...]] | None
    steady: bool


def columns_read(text: str, mart: str, columns: Collection[str]) -> frozenset[str] | None:
    """The mart's columns that an expression or aggregate reads; None: unclear, it may read any of them."""
    paths = _reading(text).paths
    if paths is None:
        return None
    known = _folded(tuple(columns))
    found: set[str] = set()
    for first, *rest in paths:
        names = [first] if first in known else []  # the column itself, or a field of it
        if first == folded(mart) and rest and rest[0] in known:
            names.append(rest[0])
        if not names:
            return None
        found.update(known[name] for name in names)
    return frozenset(found)


def is_steady(text: str) -> bool:
    """Whether the text gives the same for the same row at any time, to anybody."""
    return _reading(text).steady


@lru_cache(maxsize=1_000)
def _folded(columns: tuple[str, ...]) -> Mapping[str, str]:
    return {folded(name): name for name in columns}


@lru_cache(maxsize=10_000)
def _reading(text: str) -> _Reading:
    try:
        tree = sqlglot.parse_one(text.removesuffix(_STATE), dialect="duckdb")
    except (SqlglotError, RecursionError):
        return _Reading(None, steady=False)
    nodes = list(tree.walk())
    steady = not any(_wanders(node) for node in nodes)
    unclear = any(isinstance(node, _MANY) or _is_star(node) or _is_loose(node) for node in nodes)
    paths = frozenset(_path(node) for node in nodes if isinstance(node, exp.Column))
    return _Reading(None if unclear else paths, steady)


def _wanders(node: exp.Expr) -> bool:
    if isinstance(node, _WANDERING):
        return True
    name = node.name if isinstance(node, exp.Anonymous | exp.Column) else ""
    return name.lower() in _WANDERING_NAMES and not (isinstance(node, exp.Column) and node.this.quoted)


def _is_star(node: exp.Expr) -> bool:
    return isinstance(node, exp.Star) and not (
        isinstance(node.parent, exp.Count) and not any(node.args.values())
    )


def _is_loose(node: exp.Expr) -> bool:
    """A name that is no column's: the column of `amount.abs()`, a lambda's own, a key of a struct."""
    return isinstance(node, exp.Identifier) and not isinstance(node.parent, exp.Column)


def _path(node: exp.Column) -> tuple[str, ...]:
    return tuple(folded(part.name) for part in node.parts)
