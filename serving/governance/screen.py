"""Look at a query's characters before any parser does.

Two parsers read every question, and they disagree about exotic white space: DuckDB skips
U+200B, U+2060 and U+FEFF where sqlglot makes them part of a name, and the other way round
for U+1C..U+1F, U+85 and U+2028. A name could hide from one of them there, so such
characters are refused outside of quoted text. Length and nesting are capped because
parsers recurse.
"""

import re
import unicodedata

from serving.governance.refusal import NotAllowed, Reason

MAX_BYTES = 100_000
MAX_DEPTH = 100
_INVISIBLE = ("Cc", "Cf", "Zs", "Zl", "Zp")
_SIMPLE_QUOTES = re.compile(r"'[^']*'|\"[^\"]*\"")
# where quotes do not pair up simply: dollar quotes, escape strings, comments
_OTHER_QUOTES = re.compile(r"\$\w*\$|\\|--|/\*")
_BRACKETS = re.compile(r"[()\[\]{}]")
_ENDING = re.compile(r";\s*(?:--|/\*)")  # perhaps a comment after the last statement
_PIECES = re.compile(
    r"""[eE]'(?:\\.|''|[^'\\])*' | '(?:''|[^'])*' | "(?:""|[^"])*" | (\$\w*\$).*?\1
      | (?P<comment>--[^\n\r]*|/\*.*?\*/) | (?P<end>;) | (?P<text>[^\s;])""",
    re.DOTALL | re.VERBOSE,
)


_SPACES = str.maketrans("\t\n\r\u00a0", "    ")


def screen(sql: str) -> str:
    """The text with no-break spaces made plain, and without what follows its last semicolon.

    Raises NotAllowed for what must not be parsed. Statements in the middle stay: the
    parsers count them.
    """
    plain = sql.isascii()
    size = len(sql) if plain else _size(sql)
    if size > MAX_BYTES:
        problem = f"the query is {size:,} bytes long; {MAX_BYTES:,} are the limit"
        raise NotAllowed(Reason.TEXT, problem, hint="shorten it")
    if not sql or sql.isspace():
        raise NotAllowed(Reason.TEXT, "the query is empty", hint="try: from orders limit 10")
    if "\0" in sql:
        problem = f"a NUL character stands at position {sql.index(chr(0)) + 1}"
        raise NotAllowed(Reason.TEXT, problem, hint="remove it")
    bare = sql if _OTHER_QUOTES.search(sql) else _SIMPLE_QUOTES.sub(_blank, sql)
    if not (visible := bare.translate(_SPACES)).isprintable():
        _refuse_invisible(visible)
    if _depth(bare) > MAX_DEPTH:
        problem = f"brackets are nested more than {MAX_DEPTH} deep"
        raise NotAllowed(Reason.TEXT, problem, hint="split it with CTEs")
    if not plain and "\u00a0" in bare:
        sql = "".join(" " if outside == "\u00a0" else given for given, outside in zip(sql, bare, strict=True))
    return _without_ending(sql)


def _refuse_invisible(text: str) -> None:
    """Control, format and space characters; what has no meaning yet may stay."""
    for position, character in enumerate(text, 1):
        if character != " " and unicodedata.category(character) in _INVISIBLE:
            name = unicodedata.name(character, "control character").lower()
            place = f"stands at position {position}"
            problem = f"the invisible character U+{ord(character):04X} ({name}) {place}"
            raise NotAllowed(Reason.TEXT, problem, hint="retype that line; copied text often holds one")


def _size(sql: str) -> int:
    try:
        return len(sql.encode("utf-8"))
    except UnicodeEncodeError as error:
        problem = "the query holds half a character (a lone surrogate)"
        raise NotAllowed(Reason.TEXT, problem, hint="type it again") from error


def _blank(quoted: re.Match[str]) -> str:
    """Quoted text is data; where quotes do not pair up simply nothing is blanked: the strict side."""
    return " " * len(quoted[0])


def _depth(text: str) -> int:
    deepest = depth = 0
    for bracket in _BRACKETS.findall(text):
        if bracket in "([{":
            depth += 1
            if depth > deepest:
                deepest = depth
        else:
            depth -= 1
    return deepest


def _without_ending(sql: str) -> str:
    """The text before a last `;` that only comments follow: the product runs it inside brackets."""
    text = sql.rstrip("; \t\n\r")
    if _ENDING.search(text) is None:
        return text
    cut = len(text)
    for piece in _PIECES.finditer(text):
        if piece["end"]:
            cut = min(cut, piece.start())
        elif not piece["comment"]:
            cut = len(text)
    return text[:cut]
