"""The copy, and every legal way of running a question on it.

Whether an expression that can fail is met before a filter that would drop the row is the planner's
choice, and it chooses by what it knows: statistics, constants, predicates. So where one side fails and
the other answers, the copy is asked again with the planner told less (optimizers off) or more (views that
state the policy's constants and predicate). All of it sees the copy's rows only: whatever comes out
speaks of nothing hidden.
"""

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from serving.unsound import AVOID, UNSOUND
from tests.oracle.outcome import LIMITS, ROWS, Asked, Outcome, plain, same
from tests.oracle.world import World

OPTIMIZERS = (
    "",
    "statistics_propagation",
    "statistics_propagation,filter_pushdown",
    "*",
    # which side of a join comes first is chosen by the number of rows; an empty first side ends the join
    "join_order,build_side_probe_side",
    "join_order,build_side_probe_side,statistics_propagation,empty_result_pullup",
)
# attacks are asked here, too
_LOCK = ("SET enable_external_access = false", "SET disabled_filesystems = 'LocalFileSystem'")
LAYOUTS = ("tables", "views", "secure views")


class Copies:
    """One person's copy: open it once a thread."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.main = _opened(world, "tables")
        self._others: dict[str, duckdb.DuckDBPyConnection] = {"tables": _opened(world, "tables")}

    def ask(self, asked: Asked) -> Outcome:
        """What the copy says."""
        return plain(self.main, asked)

    def understood(self, asked: Asked) -> Outcome:
        """Whether the copy understands the text as one question; it is not carried out."""
        if self._tree(asked) is None:
            return Outcome("bind", words="not one question")
        try:
            self.main.sql(asked.sql, params=asked.parameters)  # lazy: this only binds
        except duckdb.Error as error:
            return Outcome("bind", words=str(error))
        return Outcome("answered", words="(not carried out)")

    def cut(self, asked: Asked) -> Outcome:
        """What the copy says, cut as the door cuts."""
        return _cut(self.main, asked)

    def allows(self, asked: Asked, outcome: Outcome) -> bool:
        """Whether some legal plan over the copy ends like `outcome`."""
        ordered = self.ordered(asked)
        return any(same(outcome, other, ordered=ordered) for other in self._legal(asked))

    def ordered(self, asked: Asked) -> bool:
        """Whether the outermost query orders its rows."""
        tree = self._tree(asked)
        return tree is None or any(m["type"] == "ORDER_MODIFIER" for m in tree["node"]["modifiers"])

    def close(self) -> None:
        """Let the files go."""
        for connection in (self.main, *self._others.values()):
            connection.close()

    def _tree(self, asked: Asked) -> dict[str, Any] | None:
        """DuckDB's own syntax tree of one SELECT, DESCRIBE, SHOW …; None for any other text."""
        (text,) = self.main.execute("SELECT json_serialize_sql(?::VARCHAR)", [asked.sql]).fetchall()[0]
        tree = json.loads(text)
        if tree["error"] or len(tree["statements"]) != 1:
            return None
        statement: dict[str, Any] = tree["statements"][0]
        return statement

    def _legal(self, asked: Asked) -> Iterator[Outcome]:
        for layout in LAYOUTS:
            if layout not in self._others:
                self._others[layout] = _opened(self.world, layout)
            connection = self._others[layout]
            every = ",".join(name for (name,) in connection.execute("FROM duckdb_optimizers()").fetchall())
            for disabled in OPTIMIZERS:
                fewer = every if disabled == "*" else ",".join(filter(None, (disabled, UNSOUND)))
                connection.execute(f"SET GLOBAL disabled_optimizers = '{fewer}'")
                yield plain(connection, asked)
                yield _cut(connection, asked)
            connection.execute(AVOID)


def _cut(connection: duckdb.DuckDBPyConnection, asked: Asked) -> Outcome:
    """The answer cut at the door's limit, which the planner may use, under the text's own headers."""
    limited = Asked(f"SELECT * FROM ({asked.sql}\n) LIMIT {ROWS + 1}", asked.parameters)
    found = plain(connection, limited)
    if found.table is None:
        return found
    names = connection.sql(asked.sql, params=asked.parameters).columns
    table = found.table.rename_columns(names)
    return Outcome("answered", table.slice(0, ROWS), cut=table.num_rows > ROWS)


def _opened(world: World, layout: str) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        ":memory:", config={"threads": 1, "max_execution_time": int(LIMITS.seconds * 1000)}
    )
    connection.execute("SET enable_progress_bar = false")
    connection.execute(AVOID)
    connection.execute(f"SET TimeZone = '{world.timezone}'")
    if world.copy.exists():
        connection.execute(f"ATTACH '{world.copy}' AS copy (READ_ONLY)")
        connection.execute("USE copy")
    if layout != "tables":
        for mart, text in world.folded.items():
            kind = "SECURE VIEW" if layout == "secure views" else "VIEW"
            connection.execute(f'CREATE TEMP {kind} "{mart}" AS {text.format(table=f"copy.{mart}")}')
    for statement in _LOCK:
        connection.execute(statement)
    return connection
