"""The file that says what the destination last accepted, row by row.

A ledger is one immutable Parquet file. Which file counts is a row of the control store.

    key, fields             what was accepted last (NULL: nothing yet)
    k                       hash of the key; NULL: unknown
    d1, d2                  digests of the row that was accepted; NULL: compare texts. They are NULL while
                            something is pending, and where two keys of the ledger share one hash
    accepted_at, run        when, and by which run
    pending                 rejected | deferred | unknown: how the newest change ended, if not accepted
    pending_op, p1, p2      which change that was
    doubt                   true: it, or a change before it, may have arrived since the last acceptance
    reason, attempts, next_try
"""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from reverse_etl.errors import SyncError

TIME = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("k", pa.uint64()),
        ("d1", pa.uint64()),
        ("d2", pa.uint64()),
        ("fields", pa.string()),
        ("accepted_at", TIME),
        ("run", pa.int64()),
        ("pending", pa.string()),
        ("pending_op", pa.string()),
        ("p1", pa.uint64()),
        ("p2", pa.uint64()),
        ("doubt", pa.bool_()),
        ("reason", pa.string()),
        ("attempts", pa.int64()),
        ("next_try", TIME),
    ]
)
FORMAT = (
    "compression lz4_raw, parquet_version v2"  # read by every plan: decompressing zstd would double its time
)


def empty_ledger() -> pa.Table:
    """The ledger of a sync that never ran."""
    return SCHEMA.empty_table()


def open_ledger(db: duckdb.DuckDBPyConnection, file: Path | None) -> None:
    """The ledger as view `ledger`, with `rid`, a number per row; SyncError if it cannot be read."""
    if file is None:
        db.register("no_ledger", empty_ledger())
        db.execute("create temp view ledger as select *, 0::bigint as rid from no_ledger")
        return
    first = _check(file) == _FIRST_LAYOUT
    db.from_parquet(str(file), file_row_number=True).create_view("ledger_rows")
    columns = ", ".join(_OF_FIRST.get(name, name) if first else name for name in SCHEMA.names)
    db.execute(f"create temp view ledger as select {columns}, file_row_number as rid from ledger_rows")


_FIRST_LAYOUT = frozenset(SCHEMA.names) - {"k", "doubt"}  # of ledgers before plans went by hashes
_OF_FIRST = {
    "k": "null::ubigint as k",
    "d1": "null::ubigint as d1",
    "d2": "null::ubigint as d2",
    "doubt": "coalesce(pending = 'unknown', false) as doubt",
}


def _check(file: Path) -> frozenset[str]:
    """The columns of the file."""
    hint = "restore this file from a backup of the var folder: no other says what the destination holds"
    try:
        found = pq.read_schema(file)
    except (OSError, pa.ArrowException) as error:
        raise SyncError(f"the ledger {file} cannot be read: {error}", hint=hint) from None
    columns = frozenset(found.names)
    if columns != _FIRST_LAYOUT and (missing := [n for n in SCHEMA.names if n not in columns]):
        raise SyncError(f"the ledger {file} has no column {missing[0]!r}", hint=hint)
    return columns
