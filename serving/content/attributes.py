"""Attributes of people: values that fit the declared types, and whose value wins."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time

from serving.content.policy import Assignment, Attribute, Family, Value

BUILT_IN = "email"  # user.email: a text that everybody has
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?")


@dataclass(frozen=True)
class Clash:
    """Two assignments of the same rank that give one person different values."""

    attribute: str
    first: Assignment
    second: Assignment


def typed_value(value: Value, family: Family) -> Value | None:
    """The value as its family's own type (dates may be ISO text), or None where it is of another."""
    match family:
        case "text":
            return value if isinstance(value, str) and "\0" not in value else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "number":
            fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            return value if fits else None
        case "date":
            return as_date(value)
    return as_timestamp(value)


def as_date(value: object) -> date | None:
    """A day, given as such or as `2026-01-31`."""
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            return None
    return value if isinstance(value, date) and not isinstance(value, datetime) else None


def as_timestamp(value: object) -> datetime | None:
    """A time without zone, given as such, as `2026-01-31 12:00`, or as the day that it starts."""
    if isinstance(value, str) and _TIMESTAMP.fullmatch(value):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value if value.tzinfo is None else None
    return datetime.combine(value, time()) if isinstance(value, date) else None


def values_of(given: Value | tuple[Value, ...], declared: Attribute) -> tuple[Value, ...] | None:
    """The values as their declared type; None where one does not fit, or there are too many."""
    many = given if isinstance(given, tuple) else (given,)
    if isinstance(given, tuple) and not declared.many:
        return None
    typed = tuple(typed_value(value, declared.type) for value in many)
    return None if None in typed else tuple(value for value in typed if value is not None)


def combined(
    declared: Mapping[str, Attribute], entries: Iterable[Assignment]
) -> tuple[dict[str, tuple[Value, ...]], list[Clash]]:
    """What assignments of one rank say together: lists are united, single values must agree.

    Attributes that are not declared, that do not fit or that clash are left out: a rule that
    asks for them then finds no value, and shows no row.
    """
    values: dict[str, tuple[Value, ...]] = {}
    origin: dict[str, Assignment] = {}
    clashes: list[Clash] = []
    for entry in entries:
        for name, given in entry.attributes.items():
            typed = values_of(given, declared[name]) if name in declared else None
            if typed is None:
                continue
            if name not in values:
                values[name], origin[name] = typed, entry
            elif declared[name].many:
                values[name] = tuple(dict.fromkeys((*values[name], *typed)))
            elif values[name] != typed:
                clashes.append(Clash(name, origin[name], entry))
    return {name: value for name, value in values.items() if name not in _names(clashes)}, clashes


def _names(clashes: list[Clash]) -> set[str]:
    return {clash.attribute for clash in clashes}
