"""The sender: carries batches to a destination over HTTP, with pace, retries and splitting."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx

from connectors.attempt import Failed, attempt, where
from connectors.outcomes import BatchRefused, Delivery, DeliveryStopped, same
from connectors.pace import HeldTooLong, Pace
from connectors.protocol import Change, Destination, DestinationStopped, Outcome, Request, Response

__all__ = ["RETRIES", "TIMEOUTS", "Delivery", "DeliveryStopped", "Retries", "Sender", "Timeouts"]

_KEEPALIVE_SECONDS = (
    4.0  # below the 5 s after which common servers close, so that we rarely write to a dead one
)


@dataclass(frozen=True, slots=True)
class Retries:
    """How stubborn the sender is; seconds.

    Between tries it waits a random time between 0 and `base` · 2^n, at most `cap`. Being told
    to wait (429, 503) costs no try, but all waiting for one batch together at most `patience`.
    """

    tries: int = 6
    base: float = 0.5
    cap: float = 30.0
    patience: float = 900.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds until a connection, a write or an answer counts as failed."""

    connect: float = 10.0
    read: float = 60.0
    write: float = 30.0


RETRIES = Retries()
TIMEOUTS = Timeouts()


@dataclass(slots=True)
class _Trip:
    """What one call of `send` has done so far."""

    outcomes: list[Outcome] = field(default_factory=list)
    calls: int = 0
    waited: float = 0.0

    def delivery(self) -> Delivery:
        return Delivery(self.outcomes, self.calls, self.waited)


class _Stopped(Exception):
    """Carries `DestinationStopped` with whether an earlier try may have arrived."""

    def __init__(self, stop: DestinationStopped, ambiguous: str) -> None:
        super().__init__(str(stop))
        self.stop = stop
        self.ambiguous = ambiguous


class Sender:
    """Delivers changes to the objects of one account; use it as an async context manager.

    All deliveries through one sender share its pace. `auth` holds the headers that prove
    who is calling; they are in no message. `random` gives numbers in [0, 1).
    """

    def __init__(
        self,
        base_url: str = "",
        *,
        auth: Mapping[str, str] | None = None,
        per_second: float | None = None,
        concurrent: int = 4,
        retries: Retries = RETRIES,
        timeouts: Timeouts = TIMEOUTS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._auth = dict(auth or {})
        self._pace = Pace(per_second, concurrent, clock=clock, sleep=sleep)
        self.per_second = per_second
        self.concurrent = concurrent
        self._retries = retries
        self._timeouts = timeouts
        self._sleep = sleep
        self._random = random
        self._now = now
        self._transport = transport
        self._client: httpx.AsyncClient | None = None

    def __repr__(self) -> str:
        return f"Sender({where(self._base_url)!r})"

    async def __aenter__(self) -> Self:
        limits = httpx.Limits(
            max_connections=self.concurrent,
            max_keepalive_connections=self.concurrent,
            keepalive_expiry=_KEEPALIVE_SECONDS,
        )
        times = self._timeouts
        self._client = httpx.AsyncClient(
            headers={"User-Agent": "sluice", "Accept": "application/json", **self._auth},
            limits=limits,
            timeout=httpx.Timeout(None, connect=times.connect, read=times.read, write=times.write),
            follow_redirects=False,
            transport=self._transport,
            trust_env=not _is_local(self._base_url),  # a proxy cannot reach this machine's own services
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def send(self, destination: Destination, changes: Sequence[Change]) -> Delivery:
        """Deliver the changes, in order; exactly one outcome per change, in the same order.

        Calls are as large as the destination's capabilities allow and carry one `op` each.
        Raises `DeliveryStopped` (a `DestinationStopped`) when retrying cannot help; it carries
        the delivery so far, in which rows that were not sent are deferred.
        """
        trip = _Trip()
        todo = list(_batches(changes, destination.capabilities.batch_rows))
        todo.reverse()
        while todo:
            batch = todo.pop()
            try:
                found = await self._settle(destination, batch, trip)
            except BatchRefused as refused:
                if len(batch) > 1:
                    half = len(batch) // 2
                    todo += [batch[half:], batch[:half]]
                    continue
                found = same(batch, "rejected", refused.reason)
            except _Stopped as stopped:
                trip.outcomes += _unsettled(batch, stopped.ambiguous, stopped.stop.problem)
                for rest in reversed(todo):
                    trip.outcomes += same(rest, "deferred", stopped.stop.problem)
                stop = stopped.stop
                raise DeliveryStopped(stop.problem, hint=stop.hint, delivery=trip.delivery()) from None
            trip.outcomes += found
        return trip.delivery()

    async def _settle(self, destination: Destination, batch: Sequence[Change], trip: _Trip) -> list[Outcome]:
        """The outcomes of one batch; raises `BatchRefused` where halving it may help."""
        try:
            request = destination.request(batch)
        except DestinationStopped as stop:
            raise _Stopped(stop, "") from None
        limit = destination.capabilities.batch_bytes
        if len(request.body) > limit:
            raise BatchRefused(
                f"the row takes {len(request.body):,} bytes, the destination at most {limit:,}"
            )
        resend = batch[0].op in destination.capabilities.resend
        answer = await self._deliver(destination, request, trip, resend=resend)
        if isinstance(answer, Failed):
            return _unsettled(batch, answer.ambiguous, answer.reason)
        try:
            found = destination.outcomes(batch, answer)
        except DestinationStopped as stop:
            raise _Stopped(stop, "") from None
        except BatchRefused as refused:
            if destination.capabilities.splits:
                raise
            return same(batch, "rejected", refused.reason)
        if [outcome.seq for outcome in found] != [change.seq for change in batch]:
            return same(
                batch, "unknown", f"the answer (status {answer.status}) does not say how each row ended"
            )
        return found

    async def fetch(self, destination: Destination, request: Request) -> Response:
        """The answer to a call that only reads; raises `DestinationStopped` where none comes."""
        try:
            answer = await self._deliver(destination, request, _Trip(), resend=True)
        except _Stopped as stopped:
            raise stopped.stop from None
        if isinstance(answer, Failed):
            raise DestinationStopped(answer.reason, hint="try again when the destination answers")
        return answer

    async def _deliver(
        self, destination: Destination, request: Request, trip: _Trip, *, resend: bool
    ) -> Response | Failed:
        """An answer that speaks of the rows, or why there is none after all tries."""
        assert self._client is not None, "use the sender as an async context manager"
        url = request.path if "://" in request.path else self._base_url + request.path
        tries, told, patience = 0, 0, self._retries.patience
        reason, ambiguous = "", ""
        while True:
            try:
                async with self._pace.turn(patience) as waited:
                    trip.waited += waited
                    patience -= waited
                    trip.calls += 1
                    answer = await attempt(self._client, destination, request, url, self._now())
            except HeldTooLong as held:
                words = f"rate limited by {where(url)}: it asks for {held.seconds:.0f} s, more than we wait"
                return Failed(f"{words}; before that {reason}" if reason else words, ambiguous)
            except DestinationStopped as stop:
                raise _Stopped(stop, ambiguous) from None
            if isinstance(answer, Response):
                return answer
            reason, ambiguous = answer.reason, answer.ambiguous or ambiguous
            if answer.ambiguous and not resend:
                return answer
            if answer.wait is not None:
                self._pace.hold_for(max(answer.wait, self._ceiling(told) / 10))  # never in a tight loop
                told += 1
                continue
            tries += 1
            if tries >= self._retries.tries:
                return Failed(f"{reason} (tried {tries} times)", ambiguous=ambiguous)
            patience -= await self._back_off(tries, answer.limited, trip)

    def _ceiling(self, failures: int) -> float:
        return min(self._retries.cap, self._retries.base * 2.0 ** min(failures, 64))

    async def _back_off(self, tries: int, limited: bool, trip: _Trip) -> float:
        pause = self._random() * self._ceiling(tries - 1)
        if limited:
            self._pace.hold_for(pause)  # the next turn waits: all calls of the account do
            return 0.0
        await self._sleep(pause)
        trip.waited += pause
        return pause


def _batches(changes: Sequence[Change], rows: int) -> Iterator[Sequence[Change]]:
    """Neighbours of one op, at most `rows` at a time, in order."""
    if len(changes) <= rows and len({change.op for change in changes}) == 1:
        yield changes
        return
    for _, group in groupby(changes, key=lambda change: change.op):
        run = list(group)
        for start in range(0, len(run), rows):
            yield run[start : start + rows]


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _unsettled(batch: Sequence[Change], ambiguous: str, reason: str) -> list[Outcome]:
    """Rows without an answer: unknown where any try may have arrived."""
    if ambiguous:
        words = ambiguous if ambiguous in reason else f"{ambiguous}; then {reason}"
        return same(batch, "unknown", words)
    return same(batch, "deferred", reason)
