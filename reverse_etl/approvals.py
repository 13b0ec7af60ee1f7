"""Why the guard let a run pass: who said so, with which reason, over which limits.

An approval is one shot: it belongs to one run, and the next one needs its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from reverse_etl.errors import SyncError, UnknownSync
from reverse_etl.guard import Trip, trips_from_json, trips_to_json
from reverse_etl.tables import approvals, runs


@dataclass(frozen=True)
class Approval:
    """What a person let pass, once."""

    run: int
    sync: str
    approved_by: str
    reason: str
    trips: tuple[Trip, ...]
    at: datetime


def record(
    connection: Connection, run: int, by: str, reason: str, trips: Sequence[Trip], now: datetime
) -> None:
    """Write down that `by` let the run pass, in the caller's transaction.

    SyncError without a reason, or where the run has its approval already; UnknownSync
    where there is no such run.
    """
    if not reason.strip():
        raise SyncError("an approval needs a reason", hint="say why this is right")
    sync = connection.execute(select(runs.c.sync).where(runs.c.id == run)).scalar()
    if sync is None:
        raise UnknownSync(f"there is no run {run}", hint="`runs` lists them")
    if approval_of(connection, run) is not None:
        raise SyncError(f"run {run} was approved already", hint="an approval is good for one run")
    row = {
        "sync": sync,
        "run": run,
        "approved_by": by,
        "reason": reason.strip(),
        "trips": trips_to_json(trips),
        "at": now,
    }
    connection.execute(insert(approvals).values(row))


def approval_of(connection: Connection, run: int) -> Approval | None:
    """The approval that the run was let pass with; None where it needed none."""
    row = connection.execute(select(approvals).where(approvals.c.run == run)).one_or_none()
    if row is None:
        return None
    trips = trips_from_json(row.trips)
    return Approval(row.run, row.sync, row.approved_by, row.reason, trips, row.at)
