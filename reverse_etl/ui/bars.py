"""Numbers of plans and runs as small pictures: figures in a row, verdicts as one bar. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

from reverse_etl.counts import Verdicts
from reverse_etl.ui.words import VERDICTS, verdict_words
from serving.ui.figures import counted
from serving.ui.parts import safe


class Figure(NamedTuple):
    """One number with its name; `hint` says what it means, `look` is its style."""

    name: str
    value: str
    hint: str = ""
    look: str = ""


def figures(shown: Iterable[Figure]) -> str:
    """Large numbers side by side."""
    cells = "".join(
        f'<div class="{one.look}"{_title(one.hint)}>'
        f"<small>{safe(one.name)}</small><b>{safe(one.value)}</b></div>"
        for one in shown
    )
    return f'<div class="figures">{cells}</div>'


def aside(shown: Iterable[Figure]) -> str:
    """Small numbers in one line, for what is good to know."""
    cells = "".join(
        f"<span{_title(one.hint)}><b>{safe(one.value)}</b> {safe(one.name)}</span>" for one in shown
    )
    return f'<div class="aside">{cells}</div>' if cells else ""


def verdict_bar(verdicts: Verdicts) -> str:
    """How the rows of a run ended, each verdict as wide as its share."""
    parts = "".join(
        f'<i class="{name}" style="flex: {number} 1 0"></i>'
        for name in VERDICTS
        if (number := getattr(verdicts, name))
    )
    return f'<div class="bar" role="img" aria-label="{safe(verdict_words(verdicts))}">{parts}</div>'


def verdict_sum(verdicts: Verdicts) -> str:
    """The sum that must hold, written out: planned = accepted + rejected + deferred + unknown."""
    parts = " + ".join(
        f'<span class="{name}{"" if getattr(verdicts, name) else " nil"}"><i></i>'
        f"{getattr(verdicts, name):,} {name}</span>"
        for name in VERDICTS
    )
    return f'<div class="sum">{safe(counted(verdicts.total, "row"))} planned = {parts}</div>'


def pill(text: str, look: str) -> str:
    """A state as a coloured word: `good`, `held`, `bad`, `busy` or plain."""
    return f'<span class="pill {look}">{safe(text)}</span>'


def _title(hint: str) -> str:
    return f' title="{safe(hint)}"' if hint else ""
