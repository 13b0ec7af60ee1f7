"""What a mart means, on its page of the catalog: measures, dimensions, ways to other marts, rollups."""

from collections.abc import Sequence

import pyarrow as pa
import streamlit as st

from serving.semantic.checks.meaning import JoinEntry, Meaning, MeasureEntry
from serving.ui.figures import figure, label, shape
from serving.ui.parts import html_table, quiet, safe


def described(description: str, synonyms: Sequence[str], otherwise: str = "–") -> str:
    """The meaning, and what else people call it."""
    also = f"also called {', '.join(synonyms)}" if synonyms else ""
    return " · ".join(part for part in (description, also) if part) or otherwise


def measure_table(meaning: Meaning) -> None:
    """Every measure: its name, how it is computed, what it means."""
    if not meaning.measures:
        quiet("No measures yet: add them under `measures:` in the mart's file")
        return
    rows = [
        {"measure": one.name, "is": one.computed, "meaning": _meaning(one), "shown_as": _sample(one.format)}
        for one in meaning.measures
    ]
    if not any(one.format for one in meaning.measures):
        for row in rows:
            del row["shown_as"]
    st.html(f'<div class="meaning">{html_table(pa.Table.from_pylist(rows), most=1_000)}</div>')
    if estimates := [one.estimate for one in meaning.measures if one.estimate]:
        quiet(f"≈ can be asked as a quick estimate, with a ~ before the name: {estimates[0]}")


def dimensions(meaning: Meaning) -> None:
    """The computed dimensions, beneath the columns that they are computed from."""
    if not meaning.dimensions:
        return
    quiet("Computed from the columns, row by row")
    rows = [
        {"dimension": one.name, "is": one.expr, "meaning": described(one.description, one.synonyms)}
        for one in meaning.dimensions
    ]
    st.html(f'<div class="meaning">{html_table(pa.Table.from_pylist(rows), most=1_000)}</div>')


def ways(meaning: Meaning) -> None:
    """Where the columns lead: into other marts, and from the whole to the part."""
    lines = [
        f"<b>{safe(one.name)}</b> {safe(_way(one))}{f': {safe(one.description)}' if one.description else ''}"
        for one in meaning.joins
    ]
    lines += [
        f"<b>{safe(name)}</b> {safe(' → '.join(levels))}" for name, levels in meaning.hierarchies.items()
    ]
    if lines:
        st.html(f'<div class="quiet">{"<br>".join(lines)}</div>')


def rollup_table(meaning: Meaning) -> None:
    """Every rollup: what it keeps, how many rows, and what was proven about it."""
    if not meaning.rollups:
        quiet("No rollups yet: `python -m serving rollups suggest` proposes some from what was asked")
        return
    rows = [
        {
            "rollup": one.name,
            "by": ", ".join(one.dimensions) or "nothing: one row",
            "keeps": ", ".join(_kept(word) for word in one.measures),
            "rows": f"{one.rows:,}" if one.rows is not None else "–" if one.built else "not built yet",
        }
        for one in meaning.rollups
    ]
    st.html(f'<div class="meaning">{html_table(pa.Table.from_pylist(rows), most=1_000)}</div>')
    proven = [f"{one.name}: {sentence}" for one in meaning.rollups for sentence in one.reconciled]
    if proven:
        with st.expander("Compared with the mart when they were built", icon=":material/balance:"):
            for sentence in proven:
                quiet(sentence)


def _meaning(one: MeasureEntry) -> str:
    called = one.label if one.label.lower() != label(one.name).lower() else ""
    words = ": ".join(part for part in (called, one.description) if part)
    return ("≈ " if one.estimate else "") + described(words, one.synonyms, one.label)


def _sample(form: str) -> str:
    return figure(0.1234 if shape(form).percent else 1234.5, form) if form else "–"


def _way(one: JoinEntry) -> str:
    keys = " and ".join(here if here == there else f"{here} = {there}" for here, there in one.on.items())
    there = "" if one.mart == one.name else f"{one.mart}, "
    return f"({there}joined by {keys})"


def _kept(word: str) -> str:
    return f"≈ {word.removeprefix('~')}" if word.startswith("~") else word
