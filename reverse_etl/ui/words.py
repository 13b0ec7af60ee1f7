"""States of syncs, runs and rows in a few words. Pure."""

from datetime import datetime

from reverse_etl.counts import Counts, Verdicts
from reverse_etl.history import FieldChange, RunRow
from reverse_etl.overview import SyncOverview
from serving.ui.figures import NOTHING, ago, counted, figure

KINDS = {
    "create": "new",
    "update": "changed",
    "remove": "removed",
    "retry": "tried again",
    "resend": "sent again",
    "rejected": "cannot be sent",
    "unchanged": "unchanged",
    "waiting": "waiting for their next try",
    "parked": "parked",
    "kept": "gone, but kept",
    "held": "removals held back",
}
STATES = {
    "planning": "planning",
    "delivering": "delivering",
    "settling": "settling",
    "guarded": "held by its guard",
    "done": "done",
    "partial": "partly done",
    "failed": "failed",
}


def state_words(sync: SyncOverview, now: datetime) -> str:
    """`done 5 min ago, next in 10 min`"""
    if sync.paused_by:
        return f"paused by {sync.paused_by}"
    if sync.queued:
        return "asked for, waiting for the worker"
    words = run_words(sync.last_run, now) if sync.last_run else "never run"
    if sync.next_fire is not None:
        words += f", next {ago(sync.next_fire, now)}" if sync.next_fire > now else ", due now"
    return words


def run_words(run: RunRow, now: datetime) -> str:
    """`done 5 min ago`; a run that nobody is at any more was interrupted."""
    if run.ended_at is None and not run.running:
        return f"interrupted while {run.state}, the next run goes on from there"
    state = STATES.get(run.state, run.state)
    return state if run.ended_at is None else f"{state} {ago(run.ended_at, now)}"


def plan_words(counts: Counts) -> str:
    """`12 new, 3 changed, 4,985 unchanged`"""
    parts = [f"{getattr(counts, kind):,} {word}" for kind, word in KINDS.items() if getattr(counts, kind)]
    return ", ".join(parts) or "the source is empty"


def verdict_words(verdicts: Verdicts) -> str:
    """The sum that must hold, written out."""
    parts = (
        f"{getattr(verdicts, name):,} {name}" for name in ("accepted", "rejected", "deferred", "unknown")
    )
    return f"{counted(verdicts.total, 'row')} planned = {' + '.join(parts)}"


def change_words(change: FieldChange, kind: str) -> str:
    """`tier: bronze → gold`, or only the new value where nothing was sent before."""
    if kind == "remove" and change.new is None:
        return f"{change.name}: {value_words(change.old)}"
    if not change.known:
        return f"{change.name}: {value_words(change.new)}"
    return f"{change.name}: {value_words(change.old)} → {value_words(change.new)}"


def value_words(value: object) -> str:
    """One field's value; texts as they are."""
    return NOTHING if value is None else value if isinstance(value, str) else figure(value)


def key_words(key: object) -> str:
    """`C-00012`, or `a=1, b=2` for longer keys."""
    if not isinstance(key, dict):
        return "(no key)"
    if len(key) == 1:
        return str(next(iter(key.values())))
    return ", ".join(f"{name}={value}" for name, value in key.items())
