"""Every attack of tests/attacks.txt is refused, or equals the filtered copy; nothing hidden is printed."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving import Limits, Project, open_project
from serving.engine import lockdown
from serving.engine.lockdown import NotLocked, open_locked, prove_locked
from serving.errors import QueryRefused, SluiceError
from tests.conftest import SHOP, write_files

LINES = (Path(__file__).parent.parent / "attacks.txt").read_text().splitlines()
ATTACKS = [line for line in LINES if line and not line.startswith("#")]
HIDDEN = ("POISON", "AMER", "3000", "two@example", "one@example", "base_")
ALIAS = re.compile(r"\bx[0-9a-f]{16}\b")  # of the marts' own databases


@pytest.fixture(scope="module")
def copy(shop: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A physical copy that holds only what Emil may see, in the hands of somebody who sees all of it."""
    files = dict(SHOP)
    files["orders.csv"] = (
        "\n".join(line for line in SHOP["orders.csv"].splitlines() if "AMER" not in line) + "\n"
    )
    files["customers.csv"] = "\n".join(
        line for line in SHOP["customers.csv"].splitlines() if "AMER" not in line
    )
    folder = tmp_path_factory.mktemp("copy")
    keys = folder / "var/secrets"
    shutil.copytree(shop.var / "secrets", keys)  # the same mask key: masked cells can be compared
    project = open_project(write_files(folder / "models", files), var=folder / "var")
    project.build()
    yield project
    project.close()


QUOTED = re.compile(r"('[^']*'|\"[^\"]*\"|\{own\})")


def outside_quotes(sql: str, change: Callable[[str], str]) -> str:
    """The text, changed where it is not quoted."""
    return "".join(piece if QUOTED.fullmatch(piece) else change(piece) for piece in QUOTED.split(sql))


def variants(sql: str) -> list[str]:
    """The same attack in other spellings, deeper, and among comments."""
    return [
        sql,
        outside_quotes(sql, str.upper),
        outside_quotes(sql, lambda text: re.sub(r"\b(orders|customers)\b", r'"\1"', text)),
        outside_quotes(sql, lambda text: text.replace(" ", "/**/\n\t")),
        f"select * from (select * from (select * from ({sql})))",
        f"with w as ({sql}\n) select * from w",
        f"/* x */ {sql} -- y",
        f"{sql};;",
    ]


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_or_sees_the_filtered_copy(shop: Project, copy: Project, attack: str) -> None:
    version = shop.current_version()
    assert version is not None
    own = str(version.marts["orders"].path)
    for sql in dict.fromkeys(variants(attack)):
        compare(shop, copy, sql.replace("{own}", own))


# every clause in which a subquery can stand; {q} is the subquery with its brackets
PLACES = (
    "select {q}",
    "select {q} as a, id from orders",
    "select id from orders where {q} is not null",
    "select id from orders where id in {q}",
    "select id from orders where exists {q}",
    "select id from orders where not exists {q}",
    "select id from orders where note = any {q}",
    "select id from orders where note <> all {q}",
    "select count(*) from orders group by {q}",
    "select count(*) from orders having {q} is not null",
    "select id from orders order by {q}, id",
    "select id from orders limit (select count(*) from {q} t)",
    "select id from orders order by id offset (select count(*) from {q} t)",
    "from {q} t",
    "select * from orders o join {q} t on true",
    "select o.id from orders o join customers c on o.customer_id = c.customer_id and {q} is not null",
    "select * from orders o left join lateral {q} t on true",
    "select count(*) filter (where {q} is not null) from orders",
    "select id from orders qualify row_number() over (order by id) = 1 or {q} is null",
    "select row_number() over (partition by {q} order by id) from orders",
    "select row_number() over (order by {q}, id) from orders",
    "select list_transform([1], lambda x: {q})",
    "select [{q}, 'x']",
    "select {{'a': {q}}}",
    "select row({q}, 1)",
    "select array{q}",
    "select case when {q} is null then 1 else {q} end",
    "select coalesce({q}, 'x')",
    "select cast({q} as varchar)",
    "select try({q})",
    "values ({q})",
    "with c as {q} select * from c",
    "with c as materialized {q} select * from c",
    "with recursive c as ({q} union all select * from c where false) select * from c",
    "with recursive orders as ({q} union all select * from orders where false) select * from orders",
    "with recursive c(k) using key (k) as ({q} union select * from c) select * from c",
    "{q} union all select 'x'",
    "select 'x' union all by name {q}",
    "select 'x' except {q}",
    "select 'x' intersect {q}",
    "select * from range((select count(*) from {q} t))",
    "select unnest((select list(t) from {q} t))",
    "select * from (pivot {q} on 1 in (1) using count(*))",
    "select * from (unpivot {q} on columns(*) into name n value v)",
    "describe {q}",
    "summarize {q}",
    "select * from (describe {q})",
    "select * from (summarize {q})",
    "select columns(c -> c in {q}) from orders",
    "select * exclude (id) replace ({q} as note) from orders",
    "select id between {q} and {q} from orders",
    "select {q} like 'POISON%'",
    "select distinct on ({q}) id from orders order by id",
)
REACHING = (
    "select max(note) from main.orders",
    "select max(note) from memory.main.orders",
    "select max(content) from read_text('/etc/hostname')",
    "select content from '/etc/hostname'",
    "select max(note) from query('select * from orders')",
    "select max(note) from query_table('orders')",
    "select stats(note)::varchar from orders limit 1",
    "select max(sql) from duckdb_views()",
    "select max(table_name) from information_schema.tables",
    "select current_setting('threads')",
    "select max(database_name) from duckdb_databases()",
    "select name from (show databases)",
    "select salary::varchar from customers limit 1",
    "select rowid::varchar from orders limit 1",
    "with x as (delete from orders returning note) select max(note) from x",
)
HONEST = (
    "select max(note) from orders",
    "select min(note) from orders where region = 'AMER'",
    "select max(email) from customers where email like 'POISON%'",
    "select string_agg(note, ',' order by id) from orders",
    "select max(note::int)::varchar from orders",
)


@pytest.mark.parametrize("place", PLACES)
def test_a_subquery_reaches_no_further_wherever_it_stands(shop: Project, copy: Project, place: str) -> None:
    for query in REACHING:
        outcome = ask(shop, place.format(q=f"({query})"))
        assert isinstance(outcome, Refused), (place, query, outcome)
        assert is_clean(outcome, query), (place, query, outcome)
    for query in HONEST:
        compare(shop, copy, place.format(q=f"({query})"))


def compare(shop: Project, copy: Project, sql: str) -> None:
    """Refused without a word about what is hidden, or equal to the filtered copy."""
    outcome = ask(shop, sql)
    assert is_clean(outcome, sql), (sql, outcome)
    if "sample" not in sql.lower():  # which rows a sample takes is the engine's to choose
        assert outcome == ask(copy, sql), sql


def is_clean(outcome: object, sql: str) -> bool:
    """Whether nothing hidden is said that the question does not say itself."""
    said = repr(outcome)
    secrets = [hidden for hidden in HIDDEN if hidden.lower() not in sql.lower()]
    return not any(hidden in said for hidden in secrets) and not ALIAS.search(said)


class Refused(tuple[str, str]):
    """The kind of a refusal, and its words."""


def ask(project: Project, sql: str) -> object:
    """The outcome: header, types and rows (sorted: no attack relies on order), or the refusal."""
    try:
        table = project.ask(sql, user="emil@example.com", limits=Limits(rows=1000, seconds=10)).table
    except SluiceError as refusal:
        assert refusal.problem
        assert "Traceback" not in str(refusal)
        return Refused((type(refusal).__name__, refusal.problem))
    return (
        table.column_names,
        [str(kind) for kind in table.schema.types],
        sorted(map(repr, table.to_pylist())),
    )


def test_files_of_the_machine_were_not_written(shop: Project) -> None:
    assert not Path("/tmp/stolen.csv").exists()
    assert not Path("/tmp/stolen").exists()


def test_a_worker_that_is_not_locked_refuses_to_serve(shop: Project) -> None:
    import duckdb

    version = shop.current_version()
    assert version is not None
    own = str(version.marts["orders"].path)
    with duckdb.connect(":memory:") as loose, pytest.raises(NotLocked):
        prove_locked(loose, own)
    locked = open_locked([(own, "x1")], [], memory_mb=500, threads=1, timezone="UTC")
    prove_locked(locked, own)
    asked = locked.cursor().execute("SELECT current_setting('disabled_optimizers')").fetchall()
    assert asked == [("common_subplan",)]  # on cursors, too: the pass can lose a row rule's filter
    locked.close()


def test_a_worker_whose_engine_looks_behind_its_views_refuses_to_serve(
    shop: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A struct's field is cast before the filter, unless it is NULL where it is hidden."""
    version = shop.current_version()
    assert version is not None
    unguarded = (lockdown._BARRIER[0], "CREATE TEMP SECURE VIEW seen AS FROM hidden WHERE id = 1")
    monkeypatch.setattr(lockdown, "_BARRIER", unguarded)
    own = str(version.marts["orders"].path)
    with pytest.raises(NotLocked, match="looks behind a SECURE VIEW"):
        open_locked([(own, "x1")], [], memory_mb=500, threads=1, timezone="UTC")


@pytest.mark.parametrize(
    "character", ["\u200b", "\u2060", "\ufeff", "\u0085", "\u2028", "\u1680", "\x1c", "\x00", "\u202e"]
)
def test_characters_that_the_parsers_read_differently_are_refused(shop: Project, character: str) -> None:
    for sql in (
        f"select id{character}from{character}orders",
        f"select $$ ' $$ as a, id{character}from orders where note <> ''",
        f"select 1 -- '{character}'",
        f"select /* ' */ id{character}from orders /* ' */",
    ):
        with pytest.raises(QueryRefused):
            shop.ask(sql, user="emil@example.com")


def test_the_same_characters_inside_plain_text_are_data(shop: Project) -> None:
    assert shop.ask(
        "select '\u200b' as zero, 'a\u00a0b' as nbsp", user="emil@example.com"
    ).table.to_pylist() == [{"zero": "\u200b", "nbsp": "a\u00a0b"}]


@pytest.mark.parametrize(
    "sql",
    [
        "(" * 200 + "1" + ")" * 200,
        "select " + "[" * 150 + "]" * 150,
        "select '" + "x" * 100_001 + "'",
        "   ",
        "",
    ],
)
def test_texts_that_would_hurt_a_parser_are_refused(shop: Project, sql: str) -> None:
    with pytest.raises(QueryRefused):
        shop.ask(sql, user="emil@example.com")
