"""Every function of the pinned engine was looked at: it is allowed, or refused with a reason."""

import json
from collections.abc import Iterator

import duckdb
import pytest

from serving.errors import QueryRefused
from serving.governance.functions import MAX_ROWS_GENERATED, MAX_SIZE
from serving.governance.refusal import NotAllowed, Reason
from serving.governance.tree import Reading, read_tree
from serving.governance.vocabulary import FUNCTIONS, REFUSED, TABLE_FUNCTIONS

# spelled like functions, but made into something else by the engine's grammar
GRAMMAR = frozenset(
    "coalesce current_time current_timestamp grouping grouping_id ifnull list_comprehension localtime "
    "localtimestamp".split()
)


OURS = frozenset({"measure"})  # spelled out before the engine sees it


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as connection:
        yield connection


@pytest.fixture(scope="module")
def names(engine: duckdb.DuckDBPyConnection) -> dict[str, set[str]]:
    """Function -> its kinds."""
    found = engine.execute(
        "SELECT lower(function_name), list(function_type) FROM duckdb_functions() GROUP BY 1"
    )
    return {name: set(kinds) for name, kinds in found.fetchall()}


def test_every_function_of_the_engine_is_in_exactly_one_list(names: dict[str, set[str]]) -> None:
    """An upgrade that adds a function fails here until somebody has put it into one of the two files."""
    allowed = FUNCTIONS | TABLE_FUNCTIONS
    assert not names.keys() - allowed - REFUSED.keys(), "new functions: allow or refuse each"
    assert not allowed & REFUSED.keys()
    assert allowed - names.keys() == GRAMMAR | OURS, "functions that the engine no longer has"
    assert not REFUSED.keys() - names.keys(), "functions that the engine no longer has"


def test_every_refused_function_says_why() -> None:
    assert all(REFUSED.values())


def test_only_known_table_functions_may_stand_where_a_mart_stands(names: dict[str, set[str]]) -> None:
    tables = {name for name, kinds in names.items() if kinds & {"table", "table_macro"}}
    # an aggregate of that name is allowed; the table function reads a relation whose name is text
    assert tables - TABLE_FUNCTIONS - REFUSED.keys() == {"histogram"}


def read(engine: duckdb.DuckDBPyConnection, sql: str) -> Reading:
    (row,) = engine.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()
    return read_tree(json.loads(row[0]))


@pytest.mark.parametrize(
    "sql",
    [
        f"select repeat('x', {MAX_SIZE + 1})",
        "select 'x'.repeat(9_000_000)",
        "select v.repeat(2000000) from t",
        "select lpad('a', 2000000, 'b'), 1",
        "select rpad('a', 2000000::int, 'b')",
        "select list_resize([1], 1e9::bigint)",
        "select array_resize([1], 2000000)",
        "select bitstring('1', 2000000)",
        "select bar(1, 0, 1, 1e9)",
        "select printf('%2000000000d', 1)",
        "select format('{:>2000000000}', 1)",
        f"select range({MAX_ROWS_GENERATED + 1})",
        "from range(-1, 1e12::bigint)",
        "from generate_series(1, 100000000000, 5)",
        "from repeat('x', 2000000)",
        "select * from t where a in (" + ", ".join(map(str, range(10_001))) + ")",
        " union all ".join(["select 1"] * 201),
        "select * from t" + " join t using (a)" * 51,
        "with " + ", ".join(f"c{i} as (select 1)" for i in range(101)) + " select 1",
        "select a.b.c.d.e.f.g.h.i",
    ],
)
def test_a_size_that_is_written_down_and_absurd_is_refused(
    engine: duckdb.DuckDBPyConnection, sql: str
) -> None:
    with pytest.raises(NotAllowed) as refusal:
        read(engine, sql)
    assert refusal.value.reason is Reason.SIZE
    assert refusal.value.problem


@pytest.mark.parametrize(
    "sql",
    [
        "select repeat('x', 1000), lpad(a, 12, b), list_resize(l, n) from t",
        "select range(a), unnest(range(d, d + interval 7 days, interval 1 day)) from t",
        "select list_aggregate(l, 'sum'), l.aggregate('min'), list_aggr(l, 'string_agg', ',') from t",
        "select name.lower().split(' ').list_transform(lambda w: w.upper()) from t",
        "select t.name.upper() from t",
        "select * from t, json_each(t.j)",
        "select * from t where a in (" + ", ".join(map(str, range(10_000))) + ")",
        " union all ".join(["select 1"] * 200),
    ],
)
def test_what_people_write_is_read(engine: duckdb.DuckDBPyConnection, sql: str) -> None:
    read(engine, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select list_aggregate(l, a) from t",
        "select list_aggregate(l, 'su' || 'm') from t",
        "select l.aggregate('stats') from t",
        "select list_aggregate(l, 'combine_aggr') from t",
        "select list_aggregate(l) from t",
        "select main.lower('x')",
        "select MAIN.lower('x')",
        "select system.main.lower('x')",
        "select memory.lower('x')",
        "select pg_catalog.lower('x')",
        "select t.main.lower('x') from t",
        "from main.range(5)",
        "from x.range(5)",
        "from system.main.json_each('{}')",
        "select no_such_function(1)",
    ],
)
def test_names_that_reach_elsewhere_are_refused(engine: duckdb.DuckDBPyConnection, sql: str) -> None:
    with pytest.raises(QueryRefused):
        read(engine, sql)


def test_a_reading_says_what_a_text_can_mean(engine: duckdb.DuckDBPyConnection) -> None:
    reading = read(
        engine, "with c as (select A, b.x from T b) select sum(a) from c join u using (K) where x = $v"
    )
    assert reading.tables == {"t", "c", "u"}
    assert reading.ctes == {"c"}
    assert reading.columns == {"a", "b", "x", "k"}
    assert reading.functions == {"sum"}
    assert reading.parameters == {"v"}
    assert not reading.every_column
    assert not reading.shows_tables


@pytest.mark.parametrize(
    "sql",
    [
        "from t",
        "select t.* exclude (a) from t",
        "select columns('a') from t",
        "select t from t",
        "select x from t as X",
        "select to_json(t) from t",
        "select t.to_json() from t",
        "select #1 from t",
        "select c from t u(a, b, c)",
        "select a from t natural join u",
        "pivot t on a in (1) using sum(b)",
        "summarize t",
        "select count(x) from (select t as x from t)",
        "show t",
    ],
)
def test_a_text_that_may_mean_any_column_says_so(engine: duckdb.DuckDBPyConnection, sql: str) -> None:
    assert read(engine, sql).every_column


@pytest.mark.parametrize("sql", ["show tables", "from (show tables)", "describe tables", 'show "tables"'])
def test_show_tables_is_read_as_such(engine: duckdb.DuckDBPyConnection, sql: str) -> None:
    reading = read(engine, sql)
    assert reading.shows_tables
    assert not reading.tables
