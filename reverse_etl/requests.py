"""What people ask of syncs from a page or a program: run now, retry, undo, pause, go on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, exists, func, insert, select, update

from reverse_etl.errors import SyncError, SyncPaused, UnknownSync
from reverse_etl.journal import Order
from reverse_etl.source import Door, find_sync
from reverse_etl.tables import prepare, requests, runs, syncs
from serving.store import Store, utc_now

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class RunRequest:
    """Somebody wants a sync to run as soon as the worker can."""

    id: int
    sync: str
    requested_by: str
    approval: str | None
    requested_at: datetime
    state: str  # waiting | taken | refused
    run: int | None
    message: str
    retry_of: int | None = None
    undo_of: int | None = None
    full: bool = False
    adopt: bool = False
    plan: int | None = None  # the saved plan that the person looked at

    @property
    def order(self) -> Order:
        """The request as a run takes it."""
        trigger = "undo" if self.undo_of is not None else "retry" if self.retry_of is not None else "request"
        return Order(
            self.requested_by,
            trigger,  # type: ignore[arg-type]
            approval=self.approval,
            full=self.full,
            adopt=self.adopt,
            retry_of=self.retry_of,
            undo_of=self.undo_of,
            plan=self.plan,
        )


def request_run(
    project: Door,
    sync: str,
    by: str,
    approval: str | None = None,
    *,
    retry_of: int | None = None,
    undo_of: int | None = None,
    full: bool = False,
    adopt: bool = False,
    plan: int | None = None,
    clock: Clock = utc_now,
) -> int:
    """Put a run into the worker's queue; the request's number.

    The same request, still waiting, is not put there twice: its number comes back. UnknownSync
    for a stranger, SyncPaused where no run could start, SyncError where it makes no sense.
    """
    prepare(project.store)
    find_sync(project.content, sync)
    if sum((retry_of is not None, undo_of is not None, full, adopt)) > 1:
        raise SyncError("retry, undo, full and adopt exclude each other", hint="ask for one of them")
    if approval is not None and not approval.strip():
        raise SyncError("an approval needs a reason", hint="say why this is right")
    kind = {
        "sync": sync,
        "approval": approval,
        "retry_of": retry_of,
        "undo_of": undo_of,
        "full_resend": full,
        "adopt": adopt,
        "plan": plan,
    }
    with project.store.write() as connection:
        if undo_of is None:  # an undo sends nothing of the source
            not_paused(connection, sync)
        for run in (retry_of, undo_of):
            _has_run(connection, sync, run)
        if (same := _waiting(connection, kind, by)) is not None:
            return same
        row = kind | {"requested_by": by, "requested_at": clock(), "state": "waiting"}
        return int(connection.execute(insert(requests).values(row)).inserted_primary_key[0])  # type: ignore[index]


def find_request(project: Door, number: int) -> RunRequest | None:
    """A request and what became of it."""
    prepare(project.store)
    with project.store.read() as connection:
        row = connection.execute(select(requests).where(requests.c.id == number)).one_or_none()
    return None if row is None else _request(row)


def waiting_requests(store: Store) -> tuple[RunRequest, ...]:
    """The queue, the oldest first."""
    query = select(requests).where(requests.c.state == "waiting").order_by(requests.c.id)
    with store.read() as connection:
        return tuple(_request(row) for row in connection.execute(query).all())


def close_request(
    store: Store, number: int, state: str, *, run: int | None = None, message: str = ""
) -> None:
    """Say what became of a request."""
    with store.write() as connection:
        connection.execute(
            update(requests).where(requests.c.id == number).values(state=state, run=run, message=message)
        )


def reclaim(store: Store) -> None:
    """Let requests wait again that a worker took, and died before their run began."""
    begun = exists().where(runs.c.sync == requests.c.sync, runs.c.started_at >= requests.c.requested_at)
    taken = (requests.c.state == "taken") & requests.c.run.is_(None) & ~begun
    with store.write() as connection:
        connection.execute(update(requests).where(taken).values(state="waiting"))


def pause(project: Door, sync: str, by: str) -> None:
    """No run of this sync starts until somebody calls `resume`; a run under way goes on."""
    _set_state(project, sync, paused_by=by)


def resume(project: Door, sync: str) -> None:
    """Let a paused sync run again."""
    _set_state(project, sync, paused_by=None)


def paused_syncs(store: Store) -> frozenset[str]:
    """The syncs that somebody paused."""
    with store.read() as connection:
        found = connection.execute(select(syncs.c.sync).where(syncs.c.paused_by.is_not(None))).scalars()
        return frozenset(found)


def not_paused(connection: Connection, sync: str) -> None:
    """Raise SyncPaused, with who did it, where no run may start."""
    by = connection.execute(select(syncs.c.paused_by).where(syncs.c.sync == sync)).scalar()
    if by is not None:
        raise SyncPaused(f"sync {sync!r} was paused by {by}", hint="resume it on the sync's page")


def last_fire(store: Store, sync: str) -> datetime | None:
    """The newest scheduled moment that was honoured: by a run that began, or by `fired`."""
    began = select(func.max(runs.c.started_at)).where(runs.c.sync == sync, runs.c.trigger == "schedule")
    with store.read() as connection:
        told: datetime | None = connection.execute(
            select(syncs.c.last_fire).where(syncs.c.sync == sync)
        ).scalar()
        run: datetime | None = connection.execute(began).scalar()
    return max((moment for moment in (told, run) if moment is not None), default=None)


def fired(store: Store, sync: str, moment: datetime) -> None:
    """Remember that the schedule was honoured up to this moment."""
    with store.write() as connection:
        _upsert(connection, sync, {"last_fire": moment})


def _request(row: Row[Any]) -> RunRequest:
    return RunRequest(
        id=row.id,
        sync=row.sync,
        requested_by=row.requested_by,
        approval=row.approval,
        requested_at=row.requested_at,
        state=row.state,
        run=row.run,
        message=row.message or "",
        retry_of=row.retry_of,
        undo_of=row.undo_of,
        full=bool(row.full_resend),
        adopt=bool(row.adopt),
        plan=row.plan,
    )


def _waiting(connection: Connection, kind: Mapping[str, object], by: str) -> int | None:
    """The same request, if it waits already; an approval is the word of one person."""
    query = select(requests.c.id).where(requests.c.state == "waiting")
    for name, value in kind.items():
        query = query.where(requests.c[name].is_not_distinct_from(value))
    if kind["approval"] is not None:
        query = query.where(requests.c.requested_by == by)
    found: int | None = connection.execute(query.limit(1)).scalar()
    return found


def _has_run(connection: Connection, sync: str, run: int | None) -> None:
    if run is None:
        return
    whose = connection.execute(select(runs.c.sync).where(runs.c.id == run)).scalar()
    if whose != sync:
        raise UnknownSync(f"there is no run {run} of sync {sync!r}", hint="`runs` lists them")


def _set_state(project: Door, sync: str, **values: object) -> None:
    prepare(project.store)
    find_sync(project.content, sync)
    with project.store.write() as connection:
        _upsert(connection, sync, values)


def _upsert(connection: Connection, sync: str, values: dict[str, object]) -> None:
    if connection.execute(update(syncs).where(syncs.c.sync == sync).values(values)).rowcount == 0:
        connection.execute(insert(syncs).values(sync=sync, **values))
