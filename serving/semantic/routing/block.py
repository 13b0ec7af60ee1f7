"""One SELECT over one mart, taken apart: what it needs of the mart, and itself with slots for the answer.

Works on DuckDB's own syntax tree. Everything here is an allow-list: what is not known to speak of
groups of rows only is for the mart itself to answer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from serving.semantic.leaves import Leaf
from serving.semantic.routing.aggregates import leaf_of
from serving.semantic.routing.forms import Subject, Unanswerable, is_slot, slot
from serving.semantic.routing.join import source_of
from serving.semantic.routing.names import all_seen, check_aliases, check_apart, check_other
from serving.semantic.routing.routes import Days, Need, Reason
from serving.semantic.routing.time import bucketed
from serving.semantic.routing.where import conjuncts, days_of, instants, merged
from serving.semantic.routing.words import AGGREGATES, CLASSES, MOMENTS, OPERATORS, SCALARS
from serving.syntax import Node, folded, is_plain_star, replaced, walk, written_path

_STANDARD = ("STANDARD_HANDLING", "FORCE_AGGREGATES")


@dataclass(frozen=True)
class Block:
    """What a SELECT needs, and the SELECT with slots where the source's texts belong."""

    need: Need
    node: Node  # the ranges of days are gone from its WHERE


def read_block(node: Node, subject: Subject) -> Block:
    """Take a SELECT_NODE apart that reads the mart; raises Unanswerable."""
    return _Reader(node, subject).read()


@dataclass
class _Reader:
    node: Node
    subject: Subject
    keys: dict[str, Node] = field(default_factory=dict)  # plain form of a group key -> with slots
    leaves: dict[Leaf, str] = field(default_factory=dict)
    dimensions: set[str] = field(default_factory=set)  # that conditions read

    def read(self) -> Block:
        node = self.node
        check_aliases(node["select_list"], node["having"], self.subject)
        source, columns = self._source()
        days, where = self._where()
        grouped, values_only = self._is_grouped(), self._is_values_only()
        if not grouped and not values_only and not any(map(self._adds_up, self._results())):
            raise Unanswerable(Reason.EXPRESSION, "it shows single rows")
        groups, whole, given = self._keys(values_only=values_only)
        if (grouped or values_only) and not (groups or self.dimensions or days):
            raise Unanswerable(Reason.EXPRESSION, "it groups by nothing of the mart")
        read: dict[str, Any] = {
            "from_table": source,
            "select_list": [self._group(item) for item in node["select_list"]],
            "where_clause": where,
            **given,
            "having": node["having"] and self._group(node["having"]),
            "qualify": node["qualify"] and self._group(node["qualify"]),
            "modifiers": [self._modifier(modifier) for modifier in node["modifiers"]],
        }
        filters = frozenset(self.dimensions)  # those of FILTER, too
        whole = whole and self.subject.table is node["from_table"]
        need = Need(self.subject.mart.name, groups, tuple(self.leaves), filters, columns, days, whole)
        return Block(need, {**node, **read})

    def _source(self) -> tuple[Node, frozenset[str]]:
        """FROM with a slot for the mart, and the mart's columns that USING names."""
        if self.node["sample"] is not None:
            raise Unanswerable(Reason.EXPRESSION, "a sample takes single rows")
        if self.node["aggregate_handling"] not in _STANDARD:
            raise Unanswerable(Reason.EXPRESSION, "this kind of grouping is not known")
        return source_of(self.node["from_table"], self.subject, lambda node: self._row(node, self.dimensions))

    def _where(self) -> tuple[tuple[Days, ...], Node | None]:
        """The ranges of days, and the other conditions with slots."""
        ranges, others = [], []
        for condition in conjuncts(self.node["where_clause"]):
            if (days := days_of(condition, self.subject)) is not None:
                ranges.append(days)
            else:
                others.append(self._row(condition, self.dimensions))
        if len(others) < 2:
            return merged(ranges), others[0] if others else None
        return merged(ranges), {**self.node["where_clause"], "children": others}

    def _is_grouped(self) -> bool:
        by_all = self.node["aggregate_handling"] == "FORCE_AGGREGATES"
        return bool(self._by_items() if by_all else self.node["group_expressions"])

    def _by_items(self) -> list[Node]:
        """The items that GROUP BY ALL groups by: constants are none of them."""
        shown = (item for item in self.node["select_list"] if not self._adds_up(item))
        return [item for item in shown if any(map(_names_something, walk(item)))]

    def _is_values_only(self) -> bool:
        node = self.node
        distinct = any(m["type"] == "DISTINCT_MODIFIER" for m in node["modifiers"])
        return distinct and not self._is_grouped() and not any(map(self._adds_up, self._results()))

    def _results(self) -> list[Node]:
        """The expressions of the block over its groups."""
        node = self.node
        orders = (order["expression"] for m in node["modifiers"] for order in m.get("orders", ()))
        return [*node["select_list"], *(n for n in (node["having"], node["qualify"]) if n), *orders]

    def _adds_up(self, node: Any) -> bool:
        """Whether an expression holds an aggregate; those of windows and subqueries are their own."""
        if isinstance(node, list):
            return any(map(self._adds_up, node))
        if not isinstance(node, Mapping) or node.get("class") == "SUBQUERY":
            return False
        if node.get("class") == "FUNCTION" and node["function_name"].lower() in AGGREGATES:
            return True
        return any(map(self._adds_up, node.values()))

    def _keys(self, *, values_only: bool) -> tuple[tuple[str, ...], bool, dict[str, Any]]:
        """The dimensions of the group keys, whether each key is one of them, and GROUP BY with slots."""
        node, groups, whole = self.node, dict[str, None](), True
        by_items = values_only or node["aggregate_handling"] == "FORCE_AGGREGATES"
        given: list[Node] = []
        for expression in self._by_items() if by_items else node["group_expressions"]:
            meant = self._meant(expression)
            read: set[str] = set()
            key = self._row(meant, read)
            self.keys.setdefault(self.subject.form(meant), key)
            given.append(expression if meant is not expression else key)
            groups |= dict.fromkeys(sorted(read))
            whole = whole and (is_slot(key) or not read)
        if by_items:
            return tuple(groups), whole, {}
        sets = node["group_sets"]
        once = list({self.subject.form(key): key for key in reversed(given)}.values())[::-1]
        if len(sets) == 1 and len(sets[0]) == len(given):  # the parser knows no key that comes twice
            return tuple(groups), whole, {"group_expressions": once, "group_sets": [list(range(len(once)))]}
        if len(once) < len(given):
            raise Unanswerable(Reason.EXPRESSION, "it groups by a column under two names")
        return tuple(groups), whole and not sets, {"group_expressions": given}

    def _meant(self, node: Node) -> Node:
        """What GROUP BY 1, or GROUP BY alias, groups by."""
        items = self.node["select_list"]
        if node["class"] == "CONSTANT" and node["literal"]["kind"] in ("INTEGER", "BIGINT"):
            place = int(node["literal"]["text"])
            if not 1 <= place <= len(items):
                raise Unanswerable(Reason.EXPRESSION, f"GROUP BY {place} names no column of the result")
            return dict(items[place - 1])
        return self._aliased(node) or node

    def _aliased(self, node: Node) -> Node | None:
        """The item that a name stands for, where it is the alias of one and no column."""
        if node["class"] != "COLUMN_REF" or len(node["column_names"]) != 1 or self.subject.column(node):
            return None
        name = written_path(node)[0]
        return next((dict(item) for item in self.node["select_list"] if folded(item["alias"]) == name), None)

    def _row(self, node: Node, into: set[str]) -> Node:
        """An expression of one row, with slots for dimensions, whose keys are added to `into`."""
        if (bucket := bucketed(node, self.subject)) is not None:
            into |= {part["column_names"][2] for part in walk(bucket) if is_slot(part)}
            return bucket if is_slot(bucket) else _below(bucket, lambda child: self._row(child, into))
        if is_slot(node):
            return node
        if (key := self.subject.dimension(node)) is not None:
            all_seen(node, self.subject)
            into.add(key)
            return slot("d", key, node["alias"])
        if node["class"] == "COLUMN_REF":
            if (column := self.subject.column(node)) is not None:
                into.add(column)
                return slot("d", column, node["alias"])
            return self._another(node)
        if node["class"] in ("COMPARISON", "BETWEEN") and (name := instants(node, self.subject)):
            words = f"{name} holds instants: compare CAST({name} AS DATE) with a date"
            raise Unanswerable(Reason.TIME_ZONE, words)
        if node["class"] == "FUNCTION" and node["function_name"].lower() in AGGREGATES:
            raise Unanswerable(Reason.EXPRESSION, f"{self.subject.words(node)} cannot stand here")
        return self._known(node, lambda child: self._row(child, into))

    def _group(self, node: Node) -> Node:
        """An expression over groups, with slots for their keys and for aggregates."""
        key = self.keys.get(self.subject.form(node)) if self.keys and node["class"] != "CONSTANT" else None
        if key is not None:
            return {**key, "alias": node["alias"]} if any(map(is_slot, walk(key))) else node
        if node["class"] == "FUNCTION" and node["function_name"].lower() in AGGREGATES:
            return self._sum(node)
        if node["class"] == "COLUMN_REF":
            if self.subject.column(node) is None:
                return self._another(node)
            words = f"{self.subject.words(node)} is neither grouped by nor aggregated"
            raise Unanswerable(Reason.EXPRESSION, words)
        if node["class"] == "WINDOW":
            return _below(node, self._group)
        return self._known(node, self._group)

    def _sum(self, node: Node) -> Node:
        """The slot of an aggregate; a FILTER that is not part of the measure goes along with it."""
        leaf, condition = leaf_of(node, self.subject)
        only = condition and self._row(condition, self.dimensions)
        name = self.leaves.setdefault(leaf, str(len(self.leaves)))
        return {**slot("l", name, node["alias"]), "filter": only}

    def _modifier(self, modifier: Node) -> Node:
        match modifier["type"]:
            case "DISTINCT_MODIFIER" if not modifier["distinct_on_targets"]:
                return modifier
            case "ORDER_MODIFIER":
                orders = [{**o, "expression": self._order(o["expression"])} for o in modifier["orders"]]
                return {**modifier, "orders": orders}
            case "LIMIT_MODIFIER" | "LIMIT_PERCENT_MODIFIER":
                parts = (modifier["limit"], modifier["offset"])
                if all(part is None or part["class"] in ("CONSTANT", "PARAMETER") for part in parts):
                    return modifier
                raise Unanswerable(Reason.EXPRESSION, "its LIMIT is no plain number")
        raise Unanswerable(Reason.EXPRESSION, "DISTINCT ON shows single rows")

    def _order(self, node: Node) -> Node:
        if is_plain_star(node) or self._is_alias(node):
            return node
        return self._group(node)

    def _is_alias(self, node: Node) -> bool:
        """Whether a name alone in ORDER BY is that of an item: it comes before the column of its name."""
        if node["class"] != "COLUMN_REF" or len(node["column_names"]) != 1:
            return False
        name = written_path(node)[0]
        return any(folded(item["alias"]) == name for item in self.node["select_list"])

    def _another(self, node: Node) -> Node:
        """An alias of the block, or a name that is not of its mart."""
        if self._aliased(node) is None:
            check_other(node, self.subject)
        return node

    def _known(self, node: Node, child: Callable[[Node], Node]) -> Node:
        """The node with its children replaced, where its kind is known to be harmless."""
        kind = node["class"]
        if kind == "SUBQUERY":
            check_apart(node, self.subject)
        elif kind == "FUNCTION":
            special = node["filter"], node["distinct"], node["order_bys"]["orders"], node["schema"]
            if node["function_name"].lower() not in SCALARS or any(special) or node["export_state"]:
                words = f"what {node['function_name']}() makes of single rows is not known"
                raise Unanswerable(Reason.EXPRESSION, words)
        elif kind == "OPERATOR":
            if node["type"] not in OPERATORS:
                raise Unanswerable(Reason.EXPRESSION, f"{self.subject.words(node)} reads parts of a value")
        elif kind not in CLASSES:
            words = (
                "it shows whole rows" if kind == "STAR" else f"{str(kind).lower()} expressions are not known"
            )
            raise Unanswerable(Reason.EXPRESSION, words)
        return _below(node, child)


def _names_something(node: Node) -> bool:
    is_name = node.get("class") == "COLUMN_REF" and written_path(node)[0] not in MOMENTS
    return is_name or node.get("class") == "STAR"


def _below(node: Node, child: Callable[[Node], Node]) -> Node:
    """The node with `child` applied to the expressions right below it; a subquery stays as it is."""
    return {key: value if key == "subquery" else replaced(value, child) for key, value in node.items()}
