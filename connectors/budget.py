"""One budget per account: who may call when, for all syncs and all processes of the machine."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from connectors import pace
from connectors.budget_state import OwnShelf, SharedShelf, Shelf, read, state_file
from connectors.pace import DAY, Limits, Priority, State, Wait, Why

__all__ = [
    "Budget",
    "HeldTooLong",
    "Limits",
    "Priority",
    "Turn",
    "Used",
    "WoundDown",
    "budget_used",
    "open_budget",
    "used_today",
]

_HOLDS: frozenset[Why] = frozenset({"hold", "slowed", "day"})
_WORDS: dict[Why, str] = {
    "pace": "the account's declared limit",
    "slowed": "slowed down, as the destination had refused calls as too fast",
    "hold": "as the destination asked",
    "day": "the day's quota is used up",
    "turn": "another sync of this account goes first",
    "slot": "as many calls as allowed are running",
}
CONCURRENT = 4  # calls at once where nobody has said
_PROMPT = 0.006  # seconds between the right to call and the call that do no harm
_EARLY = 0.0015  # an event loop's timers come up to a millisecond late
_LONG = 0.25  # a wait that is worth being told of, and interrupted


class HeldTooLong(Exception):
    """The account may not be called for longer than the caller is prepared to wait.

    `until` is the moment in words; `every` the seconds between two calls after a slow-down.
    """

    def __init__(self, seconds: float, why: Why, wall: float, every: float = 0.0) -> None:
        until = datetime.fromtimestamp(math.ceil((wall + seconds) / 60) * 60, UTC)
        self.seconds = seconds
        self.why = why
        self.every = every
        self.until = f"{until:%Y-%m-%d %H:%M} UTC"
        super().__init__(f"held for {seconds:.0f} s")


class WoundDown(Exception):
    """The process is about to end, and nobody waits any more."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to make one call: `started` on the budget's clock.

    `waited` is all seconds it took to come, `held` those of them that the destination's
    refusals and wishes cost.
    """

    started: float
    waited: float
    held: float


@dataclass(frozen=True, slots=True)
class Used:
    """Where an account stands. `per_second`: the rate it was slowed down to, None if it was not."""

    today: int = 0
    held_seconds: float = 0.0
    per_second: float | None = None


async def nap(seconds: float) -> None:
    """Sleep to within some microseconds, in which nobody else of the loop is kept from running."""
    until = time.monotonic() + seconds
    if seconds > _EARLY:
        await asyncio.sleep(seconds - _EARLY)
    while time.monotonic() < until:
        await asyncio.sleep(0)


class Budget:
    """A caller's share in the budget of an account; for one event loop.

    `clock` counts seconds alike in all processes of the machine, `wall` is epoch seconds,
    and `sleep` must have passed its seconds when it returns. `on_wait` hears of every wait
    that is worth telling, with its seconds and its reason.
    """

    def __init__(
        self,
        shelf: Shelf,
        limits: Limits,
        *,
        priority: Priority = "normal",
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = nap,
    ) -> None:
        self.limits = limits
        self.concurrent = limits.concurrent or CONCURRENT
        self.on_wait: Callable[[float, str], None] = lambda seconds, reason: None
        self._shelf = shelf
        self._priority = priority
        self._clock = clock
        self._wall = wall
        self._sleep = sleep
        self._look = asyncio.sleep if sleep is nap else sleep  # looking again need not be to the microsecond
        self._slots = asyncio.Semaphore(self.concurrent)
        self._queue = asyncio.Lock()  # only the first of this caller's own stands in the common line
        self._leaving = asyncio.Event()

    @asynccontextmanager
    async def turn(self, patience: float = math.inf) -> AsyncIterator[Turn]:
        """Wait for the right to make one call, and have it as long as the block runs.

        Waiting for the pace, for others' turns or for a slot has no limit. Raises `HeldTooLong`,
        and at once, when the destination's own wish or a used-up quota would make it wait longer
        than `patience`; `WoundDown` after `wind_down`.
        """
        async with self._slots:
            async with self._queue:
                slot, turn = await self._stand_in_line(patience)
            try:
                yield turn
            finally:
                self._shelf.free_slot(slot)

    def is_late(self, turn: Turn) -> bool:
        """Whether a call that leaves now has been kept from it, by a machine that is busy."""
        return self._clock() - turn.started > _PROMPT

    async def leave(self, turn: Turn) -> None:
        """Called when a call leaves late, as by making its connection; sleeps where others must go first."""
        while True:
            async with self._shelf.locked(now := self._clock(), self._wall()) as state:
                seconds = pace.leave(state, self.limits, now, turn.started)
            if not seconds:
                return
            await self._sleep(seconds)

    async def hold(self, seconds: float) -> None:
        """No call of this account starts for that long, in whichever process."""
        async with self._shelf.locked(now := self._clock(), self._wall()) as state:
            pace.hold(state, now, seconds)

    async def refused(self, seconds: float) -> None:
        """A call was refused as too fast, and told how long to wait: for all callers of the account."""
        async with self._shelf.locked(now := self._clock(), self._wall()) as state:
            pace.refused(state, now)
            pace.hold(state, now, seconds)

    async def slow_down(self, turn: Turn) -> float:
        """That call was refused as too fast, without a hint; gives the new rate in calls a second."""
        async with self._shelf.locked(now := self._clock(), self._wall()) as state:
            return pace.slow_down(state, self.limits, now, turn.started)

    async def pause(self, seconds: float, reason: str = "") -> None:
        """Sleep, unless the process is about to end: then `WoundDown`."""
        if self._leaving.is_set():
            raise WoundDown
        if seconds < _LONG:
            await self._sleep(seconds)
            return
        self.on_wait(seconds, reason)
        tasks = {asyncio.ensure_future(self._sleep(seconds)), asyncio.ensure_future(self._leaving.wait())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
        if self._leaving.is_set():
            raise WoundDown

    def wind_down(self) -> None:
        """Nobody waits any more, now and later; calls that are under way are not touched."""
        self._leaving.set()

    def close(self) -> None:
        """Give everything back; the budget may be used again."""
        self._shelf.close()

    async def _stand_in_line(self, patience: float) -> tuple[int, Turn]:
        waited = held = 0.0
        while True:
            now = self._clock()
            async with self._shelf.locked(now, self._wall()) as state:
                slot, wait = self._asked(state, now)
                every = 1 / state.cap if state.cap else 0.0
            if wait is None:
                assert slot is not None, "a turn has a slot"
                return slot, Turn(now, waited, held)
            if wait.why in _HOLDS and held + wait.seconds > patience:
                raise HeldTooLong(wait.seconds, wait.why, self._wall(), every)
            if wait.why in ("turn", "slot"):
                await self._look(wait.seconds)
            else:
                await self.pause(wait.seconds, _WORDS[wait.why])
            waited += wait.seconds
            held += wait.seconds if wait.why in _HOLDS else 0.0

    def _asked(self, state: State, now: float) -> tuple[int | None, Wait | None]:
        if self._leaving.is_set():
            raise WoundDown
        wait = pace.ask(state, self.limits, now, self._wall(), self._priority)
        if wait is not None:
            return None, wait
        slot = self._shelf.take_slot()
        if slot is None:
            return None, pace.no_slot(state, now, self._priority)
        pace.start(state, self.limits, now, self._wall(), self._priority)
        return slot, None


def open_budget(
    folder: Path | None,
    account: str,
    limits: Limits,
    *,
    priority: Priority = "normal",
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
    sleep: Callable[[float], Awaitable[None]] = nap,
) -> Budget:
    """The budget of an account, shared by everybody who names the same folder; None: kept to oneself."""
    concurrent = limits.concurrent or CONCURRENT
    shelf: Shelf = (
        OwnShelf(concurrent) if folder is None else SharedShelf(folder, account, limits, concurrent)
    )
    return Budget(shelf, limits, priority=priority, clock=clock, wall=wall, sleep=sleep)


def budget_used(folder: Path, account: str, now: float) -> Used:
    """Where the account stands at `now` (epoch seconds); cheap, and disturbs nobody."""
    try:
        kept = read(state_file(folder, account).read_bytes())
    except OSError:
        return Used()
    if kept is None:
        return Used()
    state = kept.state
    held = max(0.0, state.held_until - kept.mono - max(0.0, now - kept.wall))
    return Used(state.today if state.day == now // DAY else 0, held, state.cap or None)


def used_today(folder: Path, account: str) -> int:
    """Calls made to the account since midnight UTC."""
    return budget_used(folder, account, time.time()).today
