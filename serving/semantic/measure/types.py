"""Whether comparing two columns as equal keeps a key a key.

Where the engine would cast the key's side, two of its values may become one: '1' and '01' as numbers.
"""

from serving.semantic.measure.scope import Resolve
from serving.syntax import Node

_WORDS = {
    "BIGINT": "whole",
    "INTEGER": "whole",
    "SMALLINT": "whole",
    "TINYINT": "whole",
    "UINTEGER": "whole",
    "USMALLINT": "whole",
    "UTINYINT": "whole",
    "INT": "whole",
    "INT4": "whole",
    "INT8": "whole",
    "LONG": "whole",
    "VARCHAR": "text",
    "TEXT": "text",
    "STRING": "text",
}
_ANY = "any"  # a text that is written down takes the type of the other side
_KEPT = {  # (key, other): the other side is cast, or nothing gets lost
    ("whole", "DECIMAL"),
    ("DECIMAL", "whole"),
    ("DATE", "TIMESTAMP"),
    ("TIMESTAMP", "DATE"),
    ("TIMESTAMP WITH TIME ZONE", "DATE"),
    ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP"),
}
_TEXTS = frozenset("lower upper trim ltrim rtrim concat || left right substring substr strftime".split())
_WHOLES = frozenset("year month day quarter week isoyear dayofweek dayofyear hour minute length".split())


def kind_of(node: Node, resolve: Resolve) -> str:
    """The DuckDB type of an expression over columns, casts, texts and a few functions; "" if not known."""
    match node["class"]:
        case "COLUMN_REF":
            found = resolve(node)
            return found[1].kind if found else ""
        case "CAST" if not node["type_expr"].get("children"):
            return str(node["type_expr"].get("type_name", "")).upper()
        case "CONSTANT":
            kind = (node.get("literal") or {}).get("kind")
            return {"STRING": _ANY, "INTEGER": "INTEGER"}.get(str(kind), "")
        case "FUNCTION":
            return _of_function(node, resolve)
    return ""


def _of_function(node: Node, resolve: Resolve) -> str:
    name = node["function_name"].lower()
    if name in _TEXTS:
        return "VARCHAR"
    if name in _WHOLES:
        return "BIGINT"
    if name == "date_trunc" and len(node["arguments"]) == 2:
        kind = kind_of(node["arguments"][1]["expression"], resolve)
        return "TIMESTAMP" if kind == "DATE" else kind if kind.startswith("TIMESTAMP") else ""
    return ""


def keeps_apart(key: str, other: str) -> bool:
    """Whether values of type `key` that differ still differ when they are compared with type `other`."""
    mine, theirs = _family(key), _family(other)
    return bool(mine) and (theirs in (mine, _ANY) or (mine, theirs) in _KEPT)


def _family(kind: str) -> str:
    if kind.startswith("ENUM"):
        return "text"
    return "DECIMAL" if kind.startswith("DECIMAL") else _WORDS.get(kind, kind)
