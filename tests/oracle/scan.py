"""What is left behind: the audit, the other files of the state, and what was printed."""

import os
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.oracle.poison import markers

_BULK = (".duckdb", ".parquet", ".sqlite", ".sqlite-wal", ".sqlite-shm")


def left_behind(var: Path, asked: str) -> list[str]:
    """Poison in the state folder outside the marts; the texts people asked may say what they like."""
    own = asked.lower()
    found: list[str] = []
    for path in sorted(var.rglob("*.sqlite")):
        found += [
            f"{path.name} {where}: {marker}" for where, marker in _in_database(path) if marker not in own
        ]
    for path in sorted(var.rglob("*")):
        if path.is_file() and not path.name.endswith(_BULK):
            text = path.read_text("utf-8", errors="replace")
            found += [f"{path.name}: {marker}" for marker in markers(text) if marker.lower() not in own]
    return sorted(set(found))


def _in_database(path: Path) -> Iterator[tuple[str, str]]:
    connection = sqlite3.connect(path)
    try:
        names = connection.execute("select name from sqlite_master where type = 'table'").fetchall()
        for (table,) in names:
            for row in connection.execute(f'select * from "{table}"'):
                for value in row:
                    yield from ((table, marker.lower()) for marker in markers(str(value)))
    finally:
        connection.close()


@contextmanager
def standard_error() -> Iterator[list[str]]:
    """What this process and its workers print on standard error meanwhile, known (and printed) at the end."""
    printed: list[str] = []
    with tempfile.TemporaryFile() as kept:
        sys.stderr.flush()
        before = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield printed
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
            kept.seek(0)
            printed.append(kept.read().decode(errors="replace"))
            sys.stderr.write(printed[0])
