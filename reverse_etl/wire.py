"""How a value of the source is written on the wire, as DuckDB expressions.

Timestamps and dates become ISO 8601 (with a time zone: in UTC, ending in Z), decimals
JSON numbers, lists and structs JSON. What has no JSON form is a problem of the row
(NaN, infinity) or of the mapping (binary columns).
"""

import json

import pyarrow as pa
from sqlglot import exp

_STRINGS = r'"(\\.|[^"\\])*"'


def call(name: str, *arguments: exp.Expr) -> exp.Anonymous:
    """A DuckDB function, under exactly this name."""
    return exp.Anonymous(this=name, expressions=list(arguments))


def text(value: str) -> exp.Literal:
    """A string constant."""
    return exp.Literal.string(value)


def literal(value: str) -> str:
    """A string constant as DuckDB writes it."""
    return text(value).sql(dialect="duckdb")


def pointer(name: str) -> str:
    """The JSON pointer to a field of an object."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def joined(parts: list[exp.Expr]) -> exp.Expr:
    """The texts one after the other; NULL where one of them is NULL."""
    whole = parts[0]
    for part in parts[1:]:
        whole = exp.DPipe(this=whole, expression=part)
    return exp.paren(whole)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values, without dictionary or extension around it."""
    while True:
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        elif isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type if not _is_uuid(kind) else pa.string()
        else:
            return kind


def _is_uuid(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.uuid"


def is_nested(kind: pa.DataType) -> bool:
    """Lists, structs and maps."""
    return bool(pa.types.is_nested(plain_type(kind)))


def sendable(kind: pa.DataType) -> bool:
    """Whether values of this type have a JSON form at all."""
    kind = plain_type(kind)
    if pa.types.is_nested(kind):
        return all(sendable(kind.field(number).type) for number in range(kind.num_fields))
    known = (
        pa.types.is_null,
        pa.types.is_boolean,
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_decimal,
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
        pa.types.is_date,
        pa.types.is_time,
        pa.types.is_timestamp,
        pa.types.is_duration,
        pa.types.is_interval,
    )
    return any(check(kind) for check in known)


def is_number(kind: pa.DataType) -> bool:
    """Whether a map's numeric keys are compared as numbers."""
    kind = plain_type(kind)
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def text_of(column: exp.Expr, kind: pa.DataType) -> exp.Expr:
    """The value as text inside a sentence: without quotes, dates as ISO 8601."""
    kind = plain_type(kind)
    if pa.types.is_timestamp(kind):
        return _iso_timestamp(column, zoned=kind.tz is not None)
    if pa.types.is_floating(kind) and kind.bit_width < 64:
        return exp.cast(column, "varchar")  # DuckDB's to_json would print the widened double
    if is_number(kind) or pa.types.is_boolean(kind) or is_nested(kind):
        return exp.cast(call("to_json", column), "varchar")
    return exp.cast(column, "varchar")


def json_of(column: exp.Expr, kind: pa.DataType) -> exp.Expr:
    """The value as JSON text, `null` where it is NULL."""
    plain = plain_type(kind)
    unquoted = is_number(plain) or pa.types.is_boolean(plain) or is_nested(plain) or pa.types.is_null(plain)
    written = text_of(column, kind)
    if not unquoted and not _is_json(kind):
        written = exp.cast(call("to_json", written), "varchar")
    return call("coalesce", written, text("null"))


def _is_json(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.json"


def unsendable(column: exp.Expr, kind: pa.DataType) -> exp.Expr | None:
    """When true, this value has no JSON form; None where every value of the type has one."""
    kind = plain_type(kind)
    if pa.types.is_nested(kind):
        bare = call("regexp_replace", json_of(column, kind), text(_STRINGS), text('""'), text("g"))
        return call("regexp_matches", bare, text("NaN|Infinity|inf"))
    if pa.types.is_floating(kind) or pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return exp.not_(call("isfinite", _as_finite(column, kind)))
    return None


def constant(value: object) -> str:
    """A constant of a file as JSON text; ValueError for NaN and infinity."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _as_finite(column: exp.Expr, kind: pa.DataType) -> exp.Expr:
    return exp.cast(column, "timestamp") if pa.types.is_timestamp(kind) else column


def _iso_timestamp(column: exp.Expr, *, zoned: bool) -> exp.Expr:
    moment: exp.Expr = exp.cast(column, "timestamp")
    if zoned:
        moment = exp.AtTimeZone(this=column, zone=text("UTC"))
    written = call("strftime", moment, text("%Y-%m-%dT%H:%M:%S.%f"))
    trimmed: exp.Expr = call("rtrim", call("rtrim", written, text("0")), text("."))
    return joined([trimmed, text("Z")]) if zoned else trimmed
