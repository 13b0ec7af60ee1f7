"""The workers: a few processes, each lent to one question at a time."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

import pyarrow as pa

from serving.engine.estimate import Estimate
from serving.engine.failure import EngineFailure, SnapshotGone
from serving.engine.lanes import Lane, Lanes, Share, Turn
from serving.engine.process import NICE, Cancel, Run, Size, Snapshot, Watch, WorkerProcess
from serving.engine.wire import Message

R = TypeVar("R")
ATTEMPTS = 3  # a worker may die under an innocent question: reads are idempotent, so it runs again
STALE = 10.0  # idle seconds after which a worker of an older snapshot leaves
OLDER = 3  # workers more than light slots: people ask by turns what serves now and older versions
CHECKER = Size(memory_mb=500, address_space_mb=4_000, threads=1)
_NOBODY = Share("", 1_000_000, 0)


def slots() -> dict[Lane, int]:
    """How many questions run side by side on this machine."""
    cores = os.cpu_count() or 2
    return {"check": 2, "light": max(2, cores), "heavy": max(2, cores // 2)}


class _GaveWay(Exception):
    """A slow question left the light lane where the heavy one had no room: its turn there comes later."""


@dataclass(eq=False)
class _Idle:
    worker: WorkerProcess
    lane: Lane
    since: float = field(default_factory=time.monotonic)


class Pool:
    """Workers per snapshot and lane; safe to share between threads."""

    def __init__(self, size: Size | None = None, lanes: Lanes | None = None) -> None:
        self.size, self.lanes = size or Size(), lanes or Lanes(slots())
        self._nothing = Snapshot.of(0, {}, "UTC")  # checking a text needs no file
        self._idle: list[_Idle] = []
        self._closed = False
        self._lock = threading.Lock()

    def parse(self, sql: str, seconds: float, wait: float) -> Message:
        """DuckDB's own syntax tree of the text."""
        return self.call(self._nothing, lambda worker, _: worker.parse(sql, seconds), lane="check", wait=wait)

    def print(self, tree: Message, seconds: float, wait: float) -> str:
        """DuckDB's own text of the tree."""
        return self.call(
            self._nothing, lambda worker, _: worker.print(tree, seconds), lane="check", wait=wait
        )

    def reprint(self, tree: Message, seconds: float, wait: float) -> tuple[str, Message]:
        """DuckDB's own text of the tree, and the tree that it reads there."""
        return self.call(
            self._nothing, lambda worker, _: worker.reprint(tree, seconds), lane="check", wait=wait
        )

    def plan(self, snapshot: Snapshot, run: Run, seconds: float, wait: float) -> Estimate:
        """What the engine guesses about a run."""
        return self.call(snapshot, lambda worker, _: worker.plan(run, seconds), wait=wait)

    def look_up(self, snapshot: Snapshot, run: Run, seconds: float, wait: float) -> pa.Table:
        """The answer to a question of Sluice's own."""
        return self.call(snapshot, lambda worker, _: worker.run(run, Watch(seconds)), wait=wait)

    def run(
        self,
        snapshot: Snapshot,
        run: Run,
        lane: Lane,
        share: Share,
        *,
        seconds: float,
        wait: float,
        cancel: Cancel,
        learn: Callable[[Lane], None] = lambda _: None,
    ) -> pa.Table:
        """The answer; raises EngineFailure, or SnapshotGone. `learn` hears which lane would have fitted."""

        work = _work(run, seconds, cancel, learn, lambda: self._warm(snapshot, "light"))
        return self.call(snapshot, work, lane=lane, share=share, wait=wait, cancel=cancel)

    def call(
        self,
        snapshot: Snapshot,
        work: Callable[[WorkerProcess, Turn], R],
        *,
        lane: Lane = "light",
        share: Share = _NOBODY,
        wait: float,
        cancel: Cancel | None = None,
    ) -> R:
        """Lend a worker of the snapshot; raises EngineFailure (`busy` where no turn comes in `wait` seconds).

        A worker that dies under its question is replaced, and the question runs again.
        """
        cancelled = (cancel or Cancel()).event.is_set
        crashes = 0
        with self.lanes.turn(lane, share, wait, cancelled) as turn:
            while True:
                try:
                    with self._worker(snapshot, turn.lane, turn) as worker:
                        return work(worker, turn)
                except _GaveWay:
                    self.lanes.defer(turn, wait, cancelled)
                except EngineFailure as failure:
                    crashes += 1
                    if failure.kind != "crashed" or crashes == ATTEMPTS or self._closed:
                        raise

    def warm(self, snapshot: Snapshot) -> None:
        """Start workers for the snapshot in the background, so that the first question need not wait."""
        self._warm(snapshot, "light")
        self._warm(self._nothing, "check")

    def _warm(self, snapshot: Snapshot, lane: Lane) -> None:
        """See in the background that a worker is idle."""

        def start() -> None:
            with suppress(EngineFailure, SnapshotGone), self._worker(snapshot, lane):
                pass

        threading.Thread(target=start, daemon=True).start()

    @contextmanager
    def _worker(self, snapshot: Snapshot, lane: Lane, turn: Turn | None = None) -> Iterator[WorkerProcess]:
        worker = self._take(snapshot, lane)
        try:
            if worker is None:
                size = CHECKER if lane == "check" else self.size
                worker = WorkerProcess(snapshot, size, NICE[lane])
            yield worker
        finally:
            self._give_back(worker, lane if turn is None else turn.lane)

    def _take(self, snapshot: Snapshot, lane: Lane) -> WorkerProcess | None:
        """An idle worker that fits, or None as the right to start one; too many idle ones leave."""
        with self._lock:
            if self._closed:
                raise EngineFailure("stopped", "the engine is closed")
            self._drop([idle for idle in self._idle if not idle.worker.alive])
            fits = [idle for idle in self._idle if idle.worker.snapshot is snapshot and idle.lane == lane]
            if fits:
                self._idle.remove(fits[-1])
                return fits[-1].worker
            self._trim(lane, max(0, self._room(lane) - self.lanes.counts()[lane]))
            return None

    def _give_back(self, worker: WorkerProcess | None, lane: Lane) -> None:
        with self._lock:
            if worker is None or not worker.alive:
                return
            if self._closed:
                worker.kill()
                return
            self._idle.append(_Idle(worker, lane))
            if lane != "check":
                mine = (worker.snapshot, worker.snapshot.base)
                older = [
                    i
                    for i in self._idle
                    if i.lane != "check" and not any(i.worker.snapshot is one for one in mine)
                ]
                self._drop([idle for idle in older if idle.since < time.monotonic() - STALE])
            self._trim(lane, self._room(lane))

    def _room(self, lane: Lane) -> int:
        """Workers of a lane: one for each slot, and some more for versions that are asked by turns."""
        return self.lanes.slots[lane] + (OLDER if lane == "light" else 0)

    def _trim(self, lane: Lane, keep: int) -> None:
        """Let the idle workers of the lane leave that waited longest."""
        mine = [idle for idle in self._idle if idle.lane == lane]
        self._drop(mine[: max(0, len(mine) - keep)])

    def _drop(self, leaving: list[_Idle]) -> None:
        for idle in leaving:
            self._idle.remove(idle)
            idle.worker.kill()

    def close(self) -> None:
        """End every worker."""
        with self._lock:
            self._closed = True
            self._drop(list(self._idle))


def _work(
    run: Run,
    seconds: float,
    cancel: Cancel,
    learn: Callable[[Lane], None],
    replace: Callable[[], None],
) -> Callable[[WorkerProcess, Turn], pa.Table]:
    """Runs the question on a worker; its time counts from the first worker of its turn."""
    until: float | None = None

    def work(worker: WorkerProcess, turn: Turn) -> pa.Table:
        nonlocal until
        until = until or time.monotonic() + seconds
        if time.monotonic() > until:
            raise EngineFailure("stopped", "its first worker died, and its time is up")

        def slow() -> bool:
            learn("heavy")
            if turn.lane == "light" and turn.demote():
                worker.renice()
                replace()  # the next light question must not wait for a process to start
            elif turn.lane == "light":
                watch.gives_way = turn.wanted()
                return watch.gives_way
            return True

        watch = Watch(until - time.monotonic(), cancel, slow)
        try:
            table = worker.run(run, watch)
        except EngineFailure as failure:
            if watch.gives_way and failure.kind == "stopped":
                until = None
                raise _GaveWay from failure
            raise
        if time.monotonic() < watch.slow_at:
            learn("light")
        return table

    return work
