"""Which functions a question may call, and with which literal sizes.

Sizes that come from data are the worker's problem: it is limited and expendable. A size
that is written down and absurd gets a clear refusal instead of a killed worker.
"""

import re
from collections.abc import Mapping
from typing import Any

from serving.governance.refusal import NotAllowed, Reason
from serving.governance.vocabulary import FUNCTIONS, REFUSED, SCHEMAS, STATE_FUNCTIONS, TABLE_FUNCTIONS

Node = Mapping[str, Any]
MAX_ROWS_GENERATED = 10_000_000
MAX_SIZE = 1_000_000
# which argument is the size of the result, counted from 0
_SIZES = {
    "array_resize": 1,
    "bar": 3,
    "bitstring": 1,
    "list_resize": 1,
    "lpad": 1,
    "repeat": 1,
    "rpad": 1,
}
_BY_NAME = frozenset("aggregate array_aggr array_aggregate list_aggr list_aggregate".split())
_ARGUMENTS_MATTER = _BY_NAME | _SIZES.keys() | {"format", "generate_series", "printf", "range"}
_WIDTH = re.compile(r"\d{7,}")


def check_function(node: Node, *, ours: bool = False) -> str:
    """The function's name in lower case; raises NotAllowed if nobody may call it (so).

    `ours`: Sluice wrote the call, which may handle aggregate states.
    """
    name: str = node["function_name"].lower()
    if ours and name in STATE_FUNCTIONS:
        return name
    if name not in FUNCTIONS and name not in TABLE_FUNCTIONS:
        raise _not_allowed(name)
    if node["schema"] or node["catalog"] or len(node["qualified_name"]["path"]) != 1:
        _check_method(name, node)
    if node.get("export_state") and not ours:
        raise NotAllowed(Reason.CONSTRUCT, "EXPORT_STATE is not allowed in a query")
    if name in _ARGUMENTS_MATTER:
        _check_arguments(name, node)
    return name


def qualifier(node: Node) -> list[str]:
    """What stands before the function's name, in lower case: the column whose method it is."""
    return [part.lower() for part in node["qualified_name"]["path"][:-1]]


def _not_allowed(name: str) -> NotAllowed:
    if why := REFUSED.get(name):
        return NotAllowed(
            Reason.FUNCTION, f"the function {name}() is not allowed", hint=f"such functions {why}"
        )
    hint = "serving/governance/functions.txt lists those that are"
    return NotAllowed(Reason.FUNCTION, f"the function {name}() is not allowed", hint=hint)


def _check_method(name: str, node: Node) -> None:
    """`a.b.lower()` is a method of a column, if no schema or database of the engine is called so.

    The marts' own databases have random names and hold no functions.
    """
    before = qualifier(node)
    if not before or any(part in SCHEMAS for part in before) or node["function_name"] in ("", None):
        problem = f"the function {name!r} is written with a schema"
        raise NotAllowed(Reason.NAME, problem, hint=f"write {name}(…)")


def _check_arguments(name: str, node: Node) -> None:
    arguments = [argument.get("expression", argument) for argument in node["arguments"]]
    if qualifier(node):
        arguments.insert(0, {})  # the column before the dot
    if name in _BY_NAME:
        _check_aggregate(name, arguments)
    elif name in ("format", "printf"):
        _check_widths(name, arguments)
    elif name in ("range", "generate_series"):
        _check_range(name, arguments)
    elif len(arguments) > _SIZES[name]:
        size = _number(arguments[_SIZES[name]])
        if size is not None and size > MAX_SIZE:
            problem = f"{name}() makes more than {MAX_SIZE:,} of something"
            raise NotAllowed(Reason.SIZE, problem, hint="use a smaller number")


def _check_aggregate(name: str, arguments: list[Node]) -> None:
    """The aggregate's name is text; only written down can it be judged."""
    called = _text(arguments[1]) if len(arguments) > 1 else None
    if called is None:
        problem = f"{name}() takes the aggregate's name as plain text here"
        raise NotAllowed(Reason.FUNCTION, problem, hint="write it down, as in 'sum'")
    if called.lower() not in FUNCTIONS:
        raise _not_allowed(called.lower())


def _check_widths(name: str, arguments: list[Node]) -> None:
    for argument in arguments:
        if any(int(width) > MAX_SIZE for width in _WIDTH.findall(_text(argument) or "")):
            problem = f"{name}() writes more than {MAX_SIZE:,} characters"
            raise NotAllowed(Reason.SIZE, problem, hint="use a smaller width")


def _check_range(name: str, arguments: list[Node]) -> None:
    bounds = [_number(argument) for argument in arguments]
    if None in bounds or not bounds:
        return  # dates, or values of rows: known only when it runs
    numbers = [bound for bound in bounds if bound is not None]
    start, stop = (0.0, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])
    step = numbers[2] if len(numbers) > 2 else 1.0
    if abs(stop - start) > MAX_ROWS_GENERATED * max(1.0, abs(step)):
        problem = f"{name}() makes more than {MAX_ROWS_GENERATED:,} values"
        raise NotAllowed(Reason.SIZE, problem, hint="use smaller bounds")


def _literal(node: Node) -> Mapping[str, Any]:
    while node.get("class") == "CAST":
        node = node["child"]
    literal = node.get("literal")
    return literal if isinstance(literal, Mapping) else {}


def _text(node: Node) -> str | None:
    literal = _literal(node)
    return str(literal["text"]) if literal.get("kind") == "STRING" else None


def _number(node: Node) -> float | None:
    """The value of a number that is written down, also under casts."""
    literal = _literal(node)
    try:
        return float(str(literal["text"]).replace("_", ""))
    except (KeyError, ValueError):
        return None
