"""How a run's outcomes change what the ledger says (see `ledger_file`)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from connectors.protocol import Verdict
from reverse_etl.counts import Verdicts
from reverse_etl.ledger_file import FORMAT, SCHEMA, empty_ledger, open_ledger
from reverse_etl.scratch import one_row, scratch, write_parquet

__all__ = ["FIRST_WAIT", "LAST_WAIT", "Answered", "Rest", "Settled", "empty_ledger", "settle"]

FIRST_WAIT = timedelta(minutes=5)  # doubles with each rejection of the same row …
LAST_WAIT = timedelta(days=1)  # … up to this
SLICE = 500_000  # rows whose texts are in memory at a time
WORTH = 100  # confirmed digests alone are worth a new ledger from one row in so many

_EXCEPTIONS = pa.schema([("seq", pa.int64()), ("verdict", pa.string()), ("reason", pa.string())])
_SAID = pa.schema([("code", pa.int32()), ("verdict", pa.string()), ("reason", pa.string())])
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

# a row ended as an exception says, or as its batch did: as `usual`, or as `unusual` has it
_OUTCOMES = """
create temp view outcomes as
select p.*, coalesce(e.verdict, s.verdict) as verdict, if(e.verdict is null, s.reason, e.reason) as reason
from plan p left join exceptions e on p.seq = e.seq left join unusual u on p.seq = u.seq
left join said s on s.code = coalesce(u.code, {usual})
"""

_REPORT = """
select seq, op, kind, key, verdict, reason from outcomes where verdict is not null
union all
select null, null, 'source', key, 'rejected', reason from rejects
"""

# what the run has to say of a key: an outcome, or that nothing changed, or that nothing is left
_TOLD = """
create temp view told as
select key, fields, d1, d2, k, merge, op, verdict, reason, op in ('insert', 'update', 'upsert') as writes,
       verdict = 'accepted' and writes and not coalesce(merge, false) and k is not null as plain
from outcomes where verdict is not null
union all by name
select key, k, d1, d2, 'equal' as verdict, false as plain from confirmed
union all by name
select key, 'forgotten' as verdict, false as plain from forgotten
"""

# Three kinds of rows: those the run is silent about; those that say everything themselves; and the
# others, which need to know what the ledger said. Only the last are joined with their texts.
_SILENT = """
select key, k, if(k in (select k from twins), null, d1) as d1, if(k in (select k from twins), null, d2) as d2,
       * exclude (key, k, d1, d2, rid) replace (coalesce(doubt, false) as doubt)
from ledger anti join told using (key)
"""

_PLAIN = """
select key, k, if(k in (select k from twins), null, d1) as d1, if(k in (select k from twins), null, d2) as d2,
       fields, $now as accepted_at, $run as run, false as doubt, coalesce(reason, '') as reason,
       0::bigint as attempts
from told where plain
"""

_KNOWING = """
with joined as (
    select o.key, coalesce(o.k, l.k) as k, o.d1 as o1, o.d2 as o2,
           l.fields as old, o.fields as new, o.merge, o.op, o.verdict, o.reason as said, o.writes,
           l.* exclude (key, k, d1, d2, fields, rid),
           o.verdict = 'accepted' as accepted, o.verdict in ('rejected', 'deferred', 'unknown') as open,
           l.pending is not null and l.pending_op = o.op and l.p1 is not distinct from o.d1
             and l.p2 is not distinct from o.d2 as again
    from slice o left join ledger l on l.key = o.key
), counted as (
    select *, if(open, if(again, attempts, 0) + if(verdict = 'rejected', 1, 0), 0) as tries
    from joined
    where open or (accepted and writes) or verdict = 'equal' or (verdict = 'forgotten' and old is not null)
)
select key, k,
       case when open or k in (select k from twins) then null
            when accepted or verdict = 'equal' then o1 end as d1,
       case when open or k in (select k from twins) then null
            when accepted or verdict = 'equal' then o2 end as d2,
       case when not accepted then old when merge and old is not null then {merged} else new end as fields,
       case when accepted then $now else accepted_at end as accepted_at,
       case when accepted then $run else run end as run,
       case when open then verdict end as pending,
       case when open then op end as pending_op,
       case when open then o1 end as p1,
       case when open then o2 end as p2,
       open and (coalesce(doubt, false) or verdict = 'unknown') as doubt,
       coalesce(said, '') as reason,
       tries::bigint as attempts,
       case when verdict = 'rejected' then -- least() of two intervals is wrong in DuckDB 2.0
                least($now + $wait * pow(2, least(tries, 30) - 1)::bigint, $now + $longest)
       end as next_try
from counted
"""

_MERGED = """to_json(map_concat(cast(old::json as map(varchar, json)),
                 cast(new::json as map(varchar, json))))::varchar"""

# keys of the next ledger that share a hash with another: digests must never speak for them
_TWINS = """
create temp table twins as
select k from told where k is not null group by k having count(*) > 1
union
select o.k from told o join ledger l on o.k = l.k where o.key <> l.key
"""

_NEXT = f"select {', '.join(SCHEMA.names)} from ({_PLAIN} union all by name from known {{silent}})"


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
        _report(db, folder / "outcomes.parquet")
        if not _worth_writing(db, adopted=base.exists()):
            return Settled(_verdicts(db), None)
        parameters: dict[str, object] = {"now": now, "run": run}
        _tell(db, parameters | {"wait": FIRST_WAIT, "longest": LAST_WAIT})
        new.parent.mkdir(parents=True, exist_ok=True)
        [empty] = one_row(db, "select not exists (from ledger)")
        silent = "" if empty else f"union all by name {_SILENT}"
        write_parquet(db, _NEXT.format(silent=silent), new, parameters, FORMAT)
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
    db.execute("create temp table exceptions (seq bigint, verdict varchar, reason varchar)")
    [rows] = one_row(db, "select coalesce(max(seq), 0) from plan")
    codes = np.zeros(rows + 1, np.int32)  # of each row: which of `said`
    said: dict[tuple[str | None, str | None], int] = {
        (rest.verdict, rest.reason) if rest else (None, None): 0
    }
    left = iter(answers)
    while part := tuple(islice(left, 10_000)):
        for answer in part:
            codes[answer.first : answer.last + 1] = said.setdefault(
                (answer.verdict, answer.reason), len(said)
            )
        _append(db, "exceptions", [row for answer in part for row in answer.exceptions], _EXCEPTIONS)
    usual = int(np.bincount(codes[1:]).argmax()) if rows else 0
    unusual = np.flatnonzero(codes != usual)
    db.register("unusual", pa.table({"seq": pa.array(unusual, pa.int64()), "code": pa.array(codes[unusual])}))
    listed = [(code, verdict, reason) for (verdict, reason), code in said.items()]
    db.register("said", pa.table([list(column) for column in zip(*listed, strict=True)], schema=_SAID))
    db.execute(_OUTCOMES.format(usual=usual))


def _report(db: duckdb.DuckDBPyConnection, to: Path) -> None:
    """The outcomes in the order of the plan, then what the source could not send."""
    [exceptions] = one_row(db, "select count(*) from exceptions")
    if exceptions < SLICE:
        write_parquet(db, _REPORT, to, {}, in_order=True)
    else:  # too many to keep the plan's order in a join
        write_parquet(db, f"{_REPORT} order by seq nulls last", to, {})


def _tell(db: duckdb.DuckDBPyConnection, parameters: dict[str, object]) -> None:
    """Make `known`: the next ledger's rows of keys that need to know what it said, some at a time."""
    db.execute(_TOLD)
    db.execute(_TWINS)
    [rows] = one_row(db, "select count(*) from told where not plain")
    slices = -(-rows // SLICE)
    to = "create temp table known as"
    for which in [f"hash(key) % {slices} = {number}" for number in range(slices)] or ["false"]:
        db.execute(f"create or replace temp table slice as select * from told where not plain and {which}")
        db.execute(f"{to} {_KNOWING.format(merged=_MERGED)}", parameters)
        to = "insert into known"
    db.execute("drop table slice")


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
