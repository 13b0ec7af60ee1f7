"""Undo of a run: what would be restored and what cannot be, before anything is sent."""

import streamlit as st

from connectors.protocol import DestinationStopped
from reverse_etl.history import RunRow
from reverse_etl.overview import SyncOverview
from reverse_etl.plans import SavedPlan
from reverse_etl.propose import plan_undo
from reverse_etl.row_files import left_out
from reverse_etl.ui.ask import ask_for
from reverse_etl.ui.bars import Figure, figures
from reverse_etl.ui.rows import RecordLink, planned_table
from reverse_etl.ui.words import key_words, lasting
from serving.errors import SluiceError
from serving.store import utc_now
from serving.ui.explorer import View
from serving.ui.figures import ago, counted
from serving.ui.parts import plain, quiet, safe

LOOKED = "undo-of"  # session: the run whose undo is looked at
PREVIEW = "undo-preview"  # session: (run, plan of its undo)
NAMES = {"create": "brought back", "update": "set back", "remove": "taken out again"}


def look(run: int) -> None:
    """Open the dry run."""
    st.session_state[LOOKED] = run
    st.session_state.pop(PREVIEW, None)


def looked_at(run: int) -> bool:
    """Whether the dry run of this run's undo is open."""
    return bool(st.session_state.get(LOOKED) == run)


def draw(view: View, sync: SyncOverview, run: RunRow) -> None:
    """The dry run, then the button that sends it."""
    with st.container(key="tile-undo", gap="xsmall"):
        st.markdown(f"**:material/undo: Undo of run {run.id}: a dry run, nothing is sent yet**")
        try:
            preview = _preview(view, run.id)
        except (SluiceError, DestinationStopped) as failure:
            st.error(plain(failure.problem), icon=":material/block:")
            quiet(failure.hint)
            _close("Close")
            return
        _numbers(preview)
        quiet(f"Compared with the destination {ago(preview.made_at, utc_now())}")
        for trip in preview.trips:
            st.markdown(f":small[:material/front_hand: {plain(trip.message)}]")
        _order(view, sync, run, preview)
        if preview.counts.to_send:
            link = RecordLink(sync.name, view.user.email)
            planned_table(preview.folder, preview.counts, f"undo-{run.id}", link, NAMES)


def _preview(view: View, run: int) -> SavedPlan:
    known = st.session_state.get(PREVIEW)
    if known is None or known[0] != run or not known[1].folder.exists():
        with st.spinner("Reading what the destination holds now"):
            known = (run, plan_undo(view.project, run, by=view.user.email, now=utc_now()))
        st.session_state[PREVIEW] = known
    found: SavedPlan = known[1]
    return found


def _numbers(preview: SavedPlan) -> None:
    left = left_out(preview.folder)
    shown = [
        Figure(
            words, f"{getattr(preview.counts, kind):,}", "", kind if getattr(preview.counts, kind) else "zero"
        )
        for kind, words in NAMES.items()
    ]
    staying = sum(group.rows for group in left)
    shown.append(Figure("left as they are", f"{staying:,}", "", "" if staying else "zero"))
    shown.append(Figure("calls", f"{preview.price.calls:,}", "", "words"))
    shown.append(Figure("time, at the account's limit", lasting(preview.price.seconds), "", "words"))
    st.html(figures(shown))
    if left:
        lines = "".join(
            f"<tr><td class=n><b>{group.rows:,}</b></td><td>{safe(group.reason)}</td>"
            f"<td class=kind>{safe(key_words(group.example))}</td></tr>"
            for group in left
        )
        head = "<tr><th class=n>Rows</th><th>Left as they are, because</th><th>For instance</th></tr>"
        st.html(f'<div class="scroll"><table class="grid reasons">{head}{lines}</table></div>')


def _order(view: View, sync: SyncOverview, run: RunRow, preview: SavedPlan) -> None:
    if preview.counts.to_send == 0:
        quiet("Nothing can be restored")
        _close("Close")
        return
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="undo-bar"):
        reason = st.text_input(
            "Why is it undone?",
            key=f"undo-why-{run.id}",
            placeholder="For instance: wrong tier mapping",
            live=True,
            width=420,
        )
        said = (reason or "").strip()
        label = f"Undo this run: restore {counted(preview.counts.to_send, 'row')}"
        sure = st.button(label, type="primary", icon=":material/undo:", disabled=not said, key="undo-now")
        _close("Cancel")
    quiet(
        f"The sync is paused by it: else its next run would send the same again. "
        f"Recorded with the reason as approved by {view.user.email}"
    )
    if sure:
        st.session_state.pop(LOOKED, None)
        ask_for(view, sync.name, approval=said, undo_of=run.id)


def _close(label: str) -> None:
    if st.button(label, key="undo-close", type="tertiary"):
        st.session_state.pop(LOOKED, None)
        st.rerun()
