"""What delivering a plan costs at the account's limits. Pure: numbers in, numbers out."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import ceil

from connectors.protocol import Capabilities, Op


@dataclass(frozen=True)
class Price:
    """A forecast: every call full, none repeated."""

    calls: int
    seconds: float | None  # at the account's limits; None: it has none
    per_day: int | None = None  # calls the account may make on one day
    used_today: int = 0  # of them, by all syncs of the account

    @property
    def share(self) -> float | None:
        """The share of the day's calls that this plan takes; None without such a limit."""
        return None if self.per_day is None else self.calls / self.per_day

    @property
    def exceeds(self) -> bool:
        """Whether the day's calls do not suffice: the rest of the rows is deferred."""
        return self.per_day is not None and self.calls > self.per_day - self.used_today

    def __str__(self) -> str:
        if self.calls == 0:
            return "no calls"
        words = [f"{self.calls:,} {'call' if self.calls == 1 else 'calls'}"]
        if self.seconds is not None:
            words.append(f"at least {_span(self.seconds)} at the account's limit")
        if self.share is not None:
            words.append(f"{self.share:.1%} of {self.per_day:,} calls a day, {self.used_today:,} used today")
        if self.exceeds:
            words.append("more than are left today: the rest will be deferred")
        return ", ".join(words)

    def to_json(self) -> str:
        """For the control store."""
        return json.dumps(asdict(self))


def price_from_json(text: str) -> Price:
    """What `to_json` wrote."""
    return Price(**json.loads(text))


def price(
    sizes: Mapping[Op, tuple[int, int]],
    capabilities: Capabilities,
    *,
    per_second: float | None,
    per_minute: int | None,
    per_day: int | None,
    used_today: int,
) -> Price:
    """The calls for so many rows and bytes per op, and how long the account's windows make them take."""
    calls = sum(
        max(ceil(rows / capabilities.batch_rows), ceil(size / capabilities.batch_bytes))
        for rows, size in sizes.values()
    )
    paces = [calls / per_second] if per_second else []
    paces += [60.0 * calls / per_minute] if per_minute else []
    return Price(calls, max(paces, default=None), per_day, used_today)


def _span(seconds: float) -> str:
    if seconds < 1.5:
        return "1 second"
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
