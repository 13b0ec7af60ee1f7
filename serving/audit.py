"""Every question, refused ones too: who asked what, and how it ended."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Column, Float, Integer, MetaData, String, Table, insert, select, update

from serving.store import Store, UtcTime, utc_now

Outcome = Literal["asked", "answered", "refused", "failed", "stopped"]
metadata = MetaData()

questions = Table(
    "questions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", UtcTime, nullable=False),
    Column("user", String, nullable=False),
    Column("surface", String, nullable=False),
    Column("sql", String, nullable=False),
    Column("outcome", String, nullable=False),  # stays `asked` where the process died meanwhile
    Column("reason", String, nullable=False, server_default=""),
    Column("version", Integer),
    Column("marts", String, nullable=False, server_default=""),
    Column("policies", String, nullable=False, server_default=""),
    Column("rows", Integer),
    Column("seconds", Float),
    sqlite_autoincrement=True,
)


@dataclass(frozen=True)
class Asked:
    """One line of the audit."""

    id: int
    at: datetime
    user: str
    surface: str
    sql: str
    outcome: Outcome
    reason: str
    version: int | None
    marts: str
    policies: str
    rows: int | None
    seconds: float | None


class Audit:
    """Append a question, then complete it once."""

    def __init__(self, store: Store) -> None:
        store.create(metadata)
        self.store = store

    def begin(self, user: str, surface: str, sql: str) -> int:
        """Write the question down before anything is done with it; its id."""
        row = {"at": utc_now(), "user": user, "surface": surface, "sql": sql, "outcome": "asked"}
        with self.store.write() as connection:
            number: int = connection.execute(
                insert(questions).values(row).returning(questions.c.id)
            ).scalar_one()
        return number

    def end(self, question: int, outcome: Outcome, **facts: str | int | float | None) -> None:
        """How it ended, with the facts known by then (columns of `questions`)."""
        with self.store.write() as connection:
            connection.execute(
                update(questions).where(questions.c.id == question).values(outcome=outcome, **facts)
            )

    def recent(self, limit: int, user: str | None = None, surface: str | None = None) -> list[Asked]:
        """The newest questions, newest first."""
        query = select(questions).order_by(questions.c.id.desc()).limit(limit)
        if user is not None:
            query = query.where(questions.c.user == user)
        if surface is not None:
            query = query.where(questions.c.surface == surface)
        with self.store.read() as connection:
            return [Asked(**row._mapping) for row in connection.execute(query)]
