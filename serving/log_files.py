"""Which files the sync log's marts stand in: immutable files, and a pointer to each in the control store.

Whoever runs syncs writes the files and moves the pointers; the door reads both.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Column, Integer, MetaData, String, Table, select
from sqlalchemy.dialects.sqlite import insert as upsert

from serving.errors import NotPublished
from serving.store import Store

metadata = MetaData()
log_files = Table(
    "log_files",
    metadata,
    Column("mart", String, primary_key=True),
    Column("file", String, nullable=False),
    Column("fingerprint", String, nullable=False),  # of what went into it
    Column("rows", Integer, nullable=False),
)
_LOOKS = 3  # the file that was read of may be replaced before it is looked for


@dataclass(frozen=True)
class LogFile:
    """An immutable DuckDB file that holds one table of its mart's name."""

    mart: str
    path: Path
    fingerprint: str
    rows: int


RefreshLog = Callable[[Store, Path], object]
"""(control store, var) -> bring the files up to date; cheap where they are."""


def log_folder(var: Path) -> Path:
    """Where the files stand."""
    return var / "sync_log"


def pointed(store: Store, var: Path) -> Mapping[str, LogFile]:
    """The files that count, by mart; those of marts that were never written are absent."""
    store.create(metadata)
    with store.read() as connection:
        rows = connection.execute(select(log_files)).all()
    return {
        row.mart: LogFile(row.mart, log_folder(var) / row.file, row.fingerprint, row.rows) for row in rows
    }


def current_files(store: Store, var: Path) -> Mapping[str, LogFile]:
    """As `pointed`; raises NotPublished where a file is gone: a log with holes would read as a whole one."""
    missing: list[str] = []
    for _ in range(_LOOKS):
        found = pointed(store, var)
        missing = sorted(file.path.name for file in found.values() if not file.path.exists())
        if not missing:
            return found
    hint = "put it back; or run a sync, or ask in the app: it is written again from the runs that are kept"
    raise NotPublished(f"the sync log's file {missing[0]} is gone", hint=hint)


def point(store: Store, file: LogFile) -> None:
    """Let this file count from now on."""
    row = {"mart": file.mart, "file": file.path.name, "fingerprint": file.fingerprint, "rows": file.rows}
    with store.write() as connection:
        connection.execute(upsert(log_files).values(row).on_conflict_do_update(["mart"], set_=row))
