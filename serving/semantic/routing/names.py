"""Names in a block: none may mean one thing over the mart and another over its rollup."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from serving.semantic.routing.apart import LEAF_COLUMN, outward
from serving.semantic.routing.forms import Subject, Unanswerable
from serving.semantic.routing.routes import Reason
from serving.semantic.routing.words import AGGREGATES, MOMENTS
from serving.syntax import Node, Path, folded, walk, written_path


def check_aliases(items: Sequence[Node], having: Node | None, subject: Subject) -> None:
    """No alias may mean something else than the column, of the mart or of its rollups, of that name.

    Elsewhere a column comes before the alias of its name; a name alone in ORDER BY is the alias; HAVING
    takes either, by what is grouped.
    """
    used = set(_over_groups(having))
    for item in items:
        name = folded(item["alias"])
        column = subject.spelled(name)
        if column is not None and subject.column(item) != column and (name,) in used:
            raise Unanswerable(Reason.NAME, f"the alias '{item['alias']}' hides the column of that name")
        if name and _is_kept((name,), subject) and folded(subject.dimension(item) or "") != name:
            raise Unanswerable(Reason.NAME, f"the alias '{item['alias']}' is a name in rollups, too")


def _over_groups(node: Any) -> Iterator[Path]:
    """The names in a condition over groups; those within aggregates are of rows."""
    if isinstance(node, list):
        for part in node:
            yield from _over_groups(part)
    elif isinstance(node, Mapping):
        if node.get("class") == "COLUMN_REF":
            yield written_path(node)
        elif node.get("class") != "FUNCTION" or node["function_name"].lower() not in AGGREGATES:
            yield from _over_groups(list(node.values()))


def check_other(node: Node, subject: Subject) -> None:
    """A name that is not of the mart must be of a table beside it, or of a query around the block."""
    path = written_path(node)
    if path in {(word,) for word in MOMENTS} and not _is_kept(path, subject):
        return
    if len(path) == 1:
        is_known = subject.beside is None or path[0] in subject.beside
    else:
        is_known = path[0] != folded(subject.alias) and subject.spelled(path[0]) is None
    if not is_known or _is_kept(path, subject):
        name = ".".join(node["column_names"])
        raise Unanswerable(Reason.EXPRESSION, f"'{name}' is no plain column of {subject.mart.name}")


def check_apart(subquery: Node, subject: Subject) -> None:
    """Refuse a subquery in which a name may be a column of the block's mart, or of its rollups."""
    for path in outward(subquery["subquery"], subject.tables):
        mine = subject.spelled(path[0]) is not None or path[0] == folded(subject.alias)
        if mine or _is_kept(path, subject):
            words = f"'{'.'.join(path)}' in a subquery may be of the {subject.mart.name} around it"
            raise Unanswerable(Reason.EXPRESSION, words)


def all_seen(node: Node, subject: Subject) -> None:
    """Every name in an expression must be a column that the person sees."""
    for part in walk(node):
        if part.get("class") == "COLUMN_REF" and subject.column(part) is None:
            name = ".".join(part["column_names"])
            raise Unanswerable(Reason.EXPRESSION, f"'{name}' is no plain column of {subject.mart.name}")


def _is_kept(path: Path, subject: Subject) -> bool:
    """Whether a rollup may have a column of that name which the mart has not."""
    name = path[0]
    is_computed = name in {folded(known) for known in subject.mart.dimensions}
    is_bucket = "." in name and subject.spelled(name.partition(".")[0]) is not None
    return is_computed or is_bucket or LEAF_COLUMN.fullmatch(name) is not None
