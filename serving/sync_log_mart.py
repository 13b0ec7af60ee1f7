"""The sync log as marts: what was planned, sent, answered and approved, for those to whom a role grants it.

This is the contract between who writes the files (log_files.py) and who asks them. The rows are
those of the sources of syncs, unmasked; columns that carry them have the tag ROWS.
"""

from collections.abc import Mapping

from serving.content.model import Column, Mart
from serving.content.semantics import Measure
from serving.live import LiveMart

RUNS, OUTCOMES, LEDGER, APPROVALS = "sluice_runs", "sluice_outcomes", "sluice_ledger", "sluice_approvals"
ROWS = "sluice.rows"  # the tag of columns with values of other marts' rows

_TEXT, _NUMBER, _REAL, _TIME = "VARCHAR", "BIGINT", "DOUBLE", "TIMESTAMP WITH TIME ZONE"
_Columns = Mapping[str, tuple[str, str]]  # name -> type, description

_WHERE: _Columns = {
    "sync": (_TEXT, "Name of the sync"),
    "destination": (_TEXT, "Name of the account it goes to"),
    "object": (_TEXT, "What it writes there, as the destination calls it"),
}
_ROW: _Columns = {
    "key": (_TEXT, "The destination's key fields, as JSON"),
    "key_value": (_TEXT, "The key's value as text, where the key is one field"),
    "fields": (_TEXT, "What was sent, as JSON; empty for removals"),
}
_RUNS: _Columns = {
    "run": (_NUMBER, "Number of the run"),
    **_WHERE,
    "state": (_TEXT, "planning, guarded, delivering, settling; in the end done or failed"),
    "trigger": (_TEXT, "What started it: manual, schedule, build, sync, request, retry, undo"),
    "requested_by": (_TEXT, "Who wanted it"),
    "approved_by": (_TEXT, "Who let the guard pass"),
    "approval": (_TEXT, "Why the guard was let pass"),
    "trips": (_TEXT, "What the guard said, one sentence a line"),
    "version": (_NUMBER, "The version of the marts that it sent"),
    "planned": (_NUMBER, "accepted + rejected + deferred + unknown, once it has ended"),
    "accepted": (_NUMBER, "Rows the destination took"),
    "rejected": (_NUMBER, "Rows it refused, and rows of the source that cannot be sent"),
    "deferred": (_NUMBER, "Rows that were not tried, or are to be tried again"),
    "unknown": (_NUMBER, "Rows whose answer was lost"),
    "creates": (_NUMBER, "New rows in the plan"),
    "updates": (_NUMBER, "Changed rows in the plan"),
    "removals": (_NUMBER, "Rows in the plan that left the source"),
    "retries": (_NUMBER, "Rows in the plan that were not accepted before"),
    "resends": (_NUMBER, "Unchanged rows in the plan, because a person asked for everything"),
    "unsendable": (_NUMBER, "Rows of the source without a usable key or value"),
    "unchanged": (_NUMBER, "Rows of the source that are no news"),
    "calls": (_NUMBER, "Requests that were answered"),
    "started_at": (_TIME, "When it started"),
    "ended_at": (_TIME, "When it ended"),
    "seconds": (_REAL, "How long it took"),
    "error": (_TEXT, "Why it failed"),
    "undo_of": (_NUMBER, "The run it undoes"),
    "retry_of": (_NUMBER, "The run whose rows it tries again"),
}
_OUTCOMES: _Columns = {
    "run": (_NUMBER, "Number of the run, as in sluice_runs"),
    **_WHERE,
    "seq": (_NUMBER, "Place in the plan; empty for rows of the source that could not be sent"),
    "op": (_TEXT, "What was asked of the destination: insert, update, upsert, clear, archive, delete"),
    "kind": (_TEXT, "Why: create, update, remove, retry, resend, …; source: the row could not be sent"),
    **_ROW,
    "old": (_TEXT, "What the destination had from this sync before, as JSON"),
    "verdict": (_TEXT, "accepted, rejected, deferred or unknown"),
    "reason": (_TEXT, "The destination's own words, which may hold values of the row"),
    "reason_group": (_TEXT, "The reason without the row's own key and values"),
    "version": (_NUMBER, "The version of the marts that was sent"),
    "answered_at": (_TIME, "When the destination answered; the run's end where it did not"),
    "approved_by": (_TEXT, "Who let the guard pass for this run"),
}
_LEDGER: _Columns = {
    **_WHERE,
    **_ROW,
    "accepted_at": (_TIME, "When the destination took it"),
    "run": (_NUMBER, "The run that sent it"),
    "pending": (
        _TEXT,
        "How its newest change ended where that was not accepted: rejected, deferred, unknown",
    ),
    "reason": (_TEXT, "The destination's own words about that change"),
    "attempts": (_NUMBER, "How often that change was rejected"),
    "next_try": (_TIME, "When it is due again"),
}
_APPROVALS: _Columns = {
    "run": (_NUMBER, "The one run it was good for"),
    "sync": (_TEXT, "Name of the sync"),
    "approved_by": (_TEXT, "Who let the guard pass"),
    "reason": (_TEXT, "Why"),
    "trips": (_TEXT, "What the guard had said, one sentence a line"),
    "approved_at": (_TIME, "When"),
}
_CARRY_ROWS = frozenset({"key", "key_value", "fields", "old"})


def _count(description: str, where: str | None = None) -> Measure:
    if where is None:
        return Measure(agg="count", format=",.0f", description=description)
    return Measure(agg="sum", expr=f"({where})::int", format=",.0f", description=description)


def _live(
    name: str,
    description: str,
    grain: tuple[str, ...],
    columns: _Columns,
    measures: Mapping[str, Measure],
    words: frozenset[str] = frozenset(),
) -> LiveMart:
    tagged = _CARRY_ROWS | words
    mart = Mart(
        name=name,
        description=description,
        grain=grain,
        columns={
            column: Column(description=text, tags=(ROWS,) if column in tagged else ())
            for column, (_, text) in columns.items()
        },
        measures=measures,
    )
    return LiveMart(mart, {column: kind for column, (kind, _) in columns.items()})


SYNC_LOG: Mapping[str, LiveMart] = {
    RUNS: _live(
        RUNS,
        "One row per run of a sync",
        ("run",),
        _RUNS,
        {
            "runs": _count("Runs"),
            "failed_runs": _count("Runs that failed", "state = 'failed'"),
            "rows_accepted": Measure(agg="sum", expr="accepted", format=",.0f", description="Rows taken"),
            "rows_rejected": Measure(agg="sum", expr="rejected", format=",.0f", description="Rows refused"),
        },
    ),
    OUTCOMES: _live(
        OUTCOMES,
        "One row per planned row of every run that ended: what was said about it, and the answer",
        (),
        _OUTCOMES,
        {
            "outcomes": _count("Planned rows"),
            "accepted_rows": _count("Rows taken", "verdict = 'accepted'"),
            "rejected_rows": _count("Rows refused", "verdict = 'rejected'"),
            "rejected_share": Measure(
                expr="rejected_rows / outcomes", format=".1%", description="Refused ones among all"
            ),
        },
        frozenset({"reason"}),
    ),
    LEDGER: _live(
        LEDGER,
        "What each destination holds from each sync now, and what it did not take",
        (),
        _LEDGER,
        {
            "records": _count("Rows"),
            "pending_records": _count("Rows whose newest change was not taken", "pending is not null"),
        },
        frozenset({"reason"}),
    ),
    APPROVALS: _live(
        APPROVALS,
        "One row per approval: who let the guard pass, why, and what it had said",
        (),
        _APPROVALS,
        {"approvals": _count("Approvals")},
    ),
}
