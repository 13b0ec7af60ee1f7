"""A run under way: how far, how fast, how long yet, and what it waits for."""

from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from reverse_etl import history
from reverse_etl.history import RunRow
from reverse_etl.overview import sync_overview
from reverse_etl.ui.words import STATES, lasting
from serving.store import utc_now
from serving.ui.explorer import View
from serving.ui.figures import counted, span
from serving.ui.parts import quiet

EVERY = 0.5  # seconds between looks
WINDOW = 10.0  # seconds over which the speed is taken
STILL = 5.0  # seconds without an answer that are worth a word
SEEN = "sync-seen"  # session: (run, looks)

Look = tuple[datetime, int]  # rows that had their answer at that moment


def follow(view: View, name: str) -> None:
    """Draws itself anew until the run has ended, then the whole page."""
    st.fragment(_follow, run_every=EVERY)(view, name)


def _follow(view: View, name: str) -> None:
    now = utc_now()
    sync = sync_overview(view.project, name, now)
    run = sync.last_run
    if not sync.queued and sync.running_by is None:
        st.rerun()
    if run is None or run.ended_at is not None or not run.running:
        st.progress(0.0, "Asked for, waiting for the worker")
        return
    total = run.counts.to_send
    done = history.answered_rows(view.project, run.id)
    looks = _remembered(run.id, (now, done))
    words = f"Run {run.id}: {progress_words(run, looks, now)}"
    st.progress(min(done / total, 1.0) if total else 0.0, words)
    if still := still_words(looks, total):
        quiet(still)


def _remembered(run: int, look: Look) -> Sequence[Look]:
    seen, looks = st.session_state.get(SEEN, (run, ()))
    looks = (*(looks if seen == run else ()), look)
    while len(looks) > 2 and (look[0] - looks[1][0]).total_seconds() >= WINDOW:
        looks = looks[1:]
    st.session_state[SEEN] = (run, looks)
    return looks


def progress_words(run: RunRow, looks: Sequence[Look], now: datetime) -> str:
    """`1,200 of 5,000 rows, 340 rows/s, about 11 s left`; the state where no rows leave."""
    total, done = run.counts.to_send, looks[-1][1]
    if run.state != "delivering" or not total:
        return f"{STATES.get(run.state, run.state)}, {span((now - run.started_at).total_seconds())}"
    words = [f"{done:,} of {counted(total, 'row')}"]
    speed = rows_per_second(looks)
    if speed:
        words.append(f"{speed:,.0f} rows/s" if speed >= 10 else f"{speed:.1f} rows/s")
        words.append(f"{lasting((total - done) / speed)} left" if done < total else "settling")
    return ", ".join(words)


def rows_per_second(looks: Sequence[Look]) -> float | None:
    """The speed between the first and the last look; None while nobody can say."""
    if len(looks) < 2:
        return None
    seconds = (looks[-1][0] - looks[0][0]).total_seconds()
    rows = looks[-1][1] - looks[0][1]
    return rows / seconds if seconds > 0 and rows > 0 else None


def still_words(looks: Sequence[Look], total: int) -> str:
    """That nothing moves, where that lasts; empty while rows are answered."""
    last, done = looks[-1]
    if done >= total:
        return ""
    since = next((at for at, rows in looks if rows == done), last)
    seconds = (last - since).total_seconds()
    if seconds < STILL:
        return ""
    return (
        f"No answer for {span(seconds)}: the account's limit or the destination makes it wait; "
        "waiting is no failure"
    )
