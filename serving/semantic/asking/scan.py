"""The tokens of a short text in words, read one after the other; errors quote the text and the place."""

import math
import re
from typing import NoReturn

from serving.content.spec import Scalar
from serving.errors import QueryRefused

Value = Scalar | None

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")+")
      | (?P<number>-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?!\w))
      | (?P<name>[^\W\d]\w*)
      | (?P<sign><>|<=|>=|!=|[=<>(),.:~])
    )""",
    re.VERBOSE,
)
_PLAIN = re.compile(r"[^\W\d]\w*")


class Scan:
    """A text and how far it was read. Every method raises QueryRefused where the text goes on otherwise."""

    def __init__(self, text: str, what: str, example: str) -> None:
        self.text = text
        self._what, self._example = what, example
        self._at = 0

    def fail(self, expected: str) -> NoReturn:
        """Refuse the text: at the next token stands something else than what is `expected`."""
        rest = self.text[self._at :].lstrip()
        place = f"at character {len(self.text) - len(rest) + 1}, {_short(rest)!r}," if rest else "at its end,"
        problem = (
            f"the {self._what} {_short(self.text, 120)!r} cannot be read: {place} {expected} is expected"
        )
        raise QueryRefused(problem, hint=f"write it like: {self._example}")

    def sign(self, *signs: str) -> str | None:
        """One of these signs, if it comes next."""
        kind, token = self._next()
        return self._take() if kind == "sign" and token in signs else None

    def word(self, *words: str) -> str | None:
        """One of these words in any case, if it comes next."""
        kind, token = self._next()
        return self._take().lower() if kind == "name" and token.lower() in words else None

    def name(self, expected: str = "a name") -> str:
        """A name, plain or in double quotes."""
        kind = self._next()[0]
        if kind == "quoted":
            return self._take()[1:-1].replace('""', '"')
        return self._take() if kind == "name" else self.fail(expected)

    def quoted_next(self) -> bool:
        """Whether a name in double quotes comes next."""
        return self._next()[0] == "quoted"

    def value(self) -> Value:
        """A text in single quotes, a number, true, false or null."""
        kind = self._next()[0]
        if kind == "string":
            return self._take()[1:-1].replace("''", "'")
        if kind == "number":
            return self.number()
        if word := self.word("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[word]
        return self.fail("a value ('text' in single quotes, a number, true or false)")

    def number(self) -> int | float:
        """A number: a whole one is an int."""
        kind, token = self._next()
        if kind != "number" or len(token) > 400:
            self.fail("a number")
        if re.fullmatch(r"-?\d+", token):
            return int(self._take())
        if math.isinf(float(token)):
            self.fail("a number that is not too large")
        return float(self._take())

    def rest(self) -> str:
        """All that is left, without the blanks around it."""
        left, self._at = self.text[self._at :].strip(), len(self.text)
        return left

    def end(self, expected: str = "the end") -> None:
        """Nothing is left."""
        if self.text[self._at :].strip():
            self.fail(expected)

    def _next(self) -> tuple[str, str]:
        found = _TOKEN.match(self.text, self._at)
        return (found.lastgroup or "", found.group(found.lastgroup or 0)) if found else ("", "")

    def _take(self) -> str:
        found = _TOKEN.match(self.text, self._at)
        assert found is not None and found.lastgroup is not None
        self._at = found.end()
        return found.group(found.lastgroup)


def written_name(name: str) -> str:
    """A name as `Scan.name` reads it back."""
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def written_value(value: Value) -> str:
    """A value as `Scan.value` reads it back."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case _:
            return repr(value)


def _short(text: str, length: int = 24) -> str:
    return text if len(text) <= length else f"{text[:length]}…"
