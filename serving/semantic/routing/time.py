"""Buckets of time in a question: date_trunc, casts to DATE, parts of dates, and days compared with times."""

import re
from typing import Any, Literal, get_args

from serving.content.semantics import Grain
from serving.semantic.routing.forms import Subject, Unanswerable, slot
from serving.semantic.routing.routes import Reason
from serving.syntax import Node, replaced, walk

INSTANT = "TIMESTAMP WITH TIME ZONE"
LOCAL = ("DATE", "TIMESTAMP")  # a day of these is the same in every time zone
_MIDNIGHT = re.compile(r"\d{4}-\d{2}-\d{2}([ T]00:00(:00(\.0+)?)?)?")
_TRUNC = ("date_trunc", "datetrunc")
# parts of a time -> the bucket that has the same one
_PARTS: dict[str, Grain] = {
    **dict.fromkeys(("year", "decade", "century", "millennium"), "year"),
    "quarter": "quarter",
    **dict.fromkeys(("month", "monthname", "last_day"), "month"),
    **dict.fromkeys(("week", "weekofyear", "isoyear", "yearweek"), "week"),
    **dict.fromkeys(("day", "dayofmonth", "dayname", "dayofweek", "weekday", "isodow", "dayofyear"), "day"),
}
_FUNCTIONS = _PARTS.keys() - {"century", "millennium"}
_DAYS = frozenset("to_days to_weeks to_months to_quarters to_years to_decades to_centuries".split())
_FLIPPED = {
    "COMPARE_GREATERTHANOREQUALTO": "COMPARE_LESSTHANOREQUALTO",
    "COMPARE_LESSTHANOREQUALTO": "COMPARE_GREATERTHANOREQUALTO",
    "COMPARE_GREATERTHAN": "COMPARE_LESSTHAN",
    "COMPARE_LESSTHAN": "COMPARE_GREATERTHAN",
    "COMPARE_EQUAL": "COMPARE_EQUAL",
}


def bucketed(node: Node, subject: Subject) -> Node | None:
    """What a node says over buckets, in slots; None where it is no bucket of a time.

    Raises Unanswerable where days of a time zone do not tell the same.
    """
    if node["class"] == "CAST":
        return _date(node, subject)
    if node["class"] == "FUNCTION" and (truncated := _truncated(node)) is not None:
        return _moment(node, *truncated, subject)
    if node["class"] == "FUNCTION":
        return _part(node, subject)
    if node["class"] == "COMPARISON":
        return _compared(node, subject)
    column = subject.column(node)
    if column is None or subject.kinds[column] != "DATE" or column in subject.forms.kept:
        return None
    is_kept = any(key.startswith(f"{column}.") for key in subject.forms.kept)
    return slot("d", f"{column}.day", node["alias"]) if is_kept else None


def day_column(node: Node, subject: Subject) -> str | None:
    """The time column of which a node is the day: the column of a DATE, or a cast to DATE."""
    if is_date_cast(node):
        column = subject.column(node["child"])
        return column if column is not None and subject.kinds[column] in (*LOCAL, INSTANT) else None
    column = subject.column(node)
    return column if column is not None and subject.kinds[column] == "DATE" else None


def is_date_cast(node: Node) -> bool:
    """Whether a node is CAST(… AS DATE)."""
    return node["class"] == "CAST" and not node["try_cast"] and type_name(node) == "date"


def type_name(node: Node) -> str:
    """The plain type that a cast casts to, in lower case."""
    kind = node["type_expr"]
    plain = kind["class"] == "TYPE" and not kind["children"] and not kind["schema"]
    return str(kind["type_name"]).lower() if plain else ""


def turned(node: Node) -> Node:
    """A comparison with its sides swapped; itself where it is no comparison of order."""
    if node["type"] not in _FLIPPED:
        return node
    return {**node, "type": _FLIPPED[node["type"]], "left": node["right"], "right": node["left"]}


def _date(node: Node, subject: Subject) -> Node | None:
    if not is_date_cast(node):
        return None
    column, child = day_column(node, subject), node["child"]
    if column is not None:
        return slot("d", f"{column}.day", node["alias"])
    truncated = _truncated(child) if child["class"] == "FUNCTION" else None
    if truncated is None or truncated[0] == "hour":
        return None
    grain, of = truncated
    column = subject.column(of)
    if grain == "week" and subject.week_starts != "monday":
        if column is None or subject.kinds[column] not in LOCAL:
            return None
        return _over(node, of, slot("d", f"{column}.day"))
    name = column or subject.forms.dimensions.get(subject.form(of))
    return slot("d", f"{name}.{grain}", node["alias"]) if name else None


def _moment(node: Node, grain: Grain, of: Node, subject: Subject) -> Node | None:
    column = subject.column(of)
    kind = None if column is None else subject.kinds[column]
    if grain == "hour":
        return slot("d", f"{column}.hour", node["alias"]) if kind in ("TIMESTAMP", INSTANT) else None
    if kind == INSTANT:
        raise Unanswerable(
            Reason.TIME_ZONE,
            f"{subject.words(node)} is an instant, and rollups keep days: write CAST(… AS DATE) around it",
        )
    if kind not in LOCAL:
        return None
    if grain == "week" and subject.week_starts != "monday":
        return _over(node, of, slot("d", f"{column}.day"))
    return cast(slot("d", f"{column}.{grain}"), "TIMESTAMP", node["alias"])


def _part(node: Node, subject: Subject) -> Node | None:
    name, arguments = node["function_name"].lower(), [a["expression"] for a in node["arguments"]]
    if name in ("date_part", "datepart") and len(arguments) == 2:
        word, of = _word(arguments[0]), arguments[1]
    elif name in _FUNCTIONS and len(arguments) == 1:
        word, of = name, arguments[0]
    else:
        return None
    column, grain = subject.column(of), _PARTS.get(word)
    if grain is None or column is None or subject.kinds[column] not in LOCAL:
        return None
    if grain == "week" and subject.week_starts != "monday":
        grain = "day"
    return _over(node, of, slot("d", f"{column}.{grain}"))


def _compared(node: Node, subject: Subject) -> Node | None:
    """`time >= midnight` and `time < midnight` are the same of the time's day."""
    if subject.column(node["left"]) is None:
        node = turned(node)
    column = subject.column(node["left"])
    if column is None or subject.kinds[column] != "TIMESTAMP" or column in subject.forms.kept:
        return None
    if node["type"] not in ("COMPARE_GREATERTHANOREQUALTO", "COMPARE_LESSTHAN"):
        return None
    return {**node, "left": slot("d", f"{column}.day")} if _is_midnight(node["right"]) else None


def _is_midnight(node: Node) -> bool:
    """Whether a constant is the start of a day, without time zone."""
    if is_date_cast(node):
        inner = [part for part in walk(node["child"]) if "class" in part]
        return all(part["class"] in ("CONSTANT", "CAST", "TYPE") or _is_today(part) for part in inner)
    if node["class"] == "CAST" and type_name(node) in ("timestamp", "datetime"):
        child = node["child"]
        text = child["literal"]["text"] if child["class"] == "CONSTANT" else ""
        return _MIDNIGHT.fullmatch(text) is not None or _is_midnight(child)
    if node["class"] != "FUNCTION":
        return _is_today(node)
    name, arguments = node["function_name"].lower(), [a["expression"] for a in node["arguments"]]
    if (truncated := _truncated(node)) is not None:
        return truncated[0] != "hour" and _is_midnight(truncated[1])
    if name in ("+", "-") and len(arguments) == 2:
        return _is_midnight(arguments[0]) and _is_days(arguments[1])
    return _is_today(node)


def _is_today(node: Node) -> bool:
    if node["class"] == "COLUMN_REF":
        return [str(part).lower() for part in node["column_names"]] == ["current_date"]
    return node["class"] == "FUNCTION" and node["function_name"].lower() in ("today", "current_date")


def _is_days(node: Node) -> bool:
    if node["class"] == "CONSTANT":
        return bool(node["literal"]["kind"] in ("INTEGER", "BIGINT"))
    if node["class"] != "FUNCTION" or node["function_name"].lower() not in _DAYS:
        return False
    inner = [part["expression"] for part in node["arguments"]]
    while inner and inner[0]["class"] in ("CAST", "FUNCTION"):  # the parser wraps numbers of intervals
        call = inner[0]
        if call["class"] == "FUNCTION" and call["function_name"] != "trunc":
            return False
        inner = [call["child"]] if call["class"] == "CAST" else [a["expression"] for a in call["arguments"]]
    return len(inner) == 1 and inner[0]["class"] == "CONSTANT"


def _truncated(node: Node) -> tuple[Grain, Node] | None:
    """The grain of a date_trunc, and what it is taken of."""
    if node["function_name"].lower() not in _TRUNC or len(node["arguments"]) != 2:
        return None
    word, of = _word(node["arguments"][0]["expression"]), node["arguments"][1]["expression"]
    grain: Grain | None = next((known for known in get_args(Grain) if known == word), None)
    return None if grain is None else (grain, of)


def _word(node: Node) -> str:
    is_text = node["class"] == "CONSTANT" and node["literal"]["kind"] == "STRING"
    return str(node["literal"]["text"]).lower() if is_text else ""


def _over(node: Node, of: Node, instead: Node) -> Node:
    """The node with `instead` in the place of `of`, wherever below it that stands."""

    def child(part: Node) -> Node:
        return instead if part is of else {key: replaced(value, child) for key, value in part.items()}

    return child(node)


def cast(node: Node, kind: Literal["TIMESTAMP"], alias: str) -> Node:
    """CAST(node AS kind), as a node."""
    place = {"query_location": node["query_location"], "query_location_length": 0}
    plain: dict[str, Any] = {"alias": "", **place, "catalog": "", "schema": "", "children": []}
    kind_node = {"class": "TYPE", "type": "TYPE", **plain, "type_name": kind}
    kind_node["qualified_name"] = {"path": [kind]}
    return {
        "class": "CAST",
        "type": "OPERATOR_CAST",
        "alias": alias,
        **place,
        "child": node,
        "try_cast": False,
        "type_expr": kind_node,
    }
