"""Batches of a plan on disk, one part in memory at a time, the next one read meanwhile."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from connectors.protocol import Change, Json, Op

_PART = 5_000  # rows that are unpacked at a time: more would keep the event loop too long
_COLUMNS = ["seq", "op", "key", "fields"]
_Lists = tuple[list[int], list[Op], list[str | None], list[str | None]]  # the columns


async def plan_batches(
    plan: Path, rows: int, answered: Sequence[tuple[int, int]] = (), mark: str = ""
) -> AsyncGenerator[list[Change], None]:
    """The plan's rows without an answer, in order: at most `rows` of one kind and without a gap.

    `answered` are first and last `seq`, in order. `mark` names the run in each row's version.
    """
    loop = asyncio.get_running_loop()
    with pq.ParquetFile(plan) as file, ThreadPoolExecutor(1, thread_name_prefix="plan") as disk:
        parts = map(_lists, file.iter_batches(_PART, columns=_COLUMNS))
        ahead = loop.run_in_executor(disk, next, parts, None)
        rest: _Lists = [], [], [], []
        while (part := await ahead) is not None:
            ahead = loop.run_in_executor(disk, next, parts, None)
            lists = _joined(rest, part)
            spans = list(_spans(lists, rows, answered))
            # The last one may go on in the next part.
            for start, end in spans[:-1]:
                yield _changes(_cut(lists, start, end), mark)
            rest = _cut(lists, *(spans[-1] if spans else (0, 0)))
        if rest[0]:
            yield _changes(rest, mark)


def changes_between(plan: Path, first: int, last: int, mark: str = "") -> list[Change]:
    """The rows of a plan with these numbers."""
    wanted = [("seq", ">=", first), ("seq", "<=", last)]
    table = pq.read_table(plan, columns=_COLUMNS, filters=wanted)
    return sorted(_changes(_lists(table), mark), key=lambda change: change.seq)


def _lists(table: pa.Table | pa.RecordBatch) -> _Lists:
    seqs, ops, keys, fields = (table.column(name).to_pylist() for name in _COLUMNS)
    return seqs, ops, keys, fields


def _joined(one: _Lists, other: _Lists) -> _Lists:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3]


def _cut(lists: _Lists, start: int, end: int) -> _Lists:
    seqs, ops, keys, fields = lists
    return seqs[start:end], ops[start:end], keys[start:end], fields[start:end]


def _spans(lists: _Lists, rows: int, answered: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Where each batch starts, and where it ends."""
    numbers, ops, _, _ = lists
    ranges = iter(answered)
    current = next(ranges, None)
    start: int | None = None
    for at, seq in enumerate(numbers):
        while current is not None and current[1] < seq:
            current = next(ranges, None)
        if current is not None and current[0] <= seq:
            if start is not None:
                yield start, at
            start = None
        elif start is None:
            start = at
        elif at - start == rows or ops[at] != ops[start] or seq != numbers[at - 1] + 1:
            yield start, at
            start = at
    if start is not None:
        yield start, len(numbers)


def _changes(lists: _Lists, mark: str) -> list[Change]:
    seqs, ops, keys, fields = lists
    versions = [f"{mark}/{seq}" for seq in seqs]
    return list(map(Change, seqs, ops, _parsed(keys), _parsed(fields), versions))


def _parsed(texts: Sequence[str | None]) -> list[dict[str, Json]]:
    """JSON objects; one call for all of them takes half the time."""
    found: list[dict[str, Json]] = json.loads(f"[{','.join([text or '{}' for text in texts])}]")
    return found
