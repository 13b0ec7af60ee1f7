"""One run of one sync, from the lease to the ledger.

plan → guard → deliver → settle; each step is repeatable, so that a run that was killed
anywhere is resumed, not restarted.
"""

import asyncio
import getpass
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq
from sqlalchemy import Row, select

from connectors.protocol import Destination, DestinationStopped, Outcome
from reverse_etl.accounts import Account, open_account
from reverse_etl.counts import Counts, Verdicts, counts_from_json
from reverse_etl.deliver import Courier, Sent, deliver
from reverse_etl.errors import MappingInvalid, SyncPaused, UnknownSync
from reverse_etl.guard import Trip, trips
from reverse_etl.journal import (
    Journal,
    Order,
    State,
    advance,
    calls_of,
    close_run,
    open_run,
    planned,
    settle_run,
    unfinished_run,
)
from reverse_etl.lease import Lease, hold
from reverse_etl.ledger import Rest, settle
from reverse_etl.plan import Intent, Plan, make_plan, removal_of
from reverse_etl.source import Door, ask_source, find_destination, find_sync, target_of, version_of
from reverse_etl.tables import ledgers, prepare, runs, syncs
from serving.content.sync import Sync
from serving.errors import SluiceError
from serving.store import utc_now

PREVIEW_SECONDS = 3600.0

Opens = Callable[[Door, Sync], Account]


@dataclass(frozen=True)
class Watch:
    """How a caller looks on, and how it says stop; all calls come from the running thread."""

    on_plan: Callable[[Counts], None] = lambda counts: None
    on_rows: Callable[[Sequence[Outcome]], None] = lambda outcomes: None
    stop: Callable[[], bool] = lambda: False
    clock: Callable[[], datetime] = utc_now


@dataclass(frozen=True)
class RunReport:
    """How a run ended. planned = accepted + rejected + deferred + unknown once it is closed."""

    run: int
    sync: str
    state: State
    counts: Counts
    verdicts: Verdicts
    calls: int
    trips: tuple[Trip, ...] = ()
    error: str = ""
    resumed: bool = False

    @property
    def ok(self) -> bool:
        """Whether nobody has to act; rejected rows alone do not make a run fail."""
        return self.state == "done"


def person() -> str:
    """The name of whoever runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def plan_sync(
    project: Door, name: str, *, full: bool = False, opens: Opens = open_account, now: datetime
) -> Plan:
    """What `run` would do now, as files that live for an hour; nothing is sent or recorded."""
    prepare(project.store)
    sync = find_sync(project.content, name)
    with project.store.read() as connection:
        file = connection.execute(
            select(ledgers.c.file).where(ledgers.c.sync == name, ledgers.c.target == target_of(sync))
        ).scalar()
    intent = _intent(project, sync, opens(project, sync).destination, Order(person(), full=full), now)
    table, _ = ask_source(project, sync)
    home = project.var / "syncs"
    folder = home / name / "previews" / uuid.uuid4().hex
    _forget_previews(folder.parent, now)
    return make_plan(sync, table, home / file if file else None, folder, intent)


def run_sync(
    project: Door, name: str, order: Order, *, watch: Watch | None = None, opens: Opens = open_account
) -> RunReport:
    """Run a sync, or resume the run a crash left behind; SyncBusy if somebody else is at it."""
    watch = watch or Watch()
    prepare(project.store)
    sync = find_sync(project.content, name)
    find_destination(project.content, sync)
    _not_paused(project, name, order)
    with hold(project.store, name) as lease:
        left = unfinished_run(project.store, name)
        if left is not None and left.state == "planning":
            close_run(
                project.store,
                left.id,
                "failed",
                watch.clock(),
                error="interrupted while planning, nothing was sent",
            )
        elif left is not None:
            return _Run(project, sync, lease, watch, opens(project, sync), left.id).resume(left)
        now = watch.clock()
        number = open_run(project.store, name, target_of(sync), order, version_of(project), now)
        try:
            account = opens(project, sync)
            return _Run(project, sync, lease, watch, account, number).start(order)
        except SluiceError as error:
            _fail_planning(project, number, error, watch.clock())
            raise


@dataclass(frozen=True)
class _Run:
    project: Door
    sync: Sync
    lease: Lease
    watch: Watch
    account: Account
    number: int

    @property
    def folder(self) -> Path:
        return run_folder(self.project, self.sync.name, self.number)

    def start(self, order: Order) -> RunReport:
        table, version = ask_source(self.project, self.sync)
        now = self.watch.clock()
        intent = _intent(self.project, self.sync, self.account.destination, order, now)
        plan = make_plan(self.sync, table, self._ledger_before(), self.folder, intent)
        del table  # the plan has what is sent; ten million rows need not stay in memory
        found = trips(plan.counts, self.sync.guard)
        held = bool(found) and order.approval is None
        state: State = "guarded" if held else "delivering"
        planned(self.project.store, self.number, plan.counts, version, state, found)
        self.watch.on_plan(plan.counts)
        if held:
            close_run(self.project.store, self.number, "guarded", now)
            return RunReport(self.number, self.sync.name, "guarded", plan.counts, Verdicts(), 0, found)
        return self._deliver(plan.counts, found, resumed=False)

    def resume(self, left: Row[tuple[object, ...]]) -> RunReport:
        counts = counts_from_json(left.counts)
        if left.target != target_of(self.sync):
            reason = f"interrupted; the sync went to {left.target} then and goes elsewhere now"
            return self._settle(counts, (), Sent(0, complete=False, stopped=reason), resumed=True)
        self.watch.on_plan(counts)
        journal = Journal(self.project.store, self.number, self.lease)
        safe = "upsert" in self.account.destination.capabilities.resend
        journal.recover(safe_to_resend=safe, now=self.watch.clock())
        return self._deliver(counts, (), resumed=True)

    def _deliver(self, counts: Counts, found: tuple[Trip, ...], *, resumed: bool) -> RunReport:
        sent = Sent(0, complete=True)
        if counts.to_send:
            journal = Journal(self.project.store, self.number, self.lease)
            sent = asyncio.run(self._send(journal))
        return self._settle(counts, found, sent, resumed=resumed)

    async def _send(self, journal: Journal) -> Sent:
        try:
            opened = self.account.open_sender()
        except DestinationStopped as stopped:  # a credential is missing: nothing left yet
            return Sent(0, complete=False, stopped=str(stopped))
        async with opened as sender:
            courier = Courier(
                sender,
                self.account.destination,
                journal,
                self.watch.clock,
                self.watch.on_rows,
                self.watch.stop,
                self.account.concurrent,
            )
            return await deliver(self.folder / "plan.parquet", courier)

    def _settle(self, counts: Counts, found: tuple[Trip, ...], sent: Sent, *, resumed: bool) -> RunReport:
        store, now = self.project.store, self.watch.clock()
        interrupted = not sent.complete and not sent.stopped
        if not interrupted:
            advance(store, self.number, "settling")
        answers = Journal(store, self.number, self.lease).answered()
        rest = None if interrupted else Rest("deferred", sent.stopped or "not tried")
        new = self._home / self.sync.name / f"ledger-{self.number}.parquet"
        settled = settle(self.folder, self._ledger_before(), new, answers, rest, self.number, now)
        verdicts = settled.verdicts
        state: State = "delivering"
        error = "stopped before the end: the next run resumes it"
        if not interrupted:
            if verdicts.total != counts.planned:
                raise AssertionError(f"run {self.number}: {counts.planned} rows planned, but {verdicts}")
            state, error = _judge(counts, verdicts, sent.stopped)
        file = None if settled.ledger is None else str(settled.ledger.relative_to(self._home))
        settle_run(
            store, self.number, file, state, now, verdicts=verdicts, error=error or None, lease=self.lease
        )
        with store.read() as connection:
            calls = calls_of(connection, self.number)
        return RunReport(self.number, self.sync.name, state, counts, verdicts, calls, found, error, resumed)

    @property
    def _home(self) -> Path:
        return self.project.var / "syncs"

    def _ledger_before(self) -> Path | None:
        with self.project.store.read() as connection:
            file = connection.execute(select(runs.c.ledger_before).where(runs.c.id == self.number)).scalar()
        return self._home / file if file else None


def _forget_previews(folder: Path, now: datetime) -> None:
    if folder.exists():
        for old in folder.iterdir():
            if now.timestamp() - old.stat().st_mtime > PREVIEW_SECONDS:
                shutil.rmtree(old, ignore_errors=True)


def run_folder(project: Door, sync: str, number: int) -> Path:
    """Where the files of a run are."""
    return project.var / "syncs" / sync / str(number)


def _judge(counts: Counts, verdicts: Verdicts, stopped: str) -> tuple[State, str]:
    """A run is done when everything was tried and answered, and not all of its news was refused."""
    if stopped:
        return "failed", stopped
    if verdicts.deferred or verdicts.unknown:
        undelivered = f"{verdicts.deferred:,} rows deferred, {verdicts.unknown:,} unknown"
        return "failed", f"{undelivered}: the next run takes them up again where that is safe"
    if counts.to_send > counts.retry and not verdicts.accepted:
        return "failed", f"none of {counts.to_send:,} rows was accepted; `show` groups the reasons"
    return "done", ""


def _intent(project: Door, sync: Sync, destination: Destination, order: Order, now: datetime) -> Intent:
    capabilities = destination.capabilities
    needed = {"upsert", removal_of(sync) or "upsert"}
    if missing := sorted(needed - capabilities.ops):
        at = sync.at("on_removed" if "upsert" not in missing else "object")
        raise MappingInvalid(
            f"{at}: {sync.destination}/{sync.object} cannot {missing[0]}",
            hint=f"it can {', '.join(sorted(capabilities.ops))}",
        )
    forced = _not_accepted(project, sync, order.retry_of) if order.retry_of is not None else ()
    return Intent(now, capabilities.resend, order.full, forced)


def _not_accepted(project: Door, sync: Sync, run: int) -> tuple[str, ...]:
    outcomes = run_folder(project, sync.name, run) / "outcomes.parquet"
    if not outcomes.exists():
        raise UnknownSync(f"run {run} of {sync.name!r} has no outcomes to retry", hint="see `runs`")
    wanted = ["rejected", "deferred", "unknown"]
    table = pq.read_table(outcomes, columns=["key"], filters=[("verdict", "in", wanted)])
    return tuple(key for key in table.column("key").to_pylist() if key is not None)


def _not_paused(project: Door, name: str, order: Order) -> None:
    with project.store.read() as connection:
        by = connection.execute(select(syncs.c.paused_by).where(syncs.c.sync == name)).scalar()
    if by is not None:
        raise SyncPaused(f"sync {name!r} was paused by {by}", hint="resume it on the sync's page")


def _fail_planning(project: Door, number: int, error: SluiceError, now: datetime) -> None:
    """A failure before anything left closes the run; later ones leave it to be resumed."""
    with project.store.read() as connection:
        state = connection.execute(select(runs.c.state).where(runs.c.id == number)).scalar_one()
    if state == "planning":
        close_run(project.store, number, "failed", now, error=str(error))
