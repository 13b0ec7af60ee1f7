"""Undo of a run, as a plan: what takes the destination back to where it was before.

Written in the layout of any plan (see plan.py), so that it is looked at, guarded and
delivered like one, and can itself be undone.

left.parquet       key, reason: rows, or fields of them, that stay as they are
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Row, desc, select

from connectors.protocol import Destination, DestinationStopped, Json, Op, ReadsBack
from connectors.readback import Fetches, read_back
from reverse_etl.accounts import Account
from reverse_etl.counts import Counts, Profile
from reverse_etl.errors import SyncError, UndoRefused, UnknownSync
from reverse_etl.inverse import NO_REMOVAL, NOTHING, Delivered, Found, Step, inverse, settled
from reverse_etl.journal import UNFINISHED
from reverse_etl.ledger_file import open_ledger
from reverse_etl.retention import forgotten
from reverse_etl.scratch import one_row, scratch, write_parquet
from reverse_etl.source import Door, target_of
from reverse_etl.tables import ledgers, prepare, runs
from serving.content.sync import Sync

_CHUNK = 10_000  # rows in memory at a time
_STEPS = pa.schema([(name, pa.string()) for name in ("op", "kind", "key", "fields", "old", "left")])

_DELIVERED = """
select p.op, p.key, p.fields as sent, p.old, o.reason, l.fields as held, l.run as by,
       coalesce(l.pending = 'unknown', false) as open
from plan p join outcomes o on p.seq = o.seq and o.verdict = 'accepted'
left join ledger l on p.key = l.key
order by p.seq
"""

_PLAN = """
select row_number() over (order by kind <> 'remove', op, key) as seq, op, kind, key, fields, old,
       null::ubigint as d1, null::ubigint as d2, kind <> 'remove' and old is not null as merge
from steps where op is not null order by seq
"""

_LEFT = 'select key, "left" as reason from steps where "left" is not null order by key'


@dataclass(frozen=True)
class LeftGroup:
    """Rows, or fields of them, that stay as they are for the same reason; and one of them."""

    reason: str
    rows: int
    example: Mapping[str, Json]


@dataclass(frozen=True)
class UndoPlan:
    """The plan on disk, its numbers, and what it leaves.

    `checked`: the destination was asked at `made_at` what it holds, so that what people
    changed since the run is left alone; False: it cannot be asked.
    """

    folder: Path
    counts: Counts
    profile: Profile
    sizes: Mapping[Op, tuple[int, int]]
    left: tuple[LeftGroup, ...]
    checked: bool
    made_at: datetime


def undo_plan(project: Door, sync: Sync, run: int, account: Account, folder: Path, now: datetime) -> UndoPlan:
    """Write the plan that undoes `run` into `folder`; UndoRefused says why there can be none."""
    prepare(project.store)
    row = _undoable(project, sync, run)
    home = project.var / "syncs"
    files = home / sync.name / str(run)
    if gone := forgotten(files, run):
        raise UndoRefused(
            f"{gone}: its old values are not known any more",
            hint="correct the source and run the sync",
        )
    folder.mkdir(parents=True, exist_ok=True)
    delivered = folder / "delivered.work"
    steps = folder / "steps.work"
    held = _join(files, home / row.file if row.file else None, delivered)
    _write_steps(delivered, steps, run, account)
    made = _finish(folder, steps, held, account, now)
    delivered.unlink()
    steps.unlink()
    _refuse_empty(project, run, made)
    return made


def _undoable(project: Door, sync: Sync, run: int) -> Row[Any]:
    """The run with the ledger of today; refused where it cannot be undone as a whole."""
    today = (ledgers.c.sync == runs.c.sync) & (ledgers.c.target == runs.c.target)
    query = select(runs, ledgers.c.file).select_from(runs.outerjoin(ledgers, today)).where(runs.c.id == run)
    with project.store.read() as connection:
        row = connection.execute(query).one_or_none()
        at_it = connection.execute(
            select(runs.c.id).where(runs.c.undo_of == run, runs.c.state.in_(("delivering", "settling")))
        ).scalar()
    if row is None or row.sync != sync.name:
        raise UnknownSync(f"sync {sync.name!r} has no run {run}", hint="`runs` lists them")
    if row.state in UNFINISHED:
        raise UndoRefused(
            f"run {run} is not over yet ({row.state})", hint="let it end, or run the sync to resume it"
        )
    if at_it is not None:
        raise UndoRefused(f"run {at_it} is undoing run {run} and is not over yet", hint="let it end")
    if not row.accepted:
        raise UndoRefused(f"run {run} changed nothing at the destination: there is nothing to undo")
    if row.target != target_of(sync):
        raise UndoRefused(
            f"run {run} went to {row.target}, and the sync goes to {target_of(sync)} today",
            hint=f"set destination, object and key in {sync.at()} as they were, then undo",
        )
    return row


def _join(files: Path, ledger: Path | None, to: Path) -> int:
    """Write what the run delivered with what is held today; how many rows are held in all."""
    with scratch(to.parent) as db:
        for name in ("plan", "outcomes"):
            db.from_parquet(str(files / f"{name}.parquet")).create_view(name)
        open_ledger(db, ledger)
        write_parquet(db, _DELIVERED, to, {})
        [held] = one_row(db, "select count(*) from ledger where fields is not null")
    return int(held)


def _write_steps(delivered: Path, steps: Path, run: int, account: Account) -> None:
    """The step of each row, some rows at a time."""
    with pq.ParquetFile(delivered) as file, pq.ParquetWriter(steps, _STEPS) as writer:

        async def all_rows(sender: Fetches | None) -> None:
            for part in file.iter_batches(_CHUNK, columns=_Row.__match_args__):
                rows = list(map(_Row, *(column.to_pylist() for column in part.columns)))
                made = await _steps_of(rows, run, account.destination, sender)
                writer.write_table(_table(rows, made))

        _with_sender(account, all_rows)


def _with_sender(account: Account, work: Callable[[Fetches | None], Any]) -> None:
    async def within() -> None:
        opened: AbstractAsyncContextManager[Any] = account.open_sender()
        async with opened as sender:
            await work(sender)

    try:
        asyncio.run(within() if isinstance(account.destination, ReadsBack) else work(None))
    except DestinationStopped as stopped:
        raise SyncError(
            f"the destination does not say what it holds: {stopped.problem}", hint=stopped.hint
        ) from None


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of delivered.work."""

    op: Op
    key: str
    sent: str | None
    old: str | None
    reason: str | None
    held: str | None
    by: int | None
    open: bool

    def delivered(self) -> Delivered:
        texts = (self.sent, self.old, self.held)
        sent, old, held = (None if text is None else json.loads(text) for text in texts)
        return Delivered(self.op, sent or {}, old, self.reason or "", held, self.by, self.open)

    @property
    def before(self) -> str | None:
        """What the destination holds of the row today, as far as this sync knows."""
        return self.sent if self.op == "clear" else self.held


async def _steps_of(
    rows: Sequence[_Row], run: int, destination: Destination, sender: Fetches | None
) -> list[Step]:
    parsed = [row.delivered() for row in rows]
    steps = {place: Step(None, left=why) for place, row in enumerate(parsed) if (why := settled(row, run))}
    ours = [place for place in range(len(rows)) if place not in steps]
    found = [Found(asked=False)] * len(ours)
    if sender is not None:
        found = await _found([(rows[place].key, parsed[place]) for place in ours], destination, sender)
    for place, record in zip(ours, found, strict=True):
        steps[place] = inverse(parsed[place], record, destination.capabilities)
    return [steps[place] for place in range(len(rows))]


async def _found(
    rows: Sequence[tuple[str, Delivered]], destination: Destination, sender: Fetches
) -> list[Found]:
    """What the destination holds of each row, several calls at a time."""
    can = destination.capabilities
    free = asyncio.Semaphore(can.concurrent)

    async def part(start: int) -> list[Found]:
        some = rows[start : start + can.batch_rows]
        fields = sorted({name for _, row in some for name in row.sent})
        async with free:
            records = await read_back(sender, destination, [json.loads(key) for key, _ in some], fields)
        return [Found(asked=True, record=record) for record in records]

    parts = await asyncio.gather(*(part(start) for start in range(0, len(rows), can.batch_rows)))
    return [found for some in parts for found in some]


def _table(rows: Sequence[_Row], steps: Sequence[Step]) -> pa.Table:
    told = [(row, step) for row, step in zip(rows, steps, strict=True) if step is not NOTHING]
    columns = [
        [step.op for _, step in told],
        [step.kind for _, step in told],
        [row.key for row, _ in told],
        [None if step.fields is None else _text(step.fields) for _, step in told],
        [row.before for row, _ in told],
        [step.left or None for _, step in told],
    ]
    return pa.table(columns, schema=_STEPS)


def _text(fields: Mapping[str, Json]) -> str:
    return json.dumps(dict(sorted(fields.items())), ensure_ascii=False, separators=(",", ":"))


def _finish(folder: Path, steps: Path, held: int, account: Account, now: datetime) -> UndoPlan:
    with scratch(folder) as db:
        db.from_parquet(str(steps)).create_view("steps")
        write_parquet(db, _PLAN, folder / "plan.parquet", {})
        write_parquet(db, _LEFT, folder / "left.parquet", {})
        empty = "select null::bigint as pos, null::varchar as key, null::varchar as reason where false"
        write_parquet(db, empty, folder / "rejects.parquet", {})
        write_parquet(db, "select null::varchar as key where false", folder / "forgotten.parquet", {})
        kinds = dict(
            db.execute("select kind, count(*) from steps where op is not null group by all").fetchall()
        )
        sizes = db.execute(
            "select op, count(*), sum(strlen(key) + coalesce(strlen(fields), 0)) from steps"
            " where op is not null group by all"
        ).fetchall()
        groups = db.execute(
            'select "left", count(*), min(key) from steps where "left" is not null'
            " group by all order by 2 desc, 1"
        ).fetchall()
    return UndoPlan(
        folder,
        Counts(**kinds, ledger=held),
        Profile(0, {}),
        {op: (rows, size) for op, rows, size in sizes},
        tuple(LeftGroup(reason, rows, json.loads(key)) for reason, rows, key in groups),
        isinstance(account.destination, ReadsBack),
        now,
    )


def _refuse_empty(project: Door, run: int, made: UndoPlan) -> None:
    """A plan that sends nothing is a refusal where one sentence says why."""
    if made.counts.to_send:
        return
    query = select(runs.c.id).where(runs.c.undo_of == run, runs.c.accepted > 0).order_by(desc(runs.c.id))
    with project.store.read() as connection:
        before = connection.execute(query.limit(1)).scalar()
    if before is not None:
        raise UndoRefused(
            f"run {run} was undone already, by run {before}", hint=f"undo run {before} to redo it"
        )
    if not made.left:
        raise UndoRefused(f"run {run} changed no values: there is nothing to undo")
    if {group.reason for group in made.left} == {NO_REMOVAL}:
        raise UndoRefused(
            f"run {run} only created records, and {NO_REMOVAL}", hint="remove them there by hand"
        )
