"""The Runs tab: past runs with their verdicts, or the one that the URL names."""

import streamlit as st

from reverse_etl.errors import UnknownSync
from reverse_etl.history import RunRow, find_run, list_runs
from reverse_etl.overview import SyncOverview
from reverse_etl.ui import run as run_part
from reverse_etl.ui.bars import pill, verdict_bar
from reverse_etl.ui.words import STATES, run_look, short_words
from serving.store import utc_now
from serving.ui.explorer import View
from serving.ui.figures import ago
from serving.ui.parts import plain, quiet, safe

PAGE = 20
OLDER = "runs-before"  # session: page on from this run


def draw(view: View, sync: SyncOverview, problem: str) -> None:
    """All runs of the sync, the newest first, or one."""
    asked = st.query_params.get("run", "")
    run = _asked(view, sync.name, asked)
    if run is not None:
        run_part.draw(view, sync, run, problem)
        return
    if asked:
        st.warning(f"There is no run {plain(repr(asked))} of this sync", icon=":material/search_off:")
    before = st.session_state.get(f"{OLDER}-{sync.name}")
    found = list_runs(view.project, sync.name, limit=PAGE + 1, before=before)
    if not found:
        quiet("No run yet")
        return
    for run in found[:PAGE]:
        _line(run)
    with st.container(horizontal=True, gap="small", key="runs-bar"):
        if before is not None and st.button("Newest", icon=":material/first_page:", type="tertiary"):
            st.session_state.pop(f"{OLDER}-{sync.name}")
            st.rerun()
        if len(found) > PAGE and st.button("Older", icon=":material/chevron_right:", type="tertiary"):
            st.session_state[f"{OLDER}-{sync.name}"] = found[PAGE - 1].id
            st.rerun()


def _asked(view: View, sync: str, asked: str) -> RunRow | None:
    if not asked.isdigit():
        return None
    try:
        run = find_run(view.project, int(asked))
    except UnknownSync:
        return None
    return run if run.sync == sync else None


def _line(run: RunRow) -> None:
    key = f"runrow-{run.id}"
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key=key):
        if st.button(f"Run {run.id}", key=f"open-run-{run.id}", type="tertiary"):
            st.query_params["run"] = str(run.id)
            st.rerun()
        st.html(_line_html(run))


def _line_html(run: RunRow) -> str:
    now = utc_now()
    when = ago(run.started_at, now)
    moment = run.started_at.astimezone().strftime("%-d %b %Y %H:%M:%S")
    state = STATES.get(run.state, run.state) if run.ended_at or run.running else "interrupted"
    what = short_words(run.verdicts) if run.verdicts.total else _unsent(run)
    return (
        f'<div class="run">{pill(state, run_look(run))}'
        f'<span class="when" title="{safe(moment)}">{safe(when)}</span>'
        f'{verdict_bar(run.verdicts)}<span class="what">{safe(what)}</span>'
        f'<span class="who" title="{safe(run.requested_by)}">{safe(_who(run))}</span></div>'
    )


def _unsent(run: RunRow) -> str:
    if run.state == "guarded":
        return f"{run.counts.to_send:,} rows held"
    return run.error.partition("\n")[0][:80] if run.error else "nothing to send"


def _who(run: RunRow) -> str:
    if run.undo_of is not None:
        return f"undo of run {run.undo_of}, {run.requested_by}"
    if run.retry_of is not None:
        return f"retry of run {run.retry_of}, {run.requested_by}"
    return f"{run.trigger}, {run.requested_by}" if run.trigger != "request" else run.requested_by
