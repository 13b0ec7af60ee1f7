"""The second opinion, and the authority: an allow-list walk over DuckDB's own syntax tree.

`json_serialize_sql` shows what DuckDB will really bind. Every node type, key, function
and type name must be known here; an engine upgrade that adds one is refused until
somebody has looked at it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.errors import QueryRefused
from serving.governance.vocabulary import EXPRESSIONS, FUNCTIONS, KEYS, NODES, TABLE_FUNCTIONS, TYPES

Node = Mapping[str, Any]
MAX_NODES = 20_000
MAX_ROWS_GENERATED = 10_000_000
MAX_PATH = 8


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


def read_tree(serialized: Node) -> Reading:
    """Walk the answer of `json_serialize_sql`; raises QueryRefused at the first unknown thing."""
    if serialized.get("error"):
        raise QueryRefused(f"the query cannot be parsed: {serialized.get('error_message', 'syntax error')}")
    statements = serialized["statements"]
    if len(statements) != 1:
        raise QueryRefused(
            f"{len(statements)} statements were given; one is allowed", hint="ask them one by one"
        )
    walk = _Walk()
    walk.visit(statements[0])
    return Reading(frozenset(walk.tables), frozenset(walk.ctes), frozenset(walk.functions))


class _Walk:
    """One pass over the tree; collects names, and refuses."""

    def __init__(self) -> None:
        self.tables: set[str] = set()
        self.ctes: set[str] = set()
        self.functions: set[str] = set()
        self.nodes = 0

    def visit(self, root: Node) -> None:
        todo: list[Any] = [root]
        while todo:
            item = todo.pop()
            if isinstance(item, list):
                todo += item
            elif isinstance(item, dict):
                self._node(item)
                todo += item.values()

    def _node(self, node: Node) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise QueryRefused("the query is too large", hint="split it, or keep a part of it as a mart")
        if unknown := node.keys() - KEYS:
            raise QueryRefused(f"this query uses something that is not allowed here ({min(unknown)})")
        kind = node.get("class", node.get("type"))
        known = EXPRESSIONS if "class" in node else NODES
        if isinstance(kind, str) and kind not in known:  # a constant's type is no node
            raise QueryRefused(f"{_spoken(kind)} is not allowed in a query", hint="only SELECT over marts is")
        if "cte_map" in node:
            self.ctes.update(entry["key"].lower() for entry in node["cte_map"]["map"])
        match kind:
            case "BASE_TABLE":
                self._table(node)
            case "FUNCTION" | "WINDOW":
                self._function(node)
            case "TABLE_FUNCTION":
                self._table_function(node["function"])
            case "TYPE":
                if node["type_name"].lower() not in TYPES or node["schema"] or node["catalog"]:
                    raise QueryRefused(f"the type {node['type_name']!r} is not allowed in a query")
            case "COLUMN_REF":
                if len(node["column_names"]) > MAX_PATH:
                    raise QueryRefused(f"a name has more than {MAX_PATH} parts")
            case "PIVOT":
                if any(pivot.get("pivot_enum") for pivot in node["pivots"]):
                    raise QueryRefused("PIVOT needs IN (…) here", hint="list the values that become columns")

    def _table(self, node: Node) -> None:
        if node["catalog_name"] or node["schema_name"] or len(node["qualified_name"]["path"]) != 1:
            name = ".".join(node["qualified_name"]["path"])
            raise QueryRefused(f"{name!r} names a schema or a database", hint="write the mart's bare name")
        if node["at_clause"] is not None:
            raise QueryRefused("AT is not allowed in a query", hint="ask for an older version with --as-of")
        self.tables.add(node["table_name"].lower())

    def _function(self, node: Node) -> None:
        name = node["function_name"].lower()
        if node["schema"] or node["catalog"] or len(node["qualified_name"]["path"]) != 1:
            raise QueryRefused(f"the function {name!r} is written with a schema", hint="write its bare name")
        if name not in FUNCTIONS and name not in TABLE_FUNCTIONS:
            raise QueryRefused(
                f"the function {name}() is not allowed", hint="docs/queries.md lists those that are"
            )
        if name in ("range", "generate_series"):
            _cap_range(name, node["arguments"])
        if node.get("export_state"):
            raise QueryRefused("EXPORT_STATE is not allowed in a query")
        self.functions.add(name)

    def _table_function(self, function: Node) -> None:
        name = str(function.get("function_name", "")).lower()
        if name not in TABLE_FUNCTIONS:
            raise QueryRefused(
                f"{name or 'this'}() cannot stand where a mart stands", hint="the catalog lists the marts"
            )


def _cap_range(name: str, arguments: list[Node]) -> None:
    """Only literal bounds, so that the number of rows is known before the query runs."""
    numbers: list[int] = []
    for argument in arguments:
        literal = (
            argument["expression"].get("literal") if "expression" in argument else argument.get("literal")
        )
        if not isinstance(literal, Mapping) or literal.get("kind") not in ("INTEGER", "BIGINT"):
            raise QueryRefused(f"{name}() takes plain whole numbers here", hint="write the bounds as numbers")
        numbers.append(int(literal["text"]))
    start, stop = (0, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])
    step = numbers[2] if len(numbers) > 2 else 1
    if abs(stop - start) > MAX_ROWS_GENERATED * max(1, abs(step)):
        raise QueryRefused(
            f"{name}() makes more than {MAX_ROWS_GENERATED:,} values", hint="use smaller bounds"
        )


def _spoken(kind: object) -> str:
    return str(kind).removesuffix("_NODE").removesuffix("_REF").replace("_", " ")
