"""The record of who saw what since which publish."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, Integer, MetaData, String, Table, delete, insert, select

from serving.errors import NotPublished
from serving.rights.table import AccessTable, read_table
from serving.store import Store, UtcTime

KEPT = 100  # records; the oldest leave

metadata = MetaData()
published_access = Table(
    "published_access",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("version", Integer, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("json", String, nullable=False),
    sqlite_autoincrement=True,
)


@dataclass(frozen=True)
class Published:
    """The rights that were in force from `at` on, over that version of the marts."""

    version: int
    at: datetime
    table: AccessTable


def record(store: Store, version: int, table: AccessTable, now: datetime) -> bool:
    """Keep the rights as the published ones; False where the last record says the same."""
    text = table.text()
    with store.write() as connection:
        last = connection.execute(select(published_access).order_by(published_access.c.id.desc())).first()
        if last is not None and (last.version, last.json) == (version, text):
            return False
        connection.execute(insert(published_access).values(version=version, at=now, json=text))
        newest = select(published_access.c.id).order_by(published_access.c.id.desc()).limit(KEPT)
        connection.execute(delete(published_access).where(published_access.c.id.not_in(newest)))
    return True


def last_published(store: Store) -> Published:
    """The newest record; raises NotPublished before the first build."""
    with store.read() as connection:
        row = connection.execute(select(published_access).order_by(published_access.c.id.desc())).first()
    if row is None:
        hint = "run `python -m serving build`: every publish records who sees what"
        raise NotPublished("there is no published policy to compare with", hint=hint)
    return Published(row.version, row.at, read_table(row.json))
