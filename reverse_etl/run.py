"""One run of one sync, from the lease to the ledger.

plan → guard → deliver → settle; each step is repeatable, so that a run that was killed
anywhere is resumed, not restarted.
"""

import asyncio
import getpass
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Row, select

from connectors.protocol import DestinationStopped, Outcome
from reverse_etl.accounts import Account, open_account
from reverse_etl.ask_back import AsksBack
from reverse_etl.batches import Journal, calls_of
from reverse_etl.choose import BY_ITSELF, choose_plan, may_pass, still_held
from reverse_etl.counts import Counts, Verdicts, counts_from_json
from reverse_etl.deliver import Courier, Sent, deliver
from reverse_etl.guard import Trip
from reverse_etl.journal import (
    Order,
    State,
    advance,
    close_run,
    open_run,
    settle_run,
    unfinished_run,
)
from reverse_etl.lease import Lease, hold
from reverse_etl.ledger import Rest, settle
from reverse_etl.plans import find_plan, home, policy_digest, take
from reverse_etl.propose import Opens, run_folder
from reverse_etl.recover import recover
from reverse_etl.requests import not_paused, pause
from reverse_etl.source import Door, find_destination, find_sync, target_of, version_of
from reverse_etl.tables import prepare, runs
from reverse_etl.unwritable import files
from serving.content.sync import Sync
from serving.errors import SluiceError
from serving.store import utc_now


@dataclass(frozen=True)
class Watch:
    """How a caller looks on, and how it says stop; all calls come from the running thread."""

    on_plan: Callable[[Counts], None] = lambda counts: None
    on_note: Callable[[str], None] = lambda words: None  # why the plan is not the one that was looked at
    on_rows: Callable[[Sequence[Outcome]], None] = lambda outcomes: None
    on_wait: Callable[[float, str], None] = lambda seconds, reason: None
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
    replanned: str = ""

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


def run_sync(
    project: Door, name: str, order: Order, *, watch: Watch | None = None, opens: Opens = open_account
) -> RunReport:
    """Run a sync, or resume the run a crash left behind; SyncBusy if somebody else is at it.

    A run that was interrupted is finished first; an order that asks for more than "run" is
    carried out after that.
    """
    watch = watch or Watch()
    prepare(project.store)
    sync = find_sync(project.content, name)
    find_destination(project.content, sync)
    with hold(project.store, name) as lease:
        resumed = _resumed(project, sync, lease, watch, opens)
        if resumed is not None and (_plain(order) or resumed.state == "delivering"):
            return resumed
        if order.undo_of is None:  # an undo sends nothing of the source
            with project.store.read() as connection:
                not_paused(connection, name)
        if order.trigger in BY_ITSELF and (held := still_held(project, sync)) is not None:
            last, found = held
            counts = counts_from_json(last.counts)
            return RunReport(last.id, name, "guarded", counts, Verdicts(), 0, found)
        target = target_of(sync)
        number = open_run(project.store, name, target, order, version_of(project), watch.clock())
        try:
            return _Run(project, sync, lease, watch, opens(project, sync), number).start(order)
        except (SluiceError, DestinationStopped) as error:
            _fail_planning(project, number, error, watch.clock())
            raise


def _plain(order: Order) -> bool:
    special = (order.retry_of, order.undo_of, order.plan, order.approval)
    return not (order.full or order.adopt) and all(wish is None for wish in special)


def _resumed(project: Door, sync: Sync, lease: Lease, watch: Watch, opens: Opens) -> RunReport | None:
    left = unfinished_run(project.store, sync.name)
    if left is None:
        return None
    if left.state == "planning":
        words = "interrupted while planning, nothing was sent"
        close_run(project.store, left.id, "failed", watch.clock(), error=words)
        return None
    return _Run(project, sync, lease, watch, opens(project, sync), left.id).resume(left)


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
        plan, note = choose_plan(self.project, self.sync, self.account, order, self.watch.clock())
        if note:
            self.watch.on_note(note)
        with files(f"the plan of run {self.number}"):
            plan.link_into(self.folder)
        held = not may_pass(self.project, plan, order, self.number)
        now = self.watch.clock()
        take(self.project, plan, self.number, order, note, held=held, now=now)
        self.watch.on_plan(plan.counts)
        if held:
            none = Verdicts()
            return RunReport(
                self.number, self.sync.name, "guarded", plan.counts, none, 0, plan.trips, replanned=note
            )
        return self._deliver(plan.counts, plan.trips, note=note, undo_of=order.undo_of)

    def resume(self, left: Row[tuple[object, ...]]) -> RunReport:
        counts = counts_from_json(left.counts)
        if left.target != target_of(self.sync):
            reason = f"interrupted; the sync went to {left.target} then and goes elsewhere now"
            return self._settle(counts, (), Sent(0, complete=False, stopped=reason), resumed=True)
        self.watch.on_plan(counts)
        return self._deliver(counts, (), resumed=True, undo_of=left.undo_of, barred=self._barred(left))

    def _barred(self, left: Row[tuple[object, ...]]) -> str:
        """Why what is left of an interrupted run must be planned again; empty where it may leave.

        What was planned under another policy is no longer what its roles may see.
        """
        if left.plan is None or left.undo_of is not None:
            return ""
        if find_plan(self.project, left.plan).basis.policy == policy_digest(self.project):
            return ""
        return "the policy changed while the run was interrupted: the next run plans the rest again"

    def _deliver(
        self,
        counts: Counts,
        found: tuple[Trip, ...],
        *,
        resumed: bool = False,
        note: str = "",
        undo_of: int | None = None,
        barred: str = "",
    ) -> RunReport:
        sent = Sent(0, complete=True)
        if undo_of is not None:  # else the next run would send it all again
            pause(self.project, self.sync.name, f"the undo of run {undo_of}")
        if counts.to_send:
            journal = Journal(self.project.store, self.number, self.lease)
            sent = asyncio.run(self._send(journal, resumed=resumed, barred=barred))
        return self._settle(counts, found, sent, resumed=resumed, note=note)

    async def _send(self, journal: Journal, *, resumed: bool, barred: str) -> Sent:
        plan, destination = self.folder / "plan.parquet", self.account.destination
        try:
            opened = self.account.open_sender()
        except DestinationStopped as stopped:  # a credential is missing: nothing left yet
            if resumed:
                await recover(journal, plan, destination, None, self.watch.clock())
            return Sent(0, complete=False, stopped=str(stopped))
        async with opened as sender:
            if resumed:
                await recover(journal, plan, destination, sender, self.watch.clock())
            if barred:
                return Sent(0, complete=False, stopped=barred)
            courier = Courier(
                AsksBack(sender),
                destination,
                journal,
                self.watch.clock,
                self.watch.on_rows,
                self.watch.stop,
                self.account.concurrent,
                self.watch.on_wait,
            )
            return await deliver(plan, courier)

    def _settle(
        self, counts: Counts, found: tuple[Trip, ...], sent: Sent, *, resumed: bool, note: str = ""
    ) -> RunReport:
        store, now = self.project.store, self.watch.clock()
        interrupted = not sent.complete and not sent.stopped
        if not interrupted:
            advance(store, self.number, "settling")
        answers = Journal(store, self.number, self.lease).answered()
        rest = None if interrupted else Rest("deferred", sent.stopped or "not tried")
        new = home(self.project) / self.sync.name / f"ledger-{self.number}.parquet"
        with files(f"the ledger of run {self.number}"):
            settled = settle(self.folder, self._ledger_before(), new, answers, rest, self.number, now)
        verdicts = settled.verdicts
        state: State = "delivering"
        error = "stopped before the end: the next run resumes it"
        if not interrupted:
            if verdicts.total != counts.planned:
                raise AssertionError(f"run {self.number}: {counts.planned} rows planned, but {verdicts}")
            state, error = _judge(counts, verdicts, sent.stopped)
        file = None if settled.ledger is None else str(settled.ledger.relative_to(home(self.project)))
        settle_run(
            store, self.number, file, state, now, verdicts=verdicts, error=error or None, lease=self.lease
        )
        with store.read() as connection:
            calls = calls_of(connection, self.number)
        return RunReport(
            self.number, self.sync.name, state, counts, verdicts, calls, found, error, resumed, note
        )

    def _ledger_before(self) -> Path | None:
        with self.project.store.read() as connection:
            file = connection.execute(select(runs.c.ledger_before).where(runs.c.id == self.number)).scalar()
        return home(self.project) / file if file else None


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


def _fail_planning(project: Door, number: int, error: Exception, now: datetime) -> None:
    """A failure before anything left closes the run; later ones leave it to be resumed."""
    with project.store.read() as connection:
        state = connection.execute(select(runs.c.state).where(runs.c.id == number)).scalar_one()
    if state == "planning":
        close_run(project.store, number, "failed", now, error=str(error))
