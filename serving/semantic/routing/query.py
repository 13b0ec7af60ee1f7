"""SQL over marts -> the same SQL, where blocks that a rollup answers read that rollup.

Works on DuckDB's own syntax tree, after MEASURE was written out. The question's own text stays, but
for the FROM, the dimensions and the aggregates of such a block, and the ranges of days in its WHERE.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from serving.content.model import Mart
from serving.semantic.model import Model, Sourcer
from serving.semantic.routing.apart import Tables
from serving.semantic.routing.block import read_block
from serving.semantic.routing.filled import filled
from serving.semantic.routing.forms import Subject, Unanswerable, forms
from serving.semantic.routing.join import others
from serving.semantic.routing.routes import Miss, Reason, Route
from serving.syntax import Node, Syntax, folded, walk


@dataclass(frozen=True)
class Routed:
    """A question, and where each of its blocks over a mart with rollups finds its rows."""

    tree: Node
    routes: tuple[Route, ...]


def route_query(tree: Node, model: Model, sourcer: Sourcer, syntax: Syntax) -> Routed:
    """Let rollups answer the blocks that they can; `tree` is json_serialize_sql of the question.

    The tree itself comes back where no rollup answers. Each read of a mart that declares rollups has
    its route, in the order of the text; where a block cannot be asked of a rollup, the route misses
    every rollup of the mart for the same reason. The result is the same as before: rows, types,
    headers and order.
    """
    marts = {folded(name): model.content.marts[name] for name in model.readable if _declares(model, name)}
    if not marts or not any(_named(node, marts) for node in walk(tree)):
        return Routed(tree, ())
    statement = json.loads(json.dumps(tree))
    try:
        _keep_headers(statement, marts, syntax)
        routes = [
            route
            for node, hidden in _selects(statement, frozenset())
            for route in _routed(node, hidden, marts, model, sourcer, syntax)
        ]
    except RecursionError:  # nested too deeply to be looked at
        return Routed(tree, ())
    is_new = any(route.rollup is not None for route in routes)
    return Routed(statement if is_new else tree, tuple(routes))


def _declares(model: Model, name: str) -> bool:
    mart = model.content.marts.get(name)
    return mart is not None and bool(mart.rollups)


def _named(node: Node, marts: Mapping[str, Mart]) -> bool:
    return node.get("type") == "BASE_TABLE" and folded(node["table_name"]) in marts


def _keep_headers(statement: Node, marts: Mapping[str, Mart], syntax: Syntax) -> None:
    """Name the columns whose name is their own text, where a subquery in that text may change."""
    for node in walk(statement):
        for item in node.get("select_list", ()):
            if not item["alias"] and any(_named(inner, marts) for inner in walk(item)):
                item["alias"] = syntax.header(item)


def _selects(node: Any, hidden: frozenset[str]) -> Iterator[tuple[dict[str, Any], frozenset[str]]]:
    """Every SELECT with the names of CTEs in its scope, those around others first."""
    if isinstance(node, list):
        for part in node:
            yield from _selects(part, hidden)
        return
    if not isinstance(node, dict):
        return
    if node.get("type") == "RECURSIVE_CTE_NODE":
        hidden |= {folded(node["cte_name"])}
    for entry in node["cte_map"]["map"] if "cte_map" in node else ():
        yield from _selects(entry["value"], hidden)
        hidden |= {folded(entry["key"])}
    parts = [part for key, part in node.items() if key != "cte_map"]  # a SELECT may change what it holds
    if node.get("type") == "SELECT_NODE":
        yield node, hidden
    for part in parts:
        yield from _selects(part, hidden)


def _routed(
    node: dict[str, Any],
    hidden: frozenset[str],
    marts: Mapping[str, Mart],
    model: Model,
    sourcer: Sourcer,
    syntax: Syntax,
) -> Iterator[Route]:
    """The routes of one SELECT, which reads the rollup afterwards where there is one."""
    source = node["from_table"]
    tables = [table for table in _tables(source) if _named(table, marts)]
    is_new = False
    for table in tables:
        name = folded(table["table_name"])
        if name in hidden or table["schema_name"] or table["catalog_name"]:
            continue
        mart = marts[name]
        if is_new:
            words = f"the block is answered by a rollup of another mart, and {mart.name} is joined with it"
            yield _missed(mart, Reason.JOIN, words)
        elif any(other.startswith(f"{name}:") for other in hidden):
            yield _missed(mart, Reason.NAME, f"a CTE has the name of a rollup of {mart.name}")
        else:
            route = _answered(node, _subject(source, table, mart, hidden, model, syntax), sourcer)
            is_new = route.rollup is not None
            yield route


def _answered(node: dict[str, Any], subject: Subject, sourcer: Sourcer) -> Route:
    """The route of a SELECT's read of one mart."""
    try:
        block = read_block(node, subject)
    except Unanswerable as why:
        return _missed(subject.mart, why.reason, why.words)
    source = sourcer(block.need)
    if source.route.rollup is not None:
        new = filled(block, node, source, subject)
        node.clear()
        node.update(new)
    return source.route


def _subject(
    source: Node, table: Node, mart: Mart, hidden: frozenset[str], model: Model, syntax: Syntax
) -> Subject:
    known = forms(mart, model.week_starts, syntax)
    alias, kinds = table["alias"] or table["table_name"], model.readable[mart.name]
    tables = {
        folded(name): frozenset(map(folded, columns))
        for name, columns in model.readable.items()
        if folded(name) not in hidden
    }
    names = {folded(column): column for column in kinds}
    beside = [_columns(other, tables) for other in others(source, table)]
    known_beside = frozenset().union(*(part for part in beside if part is not None))
    return Subject(
        mart,
        alias,
        kinds,
        known,
        model.week_starts,
        syntax,
        names,
        tables,
        table,
        None if None in beside else known_beside,
    )


def _columns(table: Node, tables: Tables) -> frozenset[str] | None:
    """The columns of a table, where that is a mart that no CTE hides."""
    if table["type"] != "BASE_TABLE" or table["column_name_alias"]:
        return None
    return tables.get(folded(table["table_name"]))


def _tables(source: Node) -> Iterator[Node]:
    """The tables in a FROM, without those of subqueries in it."""
    yield source
    for part in ("left", "right") if source["type"] == "JOIN" else ("source",):
        if source.get(part) is not None:
            yield from _tables(source[part])


def _missed(mart: Mart, reason: Reason, words: str) -> Route:
    return Route(mart.name, misses=tuple(Miss(name, reason, words) for name in mart.rollups))
