"""Rows of a plan as a table, field by field; for plans and for undo."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import streamlit as st

from reverse_etl.counts import Counts
from reverse_etl.row_files import FieldChange, PlannedRow, planned_rows
from reverse_etl.ui.words import KINDS, key_words, value_words
from serving.ui.figures import counted
from serving.ui.parts import quiet, safe

SENT = ("create", "update", "remove", "retry", "resend")
PAGE = 100
MOST = 1_000


class RecordLink(NamedTuple):
    """Where the key of a row leads: whose records, and who looks."""

    sync: str
    person: str


def planned_table(
    folder: Path, counts: Counts, key: str, link: RecordLink, names: Mapping[str, str] = KINDS
) -> None:
    """A choice of the kind, a search by key, and the rows; `key` keeps the widgets of two tables apart."""
    kinds = [kind for kind in SENT if getattr(counts, kind)]
    if not kinds:
        return
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key=f"bar-{key}"):
        kind = _kind(counts, kinds, key, names)
        wanted = search_box(f"search-{key}")
    total, shown = getattr(counts, kind), f"shown-{key}-{kind}"
    limit = int(st.session_state.get(shown, PAGE))
    rows = planned_rows(folder, kind=kind, search=wanted, limit=limit)
    if not rows:
        quiet("No key contains that text")
        return
    st.html(rows_html(rows, link, names))
    more = len(rows) == limit and total > limit
    if wanted:
        quiet(
            f"first {len(rows):,} that match" if more else f"{len(rows):,} of {counted(total, 'row')} match"
        )
    elif more:
        quiet(f"first {len(rows):,} of {counted(total, 'row')}")
    if more and limit < MOST and st.button("Show more", key=f"more-{key}", icon=":material/expand_more:"):
        st.session_state[shown] = min(limit * 3, MOST)
        st.rerun()


def search_box(key: str) -> str:
    """A text that a key must contain."""
    text = st.text_input(
        "Search by key",
        key=key,
        placeholder="Search by key",
        icon=":material/search:",
        label_visibility="collapsed",
        live=True,
        width=260,
    )
    return (text or "").strip()


def _kind(counts: Counts, kinds: Sequence[str], key: str, names: Mapping[str, str]) -> str:
    chosen = st.segmented_control(
        "Rows",
        kinds,
        default=kinds[0],
        format_func=lambda kind: f"{names[kind].capitalize()} · {getattr(counts, kind):,}",
        required=True,
        key=f"kind-{key}-{'-'.join(kinds)}",
        label_visibility="collapsed",
    )
    return chosen or kinds[0]


def rows_html(rows: Sequence[PlannedRow], link: RecordLink, names: Mapping[str, str]) -> str:
    """Key, what happens, and each field: old → new where the destination has an old value."""
    lines = [
        f"<tr><td class=key>{key_html(row.key, link)}</td><td class=kind>{safe(_verb(row, names))}</td>"
        f"<td>{fields_html(row.changes, row.kind)}</td></tr>"
        for row in rows
    ]
    return (
        '<div class="scroll plan rows"><table class="grid"><tr><th>Key</th><th></th><th>Fields</th></tr>'
        f"{''.join(lines)}</table></div>"
    )


def key_html(key: Mapping[str, object] | None, link: RecordLink) -> str:
    """A row's key, which leads to what was told about that record."""
    text = safe(key_words(key))
    if key is None:
        return f"<b>{text}</b>"
    whole = json.dumps(dict(key), ensure_ascii=False, separators=(",", ":"))
    asked = key_words(key) if len(key) == 1 else whole
    query = urlencode({"sync": link.sync, "key": asked, "as": link.person, "tab": "Record"})
    return f'<a href="?{safe(query)}" target="_self" title="What was told about it"><b>{text}</b></a>'


def fields_html(changes: Sequence[FieldChange], kind: str) -> str:
    """The fields of one row."""
    return f'<ul class="changes">{"".join(f"<li>{_field(one, kind)}</li>" for one in changes)}</ul>'


def _verb(row: PlannedRow, names: Mapping[str, str]) -> str:
    return row.op if row.op in ("archive", "delete", "clear") else names[row.kind]


def _field(change: FieldChange, kind: str) -> str:
    name = f"<small>{safe(change.name)}</small>"
    if kind == "remove" and change.new is None:
        return f"{name} <s>{safe(value_words(change.old))}</s>"
    if not change.known:
        return f"{name} {safe(value_words(change.new))}"
    return f"{name} <s>{safe(value_words(change.old))}</s> → <b>{safe(value_words(change.new))}</b>"
