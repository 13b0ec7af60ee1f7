"""The second opinion, and the authority: an allow-list walk over DuckDB's own syntax tree.

`json_serialize_sql` shows what DuckDB will really bind. Every node type, key, function
and type name must be known here; an engine upgrade that adds one is refused until
somebody has looked at it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from serving.governance.functions import check_function, qualifier
from serving.governance.refusal import NotAllowed, Reason
from serving.governance.vocabulary import (
    CLOCKS,
    EXPRESSIONS,
    KEYS,
    NODES,
    REFUSED,
    TABLE_FUNCTIONS,
    TYPES,
    VOLATILE,
)

Node = Mapping[str, Any]
MAX_NODES = 50_000
MAX_PATH = 8
MAX_ARMS = 200
MAX_JOINS = 50
MAX_CTES = 100
MAX_LIST = 10_000
MAX_COLUMNS = 2_000
MAX_NAME = 500
_ONLY_SELECT = "only SELECT is, and DESCRIBE, SUMMARIZE, SHOW TABLES, PIVOT … IN (…), UNPIVOT"


@dataclass(frozen=True)
class Reading:
    """What DuckDB will look up: table names (CTE names included) and functions, in lower case."""

    tables: frozenset[str]
    ctes: frozenset[str]
    functions: frozenset[str]
    columns: frozenset[str] = frozenset()  # every part of every column name that is written
    every_column: bool = False  # `*`, COLUMNS(…) or a whole row: any column may be meant
    parameters: frozenset[str] = frozenset()  # `?` and `$1` are "1", `$name` is "name"
    shows_tables: bool = False  # SHOW TABLES: lists the marts of whoever asks
    samples: bool = False  # takes rows by chance

    @property
    def volatile(self) -> bool:
        """Whether the same question over the same rows may have another answer."""
        words = not VOLATILE.isdisjoint(self.functions) or not CLOCKS.isdisjoint(self.columns)
        return self.samples or words


def read_tree(serialized: Node, *, ours: bool = False) -> Reading:
    """Walk the answer of `json_serialize_sql`; raises NotAllowed at the first unknown thing.

    `ours`: the text was made by Sluice, and may put together the aggregate states that rollups keep.
    """
    if serialized.get("error"):
        raise _unreadable(serialized)
    statements = serialized["statements"]
    if len(statements) != 1:
        problem = f"{len(statements)} statements were given; one is allowed"
        raise NotAllowed(Reason.STATEMENT, problem, hint="ask them one by one")
    walk = _Walk(ours)
    walk.visit(statements[0])
    return walk.reading()


def _unreadable(serialized: Node) -> NotAllowed:
    words = str(serialized.get("error_message", "syntax error"))
    if serialized.get("error_type") == "not implemented":
        return NotAllowed(Reason.STATEMENT, "this statement is not allowed", hint=_ONLY_SELECT)
    place = str(serialized.get("position", ""))
    hint = f"look at character {int(place) + 1}" if place.isdecimal() else ""
    return NotAllowed(Reason.SYNTAX, f"the query cannot be parsed: {words}", hint=hint)


class _Walk:
    """One pass over the tree; collects names, and refuses."""

    def __init__(self, ours: bool = False) -> None:
        self.ours = ours
        self.tables: set[str] = set()
        self.ctes: set[str] = set()
        self.functions: set[str] = set()
        self.columns: set[str] = set()
        self.parameters: set[str] = set()
        self.alone: set[str] = set()  # last parts of column names: one may name a whole row
        self.rows: set[str] = set()  # names and aliases that whole rows may be called by
        self.every_column = self.shows_tables = self.samples = False
        self.arms = self.joins = self.with_queries = 0

    def reading(self) -> Reading:
        whole_row = not self.alone.isdisjoint(self.rows)
        return Reading(
            frozenset(self.tables),
            frozenset(self.ctes),
            frozenset(self.functions),
            frozenset(self.columns),
            self.every_column or whole_row,
            frozenset(self.parameters),
            self.shows_tables,
            self.samples,
        )

    def visit(self, root: Node) -> None:
        """Every node once; the order does not matter, so a plain stack will do."""
        nodes = 0
        todo: list[Any] = [root]
        pop, push, visitors, known_keys = todo.pop, todo.append, _VISITORS, KEYS
        while todo:
            item = pop()
            if type(item) is list:
                todo += [child for child in item if type(child) is dict or type(child) is list]
                continue
            nodes += 1
            if nodes > MAX_NODES:
                raise _too_many("parts", MAX_NODES)
            if not item.keys() <= known_keys:
                unknown = min(item.keys() - known_keys)
                problem = f"this query uses something that is not allowed here ({unknown})"
                raise NotAllowed(Reason.CONSTRUCT, problem)
            kind = item.get("class")
            if kind is None:
                kind = item.get("type")
                if type(kind) is str and kind not in NODES:  # a constant's type is no node
                    raise _not_known(kind)
            elif kind not in EXPRESSIONS:
                raise _not_known(kind)
            if type(kind) is str and (visitor := visitors.get(kind)) is not None:
                visitor(self, item)
            if item.get("sample") is not None:
                self.samples = True
            for child in item.values():
                if child and (type(child) is dict or type(child) is list):
                    push(child)

    def base_table(self, node: Node) -> None:
        path = node["qualified_name"]["path"]
        if node["catalog_name"] or node["schema_name"] or len(path) != 1:
            raise _qualified(path)
        if node["at_clause"] is not None:
            problem, hint = "AT is not allowed in a query", "ask for an older version with --as-of"
            raise NotAllowed(Reason.CONSTRUCT, problem, hint=hint)
        name = node["table_name"].lower()
        if len(name) > MAX_NAME:
            raise NotAllowed(Reason.SIZE, f"a name is longer than {MAX_NAME} characters")
        self.tables.add(name)
        self.rows.add(name)
        if alias := node["alias"]:
            self.rows.add(alias.lower())
        if node["column_name_alias"]:  # `orders o(a, b)`: columns by their place
            self.every_column = True

    def show(self, node: Node) -> None:
        """DESCRIBE and SUMMARIZE of a query are read as that query; SHOW knows special words."""
        kind, name, path = node["show_type"], node["table_name"], node["qualified_name"]["path"]
        self.every_column = True
        if node["query"] is not None:
            if kind not in ("DESCRIBE", "SUMMARY", "SHOW") or name or path:
                raise _not_known(kind)
        elif kind == "SHOW_SPECIAL" and name == '"tables"' and len(path) == 1:
            self.shows_tables = True
        elif kind != "SHOW":
            hint = "SHOW TABLES lists the marts that you may see"
            raise NotAllowed(Reason.CONSTRUCT, "this SHOW is not allowed in a query", hint=hint)
        elif node["catalog_name"] or node["schema_name"] or len(path) != 1:
            raise _qualified(path)
        elif '"' in name or name.startswith("_"):  # the engine would take it for a special word
            raise NotAllowed(Reason.CONSTRUCT, f"SHOW of {name!r} is not allowed in a query")
        else:
            self.tables.add(name.lower())

    def column(self, node: Node) -> None:
        names = [name.lower() for name in node["column_names"]]
        if len(names) > MAX_PATH:
            raise NotAllowed(Reason.SIZE, f"a name has more than {MAX_PATH} parts")
        if len(names[-1]) > MAX_NAME:
            raise NotAllowed(Reason.SIZE, f"a name is longer than {MAX_NAME} characters")
        self.columns.update(names)
        self.alone.add(names[-1])

    def star(self, _node: Node) -> None:
        self.every_column = True

    def function(self, node: Node) -> None:
        self.functions.add(check_function(node, ours=self.ours))
        if receiver := qualifier(node):  # `name.lower()`: a column and its method
            self.columns.update(receiver)
            self.alone.add(receiver[-1])

    def table_function(self, node: Node) -> None:
        function = node["function"]
        name = str(function.get("function_name", "")).lower()
        if name not in TABLE_FUNCTIONS or qualifier(function):
            problem = f"{name or 'this'}() cannot stand where a mart stands"
            why = REFUSED.get(name)
            hint = f"such functions {why}" if why else "the catalog lists the marts"
            raise NotAllowed(Reason.FUNCTION, problem, hint=hint)

    def type(self, node: Node) -> None:
        if node["type_name"].lower() not in TYPES or node["schema"] or node["catalog"]:
            problem = f"the type {node['type_name']!r} is not allowed in a query"
            raise NotAllowed(Reason.TYPE, problem, hint="cast to one of DuckDB's own types")

    def parameter(self, node: Node) -> None:
        self.parameters.add(node["identifier"])

    def pivot(self, node: Node) -> None:
        self.every_column = True  # what is not named becomes a group
        if any(pivot.get("pivot_enum") for pivot in node["pivots"]):
            hint = "list the values that become columns"
            raise NotAllowed(Reason.CONSTRUCT, "PIVOT needs IN (…) here", hint=hint)

    def join(self, node: Node) -> None:
        self.joins += 1
        if self.joins > MAX_JOINS:
            raise _too_many("joins", MAX_JOINS)
        self.columns.update(name.lower() for name in node["using_columns"])
        if node["ref_type"] == "NATURAL":  # compares columns that nobody wrote
            self.every_column = True

    def query(self, node: Node) -> None:
        entries = node["cte_map"]["map"]
        self.with_queries += len(entries)
        if self.with_queries > MAX_CTES:
            raise _too_many("CTEs", MAX_CTES)
        for entry in entries:
            self.ctes.add(entry["key"].lower())

    def select(self, node: Node) -> None:
        if len(node["select_list"]) > MAX_COLUMNS:
            raise _too_many("columns in one SELECT", MAX_COLUMNS)
        self.query(node)

    def set_operation(self, node: Node) -> None:
        self.arms += len(node["children"])
        if self.arms > MAX_ARMS:
            raise _too_many("arms of UNION, EXCEPT and INTERSECT", MAX_ARMS)
        self.query(node)

    def operator(self, node: Node) -> None:
        if len(node["children"]) > MAX_LIST + 1:  # what is looked for stands there too
            raise _too_many("values in one list", MAX_LIST)


_VISITORS: dict[str, Callable[[_Walk, Node], None]] = {
    "BASE_TABLE": _Walk.base_table,
    "COLUMN_REF": _Walk.column,
    "FUNCTION": _Walk.function,
    "JOIN": _Walk.join,
    "OPERATOR": _Walk.operator,
    "PARAMETER": _Walk.parameter,
    "PIVOT": _Walk.pivot,
    "POSITIONAL_REFERENCE": _Walk.star,
    "RECURSIVE_CTE_NODE": _Walk.query,
    "SELECT_NODE": _Walk.select,
    "SET_OPERATION_NODE": _Walk.set_operation,
    "SHOW_REF": _Walk.show,
    "STAR": _Walk.star,
    "TABLE_FUNCTION": _Walk.table_function,
    "TYPE": _Walk.type,
    "WINDOW": _Walk.function,
}


def _too_many(what: str, most: int) -> NotAllowed:
    problem = f"the query has more than {most:,} {what}"
    return NotAllowed(Reason.SIZE, problem, hint="split it, or keep a part of it as a mart")


def _qualified(path: list[str]) -> NotAllowed:
    problem = f"{'.'.join(path)!r} names a schema or a database"
    return NotAllowed(Reason.NAME, problem, hint="write the mart's bare name")


def _not_known(kind: object) -> NotAllowed:
    spoken = str(kind).removesuffix("_NODE").removesuffix("_REF").replace("_", " ")
    return NotAllowed(Reason.CONSTRUCT, f"{spoken} is not allowed in a query", hint=_ONLY_SELECT)
