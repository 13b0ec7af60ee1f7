"""What syncs did and will do, for command line, REST and pages. Reads only."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds
from sqlalchemy import Row, Select, desc, func, select

from connectors.protocol import Json, Verdict
from reverse_etl.counts import Counts, Verdicts, counts_from_json
from reverse_etl.errors import UnknownSync
from reverse_etl.journal import UNFINISHED, State, calls_of
from reverse_etl.lease import holder_of
from reverse_etl.propose import run_folder
from reverse_etl.source import Door
from reverse_etl.tables import approvals, batches, ledgers, prepare, runs
from serving.store import utc_now


@dataclass(frozen=True)
class RunRow:
    """One run, as far as it has come."""

    id: int
    sync: str
    target: str
    state: State
    running: bool  # a living process is at it; an unfinished run that is not running was interrupted
    trigger: str
    requested_by: str
    approval: str | None
    approved_by: str | None
    retry_of: int | None
    undo_of: int | None
    plan: int | None  # the saved plan it delivered
    replanned: str  # why that was not the plan a person saw
    version: int | None
    counts: Counts
    trips: tuple[str, ...]
    verdicts: Verdicts
    calls: int
    started_at: datetime
    ended_at: datetime | None
    error: str

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it is not over."""
        return None if self.ended_at is None else (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True)
class RowOutcome:
    """How one row ended; `seq` is None for rows of the source that never left."""

    seq: int | None
    op: str | None
    kind: str
    key: Mapping[str, Json] | None
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class ReasonGroup:
    """Rows that ended for the same reason, and one of them."""

    verdict: Verdict
    reason: str
    rows: int
    example: Mapping[str, Json] | None

    def __str__(self) -> str:
        return f"{self.rows:,} {'row' if self.rows == 1 else 'rows'} {self.verdict}: {self.reason}"


@dataclass(frozen=True)
class FieldChange:
    """One field of a planned row, before and after; `known` is False where nothing was sent yet."""

    name: str
    old: Json
    new: Json
    known: bool


@dataclass(frozen=True)
class PlannedRow:
    """One row of a plan, with only the fields that change."""

    seq: int
    op: str
    kind: str
    key: Mapping[str, Json]
    changes: tuple[FieldChange, ...]


def list_runs(
    project: Door, sync: str | None = None, *, limit: int = 50, before: int | None = None
) -> tuple[RunRow, ...]:
    """The newest runs first; `before` (a run's number) pages on."""
    prepare(project.store)
    query = select(runs).order_by(desc(runs.c.id)).limit(limit)
    if sync is not None:
        query = query.where(runs.c.sync == sync)
    if before is not None:
        query = query.where(runs.c.id < before)
    with project.store.read() as connection:
        return tuple(_run_row(project, row) for row in connection.execute(query).all())


def find_run(project: Door, number: int) -> RunRow:
    """One run; UnknownSync if there is none of that number."""
    prepare(project.store)
    with project.store.read() as connection:
        row = connection.execute(select(runs).where(runs.c.id == number)).one_or_none()
    if row is None:
        raise UnknownSync(f"there is no run {number}", hint="`runs` lists them")
    return _run_row(project, row)


def answered_rows(project: Door, number: int) -> int:
    """How many rows of a run have their answer by now."""
    query = select(func.sum(batches.c.last_seq - batches.c.first_seq + 1)).where(
        batches.c.run == number, batches.c.state == "answered"
    )
    with project.store.read() as connection:
        return int(connection.execute(query).scalar() or 0)


def row_outcomes(
    project: Door,
    number: int,
    *,
    verdict: Verdict | None = None,
    search: str = "",
    limit: int = 100,
    offset: int = 0,
) -> tuple[RowOutcome, ...]:
    """Rows of a run that has been settled, in the order they left; rows that never left come last.

    `search` keeps rows whose key contains that text, capitals or not.
    """
    run = find_run(project, number)
    file = run_folder(project, run.sync, number) / "outcomes.parquet"
    found = _rows(file, _where("verdict", verdict, search), limit, offset)
    return tuple(
        RowOutcome(row["seq"], row["op"], row["kind"], _json(row["key"]), row["verdict"], row["reason"] or "")
        for row in found
    )


def refused_rows(project: Door, number: int, *, limit: int = 1000) -> tuple[RowOutcome, ...]:
    """Rows that were not accepted: rejected, then deferred, then unknown ones."""
    found: list[RowOutcome] = []
    for verdict in ("rejected", "deferred", "unknown"):
        found += row_outcomes(project, number, verdict=verdict, limit=limit - len(found))
    return tuple(found)


def reasons(project: Door, number: int) -> tuple[ReasonGroup, ...]:
    """Rows that were not accepted, grouped by what the destination said; the largest group first."""
    run = find_run(project, number)
    file = run_folder(project, run.sync, number) / "outcomes.parquet"
    rows: Counter[tuple[Verdict, str]] = Counter()
    examples: dict[tuple[Verdict, str], str | None] = {}
    for verdict in ("rejected", "deferred", "unknown"):
        for row in _rows(file, _where("verdict", verdict), None, 0):
            group = (row["verdict"], _general(row["reason"] or "", row["key"]))
            rows[group] += 1
            examples.setdefault(group, row["key"])
    return tuple(
        ReasonGroup(verdict, reason, number, _json(examples[verdict, reason]))
        for (verdict, reason), number in rows.most_common()
    )


def planned_rows(
    folder: Path, *, kind: str | None = None, search: str = "", limit: int = 100, offset: int = 0
) -> tuple[PlannedRow, ...]:
    """Rows of the plan in a run's folder, each with its changes field by field.

    `search` keeps rows whose key contains that text, capitals or not.
    """
    found = _rows(folder / "plan.parquet", _where("kind", kind, search), limit, offset)
    return tuple(
        PlannedRow(row["seq"], row["op"], row["kind"], _json(row["key"]) or {}, _changes(row))
        for row in found
    )


def source_rejects(folder: Path, *, limit: int = 100, offset: int = 0) -> tuple[RowOutcome, ...]:
    """Rows of the source that a plan refuses to send, with the reason."""
    found = _rows(folder / "rejects.parquet", None, limit, offset)
    return tuple(
        RowOutcome(None, None, "source", _json(row["key"]), "rejected", row["reason"]) for row in found
    )


def left_out(folder: Path) -> tuple[ReasonGroup, ...]:
    """Rows that an undo leaves as they are, grouped by why; none for other plans."""
    rows: Counter[str] = Counter()
    examples: dict[str, str | None] = {}
    for row in _rows(folder / "left.parquet", None, None, 0):
        rows[row["reason"]] += 1
        examples.setdefault(row["reason"], row["key"])
    return tuple(
        ReasonGroup("deferred", reason, number, _json(examples[reason]))
        for reason, number in rows.most_common()
    )


def ledger_file(project: Door, sync: str, target: str) -> Path | None:
    """The file that says what the destination last accepted; None before the first run."""
    prepare(project.store)
    with project.store.read() as connection:
        file = connection.execute(
            select(ledgers.c.file).where(ledgers.c.sync == sync, ledgers.c.target == target)
        ).scalar()
    return project.var / "syncs" / file if file else None


def _approver(run: int) -> Select[Any]:
    return select(approvals.c.approved_by).where(approvals.c.run == run)


def _run_row(project: Door, row: Row[Any]) -> RunRow:
    with project.store.read() as connection:
        calls = calls_of(connection, row.id)
        approved_by = connection.execute(_approver(row.id)).scalar()
        unfinished = row.state in UNFINISHED
        running = unfinished and holder_of(connection, row.sync, utc_now()) is not None
    verdicts = Verdicts(row.accepted or 0, row.rejected or 0, row.deferred or 0, row.unknown or 0)
    trips = tuple(trip["message"] for trip in json.loads(row.trips or "[]"))
    return RunRow(
        id=row.id,
        sync=row.sync,
        target=row.target,
        state=row.state,
        running=running,
        trigger=row.trigger,
        requested_by=row.requested_by,
        approval=row.approval,
        approved_by=approved_by,
        retry_of=row.retry_of,
        undo_of=row.undo_of,
        plan=row.plan,
        replanned=row.replanned or "",
        version=row.version,
        counts=counts_from_json(row.counts),
        trips=trips,
        verdicts=verdicts,
        calls=calls,
        started_at=row.started_at,
        ended_at=row.ended_at,
        error=row.error or "",
    )


def _where(column: str, wanted: str | None, search: str = "") -> ds.Expression | None:
    conditions = [] if wanted is None else [ds.field(column) == wanted]
    if search:
        conditions.append(pc.match_substring(ds.field("key"), search, ignore_case=True))
    return reduce(and_, conditions) if conditions else None


def _rows(
    file: Path, condition: ds.Expression | None, limit: int | None, offset: int
) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file, filtered, without reading more of it than needed."""
    if not file.exists():
        return
    skip, left = offset, limit
    for part in ds.dataset(file, format="parquet").to_batches(
        filter=condition, batch_size=10_000, use_threads=False
    ):
        if skip >= part.num_rows:
            skip -= part.num_rows
            continue
        page = part.slice(skip, left)
        skip = 0
        left = None if left is None else left - page.num_rows
        yield from page.to_pylist()
        if left == 0:
            return


def _changes(row: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    old, new = _json(row["old"]), _json(row["fields"])
    before, after = old or {}, new or {}
    if row["op"] in ("archive", "delete"):
        return tuple(FieldChange(name, value, None, known=True) for name, value in before.items())
    return tuple(
        FieldChange(name, before.get(name), value, known=name in before)
        for name, value in after.items()
        if name not in before or before[name] != value
    )


def _json(text: str | None) -> dict[str, Json] | None:
    return None if text is None else json.loads(text)


_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


def _general(reason: str, key: str | None) -> str:
    """The reason without the row's own key and values, so that rows with the same trouble stand together."""
    if key is not None:
        reason = reason.replace(key, "…")
    return _QUOTED.sub("…", reason)
