"""The SQL editor: colours, completion, Ctrl+Enter. All of it is served by the page itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

_HERE = Path(__file__).resolve().parent
_mount = st.components.v2.component(
    "sluice_sql_editor",
    html=(_HERE / "editor.html").read_text(encoding="utf-8"),
    css=(_HERE / "editor.css").read_text(encoding="utf-8"),
    js=(_HERE / "editor.js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True)
class Draft:
    """What the editor should show; a new `number` replaces what stands there, or inserts into it."""

    number: int
    text: str
    insert: bool = False


def sql_editor(draft: Draft, words: Sequence[str], key: str) -> str | None:
    """Draw the editor; the text when the person has just asked to run it, else None."""
    data = {"number": draft.number, "text": draft.text, "insert": draft.insert, "words": list(words)}
    result = _mount(key=key, data=data, on_run_change=_nothing)
    asked = result.get("run")
    return str(asked) if asked else None


def _nothing() -> None:
    """A trigger needs a callback to be reported."""
