"""Poison: what stands in a cell that a person may not see. It must never come out anywhere."""

import re
from collections.abc import Iterable
from typing import Any

from serving.content.policy import Bucket, Partial, Truncate

# long enough not to be met by chance in a hash; ends so that a longer number does not match
FOUND = re.compile(
    r"(?i:POISON)\w*|(?<![0-9A-Za-z])(?:6660666\d{6}|20666\d{5})(?![0-9a-z])|(?<!\d)(?:9666|2261)-\d\d-\d\d"
    r"|datetime\.date(?:time)?\((?:9666|2261), "  # as Python writes it
)
_TEXT = "'POISON' || {k}"
_SMALL = {"tinyint": "66 + {k} % 7", "utinyint": "66 + {k} % 7", "smallint": "31337", "usmallint": "31337"}
_LARGE = ("bigint", "ubigint", "hugeint", "uhugeint", "bignum", "double", "float")
_OTHER = {
    "varchar": _TEXT,
    "integer": "2066600000 + {k}",
    "uinteger": "2066600000 + {k}",
    "date": "DATE '9666-01-01' + ({k} % 97)::INTEGER",
    "timestamp with time zone": "TIMESTAMPTZ '9666-01-01 06:06:06' + INTERVAL 1 DAY * ({k} % 97)",
    "timestamp_ns": "TIMESTAMP '2261-01-01 06:06:06' + INTERVAL 1 DAY * ({k} % 97)",
    "time": "TIME '06:06:06.066606'",
    "interval": "INTERVAL 666 YEAR",
    "boolean": "{k} % 2 = 0",
    "blob": "'POISON'::BLOB",
    "uuid": "'66606660-6660-6660-6660-666066606660'::UUID",
}
_TIMES = ("timestamp", "timestamp_s", "timestamp_ms")


def markers(text: str) -> list[str]:
    """The poison that stands in a text."""
    return FOUND.findall(text)


def poison(column: str, kind: Any) -> str:
    """SQL of a poison value of DuckDB's type `kind`; equal cells stay equal: joins keep their shape."""
    return f"CAST({_value(kind, f'(hash({column}) % 9973)::BIGINT')} AS {kind})"


def _value(kind: Any, k: str) -> str:
    name = kind.id
    if name in _SMALL or name in _OTHER:
        return (_SMALL | _OTHER)[name].format(k=k)
    if name in _LARGE:
        return f"6660666000000 + {k}"
    if name in _TIMES:
        return f"TIMESTAMP '9666-01-01 06:06:06' + INTERVAL 1 DAY * ({k} % 97)"
    children = dict(kind.children) if name in ("decimal", "list", "array", "struct", "map") else {}
    match name:
        case "decimal":
            return _decimal(children["precision"] - children["scale"], k)
        case "list":
            return f"[{_value(children['child'], k)}]"
        case "array":
            return f"[{', '.join([_value(children['child'], k)] * children['size'])}]"
        case "struct":
            fields = (f'"{field}" := {_value(child, k)}' for field, child in children.items())
            return f"struct_pack({', '.join(fields)})"
        case "map":
            return f"map([{_value(children['key'], k)}], [{_value(children['value'], k)}])"
    raise ValueError(f"the oracle has no poison for {kind}")


def _decimal(digits: int, k: str) -> str:
    if digits >= 13:
        return f"6660666000000 + {k}"
    return f"2066600000 + {k}" if digits >= 10 else "6" * digits


def shaped(column: str, kind: Any, mask: object) -> str:
    """Poison under a mask that derives from the value: only what the mask must drop is changed."""
    match mask:
        case "hash":
            return poison(column, kind)
        case Partial(partial=keep):
            ends = keep.first + keep.last
            long = f"left(md5({column}), {keep.first}) || 'POISON' || right(md5({column}), {keep.last})"
            return f"CASE WHEN length({column}) <= {ends} THEN {column} ELSE {long} END"
        case Bucket(bucket=size):
            return f"coalesce(TRY_CAST(floor({column} / {size}) * {size} + {size} * 0.7 AS {kind}), {column})"
        case Truncate():
            return f"CAST({column} + INTERVAL 1 DAY AS {kind})"
    raise ValueError(f"the oracle cannot shape poison for {mask!r}")


def in_rows(rows: Iterable[object]) -> list[str]:
    """The poison in an answer's rows."""
    return markers(repr(list(rows)))
