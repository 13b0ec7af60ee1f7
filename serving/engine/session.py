"""What a worker keeps between questions: a cursor per set of views, and what is bound on it.

Temp views live and die with their cursor, so a cursor shows one set of views for ever:
people with the same rights share it, nobody else can get at it.
"""

import json
from collections import OrderedDict
from typing import Any, TypeVar

import duckdb

from serving.engine.wire import Message

MAX_SESSIONS = 24
MAX_BOUND = 200  # texts kept bound in one session
CUT = "SELECT * FROM ("
V = TypeVar("V")


class Session:
    """A cursor on which each mart name means one governed view."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, message: Message) -> None:
        self.cursor = cursor
        self._bound: OrderedDict[tuple[str, int | None], tuple[list[str], Any]] = OrderedDict()
        for alias, mart, rows in message["tables"]:
            cursor.register(alias, rows)
            cursor.execute(f'CREATE OR REPLACE TABLE "{alias}"."{mart}" AS FROM "{alias}"').fetchall()
            cursor.unregister(alias)
        secure = "SECURE " if message["secure"] else ""
        for name, body in message["views"]:
            cursor.execute(f'CREATE TEMP {secure}VIEW "{name}" AS {body}').fetchall()

    def bind(self, sql: str, rows: int | None, parameters: Any) -> tuple[list[str], Any]:
        """The engine's own headers, and what to execute; one row more than `rows` shows a cut.

        The person's own text is bound first, so that errors point into it.
        """
        if parameters is None and (sql, rows) in self._bound:
            self._bound.move_to_end((sql, rows))
            return self._bound[sql, rows]
        try:
            relation = self.cursor.sql(sql, params=parameters)
        except duckdb.Error:
            # PREPARE fails the same way and, unlike a relation, says where
            self.cursor.execute(f"PREPARE place AS {sql}").fetchall()
            self.cursor.execute("DEALLOCATE place").fetchall()
            raise
        names = list(relation.columns)
        if rows is not None:
            # no newline before: line numbers stay; one after: a comment must not eat the bracket
            relation = self.cursor.sql(f"{CUT}{sql}\n) LIMIT {int(rows) + 1}", params=parameters)
        if parameters is None:
            _keep(self._bound, (sql, rows), (names, relation), MAX_BOUND)
        return names, relation

    def plan(self, sql: str, parameters: Any) -> str:
        """The engine's plan as JSON text."""
        found = self.cursor.execute(f"EXPLAIN (FORMAT json) {sql}", parameters).fetchall()
        return str(found[0][1])


class Sessions:
    """The sessions of one worker, the least recently used dropped first."""

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        self.database = database
        self._kept: OrderedDict[str, Session] = OrderedDict()

    def get(self, message: Message) -> Session:
        """The session of the message's views; one with data of its own is made anew each time."""
        key = json.dumps([message["views"], message["secure"]])
        if message["tables"]:
            return Session(self.database.cursor(), message)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        session = Session(self.database.cursor(), message)
        _keep(self._kept, key, session, MAX_SESSIONS)
        return session

    def drop(self, session: Session) -> None:
        """Forget a session: after a failure nobody knows what state its cursor is in."""
        for key, kept in list(self._kept.items()):
            if kept is session:
                del self._kept[key]


def _keep(kept: "OrderedDict[Any, V]", key: object, value: V, most: int) -> None:
    kept[key] = value
    if len(kept) > most:
        kept.popitem(last=False)
