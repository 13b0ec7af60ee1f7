"""Rows of plans and outcomes, read from their files a page at a time."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds

from connectors.protocol import Json, Verdict


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


def outcomes(
    file: Path, *, verdict: Verdict | None = None, search: str = "", limit: int = 100, offset: int = 0
) -> tuple[RowOutcome, ...]:
    """Rows of an outcomes.parquet in the order they left; rows that never left come last."""
    return tuple(
        RowOutcome(row["seq"], row["op"], row["kind"], _json(row["key"]), row["verdict"], row["reason"] or "")
        for row in _rows(file, _where("verdict", verdict, search), limit, offset)
    )


def grouped(file: Path) -> tuple[ReasonGroup, ...]:
    """Rows of an outcomes.parquet that were not accepted, by what was said; the largest group first."""
    rows: Counter[tuple[Verdict, str]] = Counter()
    examples: dict[tuple[Verdict, str], str | None] = {}
    for verdict in ("rejected", "deferred", "unknown"):
        for row in _rows(file, _where("verdict", verdict), None, 0):
            group = (row["verdict"], general(row["reason"] or "", row["key"]))
            rows[group] += 1
            examples.setdefault(group, row["key"])
    return tuple(
        ReasonGroup(verdict, reason, number, _json(examples[verdict, reason]))
        for (verdict, reason), number in rows.most_common()
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


def general(reason: str, key: str | None) -> str:
    """The reason without the row's own key and values, so that rows with the same trouble stand together."""
    if key is not None:
        reason = reason.replace(key, "…")
    return _QUOTED.sub("…", reason)
