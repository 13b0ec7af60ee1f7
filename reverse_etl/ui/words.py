"""States of syncs, runs and rows in a few words. Pure."""

from collections.abc import Mapping
from datetime import datetime

from reverse_etl.counts import Counts, Verdicts
from reverse_etl.history import RunRow
from reverse_etl.overview import SyncOverview
from reverse_etl.row_files import FieldChange
from serving.ui.figures import NOTHING, ago, counted, figure, span

KINDS = {
    "create": "new",
    "update": "changed",
    "remove": "removed",
    "retry": "tried again",
    "resend": "sent again",
    "rejected": "cannot be sent",
    "unchanged": "unchanged",
    "small": "changed too little",
    "early": "changed too soon",
    "skipped": "changed, not sent",
    "waiting": "waiting for their next try",
    "parked": "parked",
    "kept": "gone, but kept",
    "held": "removals held back",
}
MEANINGS = {
    "create": "the destination has no such record from this sync",
    "update": "a mapped field has another value than the destination accepted last",
    "remove": "left the source; on_removed says what happens to the record",
    "retry": "not accepted before, and due again",
    "resend": "unchanged, sent because somebody asked for everything",
    "rejected": "the source's row has no usable key or value",
    "unchanged": "the destination has what the source has",
    "small": "changed within ignore_changes: no news",
    "early": "changed, but accepted less than min_resend ago",
    "skipped": "changed, and the mode does not update",
    "waiting": "rejected by the destination, and not due yet",
    "parked": "rejected too often: waits for a change of the row or the mapping, or for a retry by hand",
    "kept": "left the source, and the sync keeps such records",
    "held": "not removed, because a row of the source has no key and could be any of them",
}
VERDICTS = ("accepted", "rejected", "deferred", "unknown")
STATES = {
    "planning": "planning",
    "delivering": "delivering",
    "settling": "settling",
    "guarded": "held by its guard",
    "done": "done",
    "failed": "failed",
}
LOOKS = {"done": "good", "guarded": "held", "failed": "bad"}


def state_words(sync: SyncOverview, now: datetime) -> str:
    """`done 5 min ago, next in 10 min`"""
    words = last_words(sync, now)
    if sync.paused_by or sync.queued or sync.next_fire is None:
        return words
    return f"{words}, {next_words(sync, now)}"


def last_words(sync: SyncOverview, now: datetime) -> str:
    """What the sync is at, or how its last run ended."""
    if sync.paused_by:
        return f"paused by {sync.paused_by}"
    if sync.queued:
        return "asked for, waiting for the worker"
    return run_words(sync.last_run, now) if sync.last_run else "never run"


def next_words(sync: SyncOverview, now: datetime) -> str:
    """`next in 12 min`, `due now`, `runs after each build`, `runs by hand`."""
    if sync.paused_by:
        return "does not run until somebody resumes it"
    if sync.next_fire is None:
        return f"runs {sync.schedule}"
    return f"next {ago(sync.next_fire, now)}" if sync.next_fire > now else "due now"


def state_look(sync: SyncOverview) -> str:
    """The colour of a sync's state."""
    if sync.paused_by or (sync.last_run is None and not sync.queued):
        return ""
    if sync.queued or sync.running_by is not None or sync.last_run is None:
        return "busy"
    return run_look(sync.last_run)


def run_look(run: RunRow) -> str:
    """The colour of a run's state; rejected rows make a good run doubtful."""
    look = LOOKS.get(run.state, "busy" if run.running else "bad")
    return "held" if look == "good" and run.verdicts.rejected else look


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
    parts = (f"{getattr(verdicts, name):,} {name}" for name in VERDICTS)
    return f"{counted(verdicts.total, 'row')} planned = {' + '.join(parts)}"


def short_words(verdicts: Verdicts) -> str:
    """Only what there is: `4,990 accepted, 10 rejected`."""
    parts = [f"{getattr(verdicts, name):,} {name}" for name in VERDICTS if getattr(verdicts, name)]
    return ", ".join(parts) or "nothing to send"


def lasting(seconds: float | None) -> str:
    """`under a second`, `about 12 s`, `about 5 min`; without a limit nobody can say."""
    if seconds is None:
        return "no limit"
    if seconds < 60:
        return "under a second" if seconds < 1 else f"about {seconds:.0f} s"
    return f"about {span(seconds)}"


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


def key_words(key: Mapping[str, object] | None) -> str:
    """`C-00012`, or `a=1, b=2` for longer keys."""
    if key is None:
        return "(no key)"
    if len(key) == 1:
        return str(next(iter(key.values())))
    return ", ".join(f"{name}={value}" for name, value in key.items())
