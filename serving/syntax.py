"""DuckDB's syntax tree: to and from text, and small steps on it: equality, names and new nodes."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.errors import QueryRefused

Node = Mapping[str, Any]
Serialize = Callable[[str], Node]  # DuckDB's json_serialize_sql
Deserialize = Callable[[Node], str]  # DuckDB's json_deserialize_sql
Path = tuple[str, ...]

# where a thing stands in the text, and how it was spelled
_SPELLING = frozenset({"alias", "query_location", "query_location_length", "is_operator"})
# printed in any order
_SETS = frozenset({"exclude_list", "qualified_exclude_list", "rename_list", "replace_list"})
KNOWN = 5_000  # fragments remembered at most
_NOWHERE = {"alias": "", "query_location": 2**64 - 1, "query_location_length": 0}


@dataclass(frozen=True)
class Syntax:
    """DuckDB's parser and printer, and the fragments that were parsed before."""

    tree: Serialize
    print: Deserialize
    reprint: Callable[[Node], tuple[str, Node]] | None = None  # both, where one trip does it
    _known: dict[str, Node] = field(default_factory=dict, repr=False)

    def expressions(self, texts: Sequence[str]) -> list[Node]:
        """The texts as expressions; shared between callers: put them into a tree, never change them.

        Raises QueryRefused where one is not an expression.
        """
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            shown = select_list(self._parsed("SELECT " + "\n, ".join(new)))
            if len(shown) != len(new):
                raise QueryRefused(f"this is not one expression each: {'; '.join(new)}")
            if len(self._known) > KNOWN:
                self._known.clear()
            self._known.update(zip(new, shown, strict=True))
        return [self._known[text] for text in texts]

    def table(self, text: str) -> Node:
        """The text as what stands in FROM; shared as expressions are."""
        if f"FROM {text}" not in self._known:
            tree = self._parsed(f"SELECT 1 FROM {text}")
            self._known[f"FROM {text}"] = tree["statements"][0]["node"]["from_table"]
        return self._known[f"FROM {text}"]

    def text(self, tree: Node) -> str:
        """The tree as SQL; raises QueryRefused where that SQL would be read in another way."""
        text, again = self.reprint(tree) if self.reprint else self._reprinted(tree)
        if plain_form(again) != plain_form(tree):
            raise QueryRefused("the query cannot be rewritten faithfully", hint="write it more plainly")
        return text

    def header(self, item: Node) -> str:
        """The name DuckDB gives to a column of the result."""
        if item["alias"]:
            return str(item["alias"])
        if item["class"] == "COLUMN_REF":
            return str(item["column_names"][-1])
        alone = self.tree("SELECT 1")
        select_list(alone)[0] = item
        return self.print(alone).removeprefix("SELECT ")

    def _reprinted(self, tree: Node) -> tuple[str, Node]:
        text = self.print(tree)
        return text, self.tree(text)

    def _parsed(self, text: str) -> Node:
        tree = self.tree(text)
        if tree.get("error"):
            raise QueryRefused(f"the query cannot be parsed: {tree.get('error_message', 'syntax error')}")
        return tree


def folded(name: str) -> str:
    """A name as DuckDB compares it: only A-Z are the same as a-z."""
    if name.isascii():
        return name.lower()
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
        if (values := _values(value)) is not None:
            return plain(values)
        if value.get("class") == "COLUMN_REF":
            return {"column": path(value) or written_path(value)}
        kept = {key: plain(part) for key, part in value.items() if key not in _SPELLING}
        kept |= {key: sorted(kept[key], key=json.dumps) for key in _SETS & kept.keys()}
        if "function_name" in kept:
            kept["function_name"] = kept["function_name"].lower()
            del kept["qualified_name"]  # the same name again
        if "type_name" in kept:
            kept["type_name"] = kept["type_name"].lower()
            kept.pop("qualified_name", None)
        return kept

    return json.dumps(plain(node), sort_keys=True)


def _values(node: Node) -> Node | None:
    """The VALUES that a subquery passes on as they are: the printer wraps them into one more each time."""
    if node.get("type") != "SUBQUERY" or "class" in node or node["column_name_alias"] or node["sample"]:
        return None
    inner = node["subquery"]["node"]
    if inner["type"] != "SELECT_NODE":
        return None
    parts = ("where_clause", "group_expressions", "having", "qualify", "sample", "modifiers")
    if any(inner[part] for part in parts) or inner["cte_map"]["map"] or inner["group_sets"]:
        return None
    if len(inner["select_list"]) != 1 or not is_plain_star(inner["select_list"][0]):
        return None
    source: Node = inner["from_table"]
    return source if source["type"] == "EXPRESSION_LIST" else _values(source)


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
