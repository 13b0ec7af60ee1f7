"""The worker's sign of life, for pages and for whoever wonders why nothing runs; and its lock."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import delete, insert, select

from reverse_etl.errors import WorkerRunning
from reverse_etl.lease import EXPIRY, Holder, is_dead
from reverse_etl.tables import prepare, worker
from serving.store import Store


@dataclass(frozen=True)
class WorkerStatus:
    """The worker as pages show it."""

    holder: Holder
    heartbeat: datetime
    uptime: float  # seconds
    alive: bool
    problem: str  # one line each: content that cannot be read, schedules, runs and alerts that wait


def worker_status(store: Store, now: datetime) -> WorkerStatus | None:
    """The worker of this var directory; None if there never was one."""
    prepare(store)
    with store.read() as connection:
        row = connection.execute(select(worker)).one_or_none()
    if row is None:
        return None
    holder = Holder(**json.loads(row.holder))
    alive = not is_dead(holder, row.heartbeat, now) and now - row.heartbeat < EXPIRY
    return WorkerStatus(holder, row.heartbeat, row.uptime, alive, row.problem or "")


def beat(store: Store, holder: Holder, now: datetime, uptime: float, problem: str) -> None:
    """Say that the worker is alive, and what troubles it."""
    row = {
        "id": 1,
        "holder": json.dumps(asdict(holder)),
        "heartbeat": now,
        "uptime": uptime,
        "problem": problem,
    }
    with store.write() as connection:
        connection.execute(delete(worker))
        connection.execute(insert(worker).values(row))


@contextmanager
def only_one(var: Path) -> Iterator[None]:
    """Hold the worker's place in this var directory; WorkerRunning where it is taken."""
    var.mkdir(parents=True, exist_ok=True)
    with (var / "worker.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkerRunning(
                f"{var} has a worker already", hint="one per var directory is enough"
            ) from None
        yield
