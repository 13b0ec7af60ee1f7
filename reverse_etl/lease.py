"""One run at a time per sync, across processes and machines.

A lease is a row with a heartbeat. A holder that died on this machine is replaced at once;
one that cannot be looked at from here when its heartbeat stood still for EXPIRY.
"""

import json
import os
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update
from sqlalchemy.exc import OperationalError

from reverse_etl.errors import LeaseLost, StateUnwritable, SyncBusy
from reverse_etl.tables import leases
from reverse_etl.unwritable import reading, writing
from serving.store import Store, utc_now

EXPIRY = timedelta(seconds=30)
BEAT = 5.0  # seconds between heartbeats
TRUST = 15.0  # seconds after a renewal in which nobody can have taken the lease: half of EXPIRY

_ended: set[str] = set()  # tokens of this process that hold nothing any more, whatever the store says


@dataclass(frozen=True)
class Holder:
    """A process, told apart from a later one that got the same number."""

    host: str
    pid: int
    started: str
    token: str  # one process may hold several leases, one after the other
    machine: str = ""  # whose process numbers these are; "": written before there was this field

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def this_process() -> Holder:
    """Who would hold a lease taken now."""
    pid = os.getpid()
    return Holder(socket.gethostname(), pid, started_at(pid) or "", uuid.uuid4().hex, this_machine())


@cache
def this_machine() -> str:
    """Tells whether a process can be looked at from here: this boot, and these process numbers.

    A renamed host stays the same; two containers with one host name are two.
    """
    boot = Path("/proc/sys/kernel/random/boot_id")
    try:
        return f"{boot.read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # no Linux: host names must do
        return socket.gethostname()


def steady() -> float:
    """Seconds that go on through changes of the clock, and through sleep where the system can say."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


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
    if not _is_elsewhere(holder):
        return holder.token in _ended or started_at(holder.pid) != holder.started
    return abs(now - heartbeat) > EXPIRY  # one from the future stems from a clock that was wrong


_RENEW = (
    update(leases)
    .where(leases.c.sync == bindparam("of"), leases.c.holder == bindparam("held"))
    .values(heartbeat=bindparam("now"))
)


class Lease:
    """A lease held by this process; `renew` it in the transaction that must not happen without it."""

    def __init__(
        self, store: Store, sync: str, holder: Holder, elapsed: Callable[[], float] = steady
    ) -> None:
        self.sync = sync
        self._store = store
        self._holder = json.dumps(asdict(holder))
        self._elapsed = elapsed
        self._renewed = elapsed()
        self._lost = threading.Event()

    @property
    def certain(self) -> bool:
        """Whether nobody can have taken the lease since it was last renewed."""
        return not self._lost.is_set() and self._elapsed() - self._renewed < TRUST

    def check(self, connection: Connection) -> None:
        """Raise LeaseLost unless the row is still ours."""
        found = connection.execute(select(leases.c.holder).where(leases.c.sync == self.sync)).scalar()
        if found != self._holder or self._lost.is_set():
            self._gone()

    def renew(self, connection: Connection, now: datetime) -> None:
        """A heartbeat within a transaction; LeaseLost unless the row is still ours."""
        started = self._elapsed()
        changed = connection.execute(_RENEW, {"of": self.sync, "held": self._holder, "now": now}).rowcount
        if changed == 0 or self._lost.is_set():
            self._gone()
        self._renewed = started

    def beat(self, now: datetime) -> None:
        """Say that the holder is alive; a lease that is gone is only remembered."""
        try:
            with self._store.write() as connection:
                self.renew(connection, now)
        except LeaseLost:
            return

    def _gone(self) -> NoReturn:
        self._lost.set()
        raise LeaseLost(
            f"another process took over sync {self.sync!r}", hint="this one stops; the other one goes on"
        )


@contextmanager
def hold(
    store: Store,
    sync: str,
    clock: Callable[[], datetime] = utc_now,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Lease]:
    """Take the lease of a sync and keep it alive; SyncBusy if a living process has it."""
    holder = this_process()
    _take(store, sync, holder, clock, sleep)
    lease = Lease(store, sync, holder)
    done = threading.Event()
    beating = threading.Thread(target=_keep, args=(lease, done, clock), name=f"lease {sync}", daemon=True)
    beating.start()
    try:
        yield lease
    finally:
        done.set()
        _ended.add(holder.token)  # the row may outlive a store that is locked now
        beating.join()
        if _release(store, sync, holder):
            _ended.discard(holder.token)


def holder_of(connection: Connection, sync: str, now: datetime) -> Holder | None:
    """The living process that runs the sync, if there is one."""
    row = connection.execute(select(leases).where(leases.c.sync == sync)).one_or_none()
    if row is None:
        return None
    holder = Holder(**json.loads(row.holder))
    return None if is_dead(holder, row.heartbeat, now) else holder


def _take(
    store: Store, sync: str, holder: Holder, clock: Callable[[], datetime], sleep: Callable[[float], None]
) -> None:
    with reading(store) as connection:
        seen = connection.execute(select(leases).where(leases.c.sync == sync)).one_or_none()
    if seen is not None and _is_elsewhere(Holder(**json.loads(seen.holder))) and _is_stale(seen, clock()):
        sleep(2 * BEAT)  # a clock that jumped makes a living holder look dead until its next heartbeat
    with writing(store) as connection:
        row = connection.execute(select(leases).where(leases.c.sync == sync)).one_or_none()
        if row is not None:
            other = Holder(**json.loads(row.holder))
            beaten = seen is None or (row.holder, row.heartbeat) != (seen.holder, seen.heartbeat)
            if not _is_stale(row, clock()) or (_is_elsewhere(other) and beaten):
                raise SyncBusy(
                    f"sync {sync!r} is being run by {other}", hint="wait for it, or look at `runs`"
                )
            connection.execute(delete(leases).where(leases.c.sync == sync))
        values = {"sync": sync, "holder": json.dumps(asdict(holder)), "heartbeat": clock()}
        connection.execute(insert(leases).values(values))


def _is_elsewhere(holder: Holder) -> bool:
    if not holder.machine:
        return holder.host != socket.gethostname()
    return holder.machine != this_machine()


def _is_stale(row: Row[Any], now: datetime) -> bool:
    return is_dead(Holder(**json.loads(row.holder)), row.heartbeat, now)


def _release(store: Store, sync: str, holder: Holder) -> bool:
    ours = (leases.c.sync == sync) & (leases.c.holder == json.dumps(asdict(holder)))
    try:
        with writing(store) as connection:
            connection.execute(delete(leases).where(ours))
    except StateUnwritable:  # what went wrong before matters more; nobody stands behind the row
        return False
    return True


def _keep(lease: Lease, done: threading.Event, clock: Callable[[], datetime]) -> None:
    while not done.wait(BEAT):
        try:
            lease.beat(clock())
        except OperationalError:  # the store is busy: the next beat is early enough
            continue
