"""What a delivery came to, and what a connector can say about an answer beside its rows' verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from connectors.protocol import Change, DestinationStopped, Outcome, Response, Verdict


@dataclass(frozen=True, slots=True)
class Delivery:
    """One outcome per change, in order; `waited` is seconds spent pausing, not talking."""

    outcomes: list[Outcome]
    calls: int
    waited: float


class BatchRefused(Exception):
    """The tool (or the connector, before any call) refused the batch as a whole.

    `Destination.request` and `Destination.outcomes` may raise it: the sender halves the
    batch until the bad row stands alone, where the destination's capabilities allow it;
    `parts` says into how many it should be cut.
    """

    def __init__(self, reason: str, *, parts: int = 2) -> None:
        super().__init__(reason)
        self.reason = reason
        self.parts = parts


class Transient(Exception):
    """The tool did nothing with this call, and may with the same one a little later.

    `Destination.outcomes` may raise it, for example on Salesforce's UNABLE_TO_LOCK_ROW or
    Intercom's 409 on a create: the call is made again as after a 5xx where sending twice is
    safe, else its rows are deferred. `wait`: seconds the tool asked for, if it did.
    """

    def __init__(self, reason: str, *, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait


class DeliveryStopped(DestinationStopped):
    """The destination stopped during `send`; `delivery` says how far each row had come."""

    def __init__(self, problem: str, *, hint: str, delivery: Delivery) -> None:
        super().__init__(problem, hint=hint)
        self.delivery = delivery


@runtime_checkable
class ReadsStatuses(Protocol):
    """A destination that reads statuses the sender would take for a wrong address.

    For example 404 where the address of the call names the row.
    """

    own_statuses: frozenset[int]


@runtime_checkable
class ReadsLimits(Protocol):
    """A destination that says "too fast" otherwise than by status 429.

    For example Salesforce's 403 REQUEST_LIMIT_EXCEEDED, or Slack's 200 with `ratelimited`.
    """

    def limited(self, response: Response) -> float | None:
        """Seconds to wait, 0 where the answer does not say; None: it speaks of no limit."""
        ...


def same(changes: Sequence[Change], verdict: Verdict, reason: str = "") -> list[Outcome]:
    """The same verdict for every change."""
    return [Outcome(change.seq, verdict, reason) for change in changes]


def unsettled(changes: Sequence[Change], ambiguous: str, reason: str) -> list[Outcome]:
    """Rows without an answer: unknown where any try may have arrived, else deferred."""
    if ambiguous:
        words = ambiguous if ambiguous in reason else f"{ambiguous}; then {reason}"
        return same(changes, "unknown", words)
    return same(changes, "deferred", reason)


def trimmed(text: str, limit: int = 300) -> str:
    """One line of at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
