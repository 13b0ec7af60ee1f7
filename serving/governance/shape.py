"""Texts that differ in compared values only name the same tables, functions and columns."""

import re

# what a value is compared with stands right before it; `:=` and `=>` name the argument of a function
_COMPARED = r"(?<=[^:=<>!]=[ ])|(?<=[ ]<>[ ])|(?<=[ ][<>][ ])|(?<=[ ][<>]=[ ])|(?<=[ (]DATE[ ])"
_TEXT = r"'(?:''|[^'])*'"
_NUMBER = r"\d+(?:\.\d+)?(?![\w.])"
_PIECES = re.compile(
    rf"""(?P<value>(?:{_COMPARED})(?:{_TEXT}|{_NUMBER}))|{_TEXT}|"(?:""|[^"])*"|(?P<unclear>[\w&]'|\$|\\|--|/\*)"""
)
_UNCLEAR = "\0"  # no screened text holds one


def shape(text: str) -> str | None:
    """The text without the values that it compares with; None where only a parser can tell them apart.

    Two screened texts of one shape are the same but for such values, so `read_tree` says the same of both.
    """
    found = _PIECES.sub(_blanked, text)
    return None if _UNCLEAR in found else found


def _blanked(piece: re.Match[str]) -> str:
    match piece.lastgroup:
        case "value":
            return "''" if piece[0][0] == "'" else "0"
        case "unclear":  # dollar quotes, escapes, comments; E'…' and its like
            return _UNCLEAR
        case _:
            return piece[0]
