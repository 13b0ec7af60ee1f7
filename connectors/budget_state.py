"""Where the state of an account is kept, so that all processes of the machine share it.

One small file an account, changed under a lock by a single write: whoever is killed leaves
the old state or the new one, and no lock. Its text can be read by a person.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import time
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from connectors.pace import Limits, State, careful, rebased
from connectors.protocol import DestinationStopped

_ROOM = 2_048  # bytes; the text is padded, so that the file is written once and never grows
_MOST = 65_536
_PATIENCE = 30.0  # for the lock, which is held for microseconds
_SPIN = 20  # looks at the lock before it is worth sleeping
_NAMES = tuple(field.name for field in fields(State))
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Shelf(Protocol):
    """Keeps the state and the slots of one account."""

    def locked(self, now: float, wall: float) -> contextlib.AbstractAsyncContextManager[State]:
        """The state, for this caller alone; what is changed inside is kept."""
        ...

    def take_slot(self) -> int | None:
        """One of the calls that may run at the same time; None while all run."""
        ...

    def free_slot(self, slot: int) -> None: ...

    def close(self) -> None: ...


class OwnShelf:
    """For one sender alone: nothing is kept."""

    def __init__(self, concurrent: int) -> None:
        self._state = State()
        self._free = set(range(concurrent))

    @contextlib.asynccontextmanager
    async def locked(self, now: float, wall: float) -> AsyncIterator[State]:
        yield self._state

    def take_slot(self) -> int | None:
        return self._free.pop() if self._free else None

    def free_slot(self, slot: int) -> None:
        self._free.add(slot)

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Kept:
    """A state as it was written: `mono` and `wall` say when, `boot` since which start of the machine."""

    state: State
    boot: str
    mono: float
    wall: float


class SharedShelf:
    """For all processes that open it under the same folder and account.

    Raises `DestinationStopped` where the files cannot be written: without its budget an
    account is not called.
    """

    def __init__(self, folder: Path, account: str, limits: Limits, concurrent: int) -> None:
        self._folder = folder
        self._path = state_file(folder, account)
        self._limits = limits
        self._state: int | None = None
        self._slots: list[int | None] = [None] * concurrent
        self._taken: set[int] = set()
        self._boot = boot_id()

    @contextlib.asynccontextmanager
    async def locked(self, now: float, wall: float) -> AsyncIterator[State]:
        try:
            file = await self._lock()
            try:
                state = self._read(file, now, wall)
                yield state
                os.pwrite(file, written(Kept(state, self._boot, now, wall)), 0)
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)
        except OSError as error:
            raise self._unusable(error) from None

    async def _lock(self) -> int:
        deadline, tries = time.monotonic() + _PATIENCE, 0
        while True:
            if self._state is None:
                self._state = _opened(self._path)
            try:
                fcntl.flock(self._state, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise OSError(0, f"another process does not let go of {self._path}") from None
                    tries += 1
                await asyncio.sleep(0 if tries < _SPIN else 0.001)  # the loop goes on meanwhile
                continue
            if os.fstat(self._state).st_nlink:
                return self._state
            os.close(self._state)  # somebody has deleted the file: meet the others at the new one
            self._state = None

    def _read(self, file: int, now: float, wall: float) -> State:
        text = os.pread(file, _MOST, 0)
        if not text:
            return State()
        kept = read(text)
        if kept is None:
            return careful(self._limits, now)
        if kept.boot == self._boot and kept.mono <= now:
            return kept.state
        return rebased(kept.state, (kept.mono, kept.wall), now, wall)

    def take_slot(self) -> int | None:
        try:
            for slot in range(len(self._slots)):
                if slot not in self._taken and self._try(slot):
                    self._taken.add(slot)
                    return slot
        except OSError as error:
            raise self._unusable(error) from None
        return None

    def _try(self, slot: int) -> bool:
        file = self._slots[slot]
        if file is None:
            file = self._slots[slot] = _opened(self._path.with_suffix(f".slot{slot}"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def free_slot(self, slot: int) -> None:
        file = self._slots[slot]
        if file is not None:
            fcntl.flock(file, fcntl.LOCK_UN)
        self._taken.discard(slot)

    def close(self) -> None:
        for file in (self._state, *self._slots):
            if file is not None:
                os.close(file)
        self._state = None
        self._slots = [None] * len(self._slots)
        self._taken.clear()

    def _unusable(self, error: OSError) -> DestinationStopped:
        return DestinationStopped(
            f"the budget of the account cannot be kept: {error.strerror}",
            hint=f"this process must be able to write in {self._folder}, and the disk must not be full",
        )


def state_file(folder: Path, account: str) -> Path:
    """Where the state of an account is; any name will do."""
    return folder / f"{quote(account, safe='').replace('.', '%2E')}.budget"


def read(text: bytes) -> Kept | None:
    """What was written, or None where it is not whole."""
    check, _, body = text.rstrip().partition(b" ")
    try:
        if int(check, 16) != zlib.crc32(body):
            return None
        values = json.loads(body)
        return Kept(State(**values.pop("state")), **values)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def written(kept: Kept) -> bytes:
    """The text of a state: a checksum and JSON."""
    state = kept.state
    values = {
        "boot": kept.boot,
        "mono": kept.mono,
        "wall": kept.wall,
        "state": {name: getattr(state, name) for name in _NAMES},
    }
    body = json.dumps(values, separators=(",", ":")).encode()
    return (b"%08x %s" % (zlib.crc32(body), body)).ljust(_ROOM)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def boot_id() -> str:
    """Names the time since the machine was started; empty where the system does not say."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""
