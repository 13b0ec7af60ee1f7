"""The audit as a file that can be verified alone: jsonl, csv or parquet, by its name.

Every field of every entry is in it as it was hashed; times stay text, and CSV holds lists as JSON.
"""

import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from serving.audit_chain import FIELDS, LISTS, AuditBroken, Chain, Entry, entry_of, verify
from serving.errors import SluiceError

Write = Callable[[list[dict[str, Any]]], None]
BATCH = 10_000
LARGEST = 64 << 20  # bytes that one line of a CSV may have

_INTEGERS = ("id", "question", "version", "rows")


def _kind(name: str, lists: pa.DataType) -> pa.DataType:
    if name in LISTS:
        return lists
    return pa.int64() if name in _INTEGERS else pa.float64() if name == "milliseconds" else pa.string()


_NESTED = pa.schema([(name, _kind(name, pa.list_(pa.string()))) for name in FIELDS])
_FLAT = pa.schema([(name, _kind(name, pa.string())) for name in FIELDS])


def export(entries: Iterable[Entry], target: Path, *, whole: bool) -> Chain:
    """Write the entries into a new file and say what it holds.

    `whole`: they begin with the audit's first one. Raises AuditBroken where they do not follow
    each other, and SluiceError for another kind of file; then no file is left.
    """
    if target.suffix not in _WRITERS:
        raise _unknown(target)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with _WRITERS[target.suffix](draft) as write:
            found = verify(_passing(entries, write), whole=whole)
        draft.replace(target)
    except OSError as error:
        raise SluiceError(f"{target} cannot be written: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return found


def exported(source: Path) -> Iterator[Entry]:
    """The entries of an exported file in its order; raises AuditBroken for what cannot be one."""
    if source.suffix not in _READERS:
        raise _unknown(source)
    if not source.is_file():
        raise SluiceError(f"there is no file {source}")
    try:
        for values in _READERS[source.suffix](source):
            yield entry_of(values)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise AuditBroken(0, f"{source} cannot be read as an exported audit: {error}") from error


def _passing(entries: Iterable[Entry], write: Write) -> Iterator[Entry]:
    """The same entries, each written before it is passed on."""
    remaining = iter(entries)
    while batch := list(islice(remaining, BATCH)):
        write([asdict(entry) for entry in batch])
        yield from batch


@contextmanager
def _jsonl_writer(path: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        yield lambda batch: file.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in batch)


@contextmanager
def _csv_writer(path: Path) -> Iterator[Write]:
    def flat(row: Mapping[str, Any]) -> dict[str, Any]:
        return {**row, **{name: json.dumps(row[name], ensure_ascii=False) for name in LISTS}}

    with path.open("wb") as file, pa.csv.CSVWriter(file, _FLAT) as writer:
        yield lambda batch: writer.write(pa.Table.from_pylist([flat(row) for row in batch], _FLAT))


@contextmanager
def _parquet_writer(path: Path) -> Iterator[Write]:
    with pa.parquet.ParquetWriter(path, _NESTED, compression="zstd") as writer:
        yield lambda batch: writer.write(pa.Table.from_pylist(batch, _NESTED))


def _jsonl_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is no JSON object")
            yield _tuples(row)


def _csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    options = pa.csv.ConvertOptions(
        column_types=_FLAT, null_values=[""], strings_can_be_null=False, quoted_strings_can_be_null=False
    )
    with pa.csv.open_csv(
        path,
        pa.csv.ReadOptions(block_size=LARGEST, use_threads=False),
        pa.csv.ParseOptions(newlines_in_values=True),
        options,
    ) as reader:
        for batch in reader:
            for row in batch.to_pylist():
                lists = {name: json.loads(row[name]) for name in LISTS if name in row}
                yield _tuples({**row, **lists})


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    with pa.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH):
            yield from map(_tuples, batch.to_pylist())


def _tuples(row: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}


def _unknown(path: Path) -> SluiceError:
    known = ", ".join(_WRITERS)
    return SluiceError(f"{path}: an audit is not exported as {path.suffix!r}", hint=f"known: {known}")


_WRITERS = {".jsonl": _jsonl_writer, ".csv": _csv_writer, ".parquet": _parquet_writer}
_READERS = {".jsonl": _jsonl_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}
