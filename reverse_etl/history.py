"""What syncs did and will do, for command line, REST and pages. Reads only."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Row, Select, desc, func, select

from connectors.protocol import Verdict
from reverse_etl import row_files
from reverse_etl.counts import Counts, Verdicts, counts_from_json
from reverse_etl.errors import UnknownSync
from reverse_etl.journal import UNFINISHED, State, calls_of
from reverse_etl.lease import holder_of
from reverse_etl.propose import run_folder
from reverse_etl.row_files import ReasonGroup, RowOutcome
from reverse_etl.source import Door
from reverse_etl.tables import approvals, batches, prepare, runs
from serving.store import utc_now


@dataclass(frozen=True)
class RunRow:
    """One run, as far as it has come."""

    id: int
    sync: str
    target: str
    state: State
    running: bool  # a living process is at it; an unfinished run that is not running was interrupted
    trigger: str
    requested_by: str
    approval: str | None
    approved_by: str | None
    retry_of: int | None
    undo_of: int | None
    plan: int | None  # the saved plan it delivered
    replanned: str  # why that was not the plan a person saw
    version: int | None
    counts: Counts
    trips: tuple[str, ...]
    verdicts: Verdicts
    calls: int
    started_at: datetime
    ended_at: datetime | None
    error: str

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it is not over."""
        return None if self.ended_at is None else (self.ended_at - self.started_at).total_seconds()


def list_runs(
    project: Door, sync: str | None = None, *, limit: int = 50, before: int | None = None
) -> tuple[RunRow, ...]:
    """The newest runs first; `before` (a run's number) pages on."""
    prepare(project.store)
    query = select(runs).order_by(desc(runs.c.id)).limit(limit)
    if sync is not None:
        query = query.where(runs.c.sync == sync)
    if before is not None:
        query = query.where(runs.c.id < before)
    with project.store.read() as connection:
        return tuple(_run_row(project, row) for row in connection.execute(query).all())


def find_run(project: Door, number: int) -> RunRow:
    """One run; UnknownSync if there is none of that number."""
    prepare(project.store)
    with project.store.read() as connection:
        row = connection.execute(select(runs).where(runs.c.id == number)).one_or_none()
    if row is None:
        raise UnknownSync(f"there is no run {number}", hint="`runs` lists them")
    return _run_row(project, row)


def answered_rows(project: Door, number: int) -> int:
    """How many rows of a run have their answer by now."""
    query = select(func.sum(batches.c.last_seq - batches.c.first_seq + 1)).where(
        batches.c.run == number, batches.c.state == "answered"
    )
    with project.store.read() as connection:
        return int(connection.execute(query).scalar() or 0)


def row_outcomes(
    project: Door,
    number: int,
    *,
    verdict: Verdict | None = None,
    search: str = "",
    limit: int = 100,
    offset: int = 0,
) -> tuple[RowOutcome, ...]:
    """Rows of a run that has been settled, in the order they left; rows that never left come last.

    `search` keeps rows whose key contains that text, capitals or not.
    """
    file = _outcomes_of(project, number)
    return row_files.outcomes(file, verdict=verdict, search=search, limit=limit, offset=offset)


def refused_rows(project: Door, number: int, *, limit: int = 1000) -> tuple[RowOutcome, ...]:
    """Rows that were not accepted: rejected, then deferred, then unknown ones."""
    found: list[RowOutcome] = []
    for verdict in ("rejected", "deferred", "unknown"):
        found += row_outcomes(project, number, verdict=verdict, limit=limit - len(found))
    return tuple(found)


def reasons(project: Door, number: int) -> tuple[ReasonGroup, ...]:
    """Rows that were not accepted, grouped by what the destination said; the largest group first."""
    return row_files.grouped(_outcomes_of(project, number))


def _outcomes_of(project: Door, number: int) -> Path:
    run = find_run(project, number)
    return run_folder(project, run.sync, number) / "outcomes.parquet"


def _approver(run: int) -> Select[Any]:
    return select(approvals.c.approved_by).where(approvals.c.run == run)


def _run_row(project: Door, row: Row[Any]) -> RunRow:
    with project.store.read() as connection:
        calls = calls_of(connection, row.id)
        approved_by = connection.execute(_approver(row.id)).scalar()
        unfinished = row.state in UNFINISHED
        running = unfinished and holder_of(connection, row.sync, utc_now()) is not None
    verdicts = Verdicts(row.accepted or 0, row.rejected or 0, row.deferred or 0, row.unknown or 0)
    trips = tuple(trip["message"] for trip in json.loads(row.trips or "[]"))
    return RunRow(
        id=row.id,
        sync=row.sync,
        target=row.target,
        state=row.state,
        running=running,
        trigger=row.trigger,
        requested_by=row.requested_by,
        approval=row.approval,
        approved_by=approved_by,
        retry_of=row.retry_of,
        undo_of=row.undo_of,
        plan=row.plan,
        replanned=row.replanned or "",
        version=row.version,
        counts=counts_from_json(row.counts),
        trips=trips,
        verdicts=verdicts,
        calls=calls,
        started_at=row.started_at,
        ended_at=row.ended_at,
        error=row.error or "",
    )
