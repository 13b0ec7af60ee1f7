"""Small steps on DuckDB's syntax tree: equality, names and new nodes."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Node = Mapping[str, Any]
Path = tuple[str, ...]

# where a thing stands in the text, and how it was spelled
_SPELLING = frozenset({"alias", "query_location", "query_location_length", "is_operator"})
# printed in any order
_SETS = frozenset({"exclude_list", "qualified_exclude_list", "rename_list", "replace_list"})
_NOWHERE = {"alias": "", "query_location": 2**64 - 1, "query_location_length": 0}


def folded(name: str) -> str:
    """A name as DuckDB compares it: only A-Z are the same as a-z."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


def written_path(node: Node) -> Path:
    """The parts of a column's name, as they are written."""
    return tuple(folded(part) for part in node["column_names"])


def plain_form(node: Node, path: Callable[[Node], Path | None] = written_path) -> str:
    """A text that is equal for equal expressions: without places, aliases, and case of names.

    `path` may give a column's path without its qualifier.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(part) for part in value]
        if not isinstance(value, Mapping):
            return value
        if value.get("class") == "COLUMN_REF":
            return {"column": path(value) or written_path(value)}
        kept = {key: plain(part) for key, part in value.items() if key not in _SPELLING}
        kept |= {key: sorted(kept[key], key=json.dumps) for key in _SETS & kept.keys()}
        if "function_name" in kept:
            kept["function_name"] = kept["function_name"].lower()
            del kept["qualified_name"]  # the same name again
        return kept

    return json.dumps(plain(node), sort_keys=True)


def walk(root: Any) -> Iterator[dict[str, Any]]:
    """Every node, parents before their children."""
    todo: list[Any] = [root]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            yield item
            todo += item.values()
        elif isinstance(item, list):
            todo += item


def replaced(value: Any, child: Callable[[Node], Node]) -> Any:
    """A part of a node, with `child` applied to the expressions right below it."""
    if isinstance(value, list):
        return [replaced(part, child) for part in value]
    if not isinstance(value, Mapping):
        return value
    return child(value) if "class" in value else {key: replaced(part, child) for key, part in value.items()}


def column(path: Path, alias: str) -> Node:
    """The name of a column, as a node."""
    return {"class": "COLUMN_REF", "type": "COLUMN_REF", **_NOWHERE, "alias": alias, "column_names": [*path]}


def number(value: int) -> Node:
    """A whole number, as a node."""
    literal = {"kind": "INTEGER", "text": str(value)}
    return {"class": "CONSTANT", "type": "VALUE_CONSTANT", **_NOWHERE, "literal": literal}


def is_plain_star(node: Node) -> bool:
    """Whether a node is `*` and nothing more, as in ORDER BY ALL."""
    if node["class"] != "STAR" or node["expr"] is not None:
        return False
    parts = ("exclude_list", "replace_list", "qualified_exclude_list", "rename_list", "relation_name")
    return not any(node[part] for part in parts)


def select_list(tree: Node) -> list[Any]:
    """The expressions that a serialized SELECT shows."""
    shown: list[Any] = tree["statements"][0]["node"]["select_list"]
    return shown
