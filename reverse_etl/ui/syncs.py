"""Syncs: state of all of them, or one sync with its plan, its runs and its records."""

import streamlit as st

from reverse_etl.overview import SyncOverview, list_syncs, sync_overview
from reverse_etl.permissions import run_problem
from reverse_etl.requests import pause, resume
from reverse_etl.ui import plan as plan_part
from reverse_etl.ui import record as record_part
from reverse_etl.ui import run as run_part
from reverse_etl.ui import runs as runs_part
from reverse_etl.ui.ask import became, refused
from reverse_etl.ui.bars import pill, verdict_bar
from reverse_etl.ui.live import follow
from reverse_etl.ui.look import STYLE
from reverse_etl.ui.words import last_words, next_words, short_words, state_look
from reverse_etl.worker_status import worker_status
from serving.store import utc_now
from serving.ui.explorer import View
from serving.ui.figures import ago, counted
from serving.ui.parts import plain, quiet, safe

TABS = ("Plan", "Runs", "Record")
TAB = "tab"  # session and URL: which of them is open


def draw(view: View) -> None:
    """The list, or one sync, by the URL."""
    st.html(STYLE)
    syncs = view.project.content.syncs
    if not syncs:
        quiet("There is no sync yet: a file under models/syncs/ is one")
        return
    _worker(view)
    chosen = st.query_params.get("sync", "")
    if chosen in syncs:
        _sync(view, chosen)
        return
    if chosen:
        st.warning(f"There is no sync {plain(repr(chosen))}", icon=":material/search_off:")
    grid = st.grid(columns=2, min_column_width=300, gap="small")
    for sync in list_syncs(view.project, utc_now()):
        with grid.cell(), st.container(key=f"tile-sync-{sync.name}", gap="xsmall"):
            _card(sync)


def _worker(view: View) -> None:
    """Whether somebody is there to run syncs; silent while all is well."""
    now = utc_now()
    status = worker_status(view.project.store, now)
    down = [child for child in view.children() if not child.alive]
    if status is not None and status.alive and status.problem:
        with st.expander("The sync worker has something to tell", icon=":material/error:"):
            st.code(status.problem, language=None, wrap_lines=True)
    if status is None or not status.alive:
        since = f" since {ago(status.heartbeat, now)}" if status else ""
        st.warning(
            f"The sync worker is not running{since}; runs wait until it is back",
            icon=":material/sync_problem:",
        )
    for child in down:
        again = f", restarted {counted(child.restarts, 'time')}" if child.restarts else ""
        with st.expander(f"{child.name} is down{again}", icon=":material/error:"):
            st.code(child.last_words or "nothing in its log", language=None, wrap_lines=True)
            quiet(f"Log: {child.log.name}; it starts again by itself")


def _card(sync: SyncOverview) -> None:
    now = utc_now()
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key=f"card-{sync.name}"):
        if st.button(f"**{sync.name}**", key=f"open-{sync.name}", type="tertiary", icon=":material/sync:"):
            st.query_params["sync"] = sync.name
            st.rerun()
        st.html(pill(last_words(sync, now), state_look(sync)))
    description = f'<div class="quiet">{safe(sync.description)}</div>' if sync.description else ""
    st.html(f'{description}<div class="tile-note">{safe(_route(sync))}</div>')
    run = sync.last_run
    if run is not None and run.verdicts.total:
        words = f"Run {run.id}: {short_words(run.verdicts)}"
        st.html(f'{verdict_bar(run.verdicts)}<div class="tile-note">{safe(words)}</div>')
    st.html(f'<div class="tile-note">{safe(next_words(sync, now).capitalize())}</div>')
    if sync.problem:
        st.warning(plain(sync.problem), icon=":material/error:")


def _route(sync: SyncOverview) -> str:
    removed = f", removed rows: {sync.on_removed}" if sync.mode == "mirror" else ""
    way = f"{sync.source} → {sync.destination}/{sync.object}"
    return f"{way} · {sync.mode}{removed} · {sync.schedule or 'by hand'}"


def _sync(view: View, name: str) -> None:
    problem = run_problem(view.project.content.policy, view.user)
    sync = sync_overview(view.project, name, utc_now())
    _head(view, sync, problem)
    _tab_of_link(view, sync)
    _state(view, sync)
    if problem:
        st.caption(f":material/lock: {plain(problem)}")
    plan, runs, record = st.tabs(TABS, key=TAB, bind="query-params")
    if plan.open:
        with plan:
            plan_part.draw(view, sync, problem)
    if runs.open:
        with runs:
            runs_part.draw(view, sync, problem)
    if record.open:
        with record:
            record_part.draw(view, sync)


def _tab_of_link(view: View, sync: SyncOverview) -> None:
    """Which tab opens: what a link speaks of, and the run that this person asked for once it has ended."""
    if TAB not in st.session_state and TAB not in st.query_params:
        linked = "Runs" if "run" in st.query_params else "Record" if "key" in st.query_params else TABS[0]
        st.session_state[TAB] = linked
    run = became(view, sync)
    if run is not None:
        st.session_state[TAB] = "Runs"
        st.query_params["run"] = str(run)


def _head(view: View, sync: SyncOverview, problem: str) -> None:
    now = utc_now()
    busy = sync.queued or sync.running_by is not None
    state = pill("run under way" if busy else last_words(sync, now), state_look(sync))
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="sync-head"):
        back = st.button("", icon=":material/arrow_back:", type="tertiary", key="all-syncs", help="All syncs")
        if back:
            for key in ("sync", "run", "key"):
                st.query_params.pop(key, None)
            st.session_state[TAB] = TABS[0]
            st.rerun()
        st.html(
            f'<div class="sync-head"><h2>{safe(sync.name)}</h2>{state}'
            f'<span class="quiet">{safe(next_words(sync, now))}</span></div>',
            width="stretch",
        )
        if sync.paused_by is None:
            if st.button("Pause", icon=":material/pause:", disabled=bool(problem), help=problem or None):
                pause(view.project, sync.name, view.user.email)
                st.rerun()
        elif st.button("Resume", icon=":material/play_circle:", disabled=bool(problem), help=problem or None):
            resume(view.project, sync.name)
            st.rerun()
    description = f'<div class="quiet">{safe(sync.description)}</div>' if sync.description else ""
    st.html(f'{description}<div class="tile-note">{safe(_route(sync))}</div>')
    if sync.problem:
        st.warning(plain(sync.problem), icon=":material/error:")


def _state(view: View, sync: SyncOverview) -> None:
    """What is going on; looks again by itself while a run is asked for or under way."""
    if sync.queued or sync.running_by is not None:
        follow(view, sync.name)
        return
    refused(view, sync.name)
    tab = st.session_state.get(TAB) or st.query_params.get(TAB)
    if sync.last_run is None or tab == "Runs":  # that tab says it itself
        return
    if sync.last_run.state == "guarded":
        undone = sync.last_run.undo_of
        then = (
            "The plan is what would go now" if undone is None else f"Look at the undo of run {undone} again"
        )
        words = f"Run {sync.last_run.id} is held by its guard; nothing was sent. {then}"
        st.warning(words, icon=":material/front_hand:")
        return
    with st.container(gap="xsmall", key="last-run"):
        st.html(f'<div class="tile-note">Run {sync.last_run.id}, {safe(sync.last_run.requested_by)}</div>')
        run_part.summary(sync.last_run)
