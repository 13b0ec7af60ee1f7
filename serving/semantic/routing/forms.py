"""What a mart's measures and dimensions look like in a question: plain forms, made once for each mart."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.content.model import Mart
from serving.errors import QueryRefused
from serving.semantic.dimension import dimension_sql, split_grain
from serving.semantic.leaves import AVERAGED, Leaf, formula
from serving.semantic.routing.apart import Tables
from serving.semantic.routing.routes import Reason
from serving.syntax import Node, Path, Syntax, column, folded, plain_form, written_path

SLOT = "sluice_slot"  # stands in a block for what the source says later
MARTS = 1_000  # whose forms are remembered at most


class Unanswerable(Exception):
    """No rollup can answer a block: the reason, and a sentence for people."""

    def __init__(self, reason: Reason, words: str) -> None:
        super().__init__(words)
        self.reason = reason
        self.words = words


@dataclass(frozen=True)
class Forms:
    """The plain forms (serving/syntax.py) of a mart's aggregates and dimensions."""

    leaves: Mapping[str, Leaf]
    dimensions: Mapping[str, str]  # form -> key; plain columns are not among them
    kept: frozenset[str]  # keys of dimensions that some rollup of the mart declares


_KNOWN: dict[tuple[int, str], tuple[Mart, Forms]] = {}


@dataclass(frozen=True)
class Subject:
    """The mart that a block reads, by the name that the block gives it."""

    mart: Mart
    alias: str
    kinds: Mapping[str, str]  # column -> DuckDB type, as the person sees them
    forms: Forms
    week_starts: str
    syntax: Syntax
    names: Mapping[str, str]  # folded -> column
    tables: Tables  # what subqueries inside the block may read
    table: Node  # where FROM reads it
    beside: frozenset[str] | None = frozenset()  # columns of the tables it is joined with; None: not known

    def path(self, node: Node) -> Path:
        """A column's path without the block's own name in front."""
        path = written_path(node)
        return path[1:] if len(path) > 1 and path[0] == folded(self.alias) else path

    def column(self, node: Node) -> str | None:
        """The mart's spelling of the column that a node names; None for anything else."""
        if node["class"] != "COLUMN_REF":
            return None
        path = self.path(node)
        return self.spelled(path[0]) if len(path) == 1 else None

    def dimension(self, node: Node) -> str | None:
        """The key of a computed dimension, written out."""
        return None if self.column(node) is not None else self.forms.dimensions.get(self.form(node))

    def spelled(self, name: str) -> str | None:
        """The mart's spelling of a column's name."""
        return self.names.get(folded(name))

    def form(self, node: Node) -> str:
        """The node's plain form, its columns without qualifier."""
        return plain_form(node, self.path)

    def words(self, node: Node) -> str:
        """The node as SQL, for people."""
        return self.syntax.header({**node, "alias": ""})


def slot(kind: str, name: str, alias: str = "") -> Node:
    """A place for what the source says: of a dimension ("d", key) or a leaf ("l", its place)."""
    return column((SLOT, kind, name), alias)


def is_slot(node: Mapping[str, Any]) -> bool:
    """Whether a node is such a place."""
    return node.get("class") == "COLUMN_REF" and node["column_names"][0] == SLOT


def usual(node: Node) -> Node:
    """An aggregate in its usual spelling: count(1) is count(*), mean is avg."""
    name, arguments = node["function_name"].lower(), node["arguments"]
    if name == "mean":
        return {**node, "function_name": "avg"}
    if name == "count" and not node["distinct"] and len(arguments) == 1:
        literal = arguments[0]["expression"].get("literal")
        if literal is not None and literal["kind"] != "NULL_LITERAL":
            return {**node, "function_name": "count_star", "arguments": []}
    return node


def forms(mart: Mart, week_starts: str, syntax: Syntax) -> Forms:
    """The forms of a mart; made once for each content, which is replaced whole."""
    known = _KNOWN.get((id(mart), week_starts))
    if known is not None and known[0] is mart:
        return known[1]
    made = _forms(mart, week_starts, syntax)
    if len(_KNOWN) >= MARTS:
        _KNOWN.clear()
    _KNOWN[id(mart), week_starts] = mart, made
    return made


def _forms(mart: Mart, week_starts: str, syntax: Syntax) -> Forms:
    leaves = [Leaf("count"), *(leaf for name in mart.measures for leaf in _leaves(mart, name))]
    means = (measure for measure in mart.measures.values() if measure.agg == AVERAGED)
    leaves += [Leaf(AVERAGED, measure.expr, measure.filter) for measure in means]
    found = {form: leaf for leaf in dict.fromkeys(leaves) for form in _form(mart, leaf.sql(), syntax)}
    keys = [*mart.dimensions, *(key for rollup in mart.rollups.values() for key in rollup.dimensions)]
    computed = {
        form: name
        for name in dict.fromkeys(keys)
        if name in mart.dimensions or split_grain(name)[1] is not None
        for form in _form(mart, dimension_sql(mart, name, week_starts), syntax)
    }
    return Forms(found, computed, frozenset(keys) - mart.dimensions.keys())


def _leaves(mart: Mart, name: str) -> Iterator[Leaf]:
    for approximate in (False, True):
        try:
            yield from formula(mart, name, approximate).leaves
        except (ValueError, KeyError):  # of other marts, or with nothing in it to estimate
            continue


def _form(mart: Mart, text: str, syntax: Syntax) -> Sequence[str]:
    def path(node: Node) -> Path:
        written = written_path(node)
        return written[1:] if len(written) > 1 and written[0] == folded(mart.name) else written

    try:
        (node,) = syntax.expressions([text])
    except QueryRefused:  # the check of the files speaks of it
        return ()
    is_aggregate = node["class"] == "FUNCTION"
    return (plain_form(usual(node) if is_aggregate else node, path),)
