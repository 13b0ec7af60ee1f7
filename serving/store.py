"""The control store: everything that changes, in one transactional database.

Bulk data is immutable files; which of them count is decided by rows here. SQLite in
WAL mode by default. Each subsystem declares its tables on a MetaData of its own and
hands it to `Store.create`.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Dialect, MetaData, String, create_engine, event, inspect
from sqlalchemy.exc import OperationalError
from sqlalchemy.types import TypeDecorator


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime, kept as ISO 8601 text in UTC so that a person can read the store."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        return None if value is None else value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value)


def utc_now() -> datetime:
    """The clock of everything that is recorded."""
    return datetime.now(UTC)


class Store:
    """A control store; safe to share between threads, and between processes by its file.

    `durable=False` gives up the last moments before a power cut (never before a crash of
    the process) for a write that does not wait for the disk. `patience`: seconds that a write
    waits for another's lock.
    """

    def __init__(self, path: Path, *, durable: bool = True, patience: float = 30.0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.engine = create_engine(
            f"sqlite:///{path}", connect_args={"timeout": patience, "isolation_level": None}
        )
        event.listen(self.engine, "connect", _durable if durable else _quick)
        self._created: set[int] = set()

    def create(self, metadata: MetaData) -> None:
        """Create the tables of a subsystem that do not exist yet, and nullable columns that are new."""
        if id(metadata) in self._created:
            return
        with self.write() as connection:
            metadata.create_all(connection)
            known = inspect(connection)
            for table in metadata.sorted_tables:
                there = {column["name"] for column in known.get_columns(table.name)}
                for column in table.columns:
                    if column.name not in there:
                        kind = column.type.compile(connection.dialect)
                        name = connection.dialect.identifier_preparer.quote(column.name)
                        connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {name} {kind}")
        self._created.add(id(metadata))

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that holds the write lock from its first statement on."""
        with self.engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                with suppress(OperationalError):  # a full disk has rolled it back already
                    connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view of the store."""
        with self.engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            try:
                yield connection
            finally:
                connection.exec_driver_sql("ROLLBACK")

    def glance(self, sql: str) -> Any:
        """The one value of a statement that every question asks: no transaction, nothing compiled."""
        with self.engine.connect() as connection:
            return connection.exec_driver_sql(sql).scalar()

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def _durable(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")  # a journalled intent must survive a power cut
    connection.execute("PRAGMA foreign_keys=ON")


def _quick(connection: Any, record: object) -> None:
    _durable(connection, record)
    connection.execute("PRAGMA synchronous=NORMAL")
