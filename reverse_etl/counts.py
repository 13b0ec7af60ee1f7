"""The numbers of a plan and of a run, and the sum that must hold."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Counts:
    """What a plan found. The first five are sent; `rejected` rows cannot be."""

    create: int = 0
    update: int = 0
    remove: int = 0
    retry: int = 0  # not accepted before, and due again
    resend: int = 0  # unchanged, sent because a person asked for everything
    rejected: int = 0  # rows of the source without a usable key or value
    unchanged: int = 0
    waiting: int = 0  # rejected by the destination, not due yet
    parked: int = 0  # rejected too often: wait for a change, or for `retry`
    kept: int = 0  # gone from the source, and the sync keeps them
    held: int = 0  # not removed, because the source's keys cannot be trusted
    small: int = 0  # changed within `ignore_changes`: no news
    early: int = 0  # changed, but accepted less than `min_resend` ago
    skipped: int = 0  # changed, and the mode does not update (insert)
    wanted: int = 0  # rows of the source that can be sent
    ledger: int = 0  # rows the destination holds from this sync

    @property
    def to_send(self) -> int:
        """How many rows leave."""
        return self.create + self.update + self.remove + self.retry + self.resend

    @property
    def planned(self) -> int:
        """What the verdicts must add up to."""
        return self.to_send + self.rejected

    def to_json(self) -> str:
        """For the control store."""
        return json.dumps(asdict(self))


def counts_from_json(text: str | None) -> Counts:
    """What `to_json` wrote; zeros before there was a plan."""
    return Counts(**json.loads(text)) if text else Counts()


@dataclass(frozen=True)
class Profile:
    """What a source looked like when a plan was made, for the next guard to compare with."""

    rows: int  # that can be sent
    nulls: Mapping[str, int]  # destination field -> how many of them are null

    def to_json(self) -> str:
        """For the control store."""
        return json.dumps({"rows": self.rows, "nulls": dict(self.nulls)})


def profile_from_json(text: str | None) -> Profile | None:
    """What `to_json` wrote; None where there was no plan."""
    if not text:
        return None
    found = json.loads(text)
    return Profile(int(found["rows"]), {str(name): int(count) for name, count in found["nulls"].items()})


@dataclass(frozen=True)
class Verdicts:
    """How the planned rows ended; the rejected ones include those that never left."""

    accepted: int = 0
    rejected: int = 0
    deferred: int = 0
    unknown: int = 0

    @property
    def total(self) -> int:
        """planned = accepted + rejected + deferred + unknown."""
        return self.accepted + self.rejected + self.deferred + self.unknown

    def __str__(self) -> str:
        return (
            f"{self.total:,} planned = {self.accepted:,} accepted + {self.rejected:,} rejected"
            f" + {self.deferred:,} deferred + {self.unknown:,} unknown"
        )
