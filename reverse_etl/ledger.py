"""What the destination last accepted, row by row; and how a run's outcomes change it.

A ledger is one immutable Parquet file. Which file counts is a row of the control store.

    key, fields, d1, d2     what was accepted last (NULL: nothing yet), with its digest
    accepted_at, run        when, and by which run
    pending                 rejected | deferred | unknown: how the newest change ended, if not accepted
    pending_op, p1, p2      which change that was
    reason, attempts, next_try
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from connectors.protocol import Verdict
from reverse_etl.counts import Verdicts
from reverse_etl.scratch import scratch, write_parquet

FIRST_WAIT = timedelta(minutes=5)  # doubles with each rejection of the same row

_TIME = pa.timestamp("us", tz="UTC")
_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("fields", pa.string()),
        ("d1", pa.uint64()),
        ("d2", pa.uint64()),
        ("accepted_at", _TIME),
        ("run", pa.int64()),
        ("pending", pa.string()),
        ("pending_op", pa.string()),
        ("p1", pa.uint64()),
        ("p2", pa.uint64()),
        ("reason", pa.string()),
        ("attempts", pa.int64()),
        ("next_try", _TIME),
    ]
)
_RANGES = pa.schema(
    [("first", pa.int64()), ("last", pa.int64()), ("verdict", pa.string()), ("reason", pa.string())]
)
_EXCEPTIONS = pa.schema([("seq", pa.int64()), ("verdict", pa.string()), ("reason", pa.string())])

_OUTCOMES = """
select p.seq, p.op, p.kind, p.key, p.fields, p.d1, p.d2,
       coalesce(e.verdict, b.verdict, $verdict) as verdict,
       case when e.verdict is not null then e.reason
            when b.verdict is not null then b.reason else $reason end as reason
from (
    select p.*, r.verdict as in_range, r.reason as range_reason, r.last
    from plan p asof left join ranges r on p.seq >= r.first
) p
left join lateral (select case when p.seq <= p.last then p.in_range end as verdict,
                          case when p.seq <= p.last then p.range_reason end as reason) b on true
left join exceptions e on p.seq = e.seq
"""

_REPORT = """
select seq, op, kind, key, verdict, reason from outcomes where verdict is not null
union all
select null, null, 'source', key, 'rejected', reason from rejects
order by seq nulls last
"""

_NEXT = """
with o as (select *, op = 'upsert' and verdict = 'accepted' as sent from outcomes where verdict is not null),
l as (
    select ledger.* from ledger anti join forgotten on ledger.key = forgotten.key
    union all by name
    select key, fields, d1, d2, accepted_at, run, '' as reason, 0 as attempts
    from ledger semi join forgotten on ledger.key = forgotten.key where fields is not null
)
select coalesce(l.key, o.key) as key,
       case when o.sent then o.fields else l.fields end as fields,
       case when o.sent then o.d1 else l.d1 end as d1,
       case when o.sent then o.d2 else l.d2 end as d2,
       case when o.sent then $now else l.accepted_at end as accepted_at,
       case when o.sent then $run else l.run end as run,
       case when o.key is null then l.pending when o.verdict <> 'accepted' then o.verdict end as pending,
       case when o.key is null then l.pending_op when o.verdict <> 'accepted' then o.op end as pending_op,
       case when o.key is null then l.p1 when o.verdict <> 'accepted' then o.d1 end as p1,
       case when o.key is null then l.p2 when o.verdict <> 'accepted' then o.d2 end as p2,
       case when o.key is null then l.reason else o.reason end as reason,
       {attempts} as attempts,
       case when o.key is null then l.next_try
            when o.verdict = 'rejected' then $now + $wait * pow(2, {attempts} - 1)::bigint end as next_try
from l full outer join o on l.key = o.key
where coalesce(o.verdict <> 'accepted' or o.op = 'upsert', true)
"""

_ATTEMPTS = """(case when o.key is null then l.attempts
    when o.verdict = 'accepted' then 0
    else case when l.pending is not null and l.pending_op = o.op and l.p1 is not distinct from o.d1
                   and l.p2 is not distinct from o.d2 then l.attempts else 0 end
         + case when o.verdict = 'rejected' then 1 else 0 end end)"""


@dataclass(frozen=True)
class Answered:
    """How the rows of one batch ended: all of them like `verdict`, but the exceptions."""

    first: int
    last: int
    verdict: Verdict
    reason: str
    exceptions: tuple[tuple[int, Verdict, str], ...] = ()


@dataclass(frozen=True)
class Rest:
    """How rows without an answer end when the run is closed."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Settled:
    """The verdicts of a run, and its ledger; None: the old one still holds."""

    verdicts: Verdicts
    ledger: Path | None


def empty_ledger() -> pa.Table:
    """The ledger of a sync that never ran."""
    return _SCHEMA.empty_table()


def settle(
    folder: Path,
    old: Path | None,
    new: Path,
    answers: Iterable[Answered],
    rest: Rest | None,
    run: int,
    now: datetime,
) -> Settled:
    """Write outcomes.parquet into the run's folder and the next ledger to `new`.

    Starts from the ledger the plan was made with, so that doing it again gives the same.
    Without `rest` the run goes on later: rows without an answer are left as they were.
    """
    with scratch(folder) as db:
        _load(db, folder, old, answers, rest)
        write_parquet(db, _REPORT, folder / "outcomes.parquet", {})
        if not _anything(db):
            return Settled(_verdicts(db), None)
        parameters: dict[str, object] = {"now": now, "run": run, "wait": FIRST_WAIT}
        new.parent.mkdir(parents=True, exist_ok=True)
        write_parquet(db, _NEXT.format(attempts=_ATTEMPTS), new, parameters)
        return Settled(_verdicts(db), new)


def _load(
    db: duckdb.DuckDBPyConnection,
    folder: Path,
    old: Path | None,
    answers: Iterable[Answered],
    rest: Rest | None,
) -> None:
    for name in ("plan", "rejects", "forgotten"):
        db.from_parquet(str(folder / f"{name}.parquet")).create_view(name)
    if old is None:
        db.register("ledger", empty_ledger())
    else:
        db.from_parquet(str(old)).create_view("ledger")
    db.execute("create temp table ranges (first bigint, last bigint, verdict varchar, reason varchar)")
    db.execute("create temp table exceptions (seq bigint, verdict varchar, reason varchar)")
    left = iter(answers)
    while part := tuple(islice(left, 10_000)):
        _append(db, "ranges", [(a.first, a.last, a.verdict, a.reason) for a in part], _RANGES)
        _append(db, "exceptions", [row for a in part for row in a.exceptions], _EXCEPTIONS)
    parameters = {"verdict": rest.verdict if rest else None, "reason": rest.reason if rest else None}
    db.execute(f"create temp table outcomes as {_OUTCOMES}", parameters)


def _append(
    db: duckdb.DuckDBPyConnection, table: str, rows: list[tuple[Any, ...]], schema: pa.Schema
) -> None:
    if rows:
        db.register("part", pa.table([list(column) for column in zip(*rows, strict=True)], schema=schema))
        db.execute(f"insert into {table} select * from part")
        db.unregister("part")


def _anything(db: duckdb.DuckDBPyConnection) -> bool:
    found = db.execute(
        "select exists (from outcomes where verdict is not null) or exists (from forgotten)"
    ).fetchone()
    return found == (True,)


def _verdicts(db: duckdb.DuckDBPyConnection) -> Verdicts:
    found = dict(
        db.execute("select verdict, count(*) from outcomes where verdict is not null group by all").fetchall()
    )
    source = db.execute("select count(*) from rejects").fetchone()
    assert source is not None
    found["rejected"] = found.get("rejected", 0) + source[0]
    return Verdicts(**found)
