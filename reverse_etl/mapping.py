"""From a sync's file and its source's columns to the expressions that say what will be sent.

They are syntax trees, never formatted text, so that no value of a file can become SQL.
They read a relation whose columns are c0, c1 … (the source's columns in their order, so
that names which differ only in case stay apart).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from string import Formatter

import pyarrow as pa
from sqlglot import exp

from connectors.protocol import Json
from reverse_etl.columns import Columns, Found
from reverse_etl.digest import digests, key_hash
from reverse_etl.errors import MappingInvalid
from reverse_etl.wire import (
    call,
    constant,
    is_nested,
    is_number,
    joined,
    json_of,
    text,
    text_of,
    unsendable,
)
from serving.content.spec import Scalar
from serving.content.sync import Field_, Sync, Tolerance_


@dataclass(frozen=True)
class Problem:
    """A row for which `when` is true cannot be sent; `says` is why."""

    when: exp.Expr
    says: exp.Expr


@dataclass(frozen=True)
class MappedField:
    """One field of the destination."""

    name: str
    json: exp.Expr  # what is sent as JSON text; NULL: left out (`nulls: skip`)
    number: bool  # whether the column's values are numbers
    salt: str  # everything in the file that the value depends on
    digested: tuple[Found, ...] = ()  # the columns it depends on
    problem: Problem | None = None
    empty: exp.Expr | None = None  # whether the value is null; None for constants and templates
    column: int | None = None  # the column whose nulls are the field's nulls, if it is as simple as that
    may_skip: bool = False
    tolerance: Tolerance_ | None = None


@dataclass(frozen=True)
class MappedSync:
    """Expressions over one row of the source."""

    fields: tuple[MappedField, ...]  # sorted by name
    key: exp.Expr  # canonical JSON text, names sorted; NULL where a part of it is
    key_hash: exp.Expr  # 64 bits; equal keys have equal hashes as long as the columns' types stay
    d1: exp.Expr  # digest of key, values and mapping; NULL where the row cannot be sent
    d2: exp.Expr
    problem: exp.Expr  # why the row cannot be sent, or NULL
    bad: exp.Expr  # whether it cannot
    columns: tuple[int, ...]  # places of the source's columns that are read


def map_sync(sync: Sync, schema: pa.Schema, *, cleared: Json = None, partial: bool = False) -> MappedSync:
    """The mapping of `sync` over a source with this schema; MappingInvalid names file:line.

    `cleared` and `partial` are the destination's: what an empty field is set to, and
    whether it keeps fields that are left out.
    """
    columns = Columns(sync, schema)
    if sync.send == "changed" and not partial:
        raise MappingInvalid(
            f"{sync.at('send')}: {sync.destination}/{sync.object} cannot take only some fields",
            hint="the destination replaces the whole record; write 'send: all'",
        )
    key = {name: columns.find(source, "key", name) for name, source in sorted(sync.key.items())}
    fields = tuple(
        _with_nulls(sync, _field(columns, name, spec), spec, constant(cleared), partial)
        for name, spec in sorted(sync.fields.items())
    )
    problems = [_null_key(name, sync.key[name], found) for name, found in key.items()]
    problems += [p for name, found in key.items() if (p := _not_finite(name, found.expr, found.kind))]
    problems += [field.problem for field in fields if field.problem is not None]
    salt = json.dumps([[name, str(found.kind)] for name, found in key.items()] + [[f.salt] for f in fields])
    read = [*key.values(), *(found for field in fields for found in field.digested)]
    d1, d2 = digests(salt, read)
    bad = exp.or_(*(problem.when.copy() for problem in problems))
    return MappedSync(
        fields,
        _key_text(key),
        key_hash(list(key.values())),
        exp.case().when(exp.not_(bad.copy()), d1),
        d2,
        call("coalesce", *(exp.case().when(p.when.copy(), p.says.copy()) for p in problems)),
        bad,
        tuple(sorted({found.index for found in read})),
    )


def _with_nulls(sync: Sync, field: MappedField, spec: Field_, cleared: str, partial: bool) -> MappedField:
    """What the file says about a null of this field, and about its small changes."""
    tolerance = sync.ignore_changes.get(field.name)
    if tolerance is not None and tolerance.always is None and spec.map is None:
        for found in field.digested:
            if found.moment and spec.template is None:
                kind = "below" if tolerance.below is not None else "share"
                raise MappingInvalid(
                    f"{sync.at('ignore_changes', field.name)}: {kind!r} goes with numbers,"
                    f" and {field.name!r} is {found.kind}",
                    hint="write 'always', or map a number",
                )
    written, salt = field.json, field.salt
    null = exp.EQ(this=written.copy(), expression=text("null"))
    if spec.nulls == "skip":
        if not partial:
            raise MappingInvalid(
                f"{sync.at('fields', field.name, 'nulls')}: 'skip' needs a destination that keeps what is"
                f" left out",
                hint=f"{sync.destination}/{sync.object} replaces the whole record; write 'send' or 'clear'",
            )
        written = call("nullif", written.copy(), text("null"))
    elif spec.nulls == "clear":
        written = exp.case().when(null, text(cleared)).else_(written.copy())
        salt += f" clear {cleared}"
    return MappedField(
        field.name,
        written,
        field.number,
        f"{salt} {spec.nulls}",
        field.digested,
        field.problem,
        null if spec.column is not None else None,
        field.column,
        spec.nulls == "skip",
        tolerance,
    )


def _field(columns: Columns, name: str, spec: Field_) -> MappedField:
    if spec.template is not None:
        value, read = _template(columns, name, spec.template)
        return MappedField(
            name, json_of(value, pa.string()), False, constant([name, spec.template]), tuple(read)
        )
    if spec.column is None:
        try:
            written = constant(spec.value)
        except ValueError:
            at = columns.sync.at("fields", name, "value")
            raise MappingInvalid(
                f"{at}: {spec.value} has no JSON form", hint="write a finite number"
            ) from None
        return MappedField(name, text(written), False, f"{constant(name)}={written}")
    plain = spec.map is None and "default" not in spec.model_fields_set
    path = ("fields", name) if plain and columns.short(name) else ("fields", name, "column")
    found = columns.find(spec.column, *path)
    if spec.round is not None:
        found = _rounded(columns, name, found, spec.round)
    number = is_number(found.kind)
    salt = f"{constant(name)} {found.kind} {spec.round}"
    if plain:
        return MappedField(
            name,
            json_of(found.expr.copy(), found.kind),
            number,
            salt,
            (found,),
            _not_finite(name, found.expr, found.kind),
            column=found.index,
        )
    value, problem = _mapped_value(columns, name, spec, found)
    chosen = [[given, sent] for given, sent in (spec.map or {}).items()]
    has_default = "default" in spec.model_fields_set
    salt += constant([chosen, has_default, spec.default])
    return MappedField(name, value, number and spec.map is None, salt, (found,), problem)


def _rounded(columns: Columns, name: str, found: Found, digits: int) -> Found:
    if not is_number(found.kind):
        raise MappingInvalid(
            f"{columns.sync.at('fields', name, 'round')}: column of {name!r} is {found.kind}, not a number",
            hint="drop 'round'",
        )
    if pa.types.is_integer(found.kind):
        return found
    return Found(call("round", found.expr.copy(), exp.Literal.number(digits)), found.kind, found.index)


def _mapped_value(columns: Columns, name: str, spec: Field_, found: Found) -> tuple[exp.Expr, Problem | None]:
    """A column through `map` and `default`, as JSON text; without default, strangers are problems."""
    column, kind = found.expr, found.kind
    if is_nested(kind):
        at = columns.sync.at("fields", name)
        raise MappingInvalid(
            f"{at}: a list or struct goes with neither 'map' nor 'default'", hint="map it in the mart"
        )
    fallback = text(constant(spec.default))
    has_default = "default" in spec.model_fields_set
    null = column.copy().is_(exp.null())
    if spec.map is None:
        value = exp.case().when(null, fallback).else_(json_of(column.copy(), kind))
        return value, _not_finite(name, column, kind)
    chosen = exp.case().when(null.copy(), fallback if has_default else text("null"))
    known: list[exp.Expr] = [null]
    for given, sent in spec.map.items():
        same = _equals(column, kind, given)
        chosen = chosen.when(same, text(constant(sent)))
        known.append(same.copy())
    if has_default:
        return chosen.else_(fallback), None
    stranger = joined([text(f"field {name!r}: 'map' does not name "), text_of(column.copy(), kind)])
    return chosen, Problem(exp.not_(exp.or_(*known)), stranger)


def _equals(column: exp.Expr, kind: pa.DataType, given: Scalar) -> exp.Expr:
    if is_number(kind) and isinstance(given, int | float) and not isinstance(given, bool):
        return exp.EQ(this=column.copy(), expression=exp.cast(text(repr(given)), "double"))
    written = given if isinstance(given, str) else constant(given)
    return exp.EQ(this=text_of(column.copy(), kind), expression=text(written))


def _template(columns: Columns, name: str, template: str) -> tuple[exp.Expr, list[Found]]:
    at = columns.sync.at("fields", name, "template")
    hint = "only {column} stands in braces; write {{ and }} for braces"
    parts: list[exp.Expr] = [text("")]
    read: list[Found] = []
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
        found = columns.find(column, "fields", name, "template")
        read.append(found)
        parts.append(text_of(found.expr.copy(), found.kind))
    return joined(parts), read


def _null_key(name: str, source: str, found: Found) -> Problem:
    return Problem(found.expr.copy().is_(exp.null()), text(f"key {name!r} is null (column {source!r})"))


def _not_finite(name: str, column: exp.Expr, kind: pa.DataType) -> Problem | None:
    check = unsendable(column.copy(), kind)
    if check is None:
        return None
    when = call("coalesce", check, exp.false())
    return Problem(when, text(f"field {name!r}: NaN and infinity have no JSON form"))


def _key_text(key: Mapping[str, Found]) -> exp.Expr:
    parts: list[exp.Expr] = []
    for name, found in key.items():
        parts.append(text(("{" if not parts else ",") + constant(name) + ":"))
        written = json_of(found.expr.copy(), found.kind)
        if pa.types.is_decimal(found.kind):
            written = exp.cast(call("json", written), "varchar")  # 10.50 and 10.5 are one key
        parts.append(exp.case().when(exp.not_(found.expr.copy().is_(exp.null())), written))
    return joined([*parts, text("}")])


def cleared_fields(names: Iterable[str], cleared: Json) -> str:
    """Every field with the destination's value for nothing, as JSON text."""
    return json.dumps(dict.fromkeys(sorted(names), cleared), ensure_ascii=False)
