"""The sync log as governed marts: kept up to date, and asked about one record.

`sluice_runs`, `sluice_outcomes`, `sluice_ledger` and `sluice_approvals` stand in one immutable file each;
which files count is rows of the control store.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
from sqlalchemy.exc import SQLAlchemyError

from reverse_etl import log_rows
from reverse_etl.log_file import (
    Change,
    Held,
    add_outcomes,
    replace_ledgers,
    replace_rows,
    replace_runs,
    runs_in,
    stamp,
    write_log,
)
from reverse_etl.tables import prepare
from serving.answer import Answer
from serving.engine.process import Parameters
from serving.errors import SluiceError
from serving.governance.access import View
from serving.identity import User
from serving.log_files import LogFile, log_folder, point, pointed
from serving.store import Store
from serving.sync_log_mart import APPROVALS, LEDGER, OUTCOMES, RUNS, SYNC_LOG

if TYPE_CHECKING:
    from reverse_etl.log_file import Connection

_PART_OF_KEY = "key_value is null and list_contains(json_extract_string(key, '$.*'), $key)"
TOLD: Mapping[str, str] = {  # column -> of sluice_outcomes
    "at": "answered_at",
    **{name: name for name in ("sync", "destination", "object", "run", "op", "kind", "verdict", "reason")},
    **{name: name for name in ("fields", "old", "version", "approved_by")},
}


class Asked(Protocol):
    """A project that answers; `serving.Project` is one."""

    def ask(
        self, sql: str, *, user: User | str, surface: str = ..., parameters: Parameters = ...
    ) -> Answer: ...
    def user(self, email: str) -> User: ...
    def view(self, mart: str, user: User) -> View: ...


def refresh_log(store: Store, var: Path) -> Mapping[str, LogFile]:
    """Bring the files of the log up to date; cheap where nothing happened since.

    One process at a time writes; another that comes meanwhile waits for it. Raises LogUnwritable;
    the files of before stay in force then, and they do where this process is killed.
    """
    prepare(store)
    files = pointed(store, var)
    if not _stale(files, _fingerprints(store, var)):
        return files
    folder = log_folder(var)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(folder):
        now = _fingerprints(store, var)  # before anything is read: what comes later makes it stale again
        files = dict(pointed(store, var))
        try:
            for mart in _stale(files, now):
                former = files[mart] if mart in files and files[mart].path.exists() else None
                files[mart] = write_log(folder, mart, former, now[mart], _change(store, var, mart))
                point(store, files[mart])
        finally:
            _drop_unused(folder, pointed(store, var))
        return files


def log_problem(store: Store, var: Path) -> str:
    """As `refresh_log`, for those who must not fail with it, such as a run that ended: why it could not."""
    try:
        refresh_log(store, var)
    except (SluiceError, SQLAlchemyError) as error:
        return str(error)
    return ""


def told(
    project: Asked, user: User | str, key_value: str, limit: int = 200, sync: str | None = None
) -> pa.Table:
    """What was said about one record, by whom and when, the newest first: columns of TOLD.

    `key_value` is the record's key as text, the JSON of its key, or one part of a key of several.
    Asked through the door as `user`: raises QueryRefused where nobody granted them sluice_outcomes
    or its keys. Columns that a mask hides are null.
    """
    who = project.user(user) if isinstance(user, str) else user
    shown, types = project.view(OUTCOMES, who).columns, SYNC_LOG[OUTCOMES].types
    columns = [
        f"{stored if stored in shown else f'null::{types[stored]}'} as {name}"
        for name, stored in TOLD.items()
    ]
    other = "key = $key" if key_value.startswith("{") else _PART_OF_KEY
    rows = f"(key_value = $key or ({other}))" + (" and sync = $sync" if sync else "")
    order = ", ".join(f"{name} desc" for name in ("answered_at", "run", "seq") if name in shown) or "1"
    sql = f"select {', '.join(columns)} from {OUTCOMES} where {rows} order by {order} limit {int(limit)}"
    parameters = {"key": key_value, **({"sync": sync} if sync else {})}
    return project.ask(sql, user=who, surface="record", parameters=parameters).table


def _fingerprints(store: Store, var: Path) -> Mapping[str, str]:
    """Of what each file should hold now."""
    with store.read() as connection:
        runs, approvals = log_rows.runs_state(connection), log_rows.approvals_state(connection)
        files = {file for _, _, file in log_rows.ledgers_now(connection)}
    ledgers = [stamp(_ledger(var, file)) for file in sorted(files)]
    parts = {RUNS: (runs, approvals), OUTCOMES: runs[:2], LEDGER: ledgers, APPROVALS: approvals}
    return {
        mart: hashlib.blake2b(repr((SYNC_LOG[mart].types, part)).encode(), digest_size=8).hexdigest()
        for mart, part in parts.items()
    }


def _stale(files: Mapping[str, LogFile], now: Mapping[str, str]) -> list[str]:
    return [
        mart
        for mart in SYNC_LOG
        if mart not in files or files[mart].fingerprint != now[mart] or not files[mart].path.exists()
    ]


def _change(store: Store, var: Path, mart: str) -> Change:
    """What makes the former file the next one."""
    changes: Mapping[str, Change] = {
        RUNS: lambda db: _runs(db, store),
        OUTCOMES: lambda db: _outcomes(db, store, var),
        LEDGER: lambda db: _ledgers(db, store, var),
        APPROVALS: lambda db: _approvals(db, store),
    }
    return changes[mart]


def _runs(connection: "Connection", store: Store) -> None:
    known = runs_in(connection)
    with store.read() as reading:
        rows = log_rows.runs_table(reading, known)
    replace_runs(connection, rows, log_rows.FINAL)


def _outcomes(connection: "Connection", store: Store, var: Path) -> None:
    known = runs_in(connection)
    with store.read() as reading:
        fresh = list(log_rows.ended_runs(reading, known))
    for run in fresh:
        with store.read() as reading:
            folder = var / "syncs" / run.sync / str(run.run)
            add_outcomes(connection, run, folder, log_rows.answered_ranges(reading, run.run))


def _ledgers(connection: "Connection", store: Store, var: Path) -> None:
    with store.read() as reading:
        found = log_rows.ledgers_now(reading)
    now: dict[Held, list[Path]] = {}
    for sync, target, file in found:
        now.setdefault(Held(sync, log_rows.target_parts(target)), []).append(_ledger(var, file))
    replace_ledgers(connection, now)


def _approvals(connection: "Connection", store: Store) -> None:
    with store.read() as reading:
        rows = log_rows.approvals_table(reading)
    replace_rows(connection, APPROVALS, rows)


def _ledger(var: Path, file: str) -> Path:
    return var / "syncs" / file


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While this lasts no other thread or process writes; a process that dies lets go."""
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _drop_unused(folder: Path, files: Mapping[str, LogFile]) -> None:
    """Remove what no pointer names, drafts of killed writers too; readers keep what they have open."""
    used = {file.path.name for file in files.values()}
    for path in folder.glob("*.duckdb*"):
        if path.name not in used:
            path.unlink(missing_ok=True)
