"""The CRM's memory: records and the log of calls in one SQLite file.

A batch and its line in the log are one transaction, so that the log proves what arrived.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from connectors.protocol import Json
from connectors.sandbox.rules import Incoming, Refusal

OBJECTS = ("companies", "contacts")
_SCHEMA = """
create table if not exists records (
    object text not null, id text not null, properties text not null,
    created_at text not null, updated_at text not null, archived_at text,
    primary key (object, id)
) without rowid;
create table if not exists calls (
    id integer primary key, at text not null, method text not null, path text not null,
    status integer not null, records integer not null, ids text not null,
    received text not null default '{}', idempotency_key text
);
create table if not exists written (one integer primary key check (one = 1), records integer not null);
insert or ignore into written values (1, 0);
"""
Archived = Literal["no", "only", "all"]
Row = dict[str, Json]
_RECORD = "select id, properties, created_at, updated_at, archived_at from records where object = ?"
_CALL = "select id, at, method, path, status, records, ids, received, idempotency_key from calls where id > ?"
# Files that older sandboxes made lack these.
_ADDED = (("received", "text not null default '{}'"), ("idempotency_key", "text"))


@dataclass(frozen=True, slots=True)
class Written:
    """The answer's parts: one result per record that was written."""

    results: list[Json]
    refused: list[Refusal]


@dataclass(frozen=True, slots=True)
class Call:
    """A call for the log; `received` are the records in its body with a digest of what they say."""

    method: str
    path: str
    received: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None


class Records:
    """One connection to the file; use it from one thread."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(file, isolation_level=None)
        self._db.executescript(
            "pragma journal_mode=wal; pragma synchronous=normal; pragma busy_timeout=5000;"
        )
        self._db.executescript(_SCHEMA)
        there = {row[1] for row in self._db.execute("pragma table_info(calls)")}
        for name, kind in _ADDED:
            if name not in there:
                self._db.execute(f"alter table calls add column {name} {kind}")

    def close(self) -> None:
        self._db.close()

    def upsert(self, name: str, records: Sequence[Incoming], at: datetime) -> Written:
        """Create or merge each record; null clears a property; an archived record comes back."""
        held = self._held(name, records)
        archived = held.keys() - self._held(name, records, live=True).keys()
        return self._merge(name, records, held, at, archived)

    def insert(self, name: str, records: Sequence[Incoming], at: datetime) -> Written:
        """Create each record whose id is free; an archived record keeps its id."""
        held = self._held(name, records)
        free = [record for record in records if record.id not in held]
        words = f"the id is taken in {name}"
        taken = [Refusal(r.index, r.id, "already_exists", words) for r in records if r.id in held]
        return Written(self._merge(name, free, {}, at).results, taken)

    def update(self, name: str, records: Sequence[Incoming], at: datetime) -> Written:
        """Merge into each record that is live."""
        held = self._held(name, records, live=True)
        known, missing = _sorted_by_presence(name, records, held)
        return Written(self._merge(name, known, held, at).results, missing)

    def _merge(
        self,
        name: str,
        records: Sequence[Incoming],
        held: Mapping[str, str],
        at: datetime,
        archived: Set[str] = frozenset(),
    ) -> Written:
        stamp = _text(at)
        rows, results = [], list[Json]()
        for record in records:
            old = held.get(record.id)
            merged = {**(json.loads(old) if old else {}), **record.properties}
            kept = {key: value for key, value in merged.items() if value is not None}
            rows.append((name, record.id, json.dumps(kept, ensure_ascii=False), stamp, stamp))
            status = "created" if old is None else "restored" if record.id in archived else "updated"
            results.append({"id": record.id, "status": status})
        self._db.executemany(
            "insert into records values (?, ?, ?, ?, ?, null) on conflict (object, id) do update set "
            "properties = excluded.properties, updated_at = excluded.updated_at, archived_at = null",
            rows,
        )
        return Written(results, [])

    def archive(self, name: str, records: Sequence[Incoming], at: datetime) -> Written:
        """Archive each record that is there; archiving twice is no error."""
        known, refused = _sorted_by_presence(name, records, self._held(name, records))
        self._db.executemany(
            "update records set archived_at = coalesce(archived_at, ?) where object = ? and id = ?",
            [(_text(at), name, record.id) for record in known],
        )
        return Written([{"id": record.id, "status": "archived"} for record in known], refused)

    def delete(self, name: str, records: Sequence[Incoming]) -> Written:
        """Delete each record that is there, for good."""
        known, refused = _sorted_by_presence(name, records, self._held(name, records))
        self._db.executemany(
            "delete from records where object = ? and id = ?", [(name, record.id) for record in known]
        )
        return Written([{"id": record.id, "status": "deleted"} for record in known], refused)

    def read(self, name: str, ids: Sequence[str]) -> list[Row]:
        """The live ones among these records, in no particular order."""
        sql = f"{_RECORD} and archived_at is null and id in (select value from json_each(?))"
        return [_record(row) for row in self._db.execute(sql, (name, json.dumps(ids)))]

    def _held(self, name: str, records: Sequence[Incoming], *, live: bool = False) -> dict[str, str]:
        ids = json.dumps([record.id for record in records])
        sql = "select id, properties from records where object = ? and id in (select value from json_each(?))"
        return dict(self._db.execute(sql + " and archived_at is null" * live, (name, ids)).fetchall())

    def begin(self) -> None:
        self._db.execute("begin immediate")

    def commit(self) -> None:
        self._db.execute("commit")

    def rollback(self) -> None:
        self._db.execute("rollback")

    def log(self, at: datetime, call: Call, status: int, ids: Sequence[str]) -> None:
        """One line per call; `ids` are the records it wrote; status 0: it was never answered."""
        self._db.execute(
            "insert into calls (at, method, path, status, records, ids, received, idempotency_key)"
            " values (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                _text(at),
                call.method,
                call.path,
                status,
                len(call.received),
                json.dumps(ids),
                json.dumps(call.received),
                call.idempotency_key,
            ),
        )
        if ids:
            self._db.execute("update written set records = records + ?", (len(ids),))

    def page(self, name: str, limit: int, after: str, q: str, archived: Archived) -> list[Row]:
        """Records in order of their id, behind `after`, that contain `q` anywhere."""
        state = {"no": "archived_at is null", "only": "archived_at is not null", "all": "true"}[archived]
        like = "%" + q.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        sql = (
            f"{_RECORD} and id > ? and {state} "
            "and (id like ? escape '\\' or properties like ? escape '\\') order by id limit ?"
        )
        return [_record(row) for row in self._db.execute(sql, (name, after, like, like, limit))]

    def one(self, name: str, record_id: str) -> Row | None:
        row = self._db.execute(f"{_RECORD} and id = ?", (name, record_id)).fetchone()
        return _record(row) if row else None

    def calls(self, limit: int, after: int, newest: bool) -> list[Row]:
        """Lines of the log behind `after`; oldest first unless `newest`."""
        order = "desc" if newest else "asc"
        sql = f"{_CALL} order by id {order} limit ?"
        names = ("id", "at", "method", "path", "status", "records")
        return [
            {
                **dict(zip(names, row[:6], strict=True)),
                "op": row[3].rpartition("/")[2],
                "ids": json.loads(row[6]),
                "received": json.loads(row[7]),
                "idempotency_key": row[8],
            }
            for row in self._db.execute(sql, (after, limit))
        ]

    def stats(self) -> Row:
        """How many records there are, calls were made and records were written."""
        sql = "select object, archived_at is not null, count(*) from records group by 1, 2"
        counts = {(name, bool(gone)): number for name, gone, number in self._db.execute(sql)}
        (calls,) = self._db.execute("select count(*) from calls").fetchone()
        (writes,) = self._db.execute("select records from written").fetchone()
        return {
            "records": {name: counts.get((name, False), 0) for name in OBJECTS},
            "archived": {name: counts.get((name, True), 0) for name in OBJECTS},
            "calls": calls,
            "writes": writes,
        }


def _sorted_by_presence(
    name: str, records: Sequence[Incoming], held: Mapping[str, str]
) -> tuple[list[Incoming], list[Refusal]]:
    known = [record for record in records if record.id in held]
    message = f"there is no such record in {name}"
    return known, [Refusal(r.index, r.id, "not_found", message) for r in records if r.id not in held]


def _record(row: tuple[str, str, str, str, str | None]) -> Row:
    record_id, properties, created_at, updated_at, archived_at = row
    return {
        "id": record_id,
        "properties": json.loads(properties),
        "created_at": created_at,
        "updated_at": updated_at,
        "archived_at": archived_at,
    }


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
