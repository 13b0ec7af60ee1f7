"""The conditions of a metric request as texts or mappings <-> Filter and Span."""

from collections.abc import Mapping
from typing import Any, cast, get_args

from serving.content.validate import near
from serving.errors import QueryRefused
from serving.semantic.asking.phrases import SIGNS, axis, known_only, scanned, scanned_axis, written_axis
from serving.semantic.asking.request import Axis, Filter, Op, Span
from serving.semantic.asking.scan import Scan, Value, written_value
from serving.semantic.asking.time import is_range

_EXAMPLE = "region in ('EMEA', 'AMER'), status = 'paid', company is null, or ordered_at: last 12 months"
_COUNTS = {"in": "some values", "not in": "some values", "is null": "no value", "is not null": "no value"}


def condition(given: str | Mapping[str, Any]) -> Filter | Span:
    """`region = 'EMEA'`, `ordered_at: last 12 months`, or {"dimension", "op", "values"}."""
    if isinstance(given, Mapping):
        return _filter_of(given)
    scan = scanned(given, "condition", _EXAMPLE)
    found = scanned_axis(scan)
    if scan.sign(":"):
        return _span(scan, found)
    if scan.word("is"):
        op: Op = "is not null" if scan.word("not") else "is null"
        if not scan.word("null"):
            scan.fail("null")
        result = Filter(found, op)
    elif scan.word("not"):
        if not scan.word("in"):
            scan.fail("in")
        result = Filter(found, "not in", _values(scan))
    elif scan.word("in"):
        result = Filter(found, "in", _values(scan))
    else:
        result = _compared(scan, found)
    scan.end()
    return result


def written_condition(found: Filter | Span) -> str:
    """A condition as `condition` reads it."""
    if isinstance(found, Span):
        return f"{written_axis(found.axis)}: {found.words}"
    start = f"{written_axis(found.axis)} {found.op}"
    if found.op in ("in", "not in"):
        return f"{start} ({', '.join(written_value(value) for value in found.values)})"
    return " ".join([start, *(written_value(value) for value in found.values)])


def _span(scan: Scan, found: Axis) -> Span:
    words = scan.rest()
    if found.grain is not None:
        bare = written_axis(Axis(found.name, None, found.path))
        problem = f"the range in {scan.text!r} is of days, not of {found.grain}s"
        raise QueryRefused(problem, hint=f"write {bare}: {words}")
    if not is_range(words):
        problem = f"{words!r} in the condition {scan.text!r} is no time range"
        hint = "write last 12 months, last 4 complete weeks, this year, since 2026-01-01 or "
        raise QueryRefused(problem, hint=hint + "2026-01-01..2026-03-31")
    return Span(found, words)


def _compared(scan: Scan, found: Axis) -> Filter:
    word = scan.word("contains") or scan.sign(*SIGNS)
    op = word or scan.fail("one of = != < <= > >=, in, is, contains or ':'")
    return _checked(Filter(found, cast(Op, "!=" if op == "<>" else op), (scan.value(),)), scan.text)


def _values(scan: Scan) -> tuple[Value, ...]:
    if not scan.sign("("):
        scan.fail("'('")
    values = [scan.value()]
    while scan.sign(","):
        values.append(scan.value())
    if not scan.sign(")"):
        scan.fail("a comma or ')'")
    return tuple(values)


def _filter_of(given: Mapping[str, Any]) -> Filter:
    known_only(given, ("dimension", "op", "values"), "a condition")
    op, values = given.get("op", "="), given.get("values", ())
    if op not in get_args(Op):
        raise QueryRefused(f"a condition has no 'op' {op!r}", hint=near(str(op), get_args(Op)))
    many = tuple(values) if isinstance(values, list | tuple) else (values,)
    for value in many:
        if value is not None and not isinstance(value, str | int | float | bool):
            hint = "give texts, numbers, true or false"
            raise QueryRefused(f"{value!r} is no value of a condition", hint=hint)
    return _checked(Filter(axis(given.get("dimension", "")), op, many), repr(dict(given)))


def _checked(found: Filter, shown: str) -> Filter:
    """The filter, if it has as many values as its comparison takes."""
    count = _COUNTS.get(found.op, "one value")
    fits = {"some values": len(found.values) > 0, "no value": not found.values}
    if not fits.get(count, len(found.values) == 1):
        problem = f"'{found.op}' takes {count}, not {len(found.values)}: {shown}"
        raise QueryRefused(problem, hint=f"write it like: {_EXAMPLE}")
    if count == "one value" and found.values[0] is None and found.op not in ("=", "!="):
        problem = f"nothing is {found.op} null: {shown}"
        raise QueryRefused(problem, hint=f"write {written_axis(found.axis)} is null, or is not null")
    if found.op == "contains" and not isinstance(found.values[0], str):
        raise QueryRefused(f"'contains' looks for a text: {shown}", hint="put the value in single quotes")
    return found
