"""What a delivery came to, and how a connector says that a whole batch was refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from connectors.protocol import Change, DestinationStopped, Outcome, Verdict


@dataclass(frozen=True, slots=True)
class Delivery:
    """One outcome per change, in order; `waited` is seconds spent pausing, not talking."""

    outcomes: list[Outcome]
    calls: int
    waited: float


class BatchRefused(Exception):
    """The tool (or the connector, before any call) refused the batch as a whole.

    `Destination.request` and `Destination.outcomes` may raise it: the sender halves the
    batch until the bad row stands alone, where the destination's capabilities allow it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


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


def same(changes: Sequence[Change], verdict: Verdict, reason: str = "") -> list[Outcome]:
    """The same verdict for every change."""
    return [Outcome(change.seq, verdict, reason) for change in changes]


def trimmed(text: str, limit: int = 300) -> str:
    """One line of at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
