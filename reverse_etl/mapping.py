"""From a sync's file and its source's columns to the SELECT that says what will be sent.

The SELECT is a syntax tree, never formatted text, so that no value of a file can become
SQL. It reads the relation `source` and gives, for each of its rows, in its order:

    pos       the row's place in the source, counting from 1
    key       the destination's key fields as JSON text, names sorted; NULL if part of it is
    problem   why the row cannot be sent, or NULL
    v0, v1 …  the mapped values, typed
    d1, d2    the digest of names, constants and values

`fields` turns v0, v1 … into the JSON text of what is sent.
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter

import pyarrow as pa
from sqlglot import exp

from reverse_etl.errors import MappingInvalid
from reverse_etl.wire import (
    call,
    constant,
    is_nested,
    is_number,
    joined,
    json_of,
    sendable,
    text,
    text_of,
    unsendable,
)
from serving.content.spec import Scalar
from serving.content.sync import Field_, Sync


@dataclass(frozen=True)
class MappedSelect:
    """The SELECT over `source`, and the expression over its result that is sent."""

    wanted: str
    fields: str
    cleared: str  # every mapped field as null, as JSON text


@dataclass(frozen=True)
class _Mapped:
    """One field: its value, its JSON text (`value` read back as a column), what can be wrong."""

    name: str
    value: exp.Expr | None  # None: a constant
    json: exp.Expr
    salt: str
    problem: exp.Expr | None = None


def mapped_select(sync: Sync, schema: pa.Schema) -> MappedSelect:
    """The mapping of `sync` over a source with this schema; MappingInvalid names file:line."""
    columns = _Columns(sync, schema)
    keys = {name: columns.find(source, "key", name) for name, source in sorted(sync.key.items())}
    mapped = [
        _field(columns, name, spec, f"v{i}") for i, (name, spec) in enumerate(sorted(sync.fields.items()))
    ]
    problems = [_null_key(name, sync.key[name], column) for name, (column, _) in keys.items()]
    problems += [check for name, (column, kind) in keys.items() if (check := _not_finite(name, column, kind))]
    problems += [field.problem for field in mapped if field.problem is not None]
    values = [(f"v{i}", field.value) for i, field in enumerate(mapped) if field.value is not None]
    salt = text(json.dumps([field.salt for field in mapped]))
    wanted = exp.select(
        exp.alias_(exp.Window(this=call("row_number")), "pos"),
        exp.alias_(_key_text(keys), "key"),
        exp.alias_(call("coalesce", *problems), "problem"),
        *(exp.alias_(value, name) for name, value in values),
        exp.alias_(call("hash", salt, *(value for _, value in values)), "d1"),
        exp.alias_(call("hash", *(value for _, value in reversed(values)), text("digest"), salt), "d2"),
    ).from_(exp.to_identifier("source"))
    return MappedSelect(
        wanted.sql(dialect="duckdb"),
        _object(mapped).sql(dialect="duckdb"),
        json.dumps(dict.fromkeys(sorted(sync.fields))),
    )


@dataclass(frozen=True)
class _Columns:
    """The source's columns, as the sync's file may name them."""

    sync: Sync
    schema: pa.Schema

    def find(self, name: str, *path: str) -> tuple[exp.Expr, pa.DataType]:
        """The column and its type; refused with the nearest name where there is none."""
        found = [entry for entry in self.schema if entry.name == name] or [
            entry for entry in self.schema if entry.name.lower() == name.lower()
        ]
        at = self.sync.at(*path)
        if not found:
            near = difflib.get_close_matches(name, self.schema.names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the source has {', '.join(self.schema.names)}"
            raise MappingInvalid(f"{at}: the source has no column {name!r}", hint=hint)
        if len(found) > 1:
            raise MappingInvalid(
                f"{at}: the source has {len(found)} columns {name!r}", hint="give each a name of its own"
            )
        if not sendable(found[0].type):
            raise MappingInvalid(
                f"{at}: column {name!r} is {found[0].type} and has no JSON form",
                hint="encode it in the mart, for example with base64() or hex()",
            )
        return exp.column(found[0].name, quoted=True), found[0].type


def _field(columns: _Columns, name: str, spec: Field_, alias: str) -> _Mapped:
    back = exp.column(alias)
    if spec.template is not None:
        value = _template(columns, name, spec.template)
        return _Mapped(name, value, json_of(back, pa.string()), constant(name))
    if spec.column is None:
        try:
            written = constant(spec.value)
        except ValueError:
            at = columns.sync.at("fields", name, "value")
            raise MappingInvalid(
                f"{at}: {spec.value} has no JSON form", hint="write a finite number"
            ) from None
        return _Mapped(name, None, text(written), f"{constant(name)}={written}")
    path = ("fields", name, "column") if spec.map or "default" in spec.model_fields_set else ("fields", name)
    column, kind = columns.find(spec.column, *path)
    if spec.map is None and "default" not in spec.model_fields_set:
        return _Mapped(name, column, json_of(back, kind), constant(name), _not_finite(name, column, kind))
    value, problem = _mapped_value(columns, name, spec, column, kind)
    return _Mapped(name, value, back, constant(name), problem)


def _mapped_value(
    columns: _Columns, name: str, spec: Field_, column: exp.Expr, kind: pa.DataType
) -> tuple[exp.Expr, exp.Expr | None]:
    """A column through `map` and `default`, as JSON text; without default, strangers are problems."""
    if is_nested(kind):
        at = columns.sync.at("fields", name)
        raise MappingInvalid(
            f"{at}: a list or struct goes with neither 'map' nor 'default'", hint="map it in the mart"
        )
    fallback = text(constant(spec.default))
    has_default = "default" in spec.model_fields_set
    if spec.map is None:
        value = exp.case().when(column.is_(exp.null()), fallback).else_(json_of(column.copy(), kind))
        return value, _not_finite(name, column, kind)
    chosen = exp.case().when(column.is_(exp.null()), fallback if has_default else text("null"))
    known: list[exp.Expr] = [column.is_(exp.null())]
    for given, sent in spec.map.items():
        same = _equals(column, kind, given)
        chosen = chosen.when(same, text(constant(sent)))
        known.append(same.copy())
    if has_default:
        return chosen.else_(fallback), None
    stranger = joined([text(f"field {name!r}: 'map' does not name "), text_of(column.copy(), kind)])
    return chosen, exp.case().when(exp.not_(exp.or_(*known)), stranger)


def _equals(column: exp.Expr, kind: pa.DataType, given: Scalar) -> exp.Expr:
    if is_number(kind) and isinstance(given, int | float) and not isinstance(given, bool):
        return exp.EQ(this=column.copy(), expression=exp.cast(text(repr(given)), "double"))
    written = given if isinstance(given, str) else constant(given)
    return exp.EQ(this=text_of(column.copy(), kind), expression=text(written))


def _template(columns: _Columns, name: str, template: str) -> exp.Expr:
    at = columns.sync.at("fields", name, "template")
    hint = "only {column} stands in braces; write {{ and }} for braces"
    parts: list[exp.Expr] = [text("")]
    try:
        pieces = list(Formatter().parse(template))
    except ValueError:
        raise MappingInvalid(f"{at}: the braces of {template!r} do not pair up", hint=hint) from None
    for literal, column, form, conversion in pieces:
        if literal:
            parts.append(text(literal))
        if column is None:
            continue
        if form or conversion or not column.strip():
            raise MappingInvalid(f"{at}: {{{column}…}} is no plain column name", hint=hint)
        found, kind = columns.find(column, "fields", name, "template")
        parts.append(text_of(found, kind))
    return joined(parts)


def _null_key(name: str, source: str, column: exp.Expr) -> exp.Expr:
    return exp.case().when(column.copy().is_(exp.null()), text(f"key {name!r} is null (column {source!r})"))


def _not_finite(name: str, column: exp.Expr, kind: pa.DataType) -> exp.Expr | None:
    check = unsendable(column.copy(), kind)
    if check is None:
        return None
    return exp.case().when(check, text(f"field {name!r}: NaN and infinity have no JSON form"))


def _key_text(keys: Mapping[str, tuple[exp.Expr, pa.DataType]]) -> exp.Expr:
    """Canonical JSON text of the key; NULL where one of its columns is NULL."""
    parts: list[exp.Expr] = []
    for name, (column, kind) in keys.items():
        parts.append(text(("{" if not parts else ",") + constant(name) + ":"))
        written = exp.case().when(exp.not_(column.copy().is_(exp.null())), json_of(column.copy(), kind))
        parts.append(written)
    return joined([*parts, text("}")])


def _object(mapped: list[_Mapped]) -> exp.Expr:
    parts: list[exp.Expr] = [text("{")]
    for number, field in enumerate(mapped):
        parts += [text(("," if number else "") + constant(field.name) + ":"), field.json]
    return joined([*parts, text("}")])
