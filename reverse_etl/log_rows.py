"""What the control store knows that the sync log must say: runs, approvals, when batches were answered."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, Row, func, select

from reverse_etl.counts import counts_from_json
from reverse_etl.tables import approvals, batches, ledgers, runs
from serving.sync_log_mart import APPROVALS, RUNS, SYNC_LOG

FINAL = ("done", "failed")  # states that no run leaves
_PART = 10_000
_RUNS_AT_ONCE = 500
_RANGES = pa.schema(
    [("first", pa.int64()), ("last", pa.int64()), ("answered_at", pa.timestamp("us", tz="UTC"))]
)


@dataclass(frozen=True)
class Target:
    """Where a run's rows go."""

    destination: str
    object: str


@dataclass(frozen=True)
class Ended:
    """A run that ended, as its rows have to say it."""

    run: int
    sync: str
    target: Target
    version: int | None
    ended_at: datetime
    approved_by: str | None


def target_parts(target: str) -> Target:
    """What `target_of` put together: destination/object(key fields)."""
    destination, _, rest = target.partition("/")
    return Target(destination, rest.rpartition("(")[0])


def runs_state(connection: Connection) -> tuple[object, ...]:
    """Changes whenever a run changes its state; one look at numbers, whatever the runs are."""
    final = runs.c.state.in_(FINAL)
    ended = connection.execute(select(func.count(), func.max(runs.c.ended_at)).where(final)).one()
    moving = connection.execute(select(runs.c.id, runs.c.state).where(~final).order_by(runs.c.id)).all()
    return (*ended, *(tuple(row) for row in moving))


def approvals_state(connection: Connection) -> tuple[object, ...]:
    """Changes whenever somebody approves."""
    return tuple(connection.execute(select(func.count(), func.max(approvals.c.id))).one())


def ledgers_now(connection: Connection) -> tuple[tuple[str, str, str], ...]:
    """(sync, target, file) of every ledger that counts."""
    query = select(ledgers.c.sync, ledgers.c.target, ledgers.c.file).order_by(
        ledgers.c.sync, ledgers.c.target
    )
    return tuple((row.sync, row.target, row.file) for row in connection.execute(query))


def ended_runs(connection: Connection, known: set[int]) -> Iterator[Ended]:
    """Every run that ended and is not among the known ones, in their order."""
    ids = connection.execute(select(runs.c.id).where(runs.c.state.in_(FINAL)).order_by(runs.c.id)).scalars()
    for number in [number for number in ids if number not in known]:
        row = connection.execute(_with_approver().where(runs.c.id == number)).one()
        target = target_parts(row.target)
        ended = row.ended_at or row.started_at
        yield Ended(row.id, row.sync, target, row.version, ended, row.let_pass_by)


def runs_table(connection: Connection, known: set[int]) -> pa.Table:
    """All runs but the known ones, as columns of `sluice_runs`."""
    ids = [n for n in connection.execute(select(runs.c.id).order_by(runs.c.id)).scalars() if n not in known]
    found: list[dict[str, object]] = []
    for start in range(0, len(ids), _RUNS_AT_ONCE):
        part = ids[start : start + _RUNS_AT_ONCE]
        summed = select(batches.c.run, func.sum(batches.c.calls)).where(batches.c.run.in_(part))
        calls = {row[0]: int(row[1] or 0) for row in connection.execute(summed.group_by(batches.c.run))}
        query = _with_approver().where(runs.c.id.in_(part)).order_by(runs.c.id)
        found += [_run(row, calls.get(row.id, 0)) for row in connection.execute(query)]
    return pa.Table.from_pylist(found, schema=SYNC_LOG[RUNS].schema)


def approvals_table(connection: Connection) -> pa.Table:
    """Every approval, as columns of `sluice_approvals`."""
    found = [
        {
            "run": row.run,
            "sync": row.sync,
            "approved_by": row.approved_by,
            "reason": row.reason,
            "trips": _sentences(row.trips),
            "approved_at": row.at,
        }
        for row in connection.execute(select(approvals).order_by(approvals.c.id))
    ]
    return pa.Table.from_pylist(found, schema=SYNC_LOG[APPROVALS].schema)


def answered_ranges(connection: Connection, run: int) -> Iterator[pa.Table]:
    """(first, last, answered_at) of every batch of a run that was answered, some at a time."""
    query = (
        select(batches.c.first_seq, batches.c.last_seq, batches.c.answered_at)
        .where(batches.c.run == run, batches.c.state == "answered")
        .order_by(batches.c.first_seq)
        .execution_options(yield_per=_PART)
    )
    for part in connection.execute(query).partitions():
        yield pa.table([list(column) for column in zip(*part, strict=True)], schema=_RANGES)


def _with_approver() -> Any:
    """Runs, and who let each pass; before approvals were rows of their own it was who asked for the run."""
    newest = (
        select(approvals.c.approved_by)
        .where(approvals.c.run == runs.c.id)
        .order_by(approvals.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    asked = select(runs.c.requested_by).where(runs.c.approval.is_not(None)).correlate(runs).scalar_subquery()
    return select(runs, func.coalesce(newest, asked).label("let_pass_by"))


def _run(row: Row[Any], calls: int) -> dict[str, object]:
    counts, target = counts_from_json(row.counts), target_parts(row.target)
    ended = row.ended_at
    return {
        "run": row.id,
        "sync": row.sync,
        "destination": target.destination,
        "object": target.object,
        "state": row.state,
        "trigger": row.trigger,
        "requested_by": row.requested_by,
        "approved_by": row.let_pass_by,
        "approval": row.approval,
        "trips": _sentences(row.trips),
        "version": row.version,
        "planned": counts.planned,
        "accepted": row.accepted,
        "rejected": row.rejected,
        "deferred": row.deferred,
        "unknown": row.unknown,
        "creates": counts.create,
        "updates": counts.update,
        "removals": counts.remove,
        "retries": counts.retry,
        "resends": counts.resend,
        "unsendable": counts.rejected,
        "unchanged": counts.unchanged,
        "calls": calls,
        "started_at": row.started_at,
        "ended_at": ended,
        "seconds": None if ended is None else (ended - row.started_at).total_seconds(),
        "error": row.error,
        "undo_of": row.undo_of,
        "retry_of": row.retry_of,
    }


def _sentences(trips: str | None) -> str | None:
    """A JSON list of trips (or of their sentences) as one sentence a line."""
    listed: Sequence[Any] = json.loads(trips or "[]")
    said = [trip["message"] if isinstance(trip, dict) else str(trip) for trip in listed]
    return "\n".join(said) or None
