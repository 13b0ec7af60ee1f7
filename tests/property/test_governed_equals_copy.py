"""Promise 1 as a property: a governed answer equals the same query on a physically filtered,
masked copy in plain DuckDB: rows, types, headers, or the class of the error.

Hidden cells hold POISON, which also breaks every cast; it may appear nowhere.
"""

import hashlib
from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving import Project, open_project
from serving.errors import QueryFailed, QueryRefused
from tests.conftest import SHOP, write_files

KEY = "a-key-for-tests"
EMIL = "emil@example.com"


def masked(email: str) -> str:
    """The keyed hash, written down a second time and independently of the product."""
    inner = hashlib.sha256((KEY + email).encode()).hexdigest()
    return hashlib.sha256((KEY + inner).encode()).hexdigest()[:32]


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("governed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_MASK_KEY", KEY)
        project = open_project(write_files(folder / "models", SHOP), var=folder / "var")
    project.build()
    yield project
    project.close()


@pytest.fixture(scope="module")
def copy() -> Iterator[duckdb.DuckDBPyConnection]:
    """What Emil may see, as plain tables and nothing else."""
    connection = duckdb.connect(":memory:")
    connection.execute(
        """create table orders
        (id bigint, customer_id bigint, region varchar, amount decimal(12,2), note varchar, day date);
        insert into orders values
        (1,1,'EMEA',10.50,'ten','2026-01-05'), (2,1,'EMEA',4.50,'four','2026-01-20'),
        (3,2,'EMEA',100.00,'big','2026-02-03');
        create table kept (customer_id bigint, region varchar, email varchar);
        -- the planner may know of a null mask that it is null: whether a cast that fails is met before
        -- or after a filter that keeps nothing is the planner's choice, not the policy's
        create view customers as select *, null::varchar as phone from kept"""
    )
    for number, email in ((1, "one@example.com"), (2, "two@example.com")):
        connection.execute("insert into kept values (?, 'EMEA', ?)", [number, masked(email)])
    yield connection
    connection.close()


COLUMNS = ["id", "customer_id", "region", "amount", "note", "day"]
FAILING = ["note::int", "note::date", "1 // (amount - 7)::int", "strptime(note, '%Y')", "region::double"]
SCALARS = [*COLUMNS, "amount * 2", "upper(note)", "length(region)", "day + interval 1 day", "note || region"]
PREDICATES = [
    "amount > 5",
    "region = 'AMER'",
    "region <> 'EMEA'",
    "note like 'POISON%'",
    "note::int > 0",
    "try_cast(note as int) is null",
    "id in (select customer_id from customers)",
    "exists (from customers c where c.customer_id = o.customer_id and c.phone is not null)",
    "amount > (select avg(amount) from orders)",
    "regexp_matches(note, '^[a-z]+$')",
    "day between date '2026-01-01' and date '2026-02-28'",
    "not (amount is null)",
    "strptime(note, '%Y') is not null",
]
AGGREGATES = [
    "count(*)",
    "sum(amount)",
    "max(note)",
    "min(note::int)",
    "avg(amount)",
    "count(distinct region)",
]
TABLES = [
    "orders o",
    "orders o join customers c using (customer_id)",
    "orders o left join customers c on c.customer_id = o.customer_id",
    "(select * from orders) o",
    "(select * from orders where note::int is null) o",
    "(select * from orders union all select * from orders) o",
    "orders o semi join customers c on o.customer_id = c.customer_id",
]


@st.composite
def questions(draw: st.DrawFn) -> str:
    table = draw(st.sampled_from(TABLES))
    scalar = st.sampled_from(SCALARS + FAILING)
    where = " and ".join(draw(st.lists(st.sampled_from(PREDICATES), max_size=2)))
    predicate = f" where {where}" if where else ""
    shape = draw(st.sampled_from(["plain", "grouped", "window", "cte", "setop"]))
    chosen = [
        f"o.{name}" if name in COLUMNS else name for name in draw(st.lists(scalar, min_size=1, max_size=3))
    ]
    if "join customers" in table and "semi" not in table:
        chosen = [draw(st.sampled_from(["c.email", "c.phone", "o.id", "o.note::int", "c.salary", "c.*"]))]
        predicate = draw(st.sampled_from(["", " where c.email like '%@%'", " where c.phone is null"]))
    select = ", ".join(chosen)
    if shape == "grouped":
        aggregates = ", ".join(draw(st.lists(st.sampled_from(AGGREGATES), min_size=1, max_size=2)))
        having = draw(st.sampled_from(["", " having count(*) > 1", " having max(note)::int > 0"]))
        rest = f"from {table}{predicate} group by all{having} order by all"
        return f"select {aggregates}, o.customer_id % 2 as odd {rest}"
    if shape == "window":
        running = "sum(o.amount) over (order by o.id, o.note::varchar) as running"
        return f"select o.id, {running} from {table}{predicate} order by all"
    if shape == "cte":
        return (
            f"with orders as (select * from orders where id < 3) select count(*) as n from {table}{predicate}"
        )
    if shape == "setop":
        return f"select o.id from {table}{predicate} intersect select customer_id from customers order by all"
    limit = draw(st.sampled_from(["", " limit 2"]))
    return f"select {select} from {table}{predicate} order by all{limit}"


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sql=questions())
def test_a_governed_answer_equals_the_filtered_copy(
    governed: Project, copy: duckdb.DuckDBPyConnection, sql: str
) -> None:
    outcome = ask(governed, sql)
    assert "POISON" not in repr(outcome).replace("'POISON%'", ""), sql
    assert outcome in plain_outcomes(copy, sql), sql


def ask(project: Project, sql: str) -> object:
    try:
        table = project.ask(sql, user=EMIL).table
    except QueryFailed as failure:
        assert "POISON" not in str(failure).replace("'POISON%'", "")
        return "failed"
    except QueryRefused:
        return "refused"
    return table.column_names, [str(kind) for kind in table.schema.types], table.to_pylist()


def plain_outcomes(copy: duckdb.DuckDBPyConnection, sql: str) -> list[object]:
    """The copy's outcome; where an expression can fail, also that of its other plans.

    Whether a failing cast is met before a filter that drops the row is the planner's choice, and
    it chooses by statistics. Each of these outcomes speaks of the copy's rows only.
    """
    outcomes = [plain(copy, sql)]
    if any(expression in sql for expression in [*FAILING, "min(note::int)", "note::int", "strptime"]):
        every = ",".join(name for (name,) in copy.execute("from duckdb_optimizers()").fetchall())
        for setting in ("statistics_propagation", "statistics_propagation,filter_pushdown", every):
            copy.execute(f"set disabled_optimizers = '{setting}'")
            outcomes.append(plain(copy, sql))
        copy.execute("reset disabled_optimizers")
    return outcomes


def plain(connection: duckdb.DuckDBPyConnection, sql: str) -> object:
    try:
        table = connection.sql(sql).to_arrow_table()
    except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException):
        return "refused"
    except duckdb.Error:
        return "failed"
    return table.column_names, [str(kind) for kind in table.schema.types], table.to_pylist()
