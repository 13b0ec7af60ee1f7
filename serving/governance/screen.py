"""Look at a query's characters before any parser does.

Two parsers read every question, and they disagree about exotic white space: DuckDB skips
U+200B, U+2060 and U+FEFF where sqlglot makes them part of a name, and the other way round
for U+1C..U+1F, U+85 and U+2028. A name could hide from one of them there, so such
characters are refused outside of quoted text. Length and nesting are capped because
parsers recurse.
"""

import re
import unicodedata

from serving.errors import QueryRefused

MAX_BYTES = 100_000
MAX_DEPTH = 100
_PLAIN_SPACE = " \t\n\r"
_INVISIBLE = ("Cc", "Cf", "Zs", "Zl", "Zp")
_SIMPLE_QUOTES = re.compile(r"'[^']*'|\"[^\"]*\"")
# where quotes do not pair up simply: dollar quotes, escape strings, comments
_OTHER_QUOTES = re.compile(r"\$\w*\$|\\|--|/\*")


def screen(sql: str) -> str:
    """The text with no-break spaces made plain; raises QueryRefused for what must not be parsed."""
    try:
        size = len(sql.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise QueryRefused(
            "the query holds half a character (a lone surrogate)", hint="type it again"
        ) from error
    if size > MAX_BYTES:
        raise QueryRefused(
            f"the query is {size:,} bytes long; {MAX_BYTES:,} are the limit", hint="shorten it"
        )
    if not sql.strip():
        raise QueryRefused("the query is empty", hint="try: from orders limit 10")
    if "\0" in sql:
        raise QueryRefused(f"a NUL character stands at position {sql.index(chr(0)) + 1}", hint="remove it")
    bare = _unquoted(sql)
    for position, character in enumerate(bare):
        if character in _PLAIN_SPACE or character == "\u00a0":
            continue
        if unicodedata.category(character) in _INVISIBLE:
            name = unicodedata.name(character, "control character").lower()
            problem = (
                f"the invisible character U+{ord(character):04X} ({name}) stands at position {position + 1}"
            )
            raise QueryRefused(problem, hint="retype that line; copied text often holds one")
    if _depth(bare) > MAX_DEPTH:
        raise QueryRefused(f"brackets are nested more than {MAX_DEPTH} deep", hint="split it with CTEs")
    return "".join(" " if outside == "\u00a0" else given for given, outside in zip(sql, bare, strict=True))


def _unquoted(sql: str) -> str:
    """The text with quoted parts blanked out, at the same positions.

    Where anything but simple quotes occurs nothing is blanked: the strict side.
    """
    if _OTHER_QUOTES.search(sql):
        return sql
    return _SIMPLE_QUOTES.sub(lambda match: " " * len(match[0]), sql)


def _depth(text: str) -> int:
    deepest = depth = 0
    for character in text:
        if character in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")]}":
            depth -= 1
    return deepest
