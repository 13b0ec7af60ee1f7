"""A DuckDB for one step of a run: reads and writes the run's files, forgets the rest."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from serving.unsound import AVOID

MEMORY = "1GB"  # of a step; what does not fit is spilled, so that a plan of millions of rows stays small


@contextmanager
def scratch(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory database that spills into `folder`; UTC, no downloads."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "temp_directory": str(folder / "spill"),
        "memory_limit": MEMORY,
        "autoinstall_known_extensions": False,
        "TimeZone": "UTC",
        "preserve_insertion_order": False,  # what must be in order says so
    }
    connection = duckdb.connect(":memory:", config=config)
    try:
        connection.execute("set enable_progress_bar = false")
        connection.execute(AVOID)
        yield connection
    finally:
        connection.close()


def write_parquet(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    to: Path,
    parameters: dict[str, object],
    options: str = "compression zstd",
    *,
    in_order: bool = False,
) -> None:
    """The result of a query as one file that appears whole or not at all.

    `in_order` keeps the order that the query's scans have, without sorting.
    """
    unfinished = to.with_name(to.name + ".unfinished")
    quoted = str(unfinished).replace("'", "''")
    connection.execute(f"set preserve_insertion_order = {str(in_order).lower()}")
    connection.execute(f"copy ({query}) to '{quoted}' (format parquet, {options})", parameters)
    connection.execute("set preserve_insertion_order = false")
    let_appear(unfinished, to)


def let_appear(unfinished: Path, to: Path) -> None:
    """A finished file under its name, both on disk when it returns."""
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(to)
    folder = os.open(to.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def one_row(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    """The only row of a query's result, read to its end so that the connection is free again."""
    [row] = connection.execute(query).fetchall()
    return row
