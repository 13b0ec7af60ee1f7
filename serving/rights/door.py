"""The report corrected by what the door will really do: the view it binds has the last word."""

from collections.abc import Collection
from dataclasses import replace

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from serving.governance.access import View
from serving.rights.rules import NO_ROWS, ColumnAccess, RowAccess


def columns_of_view(
    columns: tuple[ColumnAccess, ...], view: View, built: Collection[str]
) -> tuple[ColumnAccess, ...]:
    """The same columns; a built one is hidden, masked or seen as in the view."""
    return tuple(_as_in_view(column, view) if column.name in built else column for column in columns)


def rows_of_view(rules: tuple[RowAccess, ...], view: View) -> tuple[RowAccess, ...]:
    """The same rules; those that apply also in the words that the person may read."""
    applied = [rule for rule in rules if not rule.exempt]
    said = [text.removeprefix(f"rows of {view.mart}: ") for text in view.policies[: len(applied)]]
    shown = _conditions(view.shown)
    if not len(applied) == len(said) == len(shown):
        return rules
    own = {rule.at: words for rule, words in zip(applied, zip(said, shown, strict=True), strict=True)}
    return tuple(
        replace(rule, own_where=own[rule.at][0], own_bound=own[rule.at][1]) if rule.at in own else rule
        for rule in rules
    )


def _as_in_view(column: ColumnAccess, view: View) -> ColumnAccess:
    if column.name in view.masked:
        return replace(column, state="masked", mask=view.masked[column.name])
    return replace(column, state="seen" if column.name in view.columns else "hidden")


def _conditions(shown: str) -> list[str]:
    """The conditions of a view's definition, one for each row rule that made it."""
    try:
        where = sqlglot.parse_one(shown, dialect="duckdb").args.get("where")
    except SqlglotError:
        return []
    if where is None:
        return []
    both = where.this.flatten(unnest=False) if isinstance(where.this, exp.And) else [where.this]
    return [_readable(one) for one in both]


def _readable(condition: exp.Expr) -> str:
    """Without needless quotes and brackets."""
    condition = condition.copy().unnest()
    if isinstance(condition, exp.Boolean) and not condition.this:
        return NO_ROWS
    for name in condition.find_all(exp.Identifier):
        name.set("quoted", not name.this.isidentifier())
    return str(condition.sql("duckdb"))
