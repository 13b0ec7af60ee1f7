"""Entitlements: `column in (select column from mart where …)`, answered before the query runs.

The values become constants of the rule. Only where there are more than LOOKUP_LIMIT does the
subquery stay in the view, which is then safe on the engine's SECURE VIEWs only.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlglot import exp

from serving.governance.constants import SIGNED, RuleInvalid, cast, decimal_of, one_of

LOOKUP_LIMIT = 1_000  # values that become constants
Lookup = Callable[[str, str, str], tuple[object, ...]]
"""(mart, column, predicate over that mart's own columns, as SQL) -> the column's distinct values that are
not NULL, at most LOOKUP_LIMIT + 1 of them, read from the mart as it is, not through anybody's view."""
Built = Mapping[str, Mapping[str, str]]  # mart -> column -> DuckDB type, as built

# the schema that stands for the marts' own tables until the engine knows where they are; no schema
# can be called so, since nobody can guess it
BASE = f"base_{secrets.token_hex(8)}"
_SMALL = frozenset({*list(SIGNED)[:4], "UTINYINT", "USMALLINT", "UINTEGER"})  # all of them fit BIGINT


@dataclass(frozen=True)
class Entitlement:
    """One such condition: `column` is among the `key`s of those rows of `mart` that fulfil `where`."""

    column: str
    mart: str
    key: str
    where: exp.Expr | None


def raw_table(mart: str) -> exp.Table:
    """The mart's own table, as a placeholder that `View.over` fills in."""
    return exp.table_(exp.to_identifier(mart, quoted=True), db=exp.to_identifier(BASE, quoted=True))


def read_entitlement(node: exp.In) -> Entitlement:
    """The parts of `column in (select …)`; raises RuleInvalid for any other shape."""
    column, subquery = node.this, node.args["query"]
    select = subquery.this if isinstance(subquery, exp.Subquery) and _only(subquery, "this") else None
    if isinstance(select, exp.Select) and _only(select, "expressions", "from_", "where"):
        table: Any = select.args["from_"].this if select.args.get("from_") else None
        key: Any = select.expressions[0] if len(select.expressions) == 1 else None
        if _bare(table, exp.Table) and _bare(key, exp.Column):
            where = select.args.get("where")
            return Entitlement(column.name, table.name, key.name, where.this if where else None)
    shape = "column IN (SELECT column FROM mart WHERE …)"
    raise RuleInvalid(f"{node.sql('duckdb')!r} is more than an entitlement may say ({shape})")


def key_problem(column: str, kind: str, key: str, key_kind: str) -> str | None:
    """Why the two columns cannot be compared, or None."""
    whole = kind in _SMALL and key_kind in _SMALL
    same = kind == key_kind and (kind in ("VARCHAR", "UBIGINT", "UUID") or decimal_of(kind) is not None)
    if whole or same:
        return None
    kinds = f"'{column}' is {kind} and '{key}' is {key_kind}"
    return f"{kinds}: an entitlement compares texts, whole numbers, equal decimals or UUIDs"


def entitled(
    found: Entitlement, kind: str, key_kind: str, predicate: exp.Expr | None, lookup: Lookup
) -> exp.Expr:
    """The condition with the values looked up, or with its subquery where they are too many."""
    column = exp.column(exp.to_identifier(found.column, quoted=True))
    words = "TRUE" if predicate is None else predicate.sql("duckdb", comments=False)
    values = lookup(found.mart, found.key, words)
    if len(values) > LOOKUP_LIMIT:
        key = exp.column(exp.to_identifier(found.key, quoted=True))
        inner = exp.select(key).from_(raw_table(found.mart))
        return exp.In(this=column, query=exp.Subquery(this=inner.where(predicate) if predicate else inner))
    if kind == "UUID":
        return _uuids(column, values)
    exact = decimal_of(key_kind) is not None
    return one_of(column, [_plain(value, exact=exact) for value in values], kind)


def _uuids(column: exp.Expr, values: tuple[object, ...]) -> exp.Expr:
    if not all(isinstance(value, UUID | str) for value in values):
        raise RuleInvalid("the entitlements are no UUIDs")
    if not values:
        return exp.false()
    texts = [exp.Literal.string(str(UUID(str(value)))) for value in values]
    return exp.In(this=column, expressions=[cast(text, "UUID") for text in texts])


def _plain(value: object, *, exact: bool) -> object:
    if exact and not isinstance(value, Decimal):  # a decimal that went through a float is another number
        raise RuleInvalid(f"the entitlement {value!r} is no exact decimal")
    return value


def _bare(node: object, kind: type[exp.Expr]) -> bool:
    """Whether the node is a name of that kind with nothing around it."""
    return isinstance(node, kind) and _only(node, "this") and isinstance(node.this, exp.Identifier)


def _only(node: exp.Expr, *names: str) -> bool:
    return all(name in names for name, value in node.args.items() if value not in (None, [], False))
