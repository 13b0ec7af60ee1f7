"""Answers kept in memory, bounded in bytes; the same question at the same moment runs once.

What a key holds decides who shares: the text, what each name in it means, the files behind the names.
Two people share an answer only where they may see the same thing.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import pyarrow as pa

LARGEST = 4  # an answer larger than this part of the whole is not kept
_LOOK = 0.05  # seconds between looks at a cancel while another asker's run is waited for


@dataclass(eq=False)
class _Flight:
    """A run that is under way; `table` is set where it ended well."""

    done: threading.Event = field(default_factory=threading.Event)
    table: pa.Table | None = None


class ResultCache:
    """Safe to share between threads."""

    def __init__(self, most: int) -> None:
        self.most = most  # bytes
        self.held = 0
        self._kept: OrderedDict[Hashable, pa.Table] = OrderedDict()
        self._flights: dict[Hashable, _Flight] = {}
        self._lock = threading.Lock()

    def answer(
        self,
        key: Hashable,
        run: Callable[[], pa.Table],
        seconds: float,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> tuple[pa.Table, bool]:
        """The kept answer (True), or that of `run` (False), which one asker at a time calls for a key.

        A failure concerns its own asker only: those who waited then run themselves. Nobody waits for
        another's run longer than `seconds`, or after being cancelled: they run, and hear it from there.
        """
        until = time.monotonic() + seconds
        while True:
            with self._lock:
                if (table := self._kept.get(key)) is not None:
                    self._kept.move_to_end(key)
                    return table, True
                flight = self._flights.get(key)
                if flight is None:
                    flight = self._flights[key] = _Flight()
                    break
            while not flight.done.wait(_LOOK):
                if cancelled() or time.monotonic() > until:
                    return run(), False
            if flight.table is not None:
                return flight.table, True
        try:
            flight.table = run()
            self._keep(key, flight.table)
        finally:
            with self._lock:
                del self._flights[key]
            flight.done.set()
        return flight.table, False

    def clear(self) -> None:
        """Forget every answer."""
        with self._lock:
            self._kept.clear()
            self.held = 0

    def _keep(self, key: Hashable, table: pa.Table) -> None:
        size = _size(table)
        if size * LARGEST > self.most:
            return
        with self._lock:
            self._kept[key] = table
            self.held += size
            while self.held > self.most:
                _, oldest = self._kept.popitem(last=False)
                self.held -= _size(oldest)


def _size(table: pa.Table) -> int:
    """Bytes of the table's buffers, and what its columns cost as objects."""
    buffers: int = table.get_total_buffer_size()
    columns: int = table.num_columns
    return buffers + 1_000 * (1 + columns)
