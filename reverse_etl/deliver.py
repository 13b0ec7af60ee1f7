"""A plan on its way out: batches streamed from the file, several at a time, journalled.

Memory does not grow with the plan. Removals come before the rest in a plan, and no batch
of one kind leaves before the last batch of another kind is answered, so that a record
removed under one key may come back under another.

The next batches are unpacked, and their intents written down, while others fly. Where
sending twice could do harm, an intent is written only when the batch can leave at once, so
that a crash leaves nothing in doubt that never left.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from connectors.outcomes import DeliveryStopped
from connectors.protocol import Change, Destination, Op, Outcome
from connectors.readback import Fetches
from reverse_etl.batches import Journal
from reverse_etl.errors import SyncError
from reverse_etl.scribe import Scribe
from reverse_etl.unpack import plan_batches

IN_VAIN = 3  # batches in a row that without any answer: the destination is down
LOOK = 0.2  # seconds between looks at `stop`


class Delivery(Protocol):
    """What the sender says about one batch."""

    @property
    def outcomes(self) -> Sequence[Outcome]: ...
    @property
    def calls(self) -> int: ...


class Sends(Fetches, Protocol):
    """The sender of an account."""

    async def send(self, destination: Destination, changes: Sequence[Change]) -> Delivery: ...


@runtime_checkable
class WindsDown(Protocol):
    """A sender that can be told to make no further call.

    Batches that wait end at once, their rows deferred; calls under way are finished.
    """

    def wind_down(self) -> None: ...


@runtime_checkable
class TellsWaits(Protocol):
    """A sender that tells for how many seconds it makes no call, and why."""

    def tell_waits(self, on_wait: Callable[[float, str], None]) -> None: ...


@dataclass(frozen=True)
class Sent:
    """How far a delivery came. `stopped`: why the rest was not tried; `complete`: all was."""

    calls: int
    complete: bool
    stopped: str = ""


@dataclass(frozen=True)
class Courier:
    """Everything a delivery needs beside its plan."""

    sender: Sends
    destination: Destination
    journal: Journal
    clock: Callable[[], datetime]
    on_rows: Callable[[Sequence[Outcome]], None] = lambda outcomes: None
    stop: Callable[[], bool] = lambda: False  # a person or the system wants the process to end
    concurrent: int | None = None  # tightens the destination's own
    on_wait: Callable[[float, str], None] = lambda seconds, reason: None


@dataclass(frozen=True, slots=True)
class _Parcel:
    """A batch, and its place in the journal where that is written down ahead."""

    changes: Sequence[Change]
    intent: tuple[int, asyncio.Future[None]] | None


@dataclass
class _Trip:
    """What the batches in flight have in common."""

    courier: Courier
    scribe: Scribe
    parcels: "asyncio.Queue[_Parcel]"
    calls: int = 0
    in_vain: int = 0
    stopped: str = ""  # the destination, or the lease, or the disk
    interrupted: bool = False  # a person or the system
    left: bool = False  # rows were not tried
    broken: list[BaseException] = field(default_factory=list)

    @property
    def over(self) -> bool:
        return bool(self.stopped or self.interrupted or self.broken)


async def deliver(plan: Path, courier: Courier) -> Sent:
    """Send what has no answer yet. Batches in flight are always awaited and written down.

    LeaseLost, StateUnwritable: nothing was sent after that, and the next run goes on.
    """
    capabilities = courier.destination.capabilities
    concurrent = min(capabilities.concurrent, courier.concurrent or capabilities.concurrent)
    trip = _Trip(courier, Scribe(courier.journal, courier.clock, concurrent), asyncio.Queue(2 * concurrent))
    if isinstance(courier.sender, TellsWaits):
        courier.sender.tell_waits(courier.on_wait)
    watching = asyncio.create_task(_watch(trip))
    carriers = [asyncio.create_task(_carry(trip)) for _ in range(concurrent)]
    try:
        await _load(plan, trip)
    except BaseException:
        trip.interrupted = True
        raise
    finally:
        await trip.parcels.join()
        for task in (watching, *carriers):
            task.cancel()
        await asyncio.gather(watching, *carriers, return_exceptions=True)
        await trip.scribe.finish()
    if trip.broken:
        raise trip.broken[0]
    return Sent(trip.calls, not trip.left and not trip.stopped, trip.stopped)


async def _load(plan: Path, trip: _Trip) -> None:
    """Batches in the order of the plan, one kind after the other."""
    capabilities = trip.courier.destination.capabilities
    journal = trip.courier.journal
    found = plan_batches(plan, capabilities.batch_rows, journal.answered_ranges(), journal.mark)
    op: Op | None = None
    async with aclosing(found) as batches:
        async for batch in batches:
            if batch[0].op != op:
                await trip.parcels.join()
                op = batch[0].op
            trip.interrupted = trip.interrupted or trip.courier.stop()
            if trip.over:
                trip.left = True
                return
            ahead = op in capabilities.resend
            intent = trip.scribe.intend(batch[0].seq, batch[-1].seq) if ahead else None
            await trip.parcels.put(_Parcel(batch, intent))


async def _carry(trip: _Trip) -> None:
    """Send one batch after the other. What goes wrong ends the delivery, not this loop."""
    while True:
        parcel = await trip.parcels.get()
        try:
            await _send(parcel, trip)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 (`deliver` raises it, when all that flies has landed)
            trip.broken.append(error)
        finally:
            trip.parcels.task_done()
        await asyncio.sleep(0)  # who has waited for the disk goes first: batches leave in the plan's order


async def _send(parcel: _Parcel, trip: _Trip) -> None:
    courier, scribe, batch = trip.courier, trip.scribe, parcel.changes
    trip.interrupted = trip.interrupted or courier.stop()
    if trip.over:
        trip.left = True
        if parcel.intent is not None:
            scribe.withdraw(parcel.intent[0], 0)
        return
    number, written = parcel.intent or scribe.intend(batch[0].seq, batch[-1].seq)
    try:
        await scribe.on_disk(written)
        await scribe.ready()
    except SyncError as error:  # the scribe raises it in the end
        trip.stopped = trip.stopped or error.problem
        return
    if trip.over:  # while the disk was busy
        trip.left = True
        scribe.withdraw(number, 0)
        return
    try:
        delivery: Delivery = await courier.sender.send(courier.destination, batch)
    except DeliveryStopped as stopped:
        trip.stopped = trip.stopped or str(stopped)
        delivery = stopped.delivery
    _landed(number, delivery, trip)


def _landed(number: int, delivery: Delivery, trip: _Trip) -> None:
    outcomes = delivery.outcomes
    trip.calls += delivery.calls
    answered = any(outcome.verdict in ("accepted", "rejected") for outcome in outcomes)
    if trip.interrupted and not answered:  # given up for our sake: the next run goes on with it
        trip.left = True
        if all(outcome.verdict == "deferred" for outcome in outcomes):
            trip.scribe.withdraw(number, delivery.calls)
        return
    trip.scribe.answer(number, outcomes, delivery.calls)
    trip.courier.on_rows(outcomes)
    trip.in_vain = 0 if answered else trip.in_vain + 1
    if trip.in_vain >= IN_VAIN and not trip.stopped:
        trip.stopped = f"the destination takes no rows: {outcomes[0].reason}"


async def _watch(trip: _Trip) -> None:
    """Look whether to stop although nothing lands."""
    sender = trip.courier.sender
    while not trip.interrupted:
        await asyncio.sleep(LOOK)
        trip.interrupted = trip.interrupted or trip.courier.stop()
    if isinstance(sender, WindsDown):
        sender.wind_down()
