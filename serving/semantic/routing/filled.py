"""The texts of a source put into the slots of a block."""

import json
from collections.abc import Mapping
from typing import Any

from serving.semantic.routing.block import Block
from serving.semantic.routing.forms import SLOT, Subject, is_slot
from serving.semantic.routing.routes import Source
from serving.semantic.routing.words import AGGREGATES
from serving.syntax import Node, folded, walk

_MERGING = AGGREGATES | {"combine_aggr"}


def filled(block: Block, original: Node, source: Source, subject: Subject) -> dict[str, Any]:
    """The SELECT over the source, with the headers of the original."""
    fill = _Fill(block, source, subject)
    node: dict[str, Any] = {key: fill.slots(value) for key, value in block.node.items()}
    for place, before in enumerate(original["select_list"]):
        if not before["alias"] and any(map(is_slot, walk(block.node["select_list"][place]))):
            header = subject.column(before) or subject.syntax.header(before)
            node["select_list"][place]["alias"] = header
    conditions = [fill.fragment(text) for text in source.conditions]
    node["where_clause"] = _all_of(conditions, node["where_clause"])
    return node


class _Fill:
    """The fragments of one source, under the name that the block gives to its mart."""

    def __init__(self, block: Block, source: Source, subject: Subject) -> None:
        self.subject, self.source = subject, source
        leaves = {str(place): source.leaves[leaf] for place, leaf in enumerate(block.need.leaves)}
        self.texts = {"d": source.dimensions, "l": leaves}
        subject.syntax.expressions([*source.dimensions.values(), *leaves.values(), *source.conditions])

    def slots(self, node: Any) -> Any:
        """A part of the block with its slots filled; what fills them is not searched for slots."""
        if isinstance(node, list):
            return [self.slots(part) for part in node]
        if not isinstance(node, Mapping):
            return node
        if node.get("type") == "BASE_TABLE" and node["table_name"] == SLOT:
            table = self.subject.syntax.table(self.source.table)
            return {**_copied(table), "alias": self.subject.alias}
        if node.get("type") == "SUBQUERY":  # of its own: other blocks may stand in it
            return {key: value if key == "subquery" else self.slots(value) for key, value in node.items()}
        if not is_slot(node):
            return {key: self.slots(part) for key, part in node.items()}
        _, kind, name = node["column_names"]
        fragment = {**self.fragment(self.texts[kind][name]), "alias": node["alias"]}
        if node.get("filter") is not None:
            condition = self.slots(node["filter"])
            for part in walk(fragment):
                if part.get("class") == "FUNCTION" and part["function_name"].lower() in _MERGING:
                    part["filter"] = condition
        return fragment

    def fragment(self, text: str) -> Node:
        """The text as an expression of this block: columns are of the block's table."""
        (shared,) = self.subject.syntax.expressions([text])
        own = _copied(shared)
        mart = folded(self.subject.mart.name)
        for part in walk(own):
            if part.get("class") != "COLUMN_REF":
                continue
            path = part["column_names"]
            if len(path) > 1 and folded(path[0]) == mart:
                part["column_names"] = [self.subject.alias, *path[1:]]
            elif len(path) == 1 and self.subject.spelled(path[0]) is not None:
                part["column_names"] = [self.subject.alias, *path]
        return own


def _all_of(conditions: list[Node], where: Node | None) -> Node | None:
    parts = [*conditions, *([where] if where is not None else [])]
    if len(parts) < 2:
        return parts[0] if parts else None
    place = {"query_location": parts[0]["query_location"], "query_location_length": 0}
    return {"class": "CONJUNCTION", "type": "CONJUNCTION_AND", "alias": "", **place, "children": parts}


def _copied(node: Node) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(node))
    return copy
