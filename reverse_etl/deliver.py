"""A plan on its way out: batches streamed from the file, several at a time, journalled.

Memory does not grow with the plan. Removals come before the rest in a plan, and no batch
of one kind leaves before the last batch of another kind is answered, so that a record
removed under one key may come back under another.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

import pyarrow.parquet as pq

from connectors.outcomes import DeliveryStopped
from connectors.protocol import Change, Destination, Op, Outcome
from reverse_etl.journal import Journal

IN_VAIN = 3  # batches in a row that without any answer: the destination is down


class Delivery(Protocol):
    """What the sender says about one batch."""

    @property
    def outcomes(self) -> Sequence[Outcome]: ...
    @property
    def calls(self) -> int: ...


class Sends(Protocol):
    """The sender of an account."""

    async def send(self, destination: Destination, changes: Sequence[Change]) -> Delivery: ...


@dataclass(frozen=True)
class Sent:
    """How far a delivery came. `stopped`: why the rest was not tried; `complete`: all was."""

    calls: int
    complete: bool
    stopped: str = ""


@dataclass
class _Progress:
    """What the batches in flight have in common."""

    calls: int = 0
    in_vain: int = 0
    stopped: str = ""
    flying: set[asyncio.Task[None]] = field(default_factory=set)


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


async def deliver(plan: Path, courier: Courier) -> Sent:
    """Send what has no answer yet. Batches in flight are always awaited and written down."""
    capabilities = courier.destination.capabilities
    concurrent = min(capabilities.concurrent, courier.concurrent or capabilities.concurrent)
    progress = _Progress()
    flying_op: Op | None = None
    complete = True
    try:
        for batch in batches(plan, capabilities.batch_rows, courier.journal.answered_ranges()):
            room = 1 if batch[0].op != flying_op else concurrent
            flying_op = batch[0].op
            while len(progress.flying) >= room:
                await _landed(progress.flying)
            if progress.stopped or courier.stop():
                complete = False
                break
            progress.flying.add(asyncio.create_task(_send(batch, courier, progress)))
    finally:
        while progress.flying:
            await _landed(progress.flying)
    return Sent(progress.calls, complete and not progress.stopped, progress.stopped)


async def _landed(flying: set[asyncio.Task[None]]) -> None:
    done, _ = await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
    flying -= done
    for task in done:
        task.result()


async def _send(batch: Sequence[Change], courier: Courier, progress: _Progress) -> None:
    number = courier.journal.intend(batch[0].seq, batch[-1].seq, courier.clock())
    try:
        delivery: Delivery = await courier.sender.send(courier.destination, batch)
    except DeliveryStopped as stopped:
        progress.stopped = progress.stopped or str(stopped)
        delivery = stopped.delivery
    outcomes = delivery.outcomes
    courier.journal.answer(number, outcomes, delivery.calls, courier.clock())
    progress.calls += delivery.calls
    courier.on_rows(outcomes)
    answered = any(outcome.verdict in ("accepted", "rejected") for outcome in outcomes)
    progress.in_vain = 0 if answered else progress.in_vain + 1
    if progress.in_vain >= IN_VAIN and not progress.stopped:
        progress.stopped = f"the destination takes no rows: {outcomes[0].reason}"


def batches(plan: Path, rows: int, answered: Sequence[tuple[int, int]]) -> Iterator[list[Change]]:
    """The plan's rows without an answer, in order: at most `rows` of one kind and without a gap."""
    batch: list[Change] = []
    for change in _pending(plan, answered):
        if batch and (len(batch) == rows or change.op != batch[0].op or change.seq != batch[-1].seq + 1):
            yield batch
            batch = []
        batch.append(change)
    if batch:
        yield batch


def _pending(plan: Path, answered: Sequence[tuple[int, int]]) -> Iterator[Change]:
    ranges = iter(answered)
    current = next(ranges, None)
    with pq.ParquetFile(plan) as file:
        for part in file.iter_batches(10_000, columns=["seq", "op", "key", "fields"]):
            columns = (part.column(name).to_pylist() for name in ("seq", "op", "key", "fields"))
            for seq, op, key, fields in zip(*columns, strict=True):
                while current is not None and current[1] < seq:
                    current = next(ranges, None)
                if current is None or seq < current[0]:
                    yield Change(seq, op, json.loads(key), json.loads(fields) if fields else {})
