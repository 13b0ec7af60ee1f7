"""What must hold after the kills, told from outside: the CRM's records and its log of calls."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
from sqlalchemy import select

from connectors.sandbox_client import Call, Record
from reverse_etl.counts import counts_from_json
from reverse_etl.tables import ledgers, runs
from tests.chaos.rig import write_calls
from tests.chaos.world import Row, World

REMOVALS = ("archive", "delete")
_FIELDS = ("name", "email", "city")


@dataclass(frozen=True)
class Entry:
    """A row of a ledger: what was accepted last, and what is pending."""

    fields: Mapping[str, object] | None
    pending: str | None
    reason: str


@dataclass
class Evidence:
    """The CRM and the control store when everything is quiet."""

    world: World
    records: dict[str, Record] = field(default_factory=dict)  # archived ones, too
    calls: tuple[Call, ...] = ()
    ledgers: dict[str, dict[str, Entry]] = field(default_factory=dict)

    def live(self, key: str) -> dict[str, object] | None:
        """The record's fields; None if there is none, or it is archived."""
        record = self.records.get(key)
        if record is None or record.archived_at is not None:
            return None
        return {name: value for name, value in record.properties.items() if name in _FIELDS}


def gather(world: World) -> Evidence:
    """Look at everything once."""
    found = Evidence(world)
    with world.crm.sandbox.client() as client:
        found.records = {record.id: record for record in client.every_record("contacts", archived="all")}
        found.calls = tuple(call for call in write_calls(client) if call.id > world.seen)
    with world.project() as project, project.store.read() as connection:
        for row in connection.execute(select(ledgers)).all():
            found.ledgers[row.sync] = dict(_entries(project.var / "syncs" / row.file))
    return found


def _entries(file: Path) -> Iterator[tuple[str, Entry]]:
    for row in pq.read_table(file).to_pylist():
        fields = json.loads(row["fields"]) if row["fields"] else None
        kept = None if fields is None else {k: v for k, v in fields.items() if v is not None}
        yield json.loads(row["key"])["id"], Entry(kept, row["pending"], row["reason"] or "")


def problems(found: Evidence) -> list[str]:
    """Every sentence is a broken promise."""
    return [
        *_sums(found),
        *_repeats(found),
        *_strangers(found),
        *(words for sync in found.world.syncs for words in _rows(found, sync)),
        *(words for sync in found.world.syncs for words in _ledger(found, sync)),
    ]


def story(found: Evidence, key: str) -> str:
    """Everything that is known of one row, for whoever reads a failure."""
    world, lines = found.world, [f"{key}: {[row.fields for row in found.world.versions.get(key, [])]}"]
    lines.append(f"  in the source: {world.rows.get(key)}; in the CRM: {found.records.get(key)}")
    lines += [f"  ledger of {sync}: {held[key]}" for sync, held in found.ledgers.items() if key in held]
    for call in found.calls:
        if key in call.received:
            lines.append(f"  call {call.id} at {call.at}: {call.op} {call.status}, wrote: {key in call.ids}")
    for sync in world.syncs:
        for file in sorted((world.crm.var / "syncs" / sync).glob("*/outcomes.parquet")):
            for row in pq.read_table(file).to_pylist():
                if row["key"] is not None and json.loads(row["key"])["id"] == key:
                    lines.append(f"  run {file.parent.name}: {row['kind']} {row['verdict']} {row['reason']}")
    return "\n".join(lines)


def _sums(found: Evidence) -> Iterator[str]:
    """planned = accepted + rejected + deferred + unknown."""
    with found.world.project() as project, project.store.read() as connection:
        for run in connection.execute(select(runs)).all():
            if run.state not in ("done", "failed"):
                yield f"run {run.id} is left {run.state}"
            elif run.accepted is not None or run.counts:
                planned = counts_from_json(run.counts).planned
                total = sum(v or 0 for v in (run.accepted, run.rejected, run.deferred, run.unknown))
                if planned != total:
                    yield f"run {run.id} of {run.sync}: {planned} planned, {total} verdicts"


def _repeats(found: Evidence) -> Iterator[str]:
    """A row is written as often as runs planned it, and once more for an answer that was never heard."""
    allowed = Counter(_planned(found.world))
    inserted: Counter[str] = Counter()
    for call in found.calls:
        if call.status == 0:
            allowed.update((call.op, key) for key in call.ids)
        if call.op == "insert":
            inserted.update(call.ids)
    written = Counter((call.op, key) for call in found.calls for key in call.ids)
    for (op, key), times in written.items():
        if times > allowed[op, key]:
            yield f"{key} was written {times} times by {op}, at most {allowed[op, key]} are explained"
    for key, times in inserted.items():
        if times > 1:
            yield f"{key} was inserted {times} times"


def _planned(world: World) -> Iterator[tuple[str, str]]:
    """(call, id) for every planned row, and again for every batch in flight at a kill."""
    flights: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    for flight in world.flights:
        flights[flight.sync, flight.run].append((flight.first, flight.last))
    for sync in world.syncs:
        for folder in (world.crm.var / "syncs" / sync).iterdir():
            if folder.name.isdigit() and (folder / "plan.parquet").exists():
                struck = flights[sync, int(folder.name)]
                for row in pq.read_table(folder / "plan.parquet", columns=["seq", "op", "key"]).to_pylist():
                    call = "update" if row["op"] == "clear" else row["op"]
                    times = 1 + sum(first <= row["seq"] <= last for first, last in struck)
                    yield from [(call, json.loads(row["key"])["id"])] * times


def _strangers(found: Evidence) -> Iterator[str]:
    """Records of other people are as they were, and no call named them."""
    for key, before in found.world.strangers.items():
        if found.records.get(key) != before:
            yield f"the foreign record {key} was touched: {found.records.get(key)}"
    ours = found.world.versions.keys()
    named = {key for call in found.calls for key in call.received}
    for key in sorted(named - ours):
        yield f"{key} was sent, which the source never had"


def _rows(found: Evidence, sync: str) -> Iterator[str]:
    """Every row of the source arrived with its newest values, or its verdict says why not."""
    world = found.world
    for key, versions in world.versions.items():
        if versions[0].team != sync:
            continue
        row, held, entry = world.rows.get(key), found.live(key), found.ledgers.get(sync, {}).get(key)
        if row is None and sync in ("insert", "update", "upsert"):
            continue  # kept, whatever had become of it
        if entry is not None and entry.pending is not None:
            yield from _pending(found, key, sync, entry)
        elif row is not None:
            yield from _present(sync, row, versions, held)
        elif sync in ("archive", "delete") and held is not None:
            yield f"{key} left the source and is still there"
        elif sync == "clear" and held:
            yield f"{key} left the source and was not cleared: {held}"
        elif sync == "delete" and key in found.records:
            yield f"{key} left the source and was not deleted"


def _present(sync: str, row: Row, versions: list[Row], held: Mapping[str, object] | None) -> Iterator[str]:
    if sync == "insert":
        if held not in [version.fields for version in versions if version.good]:
            yield f"{row.id} was to be inserted: {held}"
    elif not row.good:
        yield f"{row.id} has no good address, and no verdict says so"
    elif held != row.fields:
        yield f"{row.id} is {held}, not {row.fields}"


def _pending(found: Evidence, key: str, sync: str, entry: Entry) -> Iterator[str]:
    """What was not accepted must be so in the CRM's own log."""
    mentions = [call for call in found.calls if key in call.received]
    if entry.pending == "rejected":
        if not any(key not in call.ids for call in mentions if 200 <= call.status < 500):
            yield f"{key} counts as rejected ({entry.reason}), and no call refused it"
        if sync == "insert" and "already_exists" in entry.reason:
            yield f"{key} was inserted and is told to be refused: {entry.reason}"
    elif entry.pending == "unknown" and sync == "insert":
        if not any(call.status in (0, 200, 207, 409) for call in mentions):  # 409, and then no answer
            yield f"{key} counts as unknown ({entry.reason}), and no call was left open"
    else:
        yield f"{key} is left {entry.pending}: {entry.reason}"


def _ledger(found: Evidence, sync: str) -> Iterator[str]:
    """What the ledger says was accepted is what the CRM holds."""
    for key, entry in found.ledgers.get(sync, {}).items():
        held = found.live(key)
        if entry.fields is None or held == entry.fields:
            continue
        sent = [version.fields for version in found.world.versions[key]]
        if entry.pending is None or held not in [None, {}, *sent]:  # what is pending may have arrived
            yield f"the ledger of {sync} has {key} as {entry.fields}, the CRM as {held}"
