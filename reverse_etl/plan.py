"""What one run would do, as files: the mapped source beside what the destination accepted last.

plan.parquet       exactly what will be sent, in the order of sending
    seq            1, 2, 3 …
    op             connectors.protocol.Op
    kind           create | update | remove | retry | resend (an undo plan: undo)
    key            JSON text: names sorted, no spaces
    fields         JSON text of what is sent; NULL for archive and delete
    old            JSON text of what was accepted last; NULL where nothing was
    d1, d2         digests of the row, for the ledger; NULL: the next plan compares texts
    k              hash of the key, for the ledger; NULL: the next plan looks for its text
    merge          true: once accepted, the ledger says old merged with fields; else: fields alone
rejects.parquet    pos, key, reason: rows of the source that cannot be sent
forgotten.parquet  key: pending in the ledger, and stands for nothing any more
confirmed.parquet  key, k, d1, d2, reverted: equal to what was accepted although its digests are not;
                   `reverted` where something was pending
base.parquet       only where records were adopted: the ledger with them, which the plan starts from

A plan made elsewhere (undo) may leave out k and merge, and confirmed.parquet.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from connectors.protocol import Json, Op
from reverse_etl.adopted import adopted_base
from reverse_etl.candidates import Candidates, find_candidates, register_source
from reverse_etl.counts import Counts, Profile
from reverse_etl.judge import judge, removal_of, value_candidates, writes
from reverse_etl.ledger_file import open_ledger
from reverse_etl.mapping import MappedSync, cleared_fields, map_sync
from reverse_etl.profile import profile_of
from reverse_etl.scratch import one_row, scratch, write_parquet
from serving.content.sync import Sync

__all__ = ["Intent", "Plan", "make_plan", "removal_of"]

_SENT = ("create", "update", "remove", "retry", "resend")
_STAYING = ("waiting", "parked", "kept", "held", "small", "early", "skipped")

_ROWS = """
select {seq} as seq, case when pos is null then $removal else $write end as op, kind, key,
       case when pos is not null then fields when $removal = 'clear' then $cleared end as fields,
       old, d1, d2, k, pos is not null and old is not null and $merge as merge
from diff where case when kind in ('create', 'update', 'remove', 'retry', 'resend') then true else false end
"""  # as `case`: a filter within the scan of wide rows takes DuckDB 2.0 twice as long


@dataclass(frozen=True)
class Plan:
    """A plan on disk, and its numbers."""

    folder: Path
    counts: Counts
    profile: Profile = field(default_factory=lambda: Profile(0, {}))
    sizes: Mapping[Op, tuple[int, int]] = field(default_factory=dict)  # op -> rows and bytes that leave

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
    """Compare the mapped source with the ledger; write the files of the plan into `folder`.

    `full` sends every row again, but never an insert that was accepted or may have been.
    Raises MappingInvalid, and SyncError for a ledger that cannot be read.
    """
    mapped = map_sync(sync, source.schema, cleared=intent.cleared, partial=intent.partial)
    folder.mkdir(parents=True, exist_ok=True)
    with scratch(folder) as db:
        register_source(db, source)
        base = ledger if intent.adopted is None else adopted_base(db, sync, ledger, intent.adopted, folder)
        open_ledger(db, base)
        db.register("forced", pa.table({"key": pa.array(intent.forced, pa.string())}))
        found = find_candidates(db, mapped, source.num_rows, everything=intent.full)
        value_candidates(db, mapped)
        write_parquet(db, "from refused order by pos", folder / "rejects.parquet", {})
        judge(db, sync, mapped, _parameters(db, sync, intent))
        return _written(db, sync, mapped, source, folder, intent, found)


def _parameters(db: duckdb.DuckDBPyConnection, sync: Sync, intent: Intent) -> dict[str, object]:
    removal, write = removal_of(sync), writes(sync)
    nameless = one_row(db, "select count(*) from refused where key is null")
    return {
        "full": intent.full,
        "write": write,
        "first": "update" if write == "update" else "create",
        "safe": write in intent.resend,
        "safe_removal": removal in intent.resend,
        "attempts": sync.park_after,
        "now": intent.now,
        "since": None if sync.min_resend is None else intent.now - sync.min_resend,
        "removal": removal,
        "trusted": nameless == (0,),  # a row without key could be any of those that seem to be gone
    }


def _written(
    db: duckdb.DuckDBPyConnection,
    sync: Sync,
    mapped: MappedSync,
    source: pa.Table,
    folder: Path,
    intent: Intent,
    found: Candidates,
) -> Plan:
    parameters: dict[str, object] = {
        "removal": removal_of(sync),
        "write": writes(sync),
        "cleared": cleared_fields(sync.fields, intent.cleared),
        "merge": sync.send == "changed" or any(f.may_skip for f in mapped.fields),
    }
    _write_changes(db, folder / "plan.parquet", parameters, all_new=not found.ledger)
    forgotten = "select key from diff where kind = 'gone' or (kind = 'small' and pending is not null)"
    write_parquet(db, forgotten, folder / "forgotten.parquet", {})
    confirmed = (
        "select key, k, d1, d2, kind = 'reverted' as reverted"
        " from diff where kind in ('unchanged', 'reverted')"
    )
    write_parquet(db, confirmed, folder / "confirmed.parquet", {})
    counts = _count(db, found)
    return Plan(folder, counts, profile_of(db, mapped, source, counts.wanted), _sizes(db, folder))


def _write_changes(
    db: duckdb.DuckDBPyConnection, to: Path, parameters: dict[str, object], *, all_new: bool
) -> None:
    """Removals, then the rest in the order of the source."""
    dense = all_new and one_row(db, "select not exists (from refused)") == (True,)
    seq = "pos" if dense else "row_number() over ()"  # counting would be done by one thread
    write_parquet(db, _ROWS.format(seq=seq), to, parameters, in_order=True)


def _count(db: duckdb.DuckDBPyConnection, found: Candidates) -> Counts:
    kinds: dict[str, int] = {}
    of_source = 0
    for kind, stands, rows in db.execute(
        "select kind, pos is not null, count(*) from diff group by all"
    ).fetchall():
        kinds[kind] = kinds.get(kind, 0) + rows
        of_source += rows if stands else 0
    rejected, never = one_row(
        db, "select (select count(*) from refused), (select count(*) from stale where fields is null)"
    )
    wanted = found.source - rejected
    if of_source + found.unchanged != wanted:
        raise AssertionError(f"{wanted} rows can be sent, but {of_source + found.unchanged} were judged")
    return Counts(
        **{kind: kinds.get(kind, 0) for kind in (*_SENT, *_STAYING)},
        rejected=rejected,
        unchanged=found.unchanged + kinds.get("unchanged", 0) + kinds.get("reverted", 0),
        wanted=wanted,
        ledger=found.ledger - never,
    )


def _sizes(db: duckdb.DuckDBPyConnection, folder: Path) -> dict[Op, tuple[int, int]]:
    db.from_parquet(str(folder / "plan.parquet")).create_view("written_plan")
    rows = db.execute(
        "select op, count(*), sum(strlen(key) + coalesce(strlen(fields), 0)) from written_plan group by op"
    ).fetchall()
    return {op: (int(count), int(size)) for op, count, size in rows}
