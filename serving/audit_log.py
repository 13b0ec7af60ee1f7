"""The audit's file: a table of SQLite that entries are appended to, by any number of processes.

An entry is committed before `append` returns, so that a killed process loses none of them
(a power cut may lose the last moments, never the middle). Triggers refuse every other change.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from serving.audit_chain import FIELDS, GENESIS, LISTS, AuditBroken, Entry, entry_of, sealed
from serving.errors import SluiceError

Row = tuple[Any, ...]
Clock = Callable[[], datetime]

_SCHEMA = """
CREATE TABLE entries (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, question INTEGER NOT NULL,
    event TEXT NOT NULL CHECK (event IN ('asked', 'ended')),
    user TEXT NOT NULL, surface TEXT NOT NULL, text TEXT NOT NULL, params TEXT NOT NULL,
    marts TEXT NOT NULL, columns TEXT NOT NULL, policies TEXT NOT NULL,
    version INTEGER, rows INTEGER, milliseconds REAL, outcome TEXT NOT NULL, reason TEXT NOT NULL,
    previous TEXT NOT NULL, hash TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX entries_of_question ON entries (question, event);
CREATE INDEX asked_by ON entries (user, id) WHERE event = 'asked';
CREATE TRIGGER entries_only_follow BEFORE INSERT ON entries
WHEN NEW.id IS NOT (SELECT coalesce(max(id), 0) + 1 FROM entries)
  OR NEW.previous IS NOT coalesce((SELECT hash FROM entries ORDER BY id DESC LIMIT 1), '{genesis}')
  OR EXISTS (SELECT 1 FROM entries WHERE question = NEW.question AND event = NEW.event)
BEGIN SELECT raise(ABORT, 'the audit is append-only: this does not follow its last entry'); END;
CREATE TRIGGER entries_stay BEFORE UPDATE ON entries
BEGIN SELECT raise(ABORT, 'the audit is append-only: an entry is never changed'); END;
CREATE TRIGGER entries_are_kept BEFORE DELETE ON entries
BEGIN SELECT raise(ABORT, 'the audit is append-only: an entry is never removed'); END;
""".replace("{genesis}", GENESIS)
_INSERT = f"INSERT INTO entries ({', '.join(FIELDS)}) VALUES ({', '.join('?' for _ in FIELDS)})"
_ALL = f"SELECT {', '.join(FIELDS)} FROM entries"
_LAST = "SELECT id, hash FROM entries ORDER BY id DESC LIMIT 1"


class AuditUnwritable(SluiceError):
    """What is asked cannot be written down, so it is not answered."""


class Log:
    """The open file; safe to share between threads, and between processes by its path."""

    def __init__(self, path: Path, clock: Clock, patience: float = 30.0) -> None:
        """Open or create the file; `patience` is how many seconds to wait for another process's write."""
        self.path, self._clock = path, clock
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)  # what people ask is theirs and the auditors'
            self._connection = sqlite3.connect(
                path, timeout=patience, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._create()
            self._inode = path.stat().st_ino
        except (sqlite3.Error, OSError) as error:
            raise _unwritable(path, error) from error

    def append(self, draft: Entry) -> Entry:
        """Commit the draft as the next entry: id, time, link and hash are given here.

        A draft of question 0 gets a new question number. Raises AuditUnwritable.
        """
        try:
            with self._alone() as connection:
                last, previous = connection.execute(_LAST).fetchone() or (0, GENESIS)
                number = draft.question
                if not number:
                    (newest,) = connection.execute("SELECT max(question) FROM entries").fetchone()
                    number = (newest or 0) + 1
                at = stamp(self._clock())
                entry = sealed(replace(draft, id=last + 1, at=at, question=number, previous=previous))
                connection.execute(_INSERT, _row(entry))
        except (sqlite3.Error, OSError) as error:
            raise _unwritable(self.path, error) from error
        return entry

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _alone(self) -> Iterator[sqlite3.Connection]:
        """The write lock over all threads and processes: nobody else follows the same entry."""
        with self._lock:
            if self.path.stat().st_ino != self._inode:
                raise OSError("the file was replaced while it was open")
            with _transaction(self._connection):
                yield self._connection

    def _create(self) -> None:
        tables = self._tables()
        if "entries" in tables and "questions" not in tables:
            return
        with _transaction(self._connection):
            tables = self._tables()  # another process may have been first
            if "entries" not in tables:
                for statement in _statements(_SCHEMA):
                    self._connection.execute(statement)
            if "questions" in tables:
                _carry_over(self._connection)

    def _tables(self) -> set[str]:
        found = self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {name for (name,) in found}


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def stamp(moment: datetime) -> str:
    """A moment as entries write it; such texts sort by time."""
    return moment.isoformat(timespec="microseconds")


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that can only read the file, and never creates one; raises AuditBroken."""
    if not path.is_file():
        raise AuditBroken(0, f"there is no audit {path}", hint="name its folder with --var DIR")
    try:
        address = f"file:{quote(str(path.absolute()))}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
            yield connection
    except sqlite3.Error as error:
        hint = "is it the audit of an older version? Start the app or ask a question once to carry it over"
        raise AuditBroken(0, f"{path} cannot be read: {error}", hint=hint) from error


def entries(connection: sqlite3.Connection, since: str = "") -> Iterator[Entry]:
    """All entries from the first one at or after `since` on, in their order; raises AuditBroken."""
    first = "SELECT coalesce(min(id), 9223372036854775807) FROM entries WHERE at >= ?"
    for row in connection.execute(f"{_ALL} WHERE id >= ({first}) ORDER BY id", (since,)):
        yield _entry(dict(zip(FIELDS, row, strict=True)))


def newest(
    connection: sqlite3.Connection, limit: int, conditions: Sequence[tuple[str, str | int]] = ()
) -> list[Row]:
    """The newest questions first, each with its end: the columns of `ASKED`.

    `conditions` are pairs of an SQL condition over the entries `a` (asked) and `e` (ended) with
    one `?` in it, and its value.
    """
    where = "".join(f" AND {condition}" for condition, _ in conditions)
    text = (
        f"SELECT {', '.join(ASKED.values())} FROM entries a"
        " LEFT JOIN entries e ON e.question = a.question AND e.event = 'ended'"
        f" WHERE a.event = 'asked'{where} ORDER BY a.id DESC LIMIT ?"
    )
    return connection.execute(text, [*(value for _, value in conditions), limit]).fetchall()


ASKED = {
    "id": "a.question",
    "at": "a.at",
    "user": "a.user",
    "surface": "a.surface",
    "sql": "a.text",
    "params": "a.params",
    "outcome": "coalesce(e.outcome, 'unfinished')",
    "reason": "coalesce(e.reason, '')",
    "marts": "coalesce(e.marts, '[]')",
    "columns": "coalesce(e.columns, '[]')",
    "policies": "coalesce(e.policies, '[]')",
    "version": "e.version",
    "rows": "e.rows",
    "milliseconds": "e.milliseconds",
}


def _row(entry: Entry) -> Row:
    """What is stored of an entry: lists as JSON."""
    values = (getattr(entry, name) for name in FIELDS)
    return tuple(
        json.dumps(value, ensure_ascii=False) if isinstance(value, tuple) else value for value in values
    )


def _entry(stored: dict[str, Any]) -> Entry:
    for name in LISTS:
        stored[name] = list_of(stored[name], stored["id"])
    return entry_of(stored)


def list_of(text: object, entry: object) -> tuple[str, ...]:
    """A list as it is stored; raises AuditBroken."""
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        found = None
    if not isinstance(found, list):
        number = entry if isinstance(entry, int) else 0
        raise AuditBroken(number, f"entry {entry} was changed: {text!r} is no list")
    return tuple(found)


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; `executescript` would commit in the middle."""
    statement = ""
    for line in script.splitlines():
        statement += f"{line}\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _carry_over(connection: sqlite3.Connection) -> None:
    """Append the lines of the table `questions`, in which older versions kept the audit."""
    known = (
        "SELECT id, at, user, surface, sql, outcome, reason, version, marts, policies, rows, seconds"
        " FROM questions ORDER BY id"
    )
    last, previous = connection.execute(_LAST).fetchone() or (0, GENESIS)
    for (
        number,
        at,
        user,
        surface,
        text,
        outcome,
        reason,
        version,
        marts,
        policies,
        rows,
        seconds,
    ) in connection.execute(known).fetchall():
        drafts = [Entry(0, at, number, "asked", user=user, surface=surface, text=text)]
        if outcome != "asked":
            ended = datetime.fromisoformat(at) + timedelta(seconds=seconds or 0)
            drafts.append(
                Entry(
                    0,
                    stamp(ended),
                    number,
                    "ended",
                    marts=tuple(filter(None, marts.split(", "))),
                    policies=tuple(filter(None, policies.split("; "))),
                    version=version,
                    rows=rows,
                    milliseconds=None if seconds is None else round(seconds * 1000, 1),
                    outcome=outcome,
                    reason=reason,
                )
            )
        for draft in drafts:
            last += 1
            entry = sealed(replace(draft, id=last, previous=previous))
            connection.execute(_INSERT, _row(entry))
            previous = entry.hash
    connection.execute("DROP TABLE questions")


def _unwritable(path: Path, error: Exception) -> AuditUnwritable:
    return AuditUnwritable(
        f"nothing can be written into the audit: {error}",
        hint=f"so nothing is answered: see to {path.name} and the disk it is on, then start again",
    )
