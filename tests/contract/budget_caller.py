"""Processes that share an account's budget: `call URL FOLDER SECONDS` or `hold FOLDER`."""

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from connectors.budget import Limits, open_budget
from connectors.http import Sender
from connectors.outcomes import same
from connectors.protocol import Capabilities, Change, Op, Outcome, Request, Response

UPSERT: frozenset[Op] = frozenset({"upsert"})


@dataclass
class Rows:
    """A destination of one row a call."""

    capabilities: Capabilities = field(default_factory=lambda: Capabilities(UPSERT, resend=UPSERT))

    def request(self, changes: Sequence[Change]) -> Request:
        return Request("POST", "/rows", b"{}")

    def outcomes(self, changes: Sequence[Change], response: Response) -> list[Outcome]:
        return same(changes, "accepted")


async def call_often(url: str, folder: Path, seconds: float) -> None:
    """Four callers at once, as fast as 40 calls a second allow."""
    end = time.monotonic() + seconds
    async with Sender(url, budget=open_budget(folder, "crm", Limits(per_second=40))) as sender:

        async def caller() -> None:
            while time.monotonic() < end:
                await sender.send(Rows(), [Change(0, "upsert", {"id": 1})])

        await asyncio.gather(*(caller() for _ in range(4)))


async def hold_all_slots(folder: Path) -> None:
    """Says `held` when both slots are taken, and keeps them."""
    budget = open_budget(folder, "crm", Limits(concurrent=2))
    async with budget.turn(), budget.turn():
        print("held", flush=True)
        await asyncio.sleep(60)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["call", url, folder, seconds]:
            asyncio.run(call_often(url, Path(folder), float(seconds)))
        case ["hold", folder]:
            asyncio.run(hold_all_slots(Path(folder)))
