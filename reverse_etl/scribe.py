"""Writes a journal while requests fly: what comes together is one transaction.

An intent is on disk when its future is done. An answer is on disk a little later, and before
`finish` returns. The event loop never waits for the disk. What nobody waits for yet may lie a
moment, so that several batches share a transaction.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from connectors.protocol import Outcome
from reverse_etl.batches import Answer, Entry, Journal, Leaving, Withdrawn
from reverse_etl.errors import LeaseLost, StateUnwritable, SyncError

_GATHER = 0.02  # seconds that a note may lie; a crash in them leaves no more in doubt than `most` batches


@dataclass(frozen=True, slots=True)
class _Note:
    """Something to write down, and who waits for it. Without an entry: only the lease is renewed."""

    entry: Entry | None
    written: asyncio.Future[None] | None = None


class Scribe:
    """For one delivery in one event loop, which has to call `finish` at its end.

    After the first failure no intent is taken any more; `finish` raises it, once the answers
    that came since are on disk, where that is possible.
    """

    def __init__(self, journal: Journal, clock: Callable[[], datetime], most: int) -> None:
        self._journal = journal
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._disk = ThreadPoolExecutor(1, thread_name_prefix=f"journal {journal.run}")
        self._notes: list[_Note] = []
        self._writing: asyncio.Task[None] | None = None
        self._failure: SyncError | None = None
        self._owed: list[Entry] = []  # what could not be written
        self._most = most  # answers that may be underway to the disk when a batch leaves
        self._unwritten = 0
        self._awaited = asyncio.Event()  # somebody waits for what is noted

    def intend(self, first: int, last: int) -> tuple[int, asyncio.Future[None]]:
        """The number of a batch that is about to leave; it may once `on_disk` has returned."""
        number = self._journal.number()
        return number, self._note(Leaving(number, first, last))

    async def on_disk(self, written: asyncio.Future[None]) -> None:
        """Wait for an intent; raises what kept it from the disk."""
        if not written.done():
            self._awaited.set()
        await written

    async def ready(self) -> None:
        """LeaseLost unless this process may send; waits while too many answers are not on disk.

        A crash would send the rows of those again.
        """
        if self._unwritten > self._most or not self._journal.lease.certain:
            await self.on_disk(self._note(None))

    def answer(self, number: int, outcomes: Sequence[Outcome], calls: int) -> None:
        """How the rows of a batch ended."""
        self._unwritten += 1
        self._put(_Note(Answer(number, outcomes, calls)))

    def withdraw(self, number: int, calls: int) -> None:
        """The batch did not leave after all; `calls` were refused before a row was read."""
        self._put(_Note(Withdrawn(number, calls)))

    async def finish(self) -> None:
        """Wait until everything is on disk; raises what kept it from there."""
        try:
            while self._writing is not None:
                self._awaited.set()
                await self._writing
            if self._failure is not None and self._owed:
                await self._loop.run_in_executor(self._disk, self._once_more, self._owed)
        finally:
            self._disk.shutdown(wait=False)
        if self._failure is not None:
            raise self._failure

    def _note(self, entry: Leaving | None) -> asyncio.Future[None]:
        written: asyncio.Future[None] = self._loop.create_future()
        self._put(_Note(entry, written))
        return written

    def _put(self, note: _Note) -> None:
        self._notes.append(note)
        if len(self._notes) > self._most:
            self._awaited.set()  # in time, so that nobody has to wait
        if self._writing is None:
            self._writing = self._loop.create_task(self._write_all())

    async def _write_all(self) -> None:
        try:
            while self._notes:
                await self._gather()
                group, self._notes = self._notes, []
                try:
                    await self._write(group)
                except BaseException as error:
                    _tell(group, error)
                    raise
                self._unwritten -= sum(isinstance(note.entry, Answer) for note in group)
                _tell(group, self._failure)
        finally:
            self._writing = None

    async def _gather(self) -> None:
        """Let some more notes come, until somebody waits for one."""
        enough = self._loop.call_later(_GATHER, self._awaited.set)
        await self._awaited.wait()
        enough.cancel()
        self._awaited.clear()

    async def _write(self, group: Sequence[_Note]) -> None:
        entries = [note.entry for note in group if note.entry is not None]
        check = any(note.entry is None for note in group)
        if self._failure is None:
            try:
                await self._loop.run_in_executor(
                    self._disk, lambda: self._journal.write(entries, self._clock(), check=check)
                )
                return
            except LeaseLost as error:  # answers were written all the same
                self._failure = error
                return
            except StateUnwritable as error:
                self._failure = error
        self._owed += [entry for entry in entries if not isinstance(entry, Leaving)]

    def _once_more(self, owed: Sequence[Entry]) -> None:
        try:
            self._journal.write(owed, self._clock())
        except StateUnwritable:
            return  # these batches stay open: the next run finds out what became of them


def _tell(group: Sequence[_Note], failure: BaseException | None) -> None:
    for note in group:
        if note.written is None or note.written.done():
            continue
        if failure is None:
            note.written.set_result(None)
        else:
            note.written.set_exception(failure)
            note.written.exception()  # nobody may be waiting for it any more
