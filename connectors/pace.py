"""How fast one account may be called, and how long it asked us to wait."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime

_RESETS = ("ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset")
_EPOCH = 1_000_000_000.0  # larger numbers are a date, smaller ones a number of seconds
_EPOCH_MS = 1_000_000_000_000.0
_BURST_SECONDS = 0.1  # how much unused time may be made up for: a window of one second sees 1.1 x the rate


class HeldTooLong(Exception):
    """The account is held for longer than the caller is prepared to wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"held for {seconds:.0f} s")
        self.seconds = seconds


class Pace:
    """A token bucket, a limit on simultaneous calls and a common pause for one account.

    For one event loop; `clock` counts seconds, `sleep` must have passed them when it returns.
    """

    def __init__(
        self,
        per_second: float | None,
        concurrent: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._interval = 1.0 / per_second if per_second else 0.0
        self._burst = max(0.0, _BURST_SECONDS - self._interval) if per_second else 0.0
        self._slots = asyncio.Semaphore(concurrent)
        self._clock = clock
        self._sleep = sleep
        self._next = -math.inf
        self._held = -math.inf

    def hold_until(self, at: float) -> None:
        """No call of this account starts before `at` (on `clock`)."""
        self._held = max(self._held, at)

    def hold_for(self, seconds: float) -> None:
        """No call of this account starts for that long."""
        self.hold_until(self._clock() + seconds)

    @asynccontextmanager
    async def turn(self, patience: float = math.inf) -> AsyncIterator[float]:
        """The right to make one call; gives the seconds it waited for it.

        Raises `HeldTooLong` at once when the account is held for longer than `patience`.
        """
        async with self._slots:
            yield await self._wait(patience)

    async def _wait(self, patience: float) -> float:
        waited = 0.0
        while True:
            waited += await self._hold_over(patience - waited)
            pause = self._reserve()
            if pause > 0:
                await self._sleep(pause)
                waited += pause
            if self._clock() >= self._held:
                return waited

    async def _hold_over(self, patience: float) -> float:
        waited = 0.0
        while (pause := self._held - self._clock()) > 0:
            if waited + pause > patience:
                raise HeldTooLong(pause)
            held = self._held
            await self._sleep(pause)
            waited += pause
            if self._held == held:
                self._held = -math.inf  # slept out; a clock that lags behind must not repeat it
        return waited

    def _reserve(self) -> float:
        """Takes the next place in the bucket; seconds until it comes."""
        now = self._clock()
        at = max(self._next, now - self._burst)
        self._next = at + self._interval
        return at - now


def asked_wait(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that an answer asks us to wait, or None where it does not say.

    Reads Retry-After (seconds or HTTP date) and the reset headers in use (seconds, epoch
    seconds, epoch milliseconds). Dates are compared with the answer's own Date header
    where there is one, so that a clock that is wrong here does no harm; else with `now`
    (epoch seconds).
    """
    reference = _date(headers.get("date", "")) or now
    told = _seconds(headers.get("retry-after", ""), reference)
    if told is not None:
        return told
    resets = (_seconds(headers[name], reference) for name in _RESETS if name in headers)
    return max((reset for reset in resets if reset is not None), default=None)


def _seconds(text: str, now: float) -> float | None:
    try:
        number = float(text)
    except ValueError:
        date = _date(text)
        return None if date is None else max(0.0, date - now)
    if not math.isfinite(number) or number < 0:
        return None
    if number >= _EPOCH_MS:
        return max(0.0, number / 1000 - now)
    return max(0.0, number - now) if number >= _EPOCH else number


def _date(text: str) -> float | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
