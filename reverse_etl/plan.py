"""What one run would do, as files: a full outer join of the source with the ledger.

plan.parquet       seq, op, kind, key, fields, old, d1, d2: exactly what will be sent
rejects.parquet    pos, key, reason: rows of the source that cannot be sent
forgotten.parquet  key: what is pending in the ledger and stands for nothing any more
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from connectors.protocol import Json, Op
from reverse_etl.counts import Counts
from reverse_etl.ledger import empty_ledger
from reverse_etl.mapping import MappedSelect, mapped_select
from reverse_etl.scratch import scratch, write_parquet
from serving.content.sync import Sync

_REPEATED = "select key, count(*) as times from wanted where key is not null group by key having count(*) > 1"

_SENDABLE = """
select * from wanted
where problem is null and key is not null and key not in (select key from repeated)
"""

_REJECTS = """
select w.pos, w.key,
       coalesce('key ' || w.key || ' stands ' || r.times || ' times in the source', w.problem) as reason
from wanted w left join repeated r on w.key = r.key
where w.problem is not null or w.key is null or r.key is not null
order by w.pos
"""

_DIFF = """
create temp table diff as
with joined as (
    select w.pos, coalesce(w.key, l.key) as key, w.d1, w.d2, l.fields as old, l.pending, l.pending_op,
           l.attempts, l.next_try, l.key is not null as known, l.p1 = w.d1 and l.p2 = w.d2 as same_pending,
           coalesce(l.d1 = w.d1 and l.d2 = w.d2, false) as same_digest,
           case when w.key is not null then {fields} end as fields
    from sendable w full outer join ledger l on w.key = l.key
    where $full or l.pending is not null or l.d1 is distinct from w.d1 or l.d2 is distinct from w.d2
), judged as (
    select *, coalesce(same_digest or fields = old, false) as same,
           $full or key in (select key from forced) as forced,
           $full or key in (select key from forced) or pending = 'deferred'
             or (pending = 'unknown' and $safe)
             or (pending = 'rejected' and attempts < $attempts and next_try <= $now) as due
    from joined
)
select *, case
    when pos is not null and not known then 'create'
    when pos is not null and pending = 'unknown' then
        case when due then 'retry'
             when not same and not coalesce(same_pending, false) then 'update' else 'parked' end
    when pos is not null and same then
        case when $full then 'resend' when pending is not null then 'reverted' else 'unchanged' end
    when pos is not null and pending_op = 'upsert' and same_pending then {again}
    when pos is not null then case when old is null then 'create' else 'update' end
    when key in (select key from shielded) then 'held'
    when old is null and pending <> 'unknown' then 'gone'
    when $removal is null then 'kept'
    when not $trusted then 'held'
    when pending_op = $removal then {again}
    else 'remove' end as kind
from judged
"""

_AGAIN = """case when due then 'retry'
    when pending = 'unknown' or attempts >= $attempts then 'parked' else 'waiting' end"""

_PLAN = """
select row_number() over () as seq, * from (
    select case when pos is null then $removal else 'upsert' end as op, kind, key,
           case when pos is not null then fields when $removal = 'clear' then $cleared end as fields,
           old, d1, d2
    from diff where kind in ('create', 'update', 'remove', 'retry', 'resend')
    order by (pos is not null), pos, key
)
"""


@dataclass(frozen=True)
class Plan:
    """A plan on disk, and its numbers."""

    folder: Path
    counts: Counts

    @property
    def changes(self) -> Path:
        """What will be sent."""
        return self.folder / "plan.parquet"

    @property
    def rejects(self) -> Path:
        """Rows of the source that cannot be sent."""
        return self.folder / "rejects.parquet"


@dataclass(frozen=True)
class Intent:
    """How to plan: what the destination can do, and what a person asked for."""

    now: datetime
    resend: frozenset[Op] = frozenset()  # ops that may be sent again where nobody knows whether they arrived
    full: bool = False
    forced: tuple[str, ...] = ()  # keys to send again, however often they were rejected
    partial: bool = False  # the destination keeps fields that are left out
    cleared: Json = None  # what it takes for an empty field
    adopted: Path | None = None  # Parquet (key, fields): what it holds although this sync never sent it


def make_plan(sync: Sync, source: pa.Table, ledger: Path | None, folder: Path, intent: Intent) -> Plan:
    """Compare the mapped source with the ledger; write the files of the plan into `folder`."""
    mapped = mapped_select(sync, source.schema)
    folder.mkdir(parents=True, exist_ok=True)
    with scratch(folder) as db:
        _load(db, mapped, source, ledger, intent)
        write_parquet(db, _REJECTS, folder / "rejects.parquet", {})
        _diff(db, sync, mapped, intent)
        parameters: dict[str, object] = {"removal": removal_of(sync), "cleared": mapped.cleared}
        write_parquet(db, _PLAN, folder / "plan.parquet", parameters)
        forgotten = "select key from diff where kind in ('gone', 'reverted')"
        write_parquet(db, forgotten, folder / "forgotten.parquet", {})
        return Plan(folder, _count(db))


def removal_of(sync: Sync) -> Op | None:
    """What happens to a row that left the source; None: it stays."""
    return None if sync.mode != "mirror" or sync.on_removed == "keep" else sync.on_removed


def _load(
    db: duckdb.DuckDBPyConnection, mapped: MappedSelect, source: pa.Table, ledger: Path | None, intent: Intent
) -> None:
    db.register("source", source)
    db.execute(f"create temp table wanted as {mapped.wanted}")
    db.execute(f"create temp table repeated as {_REPEATED}")
    db.execute(f"create temp view sendable as {_SENDABLE}")
    db.execute(f"create temp table shielded as select key from ({_REJECTS}) where key is not null")
    if ledger is None:
        db.register("ledger", empty_ledger())
    else:
        db.from_parquet(str(ledger)).create_view("ledger")
    db.register("forced", pa.table({"key": pa.array(intent.forced, pa.string())}))


def _diff(db: duckdb.DuckDBPyConnection, sync: Sync, mapped: MappedSelect, intent: Intent) -> None:
    nameless = db.execute("select count(*) from wanted where key is null").fetchone()
    parameters = {
        "full": intent.full,
        "safe": "upsert" in intent.resend,
        "attempts": sync.park_after,
        "now": intent.now,
        "removal": removal_of(sync),
        "trusted": nameless == (0,),  # a row without key could be any of those that seem to be gone
    }
    db.execute(_DIFF.format(fields=mapped.fields, again=_AGAIN), parameters)


def _count(db: duckdb.DuckDBPyConnection) -> Counts:
    kinds: dict[str, int] = dict(db.execute("select kind, count(*) from diff group by kind").fetchall())
    row = db.execute(
        f"select (select count(*) from wanted), (select count(*) from ({_REJECTS})),"
        " (select count(*) from ledger where fields is not null),"
        " (select count(*) from diff where pos is not null and kind not in ('unchanged', 'reverted'))"
    ).fetchone()
    assert row is not None
    total, rejected, ledger, touched = row
    named = ("create", "update", "remove", "retry", "resend", "waiting", "parked", "kept", "held")
    return Counts(
        **{kind: kinds.get(kind, 0) for kind in named},
        rejected=rejected,
        unchanged=total - rejected - touched,
        wanted=total - rejected,
        ledger=ledger,
    )
