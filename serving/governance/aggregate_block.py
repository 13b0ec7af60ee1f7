"""One SELECT over an aggregate-only mart, taken apart: what it groups by, what it adds up, what it shows.

Works on DuckDB's own syntax tree. Everything here is an allow-list: an expression of a kind
that is not known to speak of groups only is refused.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from serving.content.policy import AggregateRule
from serving.errors import QueryRefused
from serving.governance.aggregate_words import AGGREGATES, CLASSES, OPERATORS, SCALARS, SHOWING
from serving.syntax import (
    Node,
    Path,
    column,
    folded,
    is_plain_star,
    number,
    plain_form,
    replaced,
    written_path,
)

GROUPS = "sluice_groups"  # the relation of suppressed groups: its columns are k0, k1, … and a0, a1, …
MAX_NODES = 20_000


@dataclass(frozen=True)
class Guard:
    """A mart that answers in aggregates only, as one person sees it."""

    mart: str
    rule: AggregateRule
    columns: tuple[str, ...]
    measured: frozenset[str] = frozenset()  # plain forms of the expressions that its measures add up

    def name(self, item: Node) -> str | None:
        """A shown column's name as the mart spells it; None where the item has another name."""
        if item["class"] != "COLUMN_REF" or item["alias"]:
            return None
        last = written_path(item)[-1]
        return next((name for name in self.columns if folded(name) == last), None)

    def refuse(self, problem: str, hint: str = "") -> NoReturn:
        """Say what is wrong, and the nearest question that is allowed."""
        shape = f"ask about groups: SELECT …, count(*), avg(…) FROM {self.mart} GROUP BY ALL"
        raise QueryRefused(f"'{self.mart}' answers in aggregates only: {problem}", hint=hint or shape)


@dataclass(frozen=True)
class Sum:
    """An aggregate of a block: its function, and what it is taken over (None: rows)."""

    function: str
    argument: Node | None = None
    distinct: bool = False
    known: Node | None = None  # what is not null in the rows that contribute


@dataclass(frozen=True)
class Block:
    """A block whose expressions have been checked; those of `items`, `having` and `orders` read GROUPS."""

    source: Node
    where: Node | None
    keys: tuple[Node, ...]
    sums: tuple[Sum, ...]
    items: tuple[Node, ...]
    having: Node | None
    modifiers: tuple[Node, ...]
    grouped: bool  # False: one row over everything
    values_only: bool  # SELECT DISTINCT: the remainder has no value to show


def read_block(node: Node, guard: Guard) -> Block:
    """Check a SELECT_NODE whose FROM is the guarded mart; raises QueryRefused."""
    return _Reader(node, guard).read()


@dataclass
class _Reader:
    node: Node
    guard: Guard
    keys: dict[str, Node] = field(default_factory=dict)  # plain form -> expression over rows
    sums: dict[str, Sum] = field(default_factory=dict)
    work: int = 0

    def read(self) -> Block:
        node, guard = self.node, self.guard
        self._source(node["from_table"])
        if node["qualify"] is not None:
            guard.refuse("QUALIFY looks at single rows", "use HAVING")
        if node["sample"] is not None:
            guard.refuse("a sample may single out a row", "leave the sample out")
        items = node["select_list"]
        where = None if node["where_clause"] is None else self._row(node["where_clause"])
        values_only = self._is_values_only()
        grouped = self._keys(values_only=values_only)
        shown = tuple(self._group(item) for item in items)
        having = None if node["having"] is None else self._group(node["having"])
        modifiers = tuple(m for m in map(self._modifier, node["modifiers"]) if m is not None)
        if not grouped and not self.sums:
            guard.refuse("this shows single rows")
        return Block(
            node["from_table"],
            where,
            tuple(self.keys.values()),
            tuple(self.sums.values()),
            shown,
            having,
            modifiers,
            grouped,
            values_only,
        )

    def _source(self, source: Node) -> None:
        if source["sample"] is not None:
            self.guard.refuse("a sample may single out a row", "leave the sample out")
        if source["column_name_alias"] or source["at_clause"] is not None:
            self.guard.refuse("its columns keep their own names here", "leave the list behind the name out")

    def _is_values_only(self) -> bool:
        node = self.node
        if not any(m["type"] == "DISTINCT_MODIFIER" for m in node["modifiers"]):
            return False
        plain = not node["group_sets"] and node["aggregate_handling"] == "STANDARD_HANDLING"
        return plain and node["having"] is None and not any(self._adds_up(i) for i in node["select_list"])

    def _keys(self, *, values_only: bool) -> bool:
        """Collect the group keys; False where the block has one group of everything."""
        node, guard = self.node, self.guard
        items = node["select_list"]
        given, sets = node["group_expressions"], node["group_sets"]
        if len(sets) > 1 or (sets and sorted(sets[0]) != list(range(len(given)))):
            hint = "ask for one grouping at a time"
            guard.refuse("ROLLUP, CUBE and GROUPING SETS tell a small group by difference", hint)
        if node["aggregate_handling"] not in ("STANDARD_HANDLING", "FORCE_AGGREGATES"):
            guard.refuse("this kind of grouping is not known")
        if values_only or node["aggregate_handling"] == "FORCE_AGGREGATES":
            given = [item for item in items if not self._adds_up(item)]
        for expression in given:
            literal = expression.get("literal") or {}
            if expression["class"] == "CONSTANT" and literal.get("kind") in ("INTEGER", "BIGINT"):
                if not 1 <= int(literal["text"]) <= len(items):
                    guard.refuse(f"GROUP BY {literal['text']} names no column of the result")
                expression = items[int(literal["text"]) - 1]
            key = self._row(expression)
            self.keys.setdefault(self._plain(key), key)
        return bool(given)

    def _row(self, node: Node, inside: tuple[str, ...] = ()) -> Node:
        """An expression over the columns of one row; aliases of the select list are written out."""
        if node["class"] == "COLUMN_REF":
            if self._column(node) is not None:
                return node
            return self._row(*self._alias(node, inside))
        if node["class"] == "FUNCTION" and node["function_name"].lower() in AGGREGATES:
            self.guard.refuse("an aggregate cannot stand in WHERE, in a group key or in an aggregate")
        return self._known(node, lambda child: self._row(child, inside))

    def _group(self, node: Node, inside: tuple[str, ...] = ()) -> Node:
        """The expression over GROUPS that stands for an expression over keys and aggregates."""
        if (key := self._key(node)) is not None:
            return column((GROUPS, f"k{key}"), node["alias"])
        if node["class"] == "COLUMN_REF":
            if self._column(node) is not None and len(node["column_names"]) > 1:
                self._single(node)
            return {**self._group(*self._alias(node, inside)), "alias": node["alias"]}
        if node["class"] == "FUNCTION" and node["function_name"].lower() in AGGREGATES:
            added = self._sum(node)
            form = json.dumps(
                [added.function, added.distinct, added.argument and self._plain(added.argument)]
            )
            self.sums.setdefault(form, added)
            return column((GROUPS, f"a{list(self.sums).index(form)}"), node["alias"])
        return self._known(node, lambda child: self._group(child, inside))

    def _key(self, node: Node) -> int | None:
        if not self.keys or node["class"] == "CONSTANT":
            return None
        return next((i for i, form in enumerate(self.keys) if form == self._plain(node)), None)

    def _sum(self, node: Node) -> Sum:
        guard, name = self.guard, node["function_name"].lower()
        if node["filter"] is not None:
            guard.refuse("FILTER makes a smaller group of each group", "filter with WHERE instead")
        if node["order_bys"]["orders"] or node["export_state"] or node["schema"] or node["catalog"]:
            guard.refuse(f"{name}() is written with something that does not fit an aggregate here")
        if node["distinct"] and name != "count":
            guard.refuse(f"{name}(DISTINCT …) shows single values", "count(DISTINCT …) is allowed")
        if name == "count_star" or (name == "count" and not node["arguments"]):
            return Sum("count")
        if len(node["arguments"]) != 1 or node["arguments"][0]["name"]:
            guard.refuse(f"{name}() takes one column here")
        argument = node["arguments"][0]["expression"]
        return Sum(name, argument, node["distinct"], self._known_where(name, argument))

    def _known_where(self, name: str, argument: Node) -> Node:
        """What is not null in the rows that contribute; refuses arguments that may tell rows apart."""
        if argument["class"] in ("CONSTANT", "PARAMETER") or self._column(argument) is not None:
            return argument
        if argument.get("type") == "OPERATOR_COALESCE":
            first, *others = argument["children"]
            if self._column(first) is not None and all(other["class"] == "CONSTANT" for other in others):
                return dict(first)
        self._row(argument)
        if self.guard.measured and self._plain(argument) in self.guard.measured:
            return argument
        return self.guard.refuse(
            f"{name}() takes a plain column, as an expression can pick out single rows",
            f"calculate with the aggregate, as in {name}(x) * 2, or declare a measure of the mart",
        )

    def _modifier(self, modifier: Node) -> Node | None:
        match modifier["type"]:
            case "DISTINCT_MODIFIER" if not modifier["distinct_on_targets"]:
                return modifier
            case "ORDER_MODIFIER":
                orders = [{**o, "expression": self._order(o["expression"])} for o in modifier["orders"]]
                return {**modifier, "orders": orders}
            case "LIMIT_MODIFIER" | "LIMIT_PERCENT_MODIFIER":
                for part in ("limit", "offset"):
                    if modifier[part] is not None and modifier[part]["class"] not in (
                        "CONSTANT",
                        "PARAMETER",
                    ):
                        self.guard.refuse("LIMIT takes a plain number here")
                return modifier
        return self.guard.refuse("DISTINCT ON picks out single rows", "use GROUP BY")

    def _order(self, node: Node) -> Node:
        if node["class"] == "CONSTANT" or is_plain_star(node):
            return node
        if node["class"] == "COLUMN_REF" and len(node["column_names"]) == 1:
            name = folded(node["column_names"][0])
            for position, item in enumerate(self.node["select_list"], start=1):
                if folded(item["alias"]) == name:
                    return number(position)
        return self._group(node)

    def _known(self, node: Node, child: Callable[[Node], Node]) -> Node:
        """The node with its children replaced, where its kind is known to be harmless."""
        self.work += 1
        if self.work > MAX_NODES:
            self.guard.refuse("the query is too large", "write it with fewer aliases")
        match node["class"]:
            case "FUNCTION":
                self._function(node)
            case "OPERATOR" if node["type"] in OPERATORS:
                pass
            case "SUBQUERY":
                self.guard.refuse("no subquery may stand inside the query that reads it", _AROUND)
            case "WINDOW":
                self.guard.refuse("a window function looks at single rows", _AROUND)
            case "STAR":
                self.guard.refuse("this shows single rows")
            case kind if kind not in CLASSES:
                self.guard.refuse(f"{str(kind).lower().replace('_', ' ')} cannot be used with it", _AROUND)
        return {key: replaced(value, child) for key, value in node.items()}

    def _function(self, node: Node) -> None:
        name = node["function_name"].lower()
        if name in SHOWING:
            hint = "use count, sum, avg, approx_count_distinct, stddev or variance"
            self.guard.refuse(f"{name}() shows values of single rows", hint)
        special = (
            node["filter"],
            node["order_bys"]["orders"],
            node["distinct"],
            node["schema"],
            node["catalog"],
        )
        if name not in SCALARS or any(special) or node["export_state"]:
            self.guard.refuse(f"the function {name}() cannot be used with it", _AROUND)

    def _adds_up(self, node: Any, inside: tuple[str, ...] = ()) -> bool:
        """Whether an expression holds an aggregate, its aliases written out."""
        self.work += 1
        if self.work > MAX_NODES:
            self.guard.refuse("the query is too large", "write it with fewer aliases")
        if isinstance(node, list):
            return any(self._adds_up(part, inside) for part in node)
        if not isinstance(node, Mapping):
            return False
        if node.get("class") == "FUNCTION" and node["function_name"].lower() in AGGREGATES | SHOWING:
            return True
        if node.get("class") == "COLUMN_REF":
            known = self._column(node) is not None or self._aliased(node, inside) is None
            return False if known else self._adds_up(*self._alias(node, inside))
        return any(self._adds_up(part, inside) for part in node.values())

    def _column(self, node: Node) -> Path | None:
        """The path of a column of the mart in lower case; None for any other name."""
        if node["class"] != "COLUMN_REF":
            return None
        path = written_path(node)
        source = self.node["from_table"]
        if len(path) > 1:
            if path[0] != folded(source["alias"] or source["table_name"]):
                return None
            path = path[1:]
        return path if path[0] in {folded(name) for name in self.guard.columns} else None

    def _aliased(self, node: Node, inside: tuple[str, ...]) -> Node | None:
        if len(node["column_names"]) != 1 or (name := folded(node["column_names"][0])) in inside:
            return None
        return next((i for i in self.node["select_list"] if folded(i["alias"]) == name), None)

    def _alias(self, node: Node, inside: tuple[str, ...]) -> tuple[Node, tuple[str, ...]]:
        found = self._aliased(node, inside)
        if found is None:
            self._single(node)
        return found, (*inside, folded(node["column_names"][0]))

    def _single(self, node: Node) -> NoReturn:
        name = ".".join(node["column_names"])
        if self._column(node) is None:
            table = self.node["from_table"]["alias"] or self.guard.mart
            hint = f"write {table}.column.field for a field of a column" if "." in name else ""
            self.guard.refuse(f"it has no column '{name}'", hint)
        self.guard.refuse(f"'{name}' is neither a group key nor inside an aggregate")

    def _plain(self, node: Node) -> str:
        return plain_form(node, self._column)


_AROUND = "put it into a query around this one: SELECT … FROM (SELECT … GROUP BY …)"
