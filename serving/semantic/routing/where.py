"""Ranges of days in a WHERE: conditions on a time that hold for whole days."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from serving.semantic.routing.forms import Subject, Unanswerable
from serving.semantic.routing.routes import Days, Reason
from serving.semantic.routing.time import INSTANT, day_column, turned, type_name
from serving.syntax import Node

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?)?")
_DAY, _TICK = timedelta(days=1), timedelta(microseconds=1)
_ORDERS = {
    "COMPARE_GREATERTHANOREQUALTO": ">=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_EQUAL": "=",
}
_Bounds = tuple[date | None, date | None]  # half-open


@dataclass(frozen=True)
class _Moment:
    """A literal time, and how it is written: as text, DATE or TIMESTAMP."""

    at: datetime
    kind: str


def conjuncts(node: Node | None) -> Iterator[Node]:
    """The conditions that must all hold."""
    if node is None:
        return
    if node["class"] == "CONJUNCTION" and node["type"] == "CONJUNCTION_AND":
        for child in node["children"]:
            yield from conjuncts(child)
    else:
        yield node


def days_of(node: Node, subject: Subject) -> Days | None:
    """The range of whole days that a condition means; None for a condition of another kind.

    Raises Unanswerable where it compares a time in a way that whole days do not answer.
    """
    if node["class"] == "BETWEEN" and node["type"] == "COMPARE_BETWEEN":
        parts = [(node["input"], ">=", node["lower"]), (node["input"], "<=", node["upper"])]
    elif node["class"] == "COMPARISON" and node["type"] in _ORDERS:
        if _moment(node["left"]) is not None:
            node = turned(node)
        parts = [(node["left"], _ORDERS[node["type"]], node["right"])]
    else:
        return None
    literals = [moment for _, _, right in parts if (moment := _moment(right)) is not None]
    if len(literals) < len(parts):
        return None
    subject_of = parts[0][0]
    if (column := day_column(subject_of, subject)) is not None:
        bounds = [_of_days(op, moment) for (_, op, _), moment in zip(parts, literals, strict=True)]
    elif (column := subject.column(subject_of)) is not None and subject.kinds[column] == "TIMESTAMP":
        bounds = [_of_times(op, moment) for (_, op, _), moment in zip(parts, literals, strict=True)]
    else:
        return None
    known = [bound for bound in bounds if bound is not None]
    if len(known) == len(bounds):
        return _narrowed(column, known)
    if column not in subject.forms.kept:
        words = (
            f"{subject.words(node)} does not begin or end with a day: write {column} >= … AND {column} < …"
        )
        raise Unanswerable(Reason.RANGE, words)
    return None


def instants(node: Node, subject: Subject) -> str | None:
    """The column of instants that a comparison reads; days of a time zone do not answer it."""
    sides = [node[side] for side in ("left", "right", "input", "lower", "upper") if side in node]
    found = (subject.column(side) for side in sides if side is not None)
    names = (name for name in found if name is not None and subject.kinds[name] == INSTANT)
    return next((name for name in names if name not in subject.forms.kept), None)


def merged(ranges: Sequence[Days]) -> tuple[Days, ...]:
    """One range for each column; raises Unanswerable where it holds no day."""
    found: dict[str, Days] = {}
    for days in ranges:
        before = found.get(days.column)
        bounds = [(days.start, days.end)] + ([(before.start, before.end)] if before else [])
        found[days.column] = _narrowed(days.column, bounds)
    for days in found.values():
        if days.start is not None and days.end is not None and days.start >= days.end:
            raise Unanswerable(Reason.RANGE, f"the range of {days.column} holds no day")
    return tuple(found.values())


def _narrowed(column: str, bounds: Sequence[_Bounds]) -> Days:
    starts = [start for start, _ in bounds if start is not None]
    ends = [end for _, end in bounds if end is not None]
    return Days(column, max(starts, default=None), min(ends, default=None))


def _moment(node: Node) -> _Moment | None:
    """The time of a literal: '2026-01-31', DATE '…' or TIMESTAMP '…'."""
    kind = "text"
    if node["class"] == "CAST" and not node["try_cast"]:
        kind, node = type_name(node), node["child"]
        if kind not in ("date", "timestamp", "datetime"):
            return None
    if node["class"] != "CONSTANT" or node["literal"]["kind"] != "STRING":
        return None
    text = str(node["literal"]["text"])
    if not (_DATE if kind == "date" else _TIME).fullmatch(text):
        return None
    try:
        return _Moment(datetime.fromisoformat(text).replace(tzinfo=UTC), kind)
    except ValueError:
        return None


def _of_days(op: str, moment: _Moment) -> _Bounds | None:
    """The days that compare so with a time: a day is compared as its midnight."""
    at = moment.at.date()
    whole = moment.at.time() == datetime.min.time()
    if moment.kind == "text" and not whole:  # read as a DATE, and what becomes of the hours is not ours
        return None
    try:
        match op:
            case ">=":
                return (at if whole else at + _DAY, None)
            case ">":
                return (at + _DAY, None)
            case "<":
                return (None, at if whole else at + _DAY)
            case "<=":
                return (None, at + _DAY)
        return (at, at + _DAY) if whole else None
    except OverflowError:
        return None


def _of_times(op: str, moment: _Moment) -> _Bounds | None:
    """The days of which every time compares so with a time, and no time of other days."""
    try:
        at = moment.at + _TICK if op in (">", "<=") else moment.at
    except OverflowError:
        return None
    if at.time() != datetime.min.time() or op == "=":
        return None
    return (at.date(), None) if op in (">=", ">") else (None, at.date())
