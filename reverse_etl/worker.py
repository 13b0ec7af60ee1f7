"""The process that runs syncs on their schedules, on request, and after builds.

One per var directory. It holds no state of its own: fires, requests and runs are in the
control store, so that a worker that was killed goes on where it was. A fire it slept
through is made up for once.
"""

import fcntl
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import delete, desc, insert, select

from connectors.protocol import DestinationStopped
from reverse_etl.errors import SyncBusy, WorkerRunning
from reverse_etl.journal import UNFINISHED, Order
from reverse_etl.lease import EXPIRY, Holder, is_dead, this_process
from reverse_etl.requests import RunRequest, close_request, fired, last_fire, waiting_requests
from reverse_etl.run import Watch, run_sync
from reverse_etl.schedule import trigger_of
from reverse_etl.source import version_of
from reverse_etl.tables import prepare, runs, worker
from serving import Project
from serving.content.sync import Sync
from serving.errors import SluiceError
from serving.store import Store, utc_now

TICK = 0.5  # seconds between looks at requests and builds
BEAT = 2.0  # seconds between heartbeats: each one waits for the disk
AT_ONCE = 4  # syncs that run side by side

log = logging.getLogger("sluice.worker")


@dataclass(frozen=True)
class WorkerStatus:
    """The worker as pages show it."""

    holder: Holder
    heartbeat: datetime
    uptime: float  # seconds
    alive: bool
    problem: str


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


def work(project: Project, stop: threading.Event) -> None:
    """Run syncs until `stop` is set; batches in flight are finished. WorkerRunning for a second worker."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("apscheduler").setLevel(logging.WARNING)
    with _only_one(project.var):
        prepare(project.store)
        _Worker(project, stop).loop()


class _Worker:
    def __init__(self, project: Project, stop: threading.Event) -> None:
        self.project, self.stop = project, stop
        self.holder = this_process()
        self.started = time.monotonic()
        self.beaten = -BEAT
        self.incidents: dict[str, str] = {}  # sync, or "worker" -> what went wrong last
        self.scheduled: dict[str, Sync] = {}
        self.builds: dict[str, int] = {}  # sync -> version it was last started for
        self.busy: set[str] = set()
        self.scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(AT_ONCE)},
            # A late fire is a fire: the default would drop it after one second.
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
            timezone="UTC",
        )

    def loop(self) -> None:
        self.scheduler.start()
        log.info("worker started, process %s", os.getpid())
        try:
            self._guarded(self._resume_interrupted)
            while not self.stop.is_set():
                self._guarded(self._tick)
                self.stop.wait(TICK)
        finally:
            log.info("worker stops; batches in flight are finished")
            self.stop.set()
            self.scheduler.shutdown(wait=True)

    def _guarded(self, step: Callable[[], None], about: str = "worker") -> None:
        """The one place that survives anything: a worker that is gone helps nobody."""
        try:
            step()
        except SluiceError as error:
            self.incidents[about] = str(error)
            log.error("%s", error)
        except Exception:
            incident = uuid.uuid4().hex[:8]
            self.incidents[about] = f"{about}: incident {incident}, see the worker's log"
            log.exception("incident %s", incident)
        else:
            self.incidents.pop(about, None)

    def _tick(self) -> None:
        self.project.refresh()
        self._reschedule()
        for request in waiting_requests(self.project.store):
            self._take(request)
        for sync in self.project.content.syncs.values():
            if sync.schedule is not None and sync.schedule.after == "build":
                self._after_build(sync)
        self._beat()

    def _reschedule(self) -> None:
        """Make the scheduler's jobs what the files say; a broken schedule leaves the others alone."""
        wanted = dict(self.project.content.syncs)
        for name in self.scheduled.keys() - wanted.keys():
            self._drop(name)
        for name, sync in wanted.items():
            if self.scheduled.get(name) == sync:
                continue
            self._drop(name)
            self.scheduled[name] = sync
            self._guarded(partial(self._schedule, sync), f"schedule of {name}")

    def _schedule(self, sync: Sync) -> None:
        now = utc_now()
        last = last_fire(self.project.store, sync.name)
        trigger = trigger_of(sync, self.project.content.project.timezone, last or now)
        if trigger is None:
            return
        if last is None:
            fired(self.project.store, sync.name, last := now)
        due = trigger.get_next_fire_time(last, last)
        first = None if due is None else max(due, now)
        order = Order("schedule", "schedule")
        self.scheduler.add_job(self._fire, trigger, (sync.name, order), id=sync.name, next_run_time=first)

    def _drop(self, name: str) -> None:
        self.scheduled.pop(name, None)
        self.incidents.pop(f"schedule of {name}", None)
        if self.scheduler.get_job(name) is not None:
            self.scheduler.remove_job(name)

    def _fire(self, name: str, order: Order) -> None:
        fired(self.project.store, name, utc_now())
        self._guarded(lambda: self._run(name, order), name)

    def _take(self, request: RunRequest) -> None:
        if request.sync in self.busy:
            return
        close_request(self.project.store, request.id, "taken")
        order = Order(request.requested_by, "request", approval=request.approval)
        self._soon(request.sync, f"request {request.id}", order, request)

    def _soon(self, name: str, job: str, order: Order, request: RunRequest | None = None) -> None:
        if name in self.busy:
            self.builds.pop(name, None)  # asked again when the run under way has ended
            return
        self.busy.add(name)

        def start() -> None:
            try:
                self._guarded(lambda: self._run(name, order, request), name)
            finally:
                self.busy.discard(name)

        self.scheduler.add_job(start, id=f"{name}: {job}", next_run_time=utc_now())

    def _run(self, name: str, order: Order, request: RunRequest | None = None) -> None:
        store = self.project.store
        try:
            report = run_sync(self.project, name, order, watch=Watch(stop=self.stop.is_set))
        except SyncBusy as busy:
            log.info("%s", busy.problem)
            self.builds.pop(name, None)
            if request is not None:
                close_request(store, request.id, "waiting", message=busy.problem)
        except (SluiceError, DestinationStopped) as error:
            log.error("sync %s: %s", name, error)
            if request is not None:
                close_request(store, request.id, "refused", message=str(error))
        else:
            log.info("sync %s run %s %s: %s", name, report.run, report.state, report.error or report.verdicts)
            if request is not None:
                close_request(store, request.id, "taken", run=report.run)

    def _resume_interrupted(self) -> None:
        with self.project.store.read() as connection:
            names = (
                connection.execute(select(runs.c.sync).where(runs.c.state.in_(UNFINISHED)).distinct())
                .scalars()
                .all()
            )
        for name in names:
            if name in self.project.content.syncs:
                self._soon(name, "resume", Order("worker", "schedule"))

    def _after_build(self, sync: Sync) -> None:
        """Run the sync if the marts changed since its newest run; once per version, even if refused."""
        query = select(runs.c.version).where(runs.c.sync == sync.name).order_by(desc(runs.c.id)).limit(1)
        with self.project.store.read() as connection:
            seen = connection.execute(query).scalar()
        current = version_of(self.project)
        if current is not None and current not in (seen, self.builds.get(sync.name)):
            self.builds[sync.name] = current
            self._soon(sync.name, "build", Order("build", "build"))

    def _beat(self) -> None:
        if time.monotonic() - self.beaten < BEAT:
            return
        self.beaten = time.monotonic()
        row = {
            "id": 1,
            "holder": json.dumps(asdict(self.holder)),
            "heartbeat": utc_now(),
            "uptime": time.monotonic() - self.started,
            "problem": "\n".join([*map(str, self.project.problems), *self.incidents.values()]),
        }
        with self.project.store.write() as connection:
            connection.execute(delete(worker))
            connection.execute(insert(worker).values(row))


@contextmanager
def _only_one(var: Path) -> Iterator[None]:
    var.mkdir(parents=True, exist_ok=True)
    with (var / "worker.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkerRunning(
                f"{var} has a worker already", hint="one per var directory is enough"
            ) from None
        yield
