"""Why a text is refused before it runs: a small closed list, so that refusals can be counted."""

from enum import StrEnum

from serving.errors import QueryRefused

MAX_WORDS = 400  # characters of a refusal


class Reason(StrEnum):
    """The classes of refusals; docs/queries.md says what each means and what to do."""

    TEXT = "text"  # characters, length or nesting: no parser should see it
    SYNTAX = "syntax"  # one of the two parsers does not understand it
    STATEMENT = "statement"  # not one SELECT (or DESCRIBE, SUMMARIZE, SHOW TABLES, PIVOT … IN)
    NAME = "name"  # a schema, a database or a file stands where a mart's bare name belongs
    FUNCTION = "function"  # not a pure function of its arguments, or unknown
    TYPE = "type"  # a type that only one database knows
    CONSTRUCT = "construct"  # a part of the grammar that nobody has looked at, or that writes
    SIZE = "size"  # more joins, arms, values … than a query may have
    TWO_READINGS = "two readings"  # the parsers see different tables


class NotAllowed(QueryRefused):
    """The checks refuse a text; nothing of it ran."""

    def __init__(self, reason: Reason, problem: str, *, hint: str = "") -> None:
        if len(problem) > MAX_WORDS:  # it repeats a part of the text, which may be long
            problem = f"{problem[: MAX_WORDS // 2]} … {problem[-MAX_WORDS // 2 :]}"
        super().__init__(problem, hint=hint)
        self.reason = reason
