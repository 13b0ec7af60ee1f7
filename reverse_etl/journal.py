"""The row of a run in the control store, written at each step, so that a crash loses nothing."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, Row, desc, insert, select, update

from reverse_etl.batches import Journal, answers_of, calls_of
from reverse_etl.counts import Verdicts
from reverse_etl.lease import Lease
from reverse_etl.tables import ledgers, runs
from reverse_etl.unwritable import reading, writing
from serving.store import Store

__all__ = [
    "UNFINISHED",
    "Journal",
    "Order",
    "State",
    "Trigger",
    "advance",
    "answers_of",
    "calls_of",
    "close_run",
    "open_run",
    "settle_run",
    "unfinished_run",
]

State = Literal["planning", "guarded", "delivering", "settling", "done", "failed"]
Trigger = Literal["manual", "schedule", "build", "sync", "request", "retry", "undo"]
UNFINISHED = ("planning", "delivering", "settling")


@dataclass(frozen=True)
class Order:
    """Who wants a run, and how."""

    requested_by: str
    trigger: Trigger = "manual"
    approval: str | None = None  # lets the guard pass once, for this reason
    full: bool = False
    adopt: bool = False  # what the destination holds already counts as sent by this sync
    retry_of: int | None = None
    undo_of: int | None = None
    plan: int | None = None  # the saved plan to deliver; None: the open one, if it still holds


def open_run(store: Store, sync: str, target: str, order: Order, version: int | None, now: datetime) -> int:
    """A new run, in planning; its number."""
    with writing(store) as connection:
        before = connection.execute(
            select(ledgers.c.file).where(ledgers.c.sync == sync, ledgers.c.target == target)
        ).scalar()
        added = connection.execute(
            insert(runs).values(
                sync=sync,
                target=target,
                state="planning",
                trigger=order.trigger,
                requested_by=order.requested_by,
                approval=order.approval,
                full_resend=order.full,
                adopt=order.adopt,
                retry_of=order.retry_of,
                undo_of=order.undo_of,
                version=version,
                started_at=now,
                ledger_before=before,
            )
        )
        return int(added.inserted_primary_key[0])  # type: ignore[index]


def unfinished_run(store: Store, sync: str) -> Row[tuple[object, ...]] | None:
    """The newest run of the sync that neither ended nor waits for a person."""
    query = (
        select(runs)
        .where(runs.c.sync == sync, runs.c.state.in_(UNFINISHED))
        .order_by(desc(runs.c.id))
        .limit(1)
    )
    with reading(store) as connection:
        return connection.execute(query).one_or_none()


def advance(store: Store, run: int, state: State, *, error: str | None = None) -> None:
    """The run is in another state now; an error stays with it."""
    values: dict[str, object] = {"state": state}
    if error is not None:
        values["error"] = error
    with writing(store) as connection:
        connection.execute(update(runs).where(runs.c.id == run).values(values))


def close_run(
    store: Store,
    run: int,
    state: State,
    now: datetime,
    *,
    verdicts: Verdicts | None = None,
    error: str | None = None,
) -> None:
    """The run ended without a change of the ledger."""
    with writing(store) as connection:
        _close(connection, run, state, now, verdicts, error)


def settle_run(
    store: Store,
    run: int,
    ledger: str | None,
    state: State,
    now: datetime,
    *,
    verdicts: Verdicts,
    error: str | None,
    lease: Lease,
) -> None:
    """The next ledger counts and the run is in `state`: both, or neither."""
    with writing(store) as connection:
        lease.check(connection)
        if ledger is not None:
            found = connection.execute(select(runs.c.sync, runs.c.target).where(runs.c.id == run)).one()
            ours = (ledgers.c.sync == found.sync) & (ledgers.c.target == found.target)
            changed = connection.execute(update(ledgers).where(ours).values(file=ledger, run=run))
            if changed.rowcount == 0:
                connection.execute(
                    insert(ledgers).values(sync=found.sync, target=found.target, file=ledger, run=run)
                )
            connection.execute(update(runs).where(runs.c.id == run).values(ledger_after=ledger))
        _close(connection, run, state, now if state in ("done", "failed") else None, verdicts, error)


def _close(
    connection: Connection,
    run: int,
    state: State,
    ended: datetime | None,
    verdicts: Verdicts | None,
    error: str | None,
) -> None:
    values: dict[str, object] = {"state": state, "ended_at": ended, "error": error}
    if verdicts is not None:
        values |= asdict(verdicts)
    connection.execute(update(runs).where(runs.c.id == run).values(values))
