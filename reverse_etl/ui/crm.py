"""The sandbox CRM in the browser: what arrived, what was called, and faults to try."""

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

import pyarrow as pa
import streamlit as st

from connectors.protocol import DestinationStopped
from connectors.sandbox.faults import Faults
from connectors.sandbox_client import Archived, Object, Record, SandboxClient, Stats
from connectors.secrets import resolve
from serving.content.sync import Destination
from serving.local import is_loopback
from serving.project import Project
from serving.store import utc_now
from serving.ui.explorer import View
from serving.ui.figures import ago, label
from serving.ui.parts import html_table, quiet, safe

DEFAULT_URL = "http://127.0.0.1:8600"
DEFAULT_TOKEN = "${file:sandbox/token}"  # noqa: S105 (a reference)
SHOWN = 200
FIRST = ("email", "name", "company", "tier", "health", "lifetime_value", "owner", "country")


def sandbox_of(project: Project) -> Destination | None:
    """The first destination of the project that is a sandbox."""
    spaces = (spec for spec in project.content.destinations.values() if spec.connector == "sandbox")
    return next(spaces, None)


def local_sandbox(project: Project) -> int | None:
    """The port on this machine at which the project expects its sandbox; None when it has none here."""
    spec = sandbox_of(project)
    if spec is None:
        return None
    parts = urlsplit(str(spec.options.get("url", DEFAULT_URL)))
    return parts.port if is_loopback(parts.hostname) else None


def sandbox_answers(project: Project) -> bool:
    """Whether the project's sandbox is up; a project without one need not wait for it."""
    spec = sandbox_of(project)
    if spec is None:
        return True
    with SandboxClient(str(spec.options.get("url", DEFAULT_URL)), "nobody", timeout=1.0) as crm:
        return crm.healthy()


def draw(view: View) -> None:
    """Records, calls and faults; says so when the CRM is down."""
    spec = sandbox_of(view.project)
    if spec is None:
        quiet("No destination of this project is a sandbox CRM")
        return
    quiet("A separate system with its own users, as a real CRM would be: what was sent is here, unmasked")
    try:
        token = resolve(str(spec.options.get("token", DEFAULT_TOKEN)), view.project.var, os.environ)
        with SandboxClient(str(spec.options.get("url", DEFAULT_URL)), token, timeout=5.0) as crm:
            stats = crm.stats()
            _page(crm, stats)
    except DestinationStopped as down:
        st.warning("The sandbox CRM does not answer right now", icon=":material/cloud_off:")
        quiet(f"{down.problem}. {down.hint}")
        if st.button("Look again", icon=":material/refresh:"):
            st.rerun()


def _page(crm: SandboxClient, stats: Stats) -> None:
    contacts, companies, calls, faults = st.tabs(
        [
            f"Contacts · {stats.records.get('contacts', 0):,}",
            f"Companies · {stats.records.get('companies', 0):,}",
            f"Calls · {stats.calls:,}",
            "Faults",
        ]
    )
    with contacts:
        _records(crm, "contacts", stats)
    with companies:
        _records(crm, "companies", stats)
    with calls:
        _calls(crm)
    with faults:
        _faults(crm)


def _records(crm: SandboxClient, name: Object, stats: Stats) -> None:
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key=f"bar-{name}"):
        wanted = st.text_input(
            "Search",
            key=f"q-{name}",
            placeholder=f"Search {name}",
            icon=":material/search:",
            label_visibility="collapsed",
            width=280,
        )
        archived: Archived = "no"
        if stats.archived.get(name, 0):
            chosen = st.segmented_control(
                "Which",
                ["no", "only"],
                default="no",
                format_func=lambda one: "live" if one == "no" else f"archived · {stats.archived[name]:,}",
                key=f"archived-{name}",
                label_visibility="collapsed",
                required=True,
            )
            archived = "only" if chosen == "only" else "no"
    page = crm.records(name, SHOWN, q=wanted or "", archived=archived)
    if not page.results:
        quiet("Nothing matches" if wanted else f"No {name} yet: run a sync, then look here")
        return
    state = st.dataframe(
        _table(page.results),
        hide_index=True,
        height=min(38 + 35 * len(page.results), 430),
        on_select="rerun",
        selection_mode="single-row",
        key=f"table-{name}-{archived}",
        alt=f"{label(name)} of the CRM",
    )
    if page.after is not None:
        quiet(f"first {len(page.results)}; search to find others")
    chosen_rows = state["selection"]["rows"]
    if chosen_rows and chosen_rows[0] < len(page.results):
        _record(page.results[chosen_rows[0]])
    else:
        quiet("Select a row to see the whole record")


def _table(records: tuple[Record, ...]) -> pa.Table:
    names = dict.fromkeys(name for record in records for name in record.properties)
    order = [name for name in FIRST if name in names] + [name for name in names if name not in FIRST]
    columns: dict[str, list[object]] = {"id": [record.id for record in records]}
    for name in order[:9]:
        values: list[object] = [record.properties.get(name) for record in records]
        kinds = {type(value) for value in values if value is not None}
        numbers = kinds <= {int, float}
        columns[name] = values if numbers else [None if value is None else str(value) for value in values]
    return pa.table({name: pa.array(values) for name, values in columns.items()})


def _record(record: Record) -> None:
    now = utc_now()
    with st.container(key="tile-record", gap="xsmall"):
        title = record.properties.get("name") or record.properties.get("email") or record.id
        st.html(f'<div class="tile-title">{safe(title)}</div>')
        times = [f"created {ago(record.created_at, now)}", f"updated {ago(record.updated_at, now)}"]
        if record.archived_at is not None:
            times.append(f"archived {ago(record.archived_at, now)}")
        st.html(f'<div class="tile-note">{safe(f"{record.id} · " + ", ".join(times))}</div>')
        st.html(_properties(record.properties))


def _properties(values: Mapping[str, object]) -> str:
    cells = "".join(
        f"<div><small>{safe(label(name))}</small>{safe('–' if value is None else value)}</div>"
        for name, value in sorted(values.items())
    )
    return f'<div class="facts">{cells}</div>'


def _calls(crm: SandboxClient) -> None:
    found = crm.calls(100, newest=True)
    if not found:
        quiet("Nobody has called yet")
        return
    now = utc_now()
    rows = [
        {
            "when": ago(call.at, now),
            "call": f"{call.method} {call.path}",
            "answer": str(call.status) if call.status else "none",
            "records": call.records,
        }
        for call in found
    ]
    st.html(html_table(pa.Table.from_pylist(rows)))


def _faults(crm: SandboxClient) -> None:
    now = crm.faults()
    quiet("Make the CRM misbehave, then run a sync: rows are retried, settled or reported, never lost")
    with st.form("faults", border=False):
        slow = st.slider("Slow: each answer takes longer by (milliseconds)", 0, 5_000, now.slow_ms, 100)
        fail = _every("Errors: every n-th write is answered with 500, nothing is written", now.fail_500_every)
        drop = _every(
            "Cut lines: every n-th write ends without an answer, nothing is written", now.drop_every
        )
        hang = _every("Timeouts: every n-th write is done, but never answered", now.timeout_after_write_every)
        words = "Rate limit: calls a second before it answers 429 (0: none)"
        rate = st.number_input(words, 0.0, 1_000.0, now.rate_limit or 0.0, 5.0)
        pattern = st.text_input(
            "Bad e-mails: reject those that match this pattern", now.reject_emails_matching or ""
        )
        if st.form_submit_button("Switch", type="primary", icon=":material/bolt:"):
            crm.set_faults(
                Faults(
                    slow_ms=int(slow),
                    fail_500_every=fail,
                    drop_every=drop,
                    timeout_after_write_every=hang,
                    rate_limit=float(rate) or None,
                    reject_emails_matching=pattern or None,
                )
            )
            st.rerun()
    off = Faults().model_dump()
    on = [
        name
        for name, value in now.model_dump().items()
        if value != off[name] and name not in ("rate_limit", "seed")
    ]
    quiet(f"On now: {', '.join(label(name).lower() for name in on)}" if on else "All faults are off")


def _every(text: str, value: int | None) -> int | None:
    return int(st.number_input(text, 0, 1_000, value or 0, 1, help="0 is never")) or None
