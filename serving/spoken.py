"""The engine's failures in words for people: what is wrong, where in their own text, what to do.

The engine's own words are shown only where they can speak of nothing hidden: names come from the
person's own views, and data errors from the secure twins.
"""

import re
from collections.abc import Iterable

from serving.content.validate import near
from serving.engine.failure import EngineFailure
from serving.errors import QueryFailed, QueryRefused, QueryStopped, TooBusy

_PLACE = "\n\nLINE "
_CLASS = re.compile(r"^[A-Z][A-Za-z ]+ Error: ")
_NO_COLUMN = re.compile(r'^Referenced column "(?P<name>.+?)" (?:was )?not found')
_NO_TABLE_COLUMN = re.compile(r'^Table "(?P<table>.+?)" does not have a column named "(?P<name>.+?)"')
_NO_FUNCTION = re.compile(
    r"^(?:Scalar|Aggregate|Table|Window)?.*?Function with name (?P<name>\S+) does not exist"
)
_NO_MATCH = re.compile(r"^No function matches the given name and argument types '(?P<call>.+?)'\.")
_CANDIDATES = re.compile(r'"([^"]+)"')
_FEW = 6  # candidate functions that are still readable


def spoken(
    failure: EngineFailure, seconds: float, *, secrets: Iterable[str], cancelled: bool
) -> QueryRefused:
    """The failure as the person may read it: none of `secrets` stands in it."""
    match failure.kind:
        case "stopped" if cancelled:
            return QueryStopped("the query was cancelled")
        case "stopped":
            return QueryStopped(
                f"the query ran longer than {seconds:g} s", hint="filter it, or aggregate earlier"
            )
        case "memory":
            return QueryStopped(
                "the query needs more memory than it may use", hint="filter it, or aggregate earlier"
            )
        case "size":
            return QueryStopped(
                "the answer is larger than your limit allows", hint="ask for fewer columns or rows"
            )
        case "busy":
            return TooBusy("all workers are busy", hint="try again in a moment")
        case "queue":
            return TooBusy(
                f"{failure.text} of your questions run or wait already", hint="wait for them, or cancel some"
            )
        case "crashed":
            return QueryStopped(
                "the query broke its worker, more than once", hint="it asks for too much memory or depth"
            )
    if any(secret in failure.text for secret in secrets):
        return QueryRefused("the query does not fit the marts it reads", hint="check names and types")
    words, _, context = failure.text.partition(_PLACE)
    problem, hint = _explained(_CLASS.sub("", words.replace("\x1b", " ")))
    place = _place(context)
    kind = QueryRefused if failure.kind == "bind" else QueryFailed
    return kind(f"{problem} ({place})" if place else problem, hint=hint)


def _explained(words: str) -> tuple[str, str]:
    """Problem and hint of the failures that people meet most; else the engine's own words."""
    if found := _NO_COLUMN.match(words):
        candidates = {name.rpartition(".")[2] for name in _CANDIDATES.findall(words.partition("\n")[2])}
        return f"there is no column '{found['name']}'", near(found["name"], candidates)
    if found := _NO_TABLE_COLUMN.match(words):
        candidates = set(_CANDIDATES.findall(words.partition("\n")[2]))
        return f"'{found['table']}' has no column '{found['name']}'", near(found["name"], candidates)
    if found := _NO_FUNCTION.match(words):
        return f"there is no function {found['name']}()", _line(words.partition("\n")[2])
    if found := _NO_MATCH.match(words):
        shapes = [_line(line) for line in words.splitlines() if "->" in line]
        hint = f"it takes: {'; '.join(shapes)}" if 0 < len(shapes) <= _FEW else "cast one of the arguments"
        return f"nothing takes {found['call']}", hint
    first, _, rest = words.partition("\n")
    return _line(first), _line(rest)


def _line(words: str) -> str:
    return " ".join(words.split())


def _place(context: str) -> str:
    """`line 2, at 'revnue'`: where the engine's caret points in the person's own text."""
    shown = context.splitlines()
    if not shown:
        return ""
    number, _, text = shown[0].partition(": ")
    caret = shown[1].find("^") - len(f"LINE {number}: ") if len(shown) > 1 else -1
    word = re.match(r'"[^"]*"|\w+|[^\w\s]{1,3}\w*', text[caret:]) if 0 <= caret < len(text) else None
    return f"line {number}, at {word[0]!r}" if word else f"line {number}"
