"""The workers: a few processes per version, lent to one query at a time."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from serving.engine.process import EngineFailure, Size, Snapshot, WorkerProcess

R = TypeVar("R")


class Pool:
    """Workers of the newest snapshot asked for; older ones leave when they are idle."""

    def __init__(self, count: int = 2, size: Size | None = None) -> None:
        self.count, self.size = count, size or Size()
        self._free: list[WorkerProcess] = []
        self._lent = 0
        self._closed = False
        self._change = threading.Condition()

    def call(self, snapshot: Snapshot, wait: float, work: Callable[[WorkerProcess], R]) -> R:
        """Run `work` on a worker of the snapshot; raises EngineFailure (kind `busy` after `wait` seconds).

        Reads are idempotent: a worker that died under an innocent query is replaced and
        the query runs again, once.
        """
        try:
            with self._worker(snapshot, wait) as worker:
                return work(worker)
        except EngineFailure as failure:
            if failure.kind != "crashed":
                raise
        with self._worker(snapshot, wait) as worker:
            return work(worker)

    @contextmanager
    def _worker(self, snapshot: Snapshot, wait: float) -> Iterator[WorkerProcess]:
        worker = self._take(snapshot, wait)
        try:
            if worker is None:
                worker = WorkerProcess(snapshot, self.size)
            yield worker
        finally:
            self._give_back(worker)

    def _take(self, snapshot: Snapshot, wait: float) -> WorkerProcess | None:
        """A free worker of the snapshot, or None as the right to start one."""
        deadline = time.monotonic() + wait
        with self._change:
            while True:
                if self._closed:
                    raise EngineFailure("stopped", "the engine is closed")
                match = next((w for w in self._free if w.snapshot is snapshot and w.alive), None)
                if match is not None or self._lent < self.count:
                    self._lent += 1
                    if match is not None:
                        self._free.remove(match)
                    for stale in [w for w in self._free if w.snapshot is not snapshot]:
                        self._free.remove(stale)
                        stale.kill()
                    return match
                if not self._change.wait(deadline - time.monotonic()):
                    raise EngineFailure("busy", "all workers are busy")

    def _give_back(self, worker: WorkerProcess | None) -> None:
        with self._change:
            self._lent -= 1
            if worker is not None and worker.alive:
                if self._closed:
                    worker.kill()
                else:
                    self._free.append(worker)
            self._change.notify()

    def close(self) -> None:
        """End every worker."""
        with self._change:
            self._closed = True
            for worker in self._free:
                worker.kill()
            self._free.clear()
            self._change.notify_all()
