"""The FROM of a block: the mart, alone or joined in a way in which rows of a group behave alike.

Where conditions read only dimensions of the mart, all rows of a group meet the same rows of the other
tables, so that a group can stand for its rows.
"""

from collections.abc import Callable, Iterator

from serving.semantic.routing.apart import outward
from serving.semantic.routing.forms import SLOT, Subject, Unanswerable
from serving.semantic.routing.routes import Reason
from serving.syntax import Node, folded, walk

_KEEPING = ("INNER", "LEFT", "SEMI", "ANTI")  # the mart on their left


def source_of(source: Node, subject: Subject, row: Callable[[Node], Node]) -> tuple[Node, frozenset[str]]:
    """FROM with a slot for the mart, and the mart's columns that USING names; raises Unanswerable.

    `row` puts slots into a condition.
    """
    if subject.table["sample"] is not None:
        raise Unanswerable(Reason.EXPRESSION, "a sample takes single rows")
    if subject.table["column_name_alias"] or subject.table["at_clause"] is not None:
        raise Unanswerable(Reason.NAME, f"{subject.mart.name} has its columns renamed in FROM")
    columns: set[str] = set()
    return _with_slot(source, subject, row, columns), frozenset(columns)


def others(source: Node, table: Node) -> Iterator[Node]:
    """What stands in a FROM beside a table."""
    if source["type"] == "JOIN":
        yield from others(source["left"], table)
        yield from others(source["right"], table)
    elif source is not table:
        yield source


def _with_slot(source: Node, subject: Subject, row: Callable[[Node], Node], columns: set[str]) -> Node:
    if source is subject.table:
        return {**source, "table_name": SLOT}
    if source["type"] != "JOIN":
        raise Unanswerable(
            Reason.EXPRESSION, "PIVOT and UNPIVOT read single rows: aggregate in a subquery first"
        )
    on_left = any(part is subject.table for part in walk(source["left"]))
    side, other = ("left", "right") if on_left else ("right", "left")
    plain = source["ref_type"] in ("REGULAR", "CROSS") and source["ranking_expression"] is None
    if not plain or source["join_type"] not in (_KEEPING if on_left else ("INNER",)):
        kind = source["join_type"] if plain else source["ref_type"]
        raise Unanswerable(
            Reason.JOIN, f"a {kind} join does not keep the rows of {subject.mart.name} as they are"
        )
    _check_apart(source[other], subject)
    for name in source["using_columns"]:
        if (column := subject.spelled(name)) is not None:
            columns.add(column)
    condition = source["condition"] and row(source["condition"])
    return {**source, side: _with_slot(source[side], subject, row, columns), "condition": condition}


def _check_apart(other: Node, subject: Subject) -> None:
    """Refuse a table that is sampled, or that may read the mart's rows one by one."""
    if any(part.get("sample") is not None for part in walk(other)):
        raise Unanswerable(Reason.EXPRESSION, "a sample takes single rows")
    for path in outward(other, subject.tables):
        if path[0] == folded(subject.alias) or subject.spelled(path[0]) is not None:
            words = f"'{'.'.join(path)}' in a joined table may be of {subject.mart.name}"
            raise Unanswerable(Reason.JOIN, words)
