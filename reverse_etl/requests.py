"""What people ask of syncs from a page or a program: run now, pause, go on."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from reverse_etl.source import Door, find_sync
from reverse_etl.tables import prepare, requests, syncs
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


def request_run(
    project: Door, sync: str, by: str, approval: str | None = None, *, clock: Clock = utc_now
) -> int:
    """Put a run into the worker's queue; the request's number. UnknownSync for a stranger."""
    prepare(project.store)
    find_sync(project.content, sync)
    row = {
        "sync": sync,
        "requested_by": by,
        "approval": approval,
        "requested_at": clock(),
        "state": "waiting",
    }
    with project.store.write() as connection:
        added = connection.execute(insert(requests).values(row))
        return int(added.inserted_primary_key[0])  # type: ignore[index]


def find_request(project: Door, number: int) -> RunRequest | None:
    """A request and what became of it."""
    prepare(project.store)
    with project.store.read() as connection:
        row = connection.execute(select(requests).where(requests.c.id == number)).one_or_none()
    if row is None:
        return None
    return RunRequest(
        row.id,
        row.sync,
        row.requested_by,
        row.approval,
        row.requested_at,
        row.state,
        row.run,
        row.message or "",
    )


def waiting_requests(store: Store) -> tuple[RunRequest, ...]:
    """The queue, the oldest first."""
    query = select(requests).where(requests.c.state == "waiting").order_by(requests.c.id)
    with store.read() as connection:
        rows = connection.execute(query).all()
    return tuple(
        RunRequest(r.id, r.sync, r.requested_by, r.approval, r.requested_at, r.state, r.run, r.message or "")
        for r in rows
    )


def close_request(
    store: Store, number: int, state: str, *, run: int | None = None, message: str = ""
) -> None:
    """Say what became of a request."""
    with store.write() as connection:
        connection.execute(
            update(requests).where(requests.c.id == number).values(state=state, run=run, message=message)
        )


def pause(project: Door, sync: str, by: str) -> None:
    """No run of this sync starts until somebody calls `resume`; a run under way goes on."""
    _set_state(project, sync, paused_by=by)


def resume(project: Door, sync: str) -> None:
    """Let a paused sync run again."""
    _set_state(project, sync, paused_by=None)


def last_fire(store: Store, sync: str) -> datetime | None:
    """The newest scheduled moment that was honoured."""
    with store.read() as connection:
        return connection.execute(select(syncs.c.last_fire).where(syncs.c.sync == sync)).scalar()


def fired(store: Store, sync: str, moment: datetime) -> None:
    """Remember that the schedule was honoured up to this moment."""
    with store.write() as connection:
        _upsert(connection, sync, {"last_fire": moment})


def _set_state(project: Door, sync: str, **values: object) -> None:
    prepare(project.store)
    find_sync(project.content, sync)
    with project.store.write() as connection:
        _upsert(connection, sync, values)


def _upsert(connection: Connection, sync: str, values: dict[str, object]) -> None:
    if connection.execute(update(syncs).where(syncs.c.sync == sync).values(values)).rowcount == 0:
        connection.execute(insert(syncs).values(sync=sync, **values))
