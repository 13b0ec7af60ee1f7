"""One run with a plan on disk and a destination in memory, for tests of delivery and recovery."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import select

from connectors.outcomes import same
from connectors.protocol import Capabilities, Change, Json, Op, Outcome, Request, Response
from reverse_etl.batches import Journal, Leaving
from reverse_etl.deliver import Courier, Sent, deliver
from reverse_etl.journal import Order, open_run
from reverse_etl.lease import hold
from reverse_etl.recover import recover
from reverse_etl.tables import batches, prepare
from serving.store import Store, utc_now

NOW = datetime(2026, 1, 5, tzinfo=UTC)
UPSERT: list[Op] = ["upsert"]
SAFE = Capabilities(
    ops=frozenset({"insert", "upsert", "delete"}),
    batch_rows=10,
    concurrent=2,
    resend=frozenset({"upsert", "delete"}),
)


@dataclass
class Tool:
    """A destination that keeps what it is sent, and a sender to it; `during` happens within a call."""

    capabilities: Capabilities = SAFE
    records: dict[str, Mapping[str, Json]] = field(default_factory=dict)
    sent: list[int] = field(default_factory=list)
    versions: dict[int, str] = field(default_factory=dict)
    during: "list[object]" = field(default_factory=list)

    async def send(self, destination: object, changes: Sequence[Change]) -> "Told":
        self.sent += [change.seq for change in changes]
        self.versions |= {change.seq: change.version for change in changes}
        await asyncio.sleep(0)
        for step in self.during:
            await step(changes)  # type: ignore[operator]
        for change in changes:
            self.records[str(change.key["id"])] = change.fields
        return Told(same(changes, "accepted"))

    def request(self, changes: Sequence[Change]) -> Request:
        return Request("POST", "/")

    def outcomes(self, changes: Sequence[Change], response: Response) -> list[Outcome]:
        return []

    async def fetch(self, destination: object, request: Request) -> Response:
        return Response(200, {}, request.body)

    def lookup(self, keys: Sequence[Mapping[str, Json]], fields: Sequence[str]) -> Request:
        return Request("POST", "/read", json.dumps([key["id"] for key in keys]).encode())

    def looked_up(
        self, keys: Sequence[Mapping[str, Json]], fields: Sequence[str], response: Response
    ) -> list[Mapping[str, Json] | None]:
        return [self.records.get(found) for found in json.loads(response.body)]


@dataclass(frozen=True)
class Told:
    outcomes: list[Outcome]
    calls: int = 1


@dataclass
class Night:
    """One run of one sync with a plan on disk."""

    store: Store
    plan: Path
    run: int
    tool: Tool = field(default_factory=Tool)

    def deliver(self, **courier: object) -> Sent:
        with hold(self.store, "people") as lease:
            journal = Journal(self.store, self.run, lease)
            return asyncio.run(
                deliver(self.plan, Courier(self.tool, self.tool, journal, utc_now, **courier))  # type: ignore[arg-type]
            )

    def journal(self) -> list[tuple[str, int, int]]:
        query = select(batches.c.state, batches.c.first_seq, batches.c.last_seq).order_by(batches.c.no)
        with self.store.read() as connection:
            return [(state, first, last) for state, first, last in connection.execute(query)]

    def states(self) -> set[str]:
        return {state for state, _, _ in self.journal()}

    def recover(self, *, asking: bool = True) -> None:
        with hold(self.store, "people") as lease:
            journal = Journal(self.store, self.run, lease)
            asyncio.run(recover(journal, self.plan, self.tool, self.tool if asking else None, NOW, at_once))

    def verdicts(self) -> dict[int, str]:
        with hold(self.store, "people") as lease:
            found = list(Journal(self.store, self.run, lease).answered())
        return {
            seq: {s: v for s, v, _ in part.exceptions}.get(seq, part.verdict)
            for part in found
            for seq in range(part.first, part.last + 1)
        }

    def crash(self, *ranges: tuple[int, int]) -> None:
        """These batches had been about to leave when the process died."""
        with hold(self.store, "people") as lease:
            journal = Journal(self.store, self.run, lease)
            for first, last in ranges:
                journal.write([Leaving(journal.number(), first, last)], NOW)


async def at_once(seconds: float) -> None:
    """A sleep that takes no time."""


def a_night(folder: Path, ops: Sequence[Op]) -> Iterator[Night]:
    plan = folder / "plan.parquet"
    columns = {
        "seq": list(range(1, len(ops) + 1)),
        "op": list(ops),
        "key": [json.dumps({"id": str(n)}) for n in range(1, len(ops) + 1)],
        "fields": [json.dumps({"name": f"it's {n}"}) for n in range(1, len(ops) + 1)],
    }
    pq.write_table(pa.table(columns), plan)
    store = Store(folder / "store.sqlite", patience=0.2)
    prepare(store)
    yield Night(store, plan, open_run(store, "people", "crm", Order("t"), None, NOW))
    store.close()


@contextmanager
def locked(store: Store) -> Iterator[None]:
    """Another process holds the store's write lock."""
    other = sqlite3.connect(store.engine.url.database or "", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()
