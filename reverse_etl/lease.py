"""One run at a time per sync, across processes and machines.

A lease is a row with a heartbeat. A holder that died on this machine is replaced at once;
one elsewhere when its heartbeat is older than EXPIRY.
"""

import json
import os
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import OperationalError

from reverse_etl.errors import LeaseLost, SyncBusy
from reverse_etl.tables import leases
from serving.store import Store, utc_now

EXPIRY = timedelta(seconds=30)
BEAT = 5.0  # seconds between heartbeats


@dataclass(frozen=True)
class Holder:
    """A process, told apart from a later one that got the same number."""

    host: str
    pid: int
    started: str
    token: str  # one process may hold several leases, one after the other

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def this_process() -> Holder:
    """Who would hold a lease taken now."""
    return Holder(socket.gethostname(), os.getpid(), started_at(os.getpid()) or "", uuid.uuid4().hex)


def started_at(pid: int) -> str | None:
    """When a process of this machine was started, in the system's own words; None: it is gone."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            rest = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if rest[0] in "ZX" else rest[19]
    found = subprocess.run(
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None


def is_dead(holder: Holder, heartbeat: datetime, now: datetime) -> bool:
    """Whether nobody stands behind a lease any more."""
    if holder.host == socket.gethostname():
        return started_at(holder.pid) != holder.started
    return now - heartbeat > EXPIRY


class Lease:
    """A lease held by this process; `check` it in the transaction that must not happen without it."""

    def __init__(self, store: Store, sync: str, holder: Holder) -> None:
        self.sync = sync
        self._store = store
        self._holder = json.dumps(asdict(holder))
        self._lost = threading.Event()

    def check(self, connection: Connection) -> None:
        """Raise LeaseLost unless the row is still ours."""
        found = connection.execute(select(leases.c.holder).where(leases.c.sync == self.sync)).scalar()
        if found != self._holder or self._lost.is_set():
            raise LeaseLost(
                f"another process took over sync {self.sync!r}", hint="this one stops; the other one goes on"
            )

    def beat(self, now: datetime) -> None:
        """Say that the holder is alive."""
        ours = (leases.c.sync == self.sync) & (leases.c.holder == self._holder)
        with self._store.write() as connection:
            if connection.execute(update(leases).where(ours).values(heartbeat=now)).rowcount == 0:
                self._lost.set()


@contextmanager
def hold(store: Store, sync: str, clock: Callable[[], datetime] = utc_now) -> Iterator[Lease]:
    """Take the lease of a sync and keep it alive; SyncBusy if a living process has it."""
    holder = this_process()
    _take(store, sync, holder, clock())
    lease = Lease(store, sync, holder)
    done = threading.Event()
    beating = threading.Thread(target=_keep, args=(lease, done, clock), name=f"lease {sync}", daemon=True)
    beating.start()
    try:
        yield lease
    finally:
        done.set()
        beating.join()
        with store.write() as connection:
            ours = (leases.c.sync == sync) & (leases.c.holder == json.dumps(asdict(holder)))
            connection.execute(delete(leases).where(ours))


def holder_of(connection: Connection, sync: str, now: datetime) -> Holder | None:
    """The living process that runs the sync, if there is one."""
    row = connection.execute(select(leases).where(leases.c.sync == sync)).one_or_none()
    if row is None:
        return None
    holder = Holder(**json.loads(row.holder))
    return None if is_dead(holder, row.heartbeat, now) else holder


def _take(store: Store, sync: str, holder: Holder, now: datetime) -> None:
    with store.write() as connection:
        if (other := holder_of(connection, sync, now)) is not None:
            raise SyncBusy(f"sync {sync!r} is being run by {other}", hint="wait for it, or look at `runs`")
        connection.execute(delete(leases).where(leases.c.sync == sync))
        connection.execute(insert(leases).values(sync=sync, holder=json.dumps(asdict(holder)), heartbeat=now))


def _keep(lease: Lease, done: threading.Event, clock: Callable[[], datetime]) -> None:
    while not done.wait(BEAT):
        try:
            lease.beat(clock())
        except OperationalError:  # the store is busy: the next beat is early enough
            continue
