"""Whether a subquery inside a block stands apart from it: no name in it may be the block's."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from serving.syntax import Node, Path, folded, written_path

LEAF_COLUMN = re.compile(r"[a-z_]+_[0-9a-f]{12}")  # the name of a rollup's column
Tables = Mapping[str, frozenset[str]]  # folded names of marts that no CTE hides -> their columns


def outward(node: Any, tables: Tables) -> Iterator[Path]:
    """The names in a query that its own tables do not explain; a star of some table is a name, too."""
    if isinstance(node, list):
        for part in node:
            yield from outward(part, tables)
        return
    if not isinstance(node, Mapping):
        return
    if node.get("class") == "COLUMN_REF":
        yield written_path(node)
    elif node.get("class") == "STAR" and node["relation_name"]:
        yield (folded(node["relation_name"]), "*")
    for entry in node["cte_map"]["map"] if "cte_map" in node else ():
        tables = {name: columns for name, columns in tables.items() if name != folded(entry["key"])}
    alias, own = _own(node, tables)
    for part in node.values():
        for path in outward(part, tables):
            if not (path[0] in own if len(path) == 1 else path[0] == alias):
                yield path


def _own(node: Node, tables: Tables) -> tuple[str | None, frozenset[str]]:
    """The name and the columns of the one mart that a SELECT reads."""
    source = node.get("from_table")
    if not isinstance(source, Mapping) or source.get("type") != "BASE_TABLE" or source["column_name_alias"]:
        return None, frozenset()
    if source["schema_name"] or source["catalog_name"]:
        return None, frozenset()
    return folded(source["alias"] or source["table_name"]), tables.get(
        folded(source["table_name"]), frozenset()
    )
