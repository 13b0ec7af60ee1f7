"""One call through all its tries: waits, refusals, old credentials, until something can be read."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import httpx

from connectors.attempt import Call, Failed, Unauthorized, attempt, prepare, where
from connectors.budget import Budget, HeldTooLong, Turn, WoundDown
from connectors.hints import used_up
from connectors.outcomes import Delivery, Transient
from connectors.protocol import Destination, DestinationStopped, Outcome, Request, Response

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class Retries:
    """How stubborn the sender is; seconds.

    Between tries it waits a random time between 0 and `base` · 2^n, at most `cap`. Waiting
    because the account is too fast, or because the destination asked for it, costs no try;
    all such waiting for one call together lasts at most `patience`.
    """

    tries: int = 6
    base: float = 0.5
    cap: float = 30.0
    patience: float = 900.0

    def ceiling(self, failures: int) -> float:
        """The longest pause after so many failures."""
        return min(self.cap, self.base * 2.0 ** min(failures, 64))


@dataclass(frozen=True, slots=True)
class Means:
    """What all calls of a sender have in common."""

    client: httpx.AsyncClient
    budget: Budget
    retries: Retries
    renew: Callable[[], Mapping[str, str]] | None
    now: Callable[[], float]
    random: Callable[[], float] = random.random


@dataclass(slots=True)
class Trip:
    """What one `send` has done so far."""

    outcomes: list[Outcome] = field(default_factory=list)
    calls: int = 0
    waited: float = 0.0

    def delivery(self) -> Delivery:
        return Delivery(self.outcomes, self.calls, self.waited)


class Stopped(Exception):
    """Carries `DestinationStopped` with why an earlier try may have arrived, if it may."""

    def __init__(self, stop: DestinationStopped, ambiguous: str) -> None:
        super().__init__(str(stop))
        self.stop = stop
        self.ambiguous = ambiguous


class Tries:
    """The tries of one call. `resend`: making it twice does no harm."""

    def __init__(
        self, means: Means, destination: Destination, request: Request, url: str, trip: Trip, *, resend: bool
    ) -> None:
        self._means = means
        self._destination = destination
        self._request = request
        self._url = url
        self._trip = trip
        self._resend = resend
        self._patience = means.retries.patience
        self._failed = 0
        self._told = 0
        self._renewed = False
        self._reason = ""
        self._ambiguous = ""

    async def until(self, read: Callable[[Response], Read]) -> Read | Failed:
        """What `read` makes of an answer that speaks of the rows, or why there is none.

        `read` may raise `Transient`; all else it raises goes to the caller. Raises `Stopped`
        where credentials or address are wrong.
        """
        try:
            while True:
                read_or_failed = await self._once(read)
                if not isinstance(read_or_failed, Failed):
                    return read_or_failed
                if (end := await self._gone_on(read_or_failed)) is not None:
                    return end
        except HeldTooLong as held:
            return self._given_up(_words(held, where(self._url), self._means.budget))
        except WoundDown:
            return self._given_up("not sent: the process was told to end")
        except DestinationStopped as stop:
            raise Stopped(stop, self._ambiguous) from None

    def _given_up(self, words: str) -> Failed:
        return Failed(f"{words}; before that {self._reason}" if self._reason else words, self._ambiguous)

    async def _once(self, read: Callable[[Response], Read]) -> Read | Failed:
        answer = await self._answer()
        if isinstance(answer, Failed):
            return answer
        try:
            return read(answer)
        except Transient as transient:
            return Failed(f"{where(self._url)}: {transient.reason}", transient=True, wait=transient.wait)

    async def _gone_on(self, failed: Failed) -> Failed | None:
        """None once the next try is due; else how it ends."""
        self._reason, self._ambiguous = failed.reason, failed.ambiguous or self._ambiguous
        if (failed.ambiguous or failed.transient) and not self._resend:
            return Failed(failed.reason, self._ambiguous)
        if failed.limited or (failed.wait is not None and not failed.transient):
            return None  # the account's budget knows, and the next turn waits
        self._failed += 1
        retries = self._means.retries
        if self._failed >= retries.tries:
            return Failed(f"{failed.reason} (tried {self._failed} times)", self._ambiguous)
        pause = failed.wait or self._means.random() * retries.ceiling(self._failed - 1)
        if pause > self._patience:
            return Failed(f"{failed.reason}; it asks for {pause:.0f} s, more than we wait", self._ambiguous)
        await self._means.budget.pause(pause, failed.reason)
        self._trip.waited += pause
        return None

    async def _answer(self) -> Response | Failed:
        means, stale = self._means, None

        async def leave(connected: bool) -> None:
            if connected or means.budget.is_late(turn):
                await means.budget.leave(turn)

        watched = leave if means.budget.limits.per_second else None
        call = prepare(means.client, self._request, self._url, watched)
        async with means.budget.turn(self._patience) as turn:
            self._trip.waited += turn.waited
            self._patience -= turn.held
            self._trip.calls += 1
            try:
                answer = await attempt(means.client, self._destination, call, means.now())
            except Unauthorized as refusal:
                stale = refusal
            else:
                await self._heed(answer, turn)
                return answer
        self._renew(call, stale)
        return await self._answer()

    async def _heed(self, answer: Response | Failed, turn: Turn) -> None:
        """Tell all callers of the account what this answer says about waiting."""
        budget = self._means.budget
        if isinstance(answer, Response):
            if (seconds := used_up(answer.headers, self._means.now())) is not None:
                await budget.hold(seconds)
        elif answer.limited and not answer.wait:
            await budget.slow_down(turn)
        elif answer.wait is not None:
            least = self._means.retries.ceiling(self._told) / 10  # never in a tight loop
            self._told += 1
            await (budget.refused if answer.limited else budget.hold)(max(answer.wait, least))

    def _renew(self, call: Call, refusal: Unauthorized) -> None:
        """Take the credentials anew, once a call; raises where that cannot help."""
        renew = self._means.renew
        if renew is None:
            raise refusal
        if self._renewed:
            raise Unauthorized(f"{refusal.problem}, the new ones too", hint=refusal.hint)
        self._renewed = True
        fresh = renew()
        if all(call.ready.headers.get(name) == value for name, value in fresh.items()):
            raise Unauthorized(f"{refusal.problem}; looked up again, they are the same", hint=refusal.hint)
        self._means.client.headers.update(fresh)


def _words(held: HeldTooLong, address: str, budget: Budget) -> str:
    goes_on = f"calls may go on at {held.until}"
    if held.why == "day":
        return f"the day's quota of {budget.limits.per_day:,} calls is used up; {goes_on}"
    if held.why == "slowed":
        return (
            f"rate limited by {address}, which does not say for how long: slowed down to a call "
            f"every {held.every:.0f} s, and still refused; {goes_on}"
        )
    return f"rate limited by {address}: it asks for {held.seconds:.0f} s, more than we wait; {goes_on}"
