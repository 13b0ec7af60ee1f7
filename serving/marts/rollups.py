"""Rollups as tables: a mart's leaves by some of its dimensions, in the mart's own file.

A rollup is the table `mart:rollup`. Its columns are the keys of its dimensions as people write them
("region", "ordered_at.month"), then one column per leaf; the number of rows is always among them.
The table `:rollups` of the same file says what they hold, so that a file explains itself.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date
from json import loads

import duckdb
from pydantic import TypeAdapter

from serving.errors import BuildFailed
from serving.marts.declared import UNPUBLISHED, DeclaredRollup
from serving.marts.reconcile import reconcile
from serving.semantic.dimension import quoted, split_grain
from serving.semantic.routing.routes import Kept
from serving.syntax import folded, walk

KEPT = TypeAdapter(tuple[Kept, ...])
"""Reads and writes what is recorded of rollups, as JSON; raises ValidationError for anything else."""

_ABOUT = ":rollups"
_ADDED_AS_FLOAT = {"FLOAT", "DOUBLE", "UHUGEINT"}  # by the engine's sum
_RESTLESS = {"age", "ago", "current_time", "current_timestamp", "localtime", "localtimestamp"}


def make_rollups(
    connection: duckdb.DuckDBPyConnection, rollups: Sequence[DeclaredRollup], timezone: str
) -> None:
    """Add the rollups to the mart's file and prove them equal; the session is in `timezone` already.

    Raises BuildFailed with every rollup that could never be exact, or with the first one that cannot be
    computed or does not add up.
    """
    if not rollups:
        return
    restless = _restless(connection)
    if problems := [words for rollup in rollups for words in _never_exact(connection, rollup, restless)]:
        raise BuildFailed("\n".join(problems), hint=UNPUBLISHED)
    made = []
    for rollup in rollups:
        try:
            made.append(_make(connection, rollup, timezone))
        except duckdb.Error as error:
            words = f"{rollup.at}: the rollup '{rollup.name}' cannot be built: {error}"
            raise BuildFailed(words, hint=UNPUBLISHED) from error
    _describe(connection, made)


def read_rollups(connection: duckdb.DuckDBPyConnection, mart: str) -> tuple[Kept, ...]:
    """What a mart's file says about its rollups; files made before there were any say nothing."""
    there = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = ?", [_ABOUT])
    if there.fetchall() == [(0,)]:
        return ()
    found = connection.execute(f"FROM {quoted(_ABOUT)}")
    names = [item[0] for item in found.description or ()]
    return KEPT.validate_python(
        [{"mart": mart, **dict(zip(names, row, strict=True))} for row in found.fetchall()]
    )


def _make(connection: duckdb.DuckDBPyConnection, rollup: DeclaredRollup, timezone: str) -> Kept:
    before = _bytes(connection)
    places = ", ".join(str(place + 1) for place in range(len(rollup.dimensions)))
    grouped = f"GROUP BY {places}\nORDER BY {places}" if places else ""  # sorted: ranges of it are found fast
    shown = [f"{text} AS {quoted(name)}" for name, text in (*rollup.dimensions.items(), *rollup.kept.items())]
    lines = ",\n  ".join(shown)
    table = quoted(rollup.table)
    connection.execute(f"CREATE TABLE {table} AS\nSELECT\n  {lines}\nFROM {quoted(rollup.mart)}\n{grouped}")
    _comment(connection, rollup)
    reconciled = reconcile(connection, rollup)
    ((rows,),) = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
    types = {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE {table}").fetchall()}
    size = max(_bytes(connection) - before, 0)
    return Kept(
        rollup.mart,
        rollup.name,
        rows,
        rollup.dimensions,
        rollup.kept,
        types,
        timezone,
        size,
        reconciled,
        _newest(connection, rollup),
    )


def _newest(connection: duckdb.DuckDBPyConnection, rollup: DeclaredRollup) -> dict[str, date]:
    """The last day of each time column that the rollup keeps in buckets; none where that is infinite."""
    columns = dict.fromkeys(split_grain(key)[0] for key in rollup.dimensions if split_grain(key)[1])
    described = connection.execute(f"DESCRIBE {quoted(rollup.mart)}").fetchall()
    found = {}
    for column in columns.keys() & {name for name, *_ in described}:
        day = f"CAST(max(CAST({quoted(column)} AS DATE)) AS VARCHAR)"
        ((text,),) = connection.execute(f"SELECT {day} FROM {quoted(rollup.mart)}").fetchall()
        with suppress(ValueError, TypeError):  # no row, or a year that Python does not know
            found[column] = date.fromisoformat(text)
    return found


def _comment(connection: duckdb.DuckDBPyConnection, rollup: DeclaredRollup) -> None:
    table = quoted(rollup.table)
    about = (
        f"{rollup.mart} by {', '.join(rollup.dimensions)}" if rollup.dimensions else f"{rollup.mart} in all"
    )
    connection.execute(f"COMMENT ON TABLE {table} IS {_text(about)}")
    texts: Iterable[tuple[str, str]] = (*rollup.dimensions.items(), *rollup.kept.items())
    for name, text in texts:
        connection.execute(f"COMMENT ON COLUMN {table}.{quoted(name)} IS {_text(text)}")


def _describe(connection: duckdb.DuckDBPyConnection, made: Sequence[Kept]) -> None:
    connection.execute(
        f"CREATE TABLE {quoted(_ABOUT)} (name VARCHAR, rows BIGINT, dimensions MAP(VARCHAR, VARCHAR), "
        "leaves MAP(VARCHAR, VARCHAR), types MAP(VARCHAR, VARCHAR), timezone VARCHAR, bytes BIGINT, "
        "reconciled VARCHAR[], newest MAP(VARCHAR, VARCHAR))"
    )
    pairs = "MAP(CAST(? AS VARCHAR[]), CAST(? AS VARCHAR[]))"
    for kept in made:
        maps = [part for each in (kept.dimensions, kept.leaves, kept.types) for part in _both(each)]
        newest = {column: str(day) for column, day in kept.newest.items()}
        connection.execute(
            f"INSERT INTO {quoted(_ABOUT)} VALUES (?, ?, {pairs}, {pairs}, {pairs}, ?, ?, ?, {pairs})",
            [kept.name, kept.rows, *maps, kept.timezone, kept.bytes, list(kept.reconciled), *_both(newest)],
        )


def _never_exact(
    connection: duckdb.DuckDBPyConnection, rollup: DeclaredRollup, restless: Collection[str]
) -> Iterator[str]:
    """Why the rollup's values could differ from the mart's although nothing is wrong with it."""
    start = f"{rollup.at}: the rollup '{rollup.name}' cannot keep"
    columns = {folded(name) for name, *_ in connection.execute(f"DESCRIBE {quoted(rollup.mart)}").fetchall()}
    for text in (*rollup.dimensions.values(), *(leaf.sql() for leaf in rollup.leaves.values())):
        for call in _calls(connection, text, columns, restless):
            yield (
                f"{start} {text}: {call} is not the same each time it is computed; "
                "compute it in the mart's SQL, or leave it out of the rollup"
            )
    for column, leaf in rollup.leaves.items():
        kind = _type(connection, rollup, leaf.expr) if leaf.function == "sum" else ""
        if kind in _ADDED_AS_FLOAT:
            yield (
                f"{start} {leaf.sql()} ({', '.join(rollup.measures[column])}): {leaf.expr} is {kind}, and "
                "sums of floating-point numbers depend on the order of the rows; cast to DECIMAL in the "
                "mart's SQL (such as amount::decimal(18, 2)), or leave the measure out of the rollup"
            )


def _type(connection: duckdb.DuckDBPyConnection, rollup: DeclaredRollup, text: str | None) -> str:
    """The type of an expression over the mart's rows; '' where it has none, which building then explains."""
    try:
        described = connection.execute(f"DESCRIBE SELECT {text} FROM {quoted(rollup.mart)}").fetchall()
    except duckdb.Error:
        return ""
    return str(described[0][1])


def _restless(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """The functions whose values change while the rows stay as they are."""
    found = connection.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() "
        "WHERE stability IN ('VOLATILE', 'CONSISTENT_WITHIN_QUERY')"
    )
    return {name for (name,) in found.fetchall()} | _RESTLESS


def _calls(
    connection: duckdb.DuckDBPyConnection, text: str, columns: Collection[str], names: Collection[str]
) -> list[str]:
    """Those of `names` that an expression calls."""
    ((tree,),) = connection.execute("SELECT json_serialize_sql(?)", [f"SELECT {text}"]).fetchall()
    found = []
    for node in walk(loads(tree)):
        if node.get("class") == "FUNCTION":
            name = folded(node["function_name"])
            if name in names and not (name == "age" and len(node["arguments"]) > 1):
                found.append(f"{name}()")
        elif node.get("class") == "COLUMN_REF" and len(node["column_names"]) == 1:
            name = folded(node["column_names"][0])  # current_date and its like are read as columns at first
            found += [name] if name in names and name not in columns else []
    return found


def _bytes(connection: duckdb.DuckDBPyConnection) -> int:
    """What the file holds on disk, in whole blocks: a small rollup may fit beside what is there."""
    connection.execute("CHECKPOINT")
    sizes = (
        "SELECT used_blocks * block_size FROM pragma_database_size() WHERE database_name = current_database()"
    )
    ((size,),) = connection.execute(sizes).fetchall()
    return int(size)


def _both(pairs: Mapping[str, str]) -> list[list[str]]:
    return [list(pairs), list(pairs.values())]


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
