"""The Record tab: everything that the destination was told about one key."""

import json
from collections.abc import Mapping
from typing import Any

import streamlit as st

from reverse_etl.log_marts import told
from reverse_etl.overview import SyncOverview
from reverse_etl.row_files import FieldChange
from reverse_etl.ui.rows import fields_html
from reverse_etl.ui.words import KINDS
from serving.errors import QueryFailed, QueryRefused
from serving.store import utc_now
from serving.ui.explorer import View
from serving.ui.figures import ago, counted
from serving.ui.parts import quiet, safe

MOST = 100


def draw(view: View, sync: SyncOverview) -> None:
    """A key, and its history over all syncs; governed as the log's own marts are."""
    if "record-key" not in st.session_state:
        st.session_state["record-key"] = st.query_params.get("key", "")
    wanted = st.text_input(
        "Key",
        key="record-key",
        placeholder=f"A key of {sync.object}, whole: for instance C-00042",
        icon=":material/search:",
        label_visibility="collapsed",
        width=420,
    )
    key = (wanted or "").strip()
    if not key:
        st.query_params.pop("key", None)
        quiet(
            f"What did we tell {sync.destination} about one record, when, from which data, by whose approval"
        )
        return
    if st.query_params.get("key") != key:
        st.query_params["key"] = key
    try:
        found = told(view.project, view.user, key, MOST).to_pylist()
    except QueryFailed:
        raise
    except QueryRefused as refused:
        st.info(
            "What was sent is shown to those who may read the mart sluice_outcomes", icon=":material/lock:"
        )
        quiet(f"{refused.problem}; the data team grants it in models/policies/")
        return
    if not found:
        quiet("Nothing was ever planned for that key, as far as you may see; keys are matched whole")
        return
    quiet(counted(len(found), "entry", "entries") + _order(len(found)))
    for row in found:
        st.html(_entry(row))


def _order(number: int) -> str:
    if number < 2:
        return ""
    older = "; older ones are in the mart sluice_outcomes" if number == MOST else ""
    return f", the newest first{older}"


def _entry(row: Mapping[str, Any]) -> str:
    at = row["at"]
    moment = f"{at:%-d %b %Y %H:%M:%S} UTC, {ago(at, utc_now())}" if at is not None else "not sent"
    where = f"{row['destination']}/{row['object']} by {row['sync']}, run {row['run']}"
    verdict = row["verdict"] or "verdict hidden"
    how = f"{KINDS.get(row['kind'], row['kind'] or 'kind hidden')}, {row['op'] or 'not sent'}"
    facts = [where, f"marts version {row['version']}" if row["version"] is not None else "no version"]
    if row["approved_by"]:
        facts.append(f"approved by {row['approved_by']}")
    reason = f'<div class="tile-note">{safe(row["reason"])}</div>' if row["reason"] else ""
    return (
        f'<div class="told {safe(verdict)}"><div class="line"><b>{safe(verdict)}</b> · '
        f"{safe(how)} · {safe(moment)}</div>"
        f'<div class="tile-note">{safe(" · ".join(facts))}</div>{reason}'
        f"{fields_html(_changes(row), str(row['kind']))}</div>"
    )


def _changes(row: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    """Only what changed; a removal shows what the record had."""
    old, new = _fields(row["old"]), _fields(row["fields"])
    if not new:
        return tuple(FieldChange(name, value, None, known=True) for name, value in old.items())
    return tuple(
        FieldChange(name, old.get(name), value, known=name in old)
        for name, value in new.items()
        if name not in old or old[name] != value
    )


def _fields(text: object) -> dict[str, Any]:
    """The fields of a row; a mask may have left something else than JSON, or nothing."""
    if not isinstance(text, str):
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        return {"": text}
    return found if isinstance(found, dict) else {"": found}
