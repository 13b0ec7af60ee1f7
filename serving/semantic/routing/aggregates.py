"""An aggregate in a question -> the leaf of a measure that it is."""

from serving.semantic.dimension import quoted
from serving.semantic.leaves import Leaf
from serving.semantic.routing.forms import Subject, Unanswerable, usual
from serving.semantic.routing.names import all_seen
from serving.semantic.routing.routes import Reason
from serving.syntax import Node


def leaf_of(node: Node, subject: Subject) -> tuple[Leaf, Node | None]:
    """The leaf that an aggregate is, and a FILTER that picks groups of it; raises Unanswerable."""
    all_seen(node, subject)
    leaves, known = subject.forms.leaves, usual(node)
    if (leaf := leaves.get(subject.form(known))) is not None:
        return leaf, None
    if node["filter"] is not None:
        leaf = leaves.get(subject.form({**known, "filter": None}))
        if leaf is not None and leaf.mergeable and leaf.filter is None:
            return leaf, node["filter"]
    if (leaf := _of_values(node, subject)) is not None:
        return leaf, None
    words = f"{subject.words(node)} is no measure of {subject.mart.name}, and rollups keep measures"
    raise Unanswerable(Reason.MEASURE, words)


def _of_values(node: Node, subject: Subject) -> Leaf | None:
    """An aggregate that is the same over the values of a column as over its rows."""
    name, arguments = node["function_name"].lower(), node["arguments"]
    column = subject.column(arguments[0]["expression"]) if len(arguments) == 1 else None
    special = node["filter"], node["order_bys"]["orders"], node["schema"], node["export_state"]
    if column is None or any(special):
        return None
    if name in ("min", "max"):
        return Leaf("min" if name == "min" else "max", quoted(column))
    return Leaf("count_distinct", quoted(column)) if name == "count" and node["distinct"] else None
