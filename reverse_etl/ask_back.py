"""A sender that asks, where no answer came, what the destination holds.

For what must not be sent twice: a row whose answer was lost is found and accepted, or it is
not there and a later run may send it; only what stays in doubt is unknown.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from connectors.outcomes import Delivery
from connectors.protocol import (
    Change,
    Destination,
    DestinationStopped,
    Outcome,
    ReadsBack,
    Request,
    Response,
)
from connectors.readback import read_back
from reverse_etl.deliver import Sends, TellsWaits, WindsDown
from reverse_etl.recover import GRACE, judged

FOUND = "found by reading back: its answer was lost"
ABSENT = "no answer came, and reading back finds that it did not arrive"
DOUBT = "no answer came, and"


class AsksBack:
    """`sender`, with the doubt of its deliveries settled where that is possible."""

    def __init__(self, sender: Sends, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._sender = sender
        self._sleep = sleep
        self._winding_down = False

    async def send(self, destination: Destination, changes: Sequence[Change]) -> Delivery:
        """As the sender's; what it raises is raised."""
        sent = await self._sender.send(destination, changes)
        delivery = Delivery(list(sent.outcomes), sent.calls, getattr(sent, "waited", 0.0))
        if changes[0].op in destination.capabilities.resend or self._winding_down:
            return delivery
        doubtful = {outcome.seq for outcome in sent.outcomes if outcome.verdict == "unknown"}
        asked = [change for change in changes if change.seq in doubtful]
        if not asked:
            return delivery
        told = await self._told(destination, asked)
        return replace(delivery, outcomes=[told.get(o.seq, o) for o in delivery.outcomes])

    async def fetch(self, destination: Destination, request: Request) -> Response:
        """As the sender's."""
        return await self._sender.fetch(destination, request)

    def wind_down(self) -> None:
        """No further call; doubt stays doubt."""
        self._winding_down = True
        if isinstance(self._sender, WindsDown):
            self._sender.wind_down()

    def tell_waits(self, on_wait: Callable[[float, str], None]) -> None:
        """As the sender's."""
        if isinstance(self._sender, TellsWaits):
            self._sender.tell_waits(on_wait)

    async def _told(self, destination: Destination, changes: Sequence[Change]) -> dict[int, Outcome]:
        if not isinstance(destination, ReadsBack):
            return {}
        await self._sleep(GRACE)  # a call without an answer may still be at work over there
        fields = list(dict.fromkeys(name for change in changes for name in change.fields))
        try:
            held = await read_back(self._sender, destination, [change.key for change in changes], fields)
        except DestinationStopped:
            return {}
        found = (judged(change, record, FOUND, DOUBT) for change, record in zip(changes, held, strict=True))
        absent = (Outcome(change.seq, "deferred", ABSENT) for change in changes)
        told = (one or other for one, other in zip(found, absent, strict=True))
        return {outcome.seq: outcome for outcome in told}
