"""MEASURE(revenue) in SQL: each call becomes the measure's expression, on DuckDB's own tree.

A call belongs to the SELECT it stands in, and speaks of a mart in that SELECT's FROM: by its name, or
through CTEs and subqueries that pass its rows on. It is refused where the rows of that mart may be
repeated by a join, and wherever an aggregate could not stand.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from serving.errors import QueryRefused
from serving.semantic.measure.name import find, read_call
from serving.semantic.measure.one_row import seats
from serving.semantic.measure.output import AGGREGATES, combined, given, is_query, near_nodes
from serving.semantic.measure.scope import Relation, Seat, Seats, Shown, mart_relation
from serving.semantic.measure.text import Asked, Repeated, spelled
from serving.semantic.model import Model
from serving.syntax import Node, Syntax, folded, walk

Env = Mapping[str, Relation]  # CTEs, by folded name
_PLACES = {  # where no aggregate may stand
    "where_clause": ("WHERE", "filter groups with HAVING"),
    "group_expressions": ("GROUP BY", "group by dimensions"),
    "sample": ("a sample", "leave it out"),
    "limit": ("LIMIT", "write a number"),
    "condition": ("a join condition", "aggregate it in a CTE first, and join with that"),
    "aggregate": ("another aggregate", "aggregate it in a subquery or CTE first"),
    "filter": ("FILTER", "filter groups with HAVING"),
    "set": ("ORDER BY of a UNION, EXCEPT or INTERSECT", "order by a column of the result"),
    "else": ("this place", "write it in the SELECT list, HAVING, QUALIFY or ORDER BY of a SELECT"),
}


@dataclass(frozen=True)
class Expanded:
    """A tree without MEASURE, and the headers of the result's columns that are estimates (≈)."""

    tree: Node
    approximate: tuple[str, ...] = ()


def expand_measures(tree: Node, model: Model, syntax: Syntax) -> Expanded:
    """The tree with every MEASURE(…) spelled out; the same tree where there is none.

    `tree` is json_serialize_sql of a question. Raises QueryRefused with the reason and what to write.
    """
    if not any(_is_measure(node) for node in walk(tree)):
        return Expanded(tree)
    try:
        mine = json.loads(json.dumps(tree))
        found = [_Expansion(model, syntax).query(part["node"], {}) for part in mine["statements"]]
    except RecursionError as error:
        raise QueryRefused("the query is nested too deeply", hint="split it with CTEs") from error
    for node in walk(mine):
        if _is_measure(node):
            _refuse("else")
    columns = (column for relation in found for column in relation.columns or ())
    headers = dict.fromkeys(column.name for column in columns if column.estimated)
    return Expanded(mine, tuple(headers))


def _is_measure(node: Node) -> bool:
    name = node.get("function_name")
    return isinstance(name, str) and name.lower() == "measure"


def _refuse(place: str) -> None:
    where, hint = _PLACES[place]
    raise QueryRefused(f"MEASURE cannot stand in {where}", hint=hint)


class _Expansion:
    """One pass over the queries of a tree, inner ones first; changes the tree."""

    def __init__(self, model: Model, syntax: Syntax) -> None:
        self.model, self.syntax = model, syntax
        self.marts = {folded(name): name for name in model.readable}
        self.estimates: set[int] = set()  # ids of nodes of the tree whose value is an estimate
        self.around: list[Seats] = []  # what the queries around this one read

    def query(self, node: dict[str, Any], env: Env) -> Relation:
        """Expand a query; what it gives to the query around it."""
        env = self._with_ctes(node, env)
        match node["type"]:
            case "SELECT_NODE":
                found = self._select(node, env)
            case "SET_OPERATION_NODE":
                self._forbid(node["modifiers"], "set", env)
                found = combined(node, [self.query(child, env) for child in node["children"]])
            case "RECURSIVE_CTE_NODE":
                inner = {**env, folded(node["cte_name"]): Relation()}
                combined(node, [self.query(node[side], inner) for side in ("left", "right")])
                self._forbid([node.get(key) for key in _RECURSIVE], "else", env)
                found = Relation()
            case _:
                raise QueryRefused("MEASURE cannot stand in this kind of query", hint="write it as a SELECT")
        if any(column.estimated for column in found.columns or ()):
            self.estimates.add(id(node))
        return found

    def _with_ctes(self, node: Node, env: Env) -> Env:
        for entry in node["cte_map"]["map"]:
            value = entry["value"]
            self._forbid([value.get(key) for key in _RECURSIVE], "else", env)
            relation = self.query(value["query_node"], env)
            env = {**env, folded(entry["key"]): relation.renamed(value["aliases"])}
        return env

    def _select(self, node: dict[str, Any], env: Env) -> Relation:
        found = seats(node["from_table"], lambda table: self._leaf(table, env), node["where_clause"])
        self.around.append(found)
        for table in near_nodes(node["from_table"]):
            if table.get("type") == "JOIN":
                self._forbid(table["condition"], "condition", env)
        for place in ("where_clause", "group_expressions", "sample"):
            self._forbid(node[place], place, env)
        for modifier in node["modifiers"]:
            self._forbid([modifier.get("limit"), modifier.get("offset")], "limit", env)
        self._keep_headers(node["select_list"], found)
        calls = [part for part in near_nodes([node[part] for part in _SPOKEN]) if _is_measure(part)]
        try:
            for part in _SPOKEN:
                node[part] = self._rewritten(node[part], found, env)
        except Repeated as error:
            asked = " ".join(dict.fromkeys(self._metric(call, found) for call in reversed(calls)))
            hint = f"{error.hint}; or ask python -m serving metrics {asked}"
            raise QueryRefused(error.problem, hint=hint) from error
        for item in node["select_list"]:
            if not item["alias"] and item["class"] != "COLUMN_REF" and self._is_estimate(item):
                item["alias"] = self.syntax.header(item)
        relation = given(node, found, self._is_estimate)
        self.around.pop()
        if relation.columns is None and any(
            c.estimated for seat in found for c in seat.relation.columns or ()
        ):
            hint = "list the columns by their names"
            raise QueryRefused("an estimate (MEASURE(~…)) cannot be followed through this list", hint=hint)
        return relation

    def _metric(self, node: Node, found: Seats) -> str:
        """The measure of a call as metric requests name it."""
        call = read_call(node)
        seat, name = find(call, found, self.model)
        return f"{'~' if call.approximate else ''}{seat.relation.mart}.{name}"

    def _keep_headers(self, items: list[Any], found: Seats) -> None:
        """Name the columns whose name is their own text, which is about to change."""
        for item in items:
            if item["alias"] or item["class"] == "STAR" or not any(map(_is_measure, walk(item))):
                continue
            if _is_measure(item):
                item["alias"] = find(read_call(item), found, self.model)[1]
            else:
                item["alias"] = self.syntax.header(item)

    def _forbid(self, value: Any, place: str, env: Env) -> None:
        """Refuse calls in a place where no aggregate may stand; queries inside it are their own place."""
        if any(_is_measure(node) for node in near_nodes(value)):
            _refuse(place)
        for query in _queries(value):
            self.query(query, env)

    def _rewritten(self, value: Any, found: Seats, env: Env, inside: str = "") -> Any:
        """The value with its calls spelled out; `inside` is why none may stand here."""
        if isinstance(value, list):
            return [self._rewritten(part, found, env, inside) for part in value]
        if not isinstance(value, dict):
            return value
        if is_query(value):
            self.query(value, env)
            return value
        if _is_measure(value):
            if inside:
                _refuse(inside)
            return self._spelled(value, found, env)
        if value.get("class") == "FUNCTION" and value["function_name"].lower() in AGGREGATES:
            inside = "aggregate"
        return {
            key: self._rewritten(part, found, env, "filter" if key == "filter" and part else inside)
            for key, part in value.items()
        }

    def _spelled(self, node: Node, found: Seats, env: Env, *, plain: bool = False) -> Node:
        call = read_call(node)
        seat, name = find(call, found, self.model)
        if node["filter"] is not None:
            self._forbid(node["filter"], "filter", env)
        asked = Asked(name, call.approximate, node["filter"], plain)
        spoken = spelled(self.model, self.syntax, seat, asked)
        spoken = {**spoken, "alias": node["alias"]}
        if call.approximate:
            self.estimates.add(id(spoken))
        return spoken

    def _is_estimate(self, item: Node) -> bool:
        """Whether a value is an estimate, or computed from one."""
        for node in walk(item):
            if id(node) in self.estimates:
                return True
            if node.get("class") == "COLUMN_REF" and self._names_estimate(node):
                return True
        return False

    def _names_estimate(self, node: Node) -> bool:
        path = [folded(part) for part in node["column_names"]]
        for found in reversed(self.around):
            named = [seat for seat in found if len(path) > 1 and seat.name == path[0]]
            name = path[1] if named else path[0]
            columns = [c for seat in named or found for c in seat.relation.columns or ()]
            if any(folded(c.header) == name for c in columns):
                return any(folded(c.header) == name and c.estimated for c in columns)
        return False

    def _leaf(self, table: Any, env: Env) -> Seats:
        """What one part of FROM brings with it."""
        written = table.get("alias") or table.get("table_name") or ""
        relation, lateral = Relation(), False
        match table["type"]:
            case "EMPTY":
                return ()
            case "BASE_TABLE":
                relation = self._named(folded(table["table_name"]), env)
            case "SUBQUERY":
                relation, lateral = self.query(table["subquery"]["node"], env), True
            case "EXPRESSION_LIST":
                self._forbid(table["values"], "else", env)
                columns = [Shown(f"col{place}", f"col{place}") for place, _ in enumerate(table["values"][0])]
                relation = Relation(tuple(columns), single=len(table["values"]) == 1)
            case "PIVOT":
                self._pivot(table, env)
            case _:
                self._forbid(
                    [value for value in table.values() if isinstance(value, dict | list)], "else", env
                )
        relation = relation.renamed(table.get("column_name_alias") or ())
        return (Seat(folded(written) or f"#{id(table)}", written, relation, lateral=lateral),)

    def _named(self, name: str, env: Env) -> Relation:
        if name in env:
            return env[name]
        return mart_relation(self.model, self.marts[name]) if name in self.marts else Relation()

    def _pivot(self, table: Any, env: Env) -> None:
        """PIVOT … USING MEASURE(…): a measure of one aggregate."""
        found = seats(table["source"], lambda source: self._leaf(source, env), None)
        for part in ("pivots", "groups"):
            self._forbid(table[part], "group_expressions", env)
        for place, node in enumerate(table["aggregates"]):
            if not _is_measure(node):
                self._forbid(node, "aggregate", env)
                continue
            if read_call(node).approximate:
                raise QueryRefused("MEASURE(~…) cannot stand in PIVOT", hint=_BEFORE_PIVOT)
            if len(table["aggregates"]) > 1 and not node["alias"]:
                node["alias"] = find(read_call(node), found, self.model)[1]
            spoken = self._spelled(node, found, env, plain=True)
            if spoken["class"] != "FUNCTION" or spoken["function_name"].lower() not in AGGREGATES:
                raise QueryRefused("PIVOT takes measures of one aggregate only", hint=_BEFORE_PIVOT)
            table["aggregates"][place] = spoken


_SPOKEN = ("select_list", "having", "qualify", "modifiers")  # where an aggregate may stand
_RECURSIVE = ("key_targets", "payload_aggregates")
_BEFORE_PIVOT = "aggregate in a CTE first, and PIVOT that with any_value(…)"


def _queries(value: Any) -> Iterator[dict[str, Any]]:
    """The outermost queries inside a value."""
    todo: list[Any] = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            if is_query(item):
                yield item
                continue
            todo += item.values()
        elif isinstance(item, list):
            todo += item
