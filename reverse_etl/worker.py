"""The process that runs syncs on their schedules, on request, after builds and after each other.

One per var directory. It holds no state of its own: fires, requests and runs are in the
control store, so that a worker that was killed goes on where it was. A fire it slept
through is made up for once.
"""

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from apscheduler.schedulers.background import BackgroundScheduler

from connectors.protocol import DestinationStopped
from reverse_etl import alerts, due, requests
from reverse_etl.errors import SyncBusy
from reverse_etl.journal import Order
from reverse_etl.lease import this_process
from reverse_etl.log_marts import refresh_log
from reverse_etl.requests import RunRequest, close_request
from reverse_etl.retention import forget_old
from reverse_etl.run import Watch, run_sync
from reverse_etl.schedule import trigger_of
from reverse_etl.tables import prepare
from reverse_etl.worker_status import WorkerStatus, beat, only_one, worker_status
from serving import Project
from serving.content.sync import AfterSync, Sync
from serving.errors import SluiceError
from serving.store import utc_now

__all__ = ["WorkerStatus", "work", "worker_status"]

TICK = 0.5  # seconds between looks at requests, builds and runs
BEAT = 2.0  # seconds between heartbeats: each one waits for the disk
CHORES = 10.0  # seconds between looks at alerts
BUSY = 3.0  # seconds until a sync that another process runs is asked for again
DAY = 86_400.0  # seconds between looks for files that nobody needs any more
AT_ONCE = 4  # syncs that run side by side
RANKS = {"high": 0, "normal": 1, "low": 2}

log = logging.getLogger("sluice.worker")


def work(project: Project, stop: threading.Event) -> None:
    """Run syncs until `stop` is set; batches in flight are finished. WorkerRunning for a second worker."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    for noisy in ("apscheduler", "httpx"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    with only_one(project.var):
        prepare(project.store)
        requests.reclaim(project.store)
        _Worker(project, stop).loop()


@dataclass(frozen=True)
class _Job:
    """A run that waits for its turn."""

    sync: str
    order: Order
    rank: int
    fired: datetime | None = None  # the scheduled moment it honours
    request: RunRequest | None = None


class _Worker:
    def __init__(self, project: Project, stop: threading.Event) -> None:
        self.project, self.stop = project, stop
        self.holder = this_process()
        self.started = time.monotonic()
        self.beaten, self.tidied, self.forgot = -BEAT, -CHORES, -DAY
        self.incidents: dict[str, str] = {}  # what it is about -> what went wrong last
        self.scheduled: dict[str, Sync] = {}
        self.asked: dict[str, tuple[str, int]] = {}  # sync -> build or run it was last started for
        self.waiting: dict[str, _Job] = {}  # at most one per sync, in the order they came
        self.running: set[str] = set()
        self.looked = False  # for interrupted runs
        self.patience: dict[str, float] = {}  # sync -> when to ask again, while another process runs it
        self.lock = threading.RLock()
        self.runs = ThreadPoolExecutor(AT_ONCE, "run")
        self.chores = ThreadPoolExecutor(1, "chores")
        self.tidying: Future[None] | None = None
        self.scheduler = BackgroundScheduler(
            # A late fire is a fire: the default would drop it after one second.
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
            timezone="UTC",
        )

    def loop(self) -> None:
        self.scheduler.start()
        log.info("worker started, process %s", os.getpid())
        try:
            while not self.stop.is_set():
                self._guarded(self._tick)
                self.stop.wait(TICK)
        finally:
            log.info("worker stops; batches in flight are finished")
            self.stop.set()
            self.scheduler.shutdown(wait=False)
            self.runs.shutdown(wait=True, cancel_futures=True)
            self.chores.shutdown(wait=True, cancel_futures=True)

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
        paused = requests.paused_syncs(self.project.store)
        for request in requests.waiting_requests(self.project.store):
            self._enqueue(request.sync, request.order, request=request)
        for sync in self.project.content.syncs.values():
            if sync.name not in paused:
                self._follow(sync)
        self._dispatch()
        self._tidy()
        self._beat()

    def _reschedule(self) -> None:
        """Make the scheduler's jobs what the files say; a broken schedule leaves the others alone."""
        wanted = dict(self.project.content.syncs)
        gone, new = self.scheduled.keys() - wanted.keys(), wanted.keys() - self.scheduled.keys()
        for name in gone:
            self._drop(name)
        if gone or new or not self.looked:
            self.looked = True
            self._resume_interrupted(new)
        for name, sync in wanted.items():
            if self.scheduled.get(name) == sync:
                continue
            self._drop(name)
            self.scheduled[name] = sync
            self._guarded(partial(self._schedule, sync), f"schedule of {name}")

    def _schedule(self, sync: Sync) -> None:
        store, now = self.project.store, utc_now()
        last = requests.last_fire(store, sync.name)
        trigger = trigger_of(sync, self.project.content.project.timezone, last or now)
        if last is None and sync.schedule is not None and sync.schedule.after != "build":
            requests.fired(store, sync.name, last := now)
        if trigger is None:
            return
        first = trigger.get_next_fire_time(last, last)
        begin = None if first is None else max(first, now)
        self.scheduler.add_job(self._fire, trigger, (sync.name,), id=sync.name, next_run_time=begin)

    def _drop(self, name: str) -> None:
        self.scheduled.pop(name, None)
        self.incidents.pop(f"schedule of {name}", None)
        if self.scheduler.get_job(name) is not None:
            self.scheduler.remove_job(name)

    def _resume_interrupted(self, new: set[str]) -> None:
        """Go on with runs that a crash left behind, of syncs that are there (again)."""
        for name in due.interrupted(self.project.store):
            about = f"run of {name}"
            if name in new:
                self.incidents.pop(about, None)
                self._enqueue(name, Order("worker", "schedule"))
            elif name not in self.project.content.syncs and name not in self.running:
                self.incidents[about] = (
                    f"a run of {name!r} was interrupted and its file is gone: it goes on when"
                    f" models/syncs/{name}.yml is back"
                )

    def _fire(self, name: str) -> None:
        now = utc_now()
        if name in requests.paused_syncs(self.project.store):
            requests.fired(self.project.store, name, now)  # nobody wants it made up for
            return
        self._enqueue(name, Order("schedule", "schedule"), fired=now)
        self._dispatch()

    def _follow(self, sync: Sync) -> None:
        """Start a sync that comes after a build or another sync; once for each, even if refused."""
        if sync.schedule is None or sync.schedule.after is None:
            return
        if isinstance(sync.schedule.after, AfterSync):
            parent = sync.schedule.after.sync
            found, kind = due.unfollowed_run(self.project.store, sync, parent), f"run of {parent}"
            order = Order(f"sync {parent}", "sync")
        else:
            found, kind, order = due.unseen_version(self.project, sync), "build", Order("build", "build")
        asked = self.asked.get(sync.name) == (kind, found)
        if found is not None and not asked and self._enqueue(sync.name, order):
            self.asked[sync.name] = (kind, found)

    def _enqueue(
        self, name: str, order: Order, *, fired: datetime | None = None, request: RunRequest | None = None
    ) -> bool:
        """Let a run wait for its turn; False where one waits that does for both.

        Requests wait in the store meanwhile, and each gets its own run.
        """
        sync = self.project.content.syncs.get(name)
        with self.lock:
            held = request is not None and name in self.running
            tired = fired is None and time.monotonic() < self.patience.get(name, 0.0)
            if name in self.waiting or held or tired:
                return False
            rank = RANKS[sync.priority if sync is not None else "normal"]
            self.waiting[name] = _Job(name, order, rank, fired, request)
            return True

    def _dispatch(self) -> None:
        """Start what waits, by priority, then by arrival."""
        with self.lock:
            for job in sorted(self.waiting.values(), key=lambda job: job.rank):
                if len(self.running) >= AT_ONCE or self.stop.is_set():
                    return
                if job.sync not in self.running:
                    del self.waiting[job.sync]
                    self.running.add(job.sync)
                    self.runs.submit(self._start, job)

    def _start(self, job: _Job) -> None:
        try:
            self._guarded(partial(self._run, job), job.sync)
            self._guarded(partial(alerts.look, self.project, job.sync), f"alerts of {job.sync}")
        finally:
            with self.lock:
                self.running.discard(job.sync)

    def _run(self, job: _Job) -> None:
        store, request = self.project.store, job.request
        if request is not None:
            close_request(store, request.id, "taken")
        try:
            report = run_sync(self.project, job.sync, job.order, watch=Watch(stop=self.stop.is_set))
        except SyncBusy as busy:
            log.info("%s", busy.problem)
            self.asked.pop(job.sync, None)
            self.patience[job.sync] = time.monotonic() + BUSY
            if request is not None:
                close_request(store, request.id, "waiting", message=busy.problem)
            return
        except (SluiceError, DestinationStopped) as error:
            log.error("sync %s: %s", job.sync, error)
            self.incidents[f"run of {job.sync}"] = f"sync {job.sync}: {error.problem}"
            if request is not None:
                close_request(store, request.id, "refused", message=str(error))
        else:
            self.incidents.pop(f"run of {job.sync}", None)
            words = report.error or report.verdicts
            log.info("sync %s run %s %s: %s", job.sync, report.run, report.state, words)
            if request is not None:
                close_request(store, request.id, "taken", run=report.run)
        if job.fired is not None:
            requests.fired(store, job.sync, job.fired)

    def _tidy(self) -> None:
        """Alerts and old files, in a thread of their own: a mail server may hang, the heart may not."""
        if time.monotonic() - self.tidied < CHORES or (self.tidying and not self.tidying.done()):
            return
        self.tidied = time.monotonic()
        self.tidying = self.chores.submit(self._chores)

    def _chores(self) -> None:
        self._guarded(partial(alerts.catch_up, self.project), "alerts")
        self._guarded(self._log, "sync log")
        if time.monotonic() - self.forgot >= DAY:
            self.forgot = time.monotonic()
            self._guarded(self._forget, "old files")

    def _log(self) -> None:
        refresh_log(self.project.store, self.project.var)

    def _forget(self) -> None:
        forgotten = forget_old(self.project, utc_now())
        log.info("removed the row files of %s old runs, %s bytes", forgotten.runs, forgotten.bytes)

    def _beat(self) -> None:
        if time.monotonic() - self.beaten < BEAT:
            return
        self.beaten = time.monotonic()
        problems = [*map(str, self.project.problems), *list(self.incidents.values())]
        beat(self.project.store, self.holder, utc_now(), time.monotonic() - self.started, "\n".join(problems))
