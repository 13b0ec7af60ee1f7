"""A DuckDB that can read the marts and do nothing else; proven at every start.

A read-only DuckDB with external access off still lets SQL read, and overwrite, its own
file: attached files are put on the allow-list by themselves. Only taking the local file
system away closes that, and only in this order.
"""

import duckdb

from serving.unsound import AVOID

_LOCK = (
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET allow_persistent_secrets = false",
    "SET python_enable_replacements = false",
    "SET catalog_error_max_schemas = 0",
    "SET temp_directory = ''",
    "SET enable_external_access = false",
    "SET disabled_filesystems = 'LocalFileSystem'",
    "SET lock_configuration = true",
)


_BARRIER = (
    "CREATE TEMP TABLE hidden AS FROM (VALUES (1, '7', {'a': '7'}), (2, 'x', {'a': 'x'})) t(id, v, s)",
    "CREATE TEMP SECURE VIEW seen AS SELECT id, v, CASE WHEN id = 1 THEN s END AS s FROM hidden WHERE id = 1",
)
_PROBES = (
    "v::INTEGER",
    "s.a::INTEGER",
    "max(v::INTEGER)",
    "1 // (id - 2)",
    "strptime(v, '%d')",
    "(SELECT count(*) FROM seen i WHERE i.v::INTEGER > seen.id)",
)


class NotLocked(RuntimeError):
    """An escape that must fail did not: this worker must not serve."""


def open_locked(
    files: list[tuple[str, str]], empty: list[str], *, memory_mb: int, threads: int, timezone: str
) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with each (path, alias) attached read-only, locked and proven so.

    `empty` are the aliases of databases in memory, for rows that come with a question.
    """
    connection = duckdb.connect(":memory:")
    connection.execute(f"SET memory_limit = '{int(memory_mb)}MB'")
    connection.execute(f"SET threads = {int(threads)}")
    connection.execute("SET GLOBAL TimeZone = ?", [timezone])  # a cursor has its own of plain SET
    connection.execute(AVOID)
    for path, alias in files:
        escaped = path.replace("'", "''")
        connection.execute(f"ATTACH '{escaped}' AS \"{alias}\" (READ_ONLY)")
    for alias in empty:
        connection.execute(f"ATTACH ':memory:' AS \"{alias}\"")
    for statement in _LOCK:
        connection.execute(statement)
    prove_locked(connection, files[0][0] if files else "/dev/null")
    return connection


def prove_locked(connection: duckdb.DuckDBPyConnection, own_file: str) -> None:
    """Try the escapes; raises NotLocked at the first that works. Writes only to names that nobody uses."""
    own = own_file.replace("'", "''")
    escapes = (
        f"FROM read_blob('{own}')",
        f"FROM glob('{own}*')",
        "FROM read_text('/etc/hostname')",
        f"COPY (SELECT 1) TO '{own}.escape'",
        f"COPY (SELECT 1) TO '{own}.wal'",
        f"ATTACH '{own}' AS sluice_escape (READ_ONLY)",
        f"FROM '{own}'",
        "SET threads = 1",
        "SET disabled_filesystems = ''",
        "LOAD httpfs",
    )
    for statement in escapes:
        cursor = connection.cursor()
        try:
            cursor.execute(statement).fetchall()
        except duckdb.Error:
            continue
        finally:
            cursor.close()
        raise NotLocked(f"the engine is not locked: {statement.split(' ')[0]} worked")
    _prove_barrier(connection)


def _prove_barrier(connection: duckdb.DuckDBPyConnection) -> None:
    """Ask a SECURE VIEW for what fails on the row it hides: that row must not be heard of.

    The struct's field is NULL where it is hidden, as governed views have it (governance/access.py).
    """
    cursor = connection.cursor()
    try:
        for statement in _BARRIER:
            cursor.execute(statement).fetchall()
        for probe in _PROBES:
            cursor.execute(f"SELECT {probe} FROM seen").fetchall()
    except duckdb.Error as error:
        raise NotLocked("the engine looks behind a SECURE VIEW") from error
    finally:
        cursor.close()
