"""The sender: carries batches to a destination over HTTP, with pace, retries and splitting."""

import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx

from connectors.attempt import Failed, where
from connectors.budget import Budget, Limits, nap, open_budget
from connectors.outcomes import BatchRefused, Delivery, DeliveryStopped, same, unsettled
from connectors.protocol import Change, Destination, DestinationStopped, Outcome, Request, Response
from connectors.tries import Means, Retries, Stopped, Tries, Trip

__all__ = ["RETRIES", "TIMEOUTS", "Delivery", "DeliveryStopped", "Retries", "Sender", "Timeouts"]

_KEEPALIVE_SECONDS = (
    4.0  # below the 5 s after which common servers close, so that we rarely write to a dead one
)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds until a connection, a write or an answer counts as failed."""

    connect: float = 10.0
    read: float = 60.0
    write: float = 30.0


RETRIES = Retries()
TIMEOUTS = Timeouts()


class Sender:
    """Delivers changes to the objects of one account; use it as an async context manager.

    All calls keep to `budget`, which may be shared with other senders; without one, four run
    at once. `auth` holds the headers that prove who is calling; they are in no message.
    `renew` gives them anew after they were refused. `random` gives numbers in [0, 1);
    `clock` and `sleep` are for the sender's own budget only.
    """

    def __init__(
        self,
        base_url: str = "",
        *,
        auth: Mapping[str, str] | None = None,
        renew: Callable[[], Mapping[str, str]] | None = None,
        budget: Budget | None = None,
        retries: Retries = RETRIES,
        timeouts: Timeouts = TIMEOUTS,
        sleep: Callable[[float], Awaitable[None]] = nap,
        random: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._auth = dict(auth or {})
        self._renew = renew
        self._budget = budget or open_budget(None, "", Limits(), clock=clock, wall=now, sleep=sleep)
        self._retries = retries
        self._timeouts = timeouts
        self._random = random
        self._now = now
        self._transport = transport
        self._means: Means | None = None

    def __repr__(self) -> str:
        return f"Sender({where(self._base_url)!r})"

    @property
    def limits(self) -> Limits:
        """What the account takes, as far as anybody has said."""
        return self._budget.limits

    async def __aenter__(self) -> Self:
        limits = httpx.Limits(
            max_connections=self._budget.concurrent,
            max_keepalive_connections=self._budget.concurrent,
            keepalive_expiry=_KEEPALIVE_SECONDS,
        )
        times = self._timeouts
        client = httpx.AsyncClient(
            headers={"User-Agent": "sluice", "Accept": "application/json", **self._auth},
            limits=limits,
            timeout=httpx.Timeout(None, connect=times.connect, read=times.read, write=times.write),
            follow_redirects=False,
            transport=self._transport,
            trust_env=not _is_local(self._base_url),  # a proxy cannot reach this machine's own services
        )
        self._means = Means(client, self._budget, self._retries, self._renew, self._now, self._random)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._budget.close()
        if self._means is not None:
            await self._means.client.aclose()
            self._means = None

    def wind_down(self) -> None:
        """The process is about to end: calls under way are finished, and no other one is made.

        What is waiting is deferred at once (unknown where an earlier try may have arrived).
        """
        self._budget.wind_down()

    def tell_waits(self, on_wait: Callable[[float, str], None]) -> None:
        """Have the seconds and the reason of every wait told that a person would notice."""
        self._budget.on_wait = on_wait

    async def send(self, destination: Destination, changes: Sequence[Change]) -> Delivery:
        """Deliver the changes, in order; exactly one outcome per change, in the same order.

        Calls are as large as the destination's capabilities allow and carry one `op` each.
        Raises `DeliveryStopped` (a `DestinationStopped`) when retrying cannot help; it carries
        the delivery so far, in which rows that were not sent are deferred.
        """
        trip = Trip()
        todo = list(_batches(changes, destination.capabilities.batch_rows))
        todo.reverse()
        while todo:
            batch = todo.pop()
            try:
                found = await self._settle(destination, batch, trip)
            except BatchRefused as refused:
                if len(batch) > 1:
                    todo += reversed(_cut(batch, refused.parts))
                    continue
                found = same(batch, "rejected", refused.reason)
            except Stopped as stopped:
                trip.outcomes += unsettled(batch, stopped.ambiguous, stopped.stop.problem)
                for rest in reversed(todo):
                    trip.outcomes += same(rest, "deferred", stopped.stop.problem)
                stop = stopped.stop
                raise DeliveryStopped(stop.problem, hint=stop.hint, delivery=trip.delivery()) from None
            trip.outcomes += found
        return trip.delivery()

    async def fetch(self, destination: Destination, request: Request) -> Response:
        """The answer to a call that only reads; raises `DestinationStopped` where none comes."""
        tries = self._tries(destination, request, Trip(), resend=True)
        try:
            answer = await tries.until(lambda response: response)
        except Stopped as stopped:
            raise stopped.stop from None
        if isinstance(answer, Failed):
            raise DestinationStopped(answer.reason, hint="try again when the destination answers")
        return answer

    def _tries(self, destination: Destination, request: Request, trip: Trip, *, resend: bool) -> Tries:
        assert self._means is not None, "use the sender as an async context manager"
        url = request.path if "://" in request.path else self._base_url + request.path
        return Tries(self._means, destination, request, url, trip, resend=resend)

    async def _settle(self, destination: Destination, batch: Sequence[Change], trip: Trip) -> list[Outcome]:
        """The outcomes of one batch; raises `BatchRefused` where cutting it may help."""
        abilities = destination.capabilities
        try:
            request = destination.request(batch)
        except DestinationStopped as stop:
            raise Stopped(stop, "") from None
        if (size := len(request.body)) > abilities.batch_bytes:
            words = f"the row takes {size:,} bytes, the destination at most {abilities.batch_bytes:,}"
            raise BatchRefused(words, parts=math.ceil(size / abilities.batch_bytes))
        tries = self._tries(destination, request, trip, resend=batch[0].op in abilities.resend)
        try:
            found = await tries.until(lambda response: _verdicts(destination, batch, response))
        except BatchRefused as refused:
            if abilities.splits:
                raise
            return same(batch, "rejected", refused.reason)
        return unsettled(batch, found.ambiguous, found.reason) if isinstance(found, Failed) else found


def _verdicts(destination: Destination, batch: Sequence[Change], response: Response) -> list[Outcome]:
    found = destination.outcomes(batch, response)
    if [outcome.seq for outcome in found] == [change.seq for change in batch]:
        return found
    return same(batch, "unknown", f"the answer (status {response.status}) does not say how each row ended")


def _cut(batch: Sequence[Change], parts: int) -> list[Sequence[Change]]:
    """The batch in so many parts of about the same length, none of them empty."""
    parts = min(parts, len(batch))
    edges = [len(batch) * part // parts for part in range(parts + 1)]
    return [batch[start:end] for start, end in pairwise(edges)]


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
