"""What an import has to say about each thing that it did not carry over as it was."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

Kind = Literal["left", "changed", "renamed"]
HEADS: dict[Kind, str] = {
    "left": "Not carried over",
    "changed": "Carried over with a difference",
    "renamed": "Renamed",
}


class NotCarried(Exception):
    """A thing that cannot be carried over; the words say why."""


@dataclass(frozen=True, order=True)
class Finding:
    """One thing, as its tool calls it, and the reason, the difference, or the new name."""

    kind: Kind
    what: str
    words: str


def report_text(origin: str, counts: str, findings: Sequence[Finding]) -> str:
    """The report as Markdown: things of one kind and one reason stand together."""
    parts = [f"# Import of {origin}\n\n{counts}\n"]
    if not findings:
        parts.append("Everything was carried over.\n")
    for kind, head in HEADS.items():
        found = sorted({(each.words, each.what) for each in findings if each.kind == kind})
        if found:
            parts.append(f"## {head}\n")
            parts += [_lines(words, [what for _, what in same]) for words, same in groupby(found, _words)]
            parts.append("")
    return "\n".join(parts)


def _words(pair: tuple[str, str]) -> str:
    return pair[0]


def _lines(words: str, things: list[str]) -> str:
    if len(things) == 1:
        return f"- {things[0]}: {words}"
    return "\n".join([f"- {words}:", *(f"  - {thing}" for thing in things)])
