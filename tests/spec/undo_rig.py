"""A sync against the sandbox CRM in this process, with real plans, ledgers and HTTP, for tests of undo."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import delete, insert, update

from connectors.http import Retries, Sender
from connectors.protocol import Change, Destination
from connectors.registry import open_destination, options_model
from connectors.sandbox.faults import Faults
from connectors.sandbox.records import Records
from connectors.sandbox.server import Crm
from connectors.secrets import Secret
from reverse_etl.accounts import Account
from reverse_etl.ledger import Answered, Rest, settle
from reverse_etl.plan import Intent, make_plan
from reverse_etl.source import target_of
from reverse_etl.tables import ledgers, prepare, runs
from reverse_etl.undo import UndoPlan, undo_plan
from serving.content.sync import Sync
from serving.store import Store

TOKEN = Secret("tok-4711")
Person = tuple[str, str | None, int | None]  # id, city, score
FIELDS = {"city": "city", "score": "score"}


@dataclass
class Rig:
    """One sync `s`, its control store and its CRM, as far as an undo looks at them."""

    home: Path
    keys: Mapping[str, object] = field(default_factory=dict)  # of the sync, other than usual
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    number: int = 0
    ledger: Path | None = None

    def __post_init__(self) -> None:
        self.var = self.home / "var"
        self.store = Store(self.var / "control.sqlite", durable=False)
        prepare(self.store)
        self._records = Records(self.home / "crm.sqlite")
        self._app = Crm(self._records, TOKEN).app()
        self.faults()
        options = options_model("sandbox")(url="http://crm.test")
        self.destination: Destination = open_destination("sandbox", options, "contacts")
        self.account = Account(self.destination, self.sender)
        self.sync = Sync.model_validate(
            {"name": "s", "source": "m", "run_as": "r", "destination": "d", "object": "contacts"}
            | {"key": {"id": "id"}, "fields": FIELDS, "mode": "mirror", "on_removed": "delete"}
            | self.keys
        )

    def close(self) -> None:
        self._records.close()
        self.store.engine.dispose()

    def sender(self) -> Sender:
        return Sender(
            "http://crm.test",
            auth={"Authorization": f"Bearer {TOKEN.reveal()}"},
            transport=httpx.ASGITransport(self._app),
            retries=Retries(tries=1),
        )

    def run(self, people: Sequence[Person], **intent: Any) -> int:
        """A run over this source; its number."""
        self._begin(None)
        source = pa.table(
            {
                "id": pa.array([p[0] for p in people], pa.string()),
                "city": pa.array([p[1] for p in people], pa.string()),
                "score": pa.array([p[2] for p in people], pa.int64()),
            }
        )
        can = self.destination.capabilities
        how = Intent(self.now, can.resend, partial=can.partial, cleared=can.cleared, **intent)
        make_plan(self.sync, source, self.ledger, self.folder, how)
        return self._deliver()

    def plan_undo(self, run: int) -> UndoPlan:
        return undo_plan(self, self.sync, run, self.account, self.home / f"undo-{run}", self.now)  # type: ignore[arg-type]

    def undo(self, run: int) -> UndoPlan:
        """Undo it, and deliver that as a run of its own."""
        plan = self.plan_undo(run)
        self._begin(run)
        self.folder.mkdir(parents=True)
        for file in plan.folder.glob("*.parquet"):
            (self.folder / file.name).write_bytes(file.read_bytes())
        self._deliver()
        return plan

    @property
    def folder(self) -> Path:
        return self.var / "syncs" / "s" / str(self.number)

    def _begin(self, undo_of: int | None) -> None:
        self.number += 1
        self.now += timedelta(days=1)
        row = {"id": self.number, "sync": "s", "target": target_of(self.sync), "state": "delivering"}
        row |= {"trigger": "manual", "requested_by": "ana", "full_resend": False, "undo_of": undo_of}
        with self.store.write() as connection:
            connection.execute(insert(runs).values(**row, started_at=self.now))

    def _deliver(self) -> int:
        rows = pq.read_table(self.folder / "plan.parquet", columns=["seq", "op", "key", "fields"])
        changes = [
            Change(r["seq"], r["op"], json.loads(r["key"]), json.loads(r["fields"]) if r["fields"] else {})
            for r in rows.to_pylist()
        ]
        answers = [Answered(o.seq, o.seq, o.verdict, o.reason) for o in self.send(changes)]
        new = self.var / "syncs" / "s" / f"ledger-{self.number}.parquet"
        rest = Rest("deferred", "not tried")
        settled = settle(self.folder, self.ledger, new, answers, rest, self.number, self.now)
        self.ledger = settled.ledger or self.ledger
        with self.store.write() as connection:
            ended = {"state": "done", "accepted": settled.verdicts.accepted}
            connection.execute(update(runs).where(runs.c.id == self.number).values(ended))
            if settled.ledger is not None:
                file = str(settled.ledger.relative_to(self.var / "syncs"))
                connection.execute(delete(ledgers))
                connection.execute(
                    insert(ledgers).values(sync="s", target=target_of(self.sync), file=file, run=self.number)
                )
        return self.number

    def send(self, changes: Sequence[Change]) -> Sequence[Any]:
        """Straight to the CRM, as a person there would."""

        async def sent() -> Sequence[Any]:
            async with self.sender() as sender:
                return (await sender.send(self.destination, changes)).outcomes

        return asyncio.run(sent()) if changes else []

    def edit(self, key: str, **fields: Any) -> None:
        """Somebody else changes a record, or makes it."""
        self.send([Change(0, "upsert", {"id": key}, fields)])

    def faults(self, **faults: Any) -> None:
        async def put() -> None:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://crm.test") as client:
                body = Faults(rate_limit=None, **faults).model_dump_json()
                headers = {"Authorization": f"Bearer {TOKEN.reveal()}"}
                (await client.put("/v1/faults", content=body, headers=headers)).raise_for_status()

        asyncio.run(put())

    def records(self) -> dict[str, dict[str, Any]]:
        """Live records by id."""
        found = self._records.page("contacts", 1_000, "", "", "no")
        return {str(row["id"]): dict(row["properties"]) for row in found}  # type: ignore[arg-type]

    def archived(self) -> set[str]:
        return {str(row["id"]) for row in self._records.page("contacts", 1_000, "", "", "only")}
