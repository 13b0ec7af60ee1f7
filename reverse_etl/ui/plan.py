"""What a run would do now: numbers for everybody, rows for those who may run it."""

import streamlit as st

from connectors.protocol import DestinationStopped
from reverse_etl import guard, history
from reverse_etl.overview import SyncOverview
from reverse_etl.plan import Plan
from reverse_etl.run import plan_sync
from reverse_etl.source import find_sync
from reverse_etl.ui.words import KINDS, change_words, key_words
from serving.errors import SluiceError
from serving.store import utc_now
from serving.ui.explorer import View
from serving.ui.figures import counted
from serving.ui.parts import plain, quiet, safe

MOST_ROWS = 100
SENT = ("create", "update", "remove", "retry", "resend")


def draw(view: View, sync: SyncOverview, problem: str) -> None:
    """Counts, what the guard would say, and rows with old and new values."""
    if sync.queued or sync.running_by is not None:
        quiet("A run is under way; the next plan can be made when it has ended")
        return
    try:
        plan = _plan(view, sync)
    except (SluiceError, DestinationStopped) as failure:
        st.error(plain(failure.problem), icon=":material/block:")
        quiet(failure.hint)
        return
    counts = plan.counts
    shown = [
        kind for kind in KINDS if getattr(counts, kind) or kind in ("create", "update", "remove", "unchanged")
    ]
    numbers = {KINDS[kind]: f"{getattr(counts, kind):,}" for kind in shown}
    cells = "".join(
        f'<div><small>{safe(word)}</small><span class="mid-figure">{number}</span></div>'
        for word, number in numbers.items()
    )
    st.html(f'<div class="facts">{cells}</div>')
    for trip in guard.trips(counts, find_sync(view.project.content, sync.name).guard):
        st.warning(f"The guard would hold this run: {plain(trip.message)}", icon=":material/front_hand:")
    if counts.to_send == 0:
        quiet("Nothing to send: the destination has what the source has")
    if problem:
        quiet("The rows themselves are shown to those who may run the sync")
        return
    if counts.to_send:
        _rows(view, plan)
    _rejects(plan)


def _plan(view: View, sync: SyncOverview) -> Plan:
    """The plan of this moment; made again only when data, content or the last run changed."""
    version = view.project.current_version()
    state = (
        sync.name,
        version.number if version else 0,
        sync.last_run.id if sync.last_run else 0,
        view.project.content.syncs[sync.name].model_dump_json(),
    )
    known = st.session_state.get("plan")
    if known is not None and known[0] == state and known[1].changes.exists():
        found: Plan = known[1]
        return found
    with st.spinner("Comparing the source with what the destination has"):
        plan = plan_sync(view.project, sync.name, now=utc_now())
    st.session_state["plan"] = (state, plan)
    return plan


def _rows(view: View, plan: Plan) -> None:
    kinds = [kind for kind in SENT if getattr(plan.counts, kind)]
    kind = kinds[0]
    if len(kinds) > 1:
        chosen = st.segmented_control(
            "Rows",
            kinds,
            default=kinds[0],
            format_func=lambda kind: f"{KINDS[kind]} · {getattr(plan.counts, kind):,}",
            required=True,
            key="plan-kind",
            label_visibility="collapsed",
        )
        kind = chosen or kind
    rows = history.planned_rows(plan.folder, kind=kind, limit=MOST_ROWS)
    lines = []
    for row in rows:
        changes = "".join(f"<li>{_change(change_words(change, row.kind))}</li>" for change in row.changes)
        verb = row.op if row.op != "upsert" else KINDS[row.kind]
        lines.append(
            f"<tr><td class=key><b>{safe(key_words(row.key))}</b></td><td>{safe(verb)}</td>"
            f'<td><ul class="changes">{changes}</ul></td></tr>'
        )
    st.html(
        f'<div class="scroll plan"><table class="grid"><tr><th>Key</th><th></th><th>Fields</th></tr>'
        f"{''.join(lines)}</table></div>"
    )
    total = getattr(plan.counts, kind)
    if total > len(rows):
        quiet(f"first {len(rows)} of {counted(total, 'row')}")


def _change(words: str) -> str:
    name, _, rest = words.partition(": ")
    old, arrow, new = rest.partition(" → ")
    if not arrow:
        return f"<small>{safe(name)}</small> {safe(rest)}"
    return f"<small>{safe(name)}</small> <s>{safe(old)}</s> → <b>{safe(new)}</b>"


def _rejects(plan: Plan) -> None:
    if not plan.counts.rejected:
        return
    with st.expander(
        f"{counted(plan.counts.rejected, 'row')} of the source cannot be sent", icon=":material/block:"
    ):
        for row in history.source_rejects(plan.folder, limit=MOST_ROWS):
            st.markdown(f"`{key_words(row.key)}` {plain(row.reason)}")
