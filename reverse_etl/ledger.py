"""How a run's outcomes change what the ledger says (see `ledger_file`)."""

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
from reverse_etl.ledger_file import FORMAT, empty_ledger, open_ledger
from reverse_etl.scratch import one_row, scratch, write_parquet

__all__ = ["FIRST_WAIT", "LAST_WAIT", "Answered", "Rest", "Settled", "empty_ledger", "settle"]

FIRST_WAIT = timedelta(minutes=5)  # doubles with each rejection of the same row …
LAST_WAIT = timedelta(days=1)  # … up to this
WORTH = 100  # confirmed digests alone are worth a new ledger from one row in so many

_RANGES = pa.schema(
    [("first", pa.int64()), ("last", pa.int64()), ("verdict", pa.string()), ("reason", pa.string())]
)
_EXCEPTIONS = pa.schema([("seq", pa.int64()), ("verdict", pa.string()), ("reason", pa.string())])
_PLANNED = pa.schema(
    [
        ("seq", pa.int64()),
        ("op", pa.string()),
        ("kind", pa.string()),
        ("key", pa.string()),
        ("fields", pa.string()),
        ("d1", pa.uint64()),
        ("d2", pa.uint64()),
        ("k", pa.uint64()),
        ("merge", pa.bool_()),
    ]
)
_CONFIRMED = pa.schema(
    [
        ("key", pa.string()),
        ("k", pa.uint64()),
        ("d1", pa.uint64()),
        ("d2", pa.uint64()),
        ("reverted", pa.bool_()),
    ]
)

_OUTCOMES = """
select p.seq, p.op, p.kind, p.key, p.fields, p.d1, p.d2, p.k, p.merge,
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

# what the run has to say of a key: an outcome, or that nothing changed, or that nothing is left
_TOLD = """
create temp table told as
select key, fields, d1, d2, k, merge, op, verdict, reason, op in ('insert', 'update', 'upsert') as writes
from outcomes where verdict is not null
union all by name
select key, k, d1, d2, 'equal' as verdict from confirmed
union all by name
select key, 'forgotten' as verdict from forgotten
"""

_NEXT = """
with joined as (
    select coalesce(l.key, o.key) as key, coalesce(o.k, l.k) as k,
           l.d1 as l1, l.d2 as l2, o.d1 as o1, o.d2 as o2,
           l.fields as old, o.fields as new, o.merge, o.op, o.verdict, o.reason as said, o.writes,
           l.* exclude (key, k, d1, d2, fields, rid),
           o.verdict = 'accepted' as accepted, o.verdict in ('rejected', 'deferred', 'unknown') as open,
           l.pending is not null and l.pending_op = o.op and l.p1 is not distinct from o.d1
             and l.p2 is not distinct from o.d2 as again
    from ledger l full outer join told o on l.key = o.key
), counted as (
    select *, case when verdict is null then attempts
                   when open then if(again, attempts, 0) + if(verdict = 'rejected', 1, 0)
                   else 0 end as tries
    from joined
    where verdict is null or open or (accepted and writes) or verdict = 'equal'
       or (verdict = 'forgotten' and old is not null)
)
select key, k,
       case when open or k in (select k from twins) then null
            when accepted or verdict = 'equal' then o1 when verdict is null then l1 end as d1,
       case when open or k in (select k from twins) then null
            when accepted or verdict = 'equal' then o2 when verdict is null then l2 end as d2,
       case when not accepted or accepted is null then old
            when merge and old is not null then {merged} else new end as fields,
       case when accepted then $now else accepted_at end as accepted_at,
       case when accepted then $run else run end as run,
       case when verdict is null then pending when open then verdict end as pending,
       case when verdict is null then pending_op when open then op end as pending_op,
       case when verdict is null then p1 when open then o1 end as p1,
       case when verdict is null then p2 when open then o2 end as p2,
       case when verdict is null or open then coalesce(doubt, false) or coalesce(verdict = 'unknown', false)
            else false end as doubt,
       case when verdict is null then reason else coalesce(said, '') end as reason,
       tries::bigint as attempts,
       case when verdict is null then next_try
            when verdict = 'rejected' then -- least() of two intervals is wrong in DuckDB 2.0
                least($now + $wait * pow(2, least(tries, 30) - 1)::bigint, $now + $longest)
       end as next_try
from counted
"""

_MERGED = """to_json(map_concat(cast(old::json as map(varchar, json)),
                 cast(new::json as map(varchar, json))))::varchar"""

# keys of the next ledger that share a hash with another: digests must never speak for them
_TWINS = """
create temp table twins as
with hashes as (select distinct k from told where k is not null),
there as (
    select k from ledger l semi join hashes h on l.k = h.k
    where key not in (select key from told where k is not null)
    union all
    select k from told where k is not null
)
select k from there group by k having count(*) > 1
"""


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

    Starts from the ledger the plan was made with (or from its base.parquet), so that doing
    it again gives the same. Without `rest` the run goes on later: rows without an answer
    are left as they were.
    """
    base = folder / "base.parquet"
    with scratch(folder) as db:
        _load(db, folder, base if base.exists() else old, answers, rest)
        write_parquet(db, _REPORT, folder / "outcomes.parquet", {})
        if not _worth_writing(db, adopted=base.exists()):
            return Settled(_verdicts(db), None)
        db.execute(_TOLD)
        db.execute(_TWINS)
        parameters: dict[str, object] = {"now": now, "run": run, "wait": FIRST_WAIT, "longest": LAST_WAIT}
        new.parent.mkdir(parents=True, exist_ok=True)
        write_parquet(db, _NEXT.format(merged=_MERGED), new, parameters, FORMAT)
        return Settled(_verdicts(db), new)


def _load(
    db: duckdb.DuckDBPyConnection,
    folder: Path,
    base: Path | None,
    answers: Iterable[Answered],
    rest: Rest | None,
) -> None:
    for name in ("rejects", "forgotten"):
        db.from_parquet(str(folder / f"{name}.parquet")).create_view(name)
    _view(db, "plan", folder / "plan.parquet", _PLANNED)
    _view(db, "confirmed", folder / "confirmed.parquet", _CONFIRMED)
    open_ledger(db, base)
    db.execute("create temp table ranges (first bigint, last bigint, verdict varchar, reason varchar)")
    db.execute("create temp table exceptions (seq bigint, verdict varchar, reason varchar)")
    left = iter(answers)
    while part := tuple(islice(left, 10_000)):
        _append(db, "ranges", [(a.first, a.last, a.verdict, a.reason) for a in part], _RANGES)
        _append(db, "exceptions", [row for a in part for row in a.exceptions], _EXCEPTIONS)
    parameters = {"verdict": rest.verdict if rest else None, "reason": rest.reason if rest else None}
    db.execute(f"create temp table outcomes as {_OUTCOMES}", parameters)


def _view(db: duckdb.DuckDBPyConnection, name: str, file: Path, schema: pa.Schema) -> None:
    """The file's rows; columns it leaves out are NULL, and so are all rows of a file that is not there."""
    db.register(f"no_{name}", schema.empty_table())
    query = f"from no_{name}"
    if file.exists():
        db.from_parquet(str(file)).create_view(f"{name}_file")
        query += f" union all by name from {name}_file"
    db.execute(f"create temp view {name} as select {', '.join(schema.names)} from ({query})")


def _append(
    db: duckdb.DuckDBPyConnection, table: str, rows: list[tuple[Any, ...]], schema: pa.Schema
) -> None:
    if rows:
        db.register("part", pa.table([list(column) for column in zip(*rows, strict=True)], schema=schema))
        db.execute(f"insert into {table} select * from part")
        db.unregister("part")


def _worth_writing(db: duckdb.DuckDBPyConnection, *, adopted: bool) -> bool:
    [found] = one_row(
        db,
        "select exists (from outcomes where verdict is not null) or exists (from forgotten)"
        " or exists (from confirmed where reverted)"
        f" or (select count(*) from confirmed) * {WORTH} > (select count(*) from ledger)",
    )
    return adopted or bool(found)


def _verdicts(db: duckdb.DuckDBPyConnection) -> Verdicts:
    found = dict(
        db.execute("select verdict, count(*) from outcomes where verdict is not null group by all").fetchall()
    )
    [source] = one_row(db, "select count(*) from rejects")
    found["rejected"] = found.get("rejected", 0) + source
    return Verdicts(**found)
