"""Syncs: state of all of them, or one sync with its plan and its runs."""

import streamlit as st

from reverse_etl import history
from reverse_etl.overview import SyncOverview, list_syncs, sync_overview
from reverse_etl.permissions import run_problem
from reverse_etl.requests import find_request, pause, request_run, resume
from reverse_etl.ui import plan as plan_part
from reverse_etl.ui import runs as runs_part
from reverse_etl.ui.words import run_words, state_words
from reverse_etl.worker import worker_status
from serving.store import utc_now
from serving.ui.explorer import View
from serving.ui.figures import ago, counted, span
from serving.ui.parts import plain, quiet, safe

EVERY = 0.5  # seconds between looks at a run under way
DOTS = {"done": "green", "guarded": "orange", "partial": "orange", "failed": "red"}


def draw(view: View) -> None:
    """The list, or one sync, by the URL."""
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
    now = utc_now()
    grid = st.grid(columns=2, min_column_width=300, gap="small")
    for sync in list_syncs(view.project, now):
        with grid.cell(), st.container(key=f"tile-sync-{sync.name}", gap="xsmall"):
            _card(sync, state_words(sync, now))


def _worker(view: View) -> None:
    """Whether somebody is there to run syncs; silent details while all is well."""
    now = utc_now()
    status = worker_status(view.project.store, now)
    down = [child for child in view.children() if not child.alive]
    if status is not None and status.alive and not down:
        return
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


def _card(sync: SyncOverview, state: str) -> None:
    if st.button(sync.name, key=f"open-{sync.name}", type="tertiary", icon=":material/sync:"):
        st.query_params["sync"] = sync.name
        st.rerun()
    colour = "gray" if sync.paused_by or sync.last_run is None else DOTS.get(sync.last_run.state, "blue")
    st.badge(state, color=colour)  # type: ignore[arg-type]
    if sync.description:
        st.html(f'<div class="quiet">{safe(sync.description)}</div>')
    st.html(f'<div class="tile-note">{safe(_route(sync))}</div>')
    if sync.problem:
        st.warning(plain(sync.problem))


def _route(sync: SyncOverview) -> str:
    removed = f", removed rows: {sync.on_removed}" if sync.mode == "mirror" else ""
    way = f"{sync.source} → {sync.destination}/{sync.object}"
    return f"{way} · {sync.mode}{removed} · {sync.schedule or 'by hand'}"


def _sync(view: View, name: str) -> None:
    problem = run_problem(view.project.content.policy, view.user)
    sync = sync_overview(view.project, name, utc_now())
    if st.button("All syncs", icon=":material/arrow_back:", type="tertiary"):
        for key in ("sync", "run"):
            st.query_params.pop(key, None)
        st.rerun()
    st.subheader(name, anchor=False)
    st.html(
        f'<div class="quiet">{safe(sync.description)}</div><div class="tile-note">{safe(_route(sync))}</div>'
    )
    _buttons(view, sync, problem)
    if problem:
        st.caption(f":material/lock: {plain(problem)}")
    _state(view, name, sync)
    if sync.last_run is not None and sync.last_run.state == "guarded" and not sync.queued:
        _approval(view, sync, problem)
    plan, runs = st.tabs(["Plan", "Runs"])
    with plan:
        plan_part.draw(view, sync, problem)
    with runs:
        runs_part.draw(view, sync, problem)


def _buttons(view: View, sync: SyncOverview, problem: str) -> None:
    busy = sync.queued or sync.running_by is not None
    with st.container(horizontal=True, gap="small", key="sync-bar"):
        if st.button(
            "Run now",
            icon=":material/play_arrow:",
            type="primary",
            disabled=bool(problem) or busy or sync.paused_by is not None,
            help=problem or None,
        ):
            _order(view, sync.name, None)
        if sync.paused_by is None:
            if st.button("Pause", icon=":material/pause:", disabled=bool(problem), help=problem or None):
                pause(view.project, sync.name, view.user.email)
                st.rerun()
        elif st.button("Resume", icon=":material/play_circle:", disabled=bool(problem), help=problem or None):
            resume(view.project, sync.name)
            st.rerun()


def _order(view: View, name: str, approval: str | None) -> None:
    st.session_state["request"] = (name, request_run(view.project, name, view.user.email, approval))
    st.rerun()


def _state(view: View, name: str, sync: SyncOverview) -> None:
    """What is going on; looks again by itself while a run is asked for or under way."""
    if sync.queued or sync.running_by is not None:
        st.fragment(_live, run_every=EVERY)(view, name)
        return
    own = st.session_state.get("request")
    if own is not None and own[0] == name:
        asked = find_request(view.project, own[1])
        if asked is not None and asked.state == "refused":
            st.error(plain(asked.message), icon=":material/block:")
    if sync.last_run is None:
        quiet(state_words(sync, utc_now()).capitalize())
    else:
        runs_part.summary(sync.last_run)


def _live(view: View, name: str) -> None:
    now = utc_now()
    sync = sync_overview(view.project, name, now)
    if not sync.queued and sync.running_by is None:
        st.rerun()
    run = sync.last_run
    if run is None or run.ended_at is not None or not run.running:
        st.progress(0.0, "Waiting for the worker")
        return
    total = run.counts.to_send
    done = history.answered_rows(view.project, run.id)
    took = span((now - run.started_at).total_seconds())
    words = f"Run {run.id} {run_words(run, now)}: {done:,} of {total:,} rows, {took}"
    st.progress(min(done / total, 1.0) if total else 0.0, words)


def _approval(view: View, sync: SyncOverview, problem: str) -> None:
    run = sync.last_run
    assert run is not None
    with st.container(key="tile-guard", gap="xsmall"):
        st.markdown(f"**:material/front_hand: Run {run.id} is held by its guard; nothing was sent**")
        for trip in run.trips:
            st.markdown(f"- {plain(trip)}")
        reason = st.text_input(
            "Why is this right?",
            key=f"why-{run.id}",
            placeholder="For instance: closed the shop in Poland",
            width=420,
        )
        allowed = not problem and bool((reason or "").strip())
        if st.button(
            "Approve and run", type="primary", disabled=not allowed, help=problem or None, key="approve"
        ):
            _order(view, sync.name, str(reason).strip())
