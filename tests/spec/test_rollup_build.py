"""Rollups are built with their mart, in the same version, and proven equal to it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from serving import Project, open_project
from serving.cli import app
from serving.content.model import Mart
from serving.content.semantics import Measure, Rollup
from serving.errors import BuildFailed
from serving.marts.artifact import MartFile, open_mart
from serving.marts.declared import declared_rollups
from serving.marts.publish import version_marts
from serving.marts.reconcile import reconcile
from serving.marts.rollups import make_rollups
from tests.conftest import SHOP, write_files

Write = Callable[..., Path]
MEASURES = """\
  buyers: {agg: count_distinct, expr: customer_id}
  middle: {agg: median, expr: amount}
  mean: {agg: avg, expr: amount, filter: "amount > 5"}
dimensions:
  basket: {expr: "case when amount < 10 then 'small' else 'large' end"}
"""
BY_MONTH = "  by_month: {dimensions: [day.month, region, basket], measures: [aov, mean, ~buyers, ~middle]}\n"
BY_REGION = "  by_region: {dimensions: region, measures: [revenue, buyers, middle]}\n"
CSV = SHOP["orders.csv"] + "6,1,,1.00,no region,2026-03-02\n"


def orders(rollups: str, more: str = MEASURES) -> str:
    return f"{SHOP['marts/orders.yml']}{more}{'rollups:' if rollups else ''}\n{rollups}"


@contextmanager
def opened(folder: Path) -> Iterator[Project]:
    project = open_project(folder, var=folder.parent / "var")
    try:
        yield project
    finally:
        project.close()


def marts(project: Project) -> dict[str, MartFile]:
    version = project.current_version()
    assert version is not None
    return dict(version.marts)


def read(path: Path, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> MartFile:
    """The orders with a rollup by month, one by region and one of everything."""
    folder = tmp_path_factory.mktemp("rollups")
    rollups = BY_MONTH + BY_REGION + "  whole: {measures: [revenue, middle]}\n"
    files = {**SHOP, "orders.csv": CSV, "marts/orders.yml": orders(rollups)}
    with opened(write_files(folder / "models", files)) as project:
        return project.build().version.marts["orders"]


def kept_as(file: MartFile, rollup: str, text: str) -> str:
    """The quoted column in which a rollup keeps an aggregate."""
    (kept,) = (kept for kept in file.rollups if kept.name == rollup)
    (column,) = (column for column, leaf in kept.leaves.items() if leaf == text)
    return f'"{column}"'


def test_a_rollup_is_a_table_of_the_marts_file_with_a_group_for_nulls(built: MartFile) -> None:
    count, revenue = (kept_as(built, "by_region", text) for text in ("count(*)", "sum(amount)"))
    rows = read(built.path, f'SELECT region, {count}, {revenue}::DOUBLE FROM "orders:by_region"')
    assert rows == [("AMER", 2, 16.25), ("EMEA", 3, 115.0), (None, 1, 1.0)]  # sorted by its dimension
    assert [(kept.name, kept.rows) for kept in built.rollups] == [
        ("by_month", 6),
        ("by_region", 3),
        ("whole", 1),
    ]


def test_merged_parts_equal_the_marts_own_values(built: MartFile) -> None:
    large, revenue, buyers = (
        kept_as(built, "by_month", text)
        for text in (
            "sum(amount) FILTER (WHERE amount > 5)",
            "sum(amount)",
            "approx_count_distinct(customer_id) EXPORT_STATE",
        )
    )
    merged = f"sum({large}), sum({revenue}), finalize(combine_aggr({buyers}))"
    direct = "sum(amount) FILTER (WHERE amount > 5), sum(amount), approx_count_distinct(customer_id)"
    for group in ("", "GROUP BY region ORDER BY region"):
        kept = read(built.path, f'SELECT {merged} FROM "orders:by_month" {group}')
        assert kept == read(built.path, f"SELECT {direct} FROM orders {group}")


def test_the_file_and_the_version_say_the_same_about_the_rollups(built: MartFile) -> None:
    assert open_mart("orders", built.fingerprint, built.path) == built
    by_month = built.rollups[0]
    assert by_month.dimensions["day.month"] == "CAST(date_trunc('month', \"day\") AS DATE)"
    assert by_month.types["day.month"] == "DATE"
    assert by_month.timezone == "UTC"
    assert by_month.newest == {"day": date(2026, 3, 2)}
    assert len(by_month.reconciled) == len(by_month.leaves)
    assert (
        "sum(amount): equal over all rows and for each value of day.month, region, basket: 8"
        in by_month.reconciled
    )
    assert built.rollups[1].reconciled[-1] == "median(amount): equal in the groups compared: 3 of 3"


def test_the_file_explains_itself_in_the_duckdb_shell(built: MartFile) -> None:
    about = read(built.path, "SELECT comment FROM duckdb_tables() WHERE table_name = 'orders:by_region'")
    assert about == [("orders by region",)]
    comments = read(built.path, "SELECT comment FROM duckdb_columns() WHERE table_name = 'orders:by_region'")
    assert [text for (text,) in comments] == ['"region"', *built.rollups[1].leaves.values()]


def test_distinct_counts_are_kept_as_numbers_because_the_engine_merges_their_states_wrongly(
    built: MartFile,
) -> None:
    states = "SELECT count(DISTINCT customer_id) EXPORT_STATE AS state FROM orders GROUP BY id"
    wrong = read(built.path, f"SELECT finalize(combine_aggr(state)) FROM ({states})")
    assert wrong != read(
        built.path, "SELECT count(DISTINCT customer_id) FROM orders"
    )  # the trap, still there
    by_region = built.rollups[1]
    column = kept_as(built, "by_region", "count(DISTINCT customer_id)").strip('"')
    assert by_region.types[column] == "BIGINT"
    texts = [text for kept in built.rollups for text in kept.leaves.values() if "DISTINCT" in text]
    assert texts == ["count(DISTINCT customer_id)"]


def test_a_new_rollup_copies_the_marts_rows_and_leaves_everything_downstream_alone(shop_files: Write) -> None:
    sql = SHOP["marts/orders.sql"].replace("select", "select uuidv7() as made,")  # differs whenever it runs
    more = {"marts/orders.sql": sql, "marts/big.sql": "select * from orders\n", "marts/big.yml": "{}"}
    folder = shop_files({**more, "marts/orders.yml": orders("")})
    with opened(folder) as project:
        first = project.build().version
        (folder / "marts/orders.yml").write_text(orders(BY_MONTH))
        project.refresh()
        result = project.build()
        assert (result.built, result.tests, result.published) == (("orders",), 0, True)
        before, after = first.marts["orders"], result.version.marts["orders"]
        assert after.fingerprint == before.fingerprint
        assert after.path != before.path
        assert read(after.path, "FROM orders") == read(before.path, "FROM orders")
        assert result.version.built_at["orders"] == first.built_at["orders"]
        assert project.build().built == ()
        (folder / "marts/orders.yml").write_text(orders(""))
        project.refresh()
        assert project.build().unchanged == ("big", "customers", "orders")
        assert marts(project)["orders"].path == before.path


def test_a_forced_build_leaves_the_file_that_serves_alone(shop_files: Write) -> None:
    with opened(shop_files({"marts/orders.yml": orders(BY_REGION)})) as project:
        first = project.build().version.marts["orders"]
        second = project.build(full=True).version.marts["orders"]
        third = project.build(full=True).version.marts["orders"]
        assert len({file.path for file in (first, second, third)}) == 3
        assert first.path.exists()
        assert [[kept.name for kept in file.rollups] for file in (second, third)] == [["by_region"]] * 2


def test_versions_without_rollups_are_read_and_served_again(shop_files: Write) -> None:
    folder = shop_files({"marts/orders.yml": orders("")})
    with opened(folder) as project:
        project.build()
        with project.store.write() as connection:  # as versions were written before there were rollups
            connection.execute(version_marts.update().values(rollups=None))
        (folder / "marts/orders.yml").write_text(orders(BY_REGION))
        project.refresh()
        project.build()
        assert [kept.name for kept in marts(project)["orders"].rollups] == ["by_region"]
        project.rollback(1)
        assert marts(project)["orders"].rollups == ()


def test_files_of_versions_that_are_no_longer_kept_go_with_their_rollups(shop_files: Write) -> None:
    folder = shop_files(
        {"project.yml": "name: shop\nkeep_versions: 1\n", "marts/orders.yml": orders(BY_REGION)}
    )
    with opened(folder) as project:
        project.build()
        (folder / "marts/orders.yml").write_text(orders(BY_MONTH))
        project.refresh()
        project.build()
        there = set(project.marts_folder.glob("*.duckdb"))
        assert there == {file.path for file in marts(project).values()}


DOUBTFUL = """\
  weight: {agg: sum, expr: amount::double}
  mean_weight: {agg: avg, expr: amount::float, filter: amount > 1}
  heaviest: {agg: max, expr: amount::double}
  lucky: {agg: count, filter: random() > 0.5}
dimensions:
  age: {expr: today() - day}
  days: {expr: current_date - day}
"""
DOUBTS = (
    r"orders\.yml:22: the rollup 'r1' cannot keep sum\(amount::double\) \(weight\): .* is DOUBLE",
    r"orders\.yml:22: the rollup 'r1' cannot keep sum\(amount::float\) FILTER .* cast to DECIMAL",
    r"orders\.yml:23: the rollup 'r2' cannot keep count\(\*\) FILTER .*: random\(\) is not the same",
    r"orders\.yml:24: the rollup 'r3' cannot keep \(today\(\) - day\): today\(\) is not the same",
    r"orders\.yml:24: the rollup 'r3' cannot keep \(current_date - day\): current_date is not the same",
)


def test_what_can_never_be_exact_is_refused_all_at_once_and_publishes_nothing(shop_files: Write) -> None:
    folder = shop_files()
    with opened(folder) as project:
        project.build()
        rollups = (
            "  r1: {measures: [weight, mean_weight]}\n  r2: {measures: lucky}\n"
            "  r3: {dimensions: [age, days], measures: orders}\n"
        )
        (folder / "marts/orders.yml").write_text(orders(rollups, DOUBTFUL))
        project.refresh()
        assert project.problems == ()
        with pytest.raises(BuildFailed, match=r".*\n.*".join(DOUBTS)) as failed:
            project.build()
        assert "the last version serves on" in str(failed.value)
        assert marts(project)["orders"].rollups == ()
        left = [
            path.name
            for path in project.marts_folder.iterdir()
            if path.name[0] == "." or "orders" in path.name
        ]
        assert sorted(left) == [".build.lock", marts(project)["orders"].path.name]


def test_a_rollup_that_cannot_be_computed_is_named_with_its_place(shop_files: Write) -> None:
    folder = shop_files(
        {"marts/orders.yml": orders("  r: {measures: odd}\n", "  odd: {agg: sum, expr: note::int}\n")}
    )
    with (
        opened(folder) as project,
        pytest.raises(BuildFailed, match=r"orders\.yml:16: .*'r' cannot be built: .*Could not convert"),
    ):
        project.build()
    assert list((folder.parent / "var/marts").glob("*orders*")) == []


def test_extremes_of_floating_point_numbers_are_exact_and_may_be_kept(shop_files: Write) -> None:
    with opened(shop_files({"marts/orders.yml": orders("  r: {measures: heaviest}\n", DOUBTFUL)})) as project:
        assert project.build().version.marts["orders"].rollups[0].rows == 1


MART = Mart(
    name="sales",
    measures={
        "revenue": Measure(agg="sum", expr="amount"),
        "mean": Measure(agg="avg", expr="amount"),
        "first_day": Measure(agg="min", expr="day"),
        "buyers": Measure(agg="count_distinct", expr="buyer"),
        "middle": Measure(agg="median", expr="amount"),
    },
    rollups={
        "parts": Rollup(
            dimensions=("day.week", "region"), measures=("revenue", "mean", "first_day", "~buyers")
        ),
        "near": Rollup(dimensions=("region",), measures=("~middle",)),
        "groups": Rollup(dimensions=("region",), measures=("buyers", "middle")),
    },
)
ROWS = """\
SELECT (i * 7919 % 1000 / 100)::DECIMAL(10,2) AS amount, i % 211 AS buyer,
  DATE '2026-01-01' + (i % 60)::INT AS day,
  CASE WHEN i % 10 > 0 THEN 'R' || (i % 4) END AS region FROM range({rows}) numbers(i)
"""


ROLLUPS = {rollup.name: rollup for rollup in declared_rollups(MART, "monday")}


def made(rows: int) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(f"CREATE TABLE sales AS {ROWS.format(rows=rows)}")
    make_rollups(connection, list(ROLLUPS.values()), "UTC")
    return connection


@pytest.fixture(scope="module")
def many() -> Iterator[duckdb.DuckDBPyConnection]:
    with made(rows=3_000) as connection:
        yield connection


@pytest.fixture
def sales(many: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """A mart and its rollups; what a test does to them is taken back."""
    many.execute("BEGIN")
    yield many
    many.execute("ROLLBACK")


@pytest.mark.parametrize(
    ("rollup", "change", "words"),
    [
        (
            "parts",
            "UPDATE {table} SET {sum} = {sum} + 0.01 WHERE region = 'R2'",
            r"sum\(amount\) \(revenue, mean\)",
        ),
        ("parts", "DELETE FROM {table} WHERE region IS NULL", r"count\(\*\)"),
        ("parts", "UPDATE {table} SET region = 'R9' WHERE region = 'R1'", r"where region = 'R1' is"),
        (
            "parts",
            "UPDATE {table} SET {min} = DATE '2025-01-01'",
            r"min\(day\) \(first_day\).*from the rollup",
        ),
        ("parts", "INSERT INTO {table} FROM {table} WHERE region IS NULL", r"count\(\*\)"),
        (
            "parts",
            "UPDATE {table} SET {count} = {count} - 1 WHERE {count} > 1",
            r"count\(.*\)",
        ),
        (
            "parts",
            "UPDATE {table} SET {approx_count_distinct} = "
            "(SELECT approx_count_distinct(i) EXPORT_STATE FROM range(9) t(i))",
            r"approx_count_distinct\(buyer\) \(~buyers\)",
        ),
        (
            "near",
            "UPDATE {table} SET {approx_quantile} = "
            "(SELECT approx_quantile(99::DECIMAL(10,2), 0.5) EXPORT_STATE)",
            r"approx_quantile\(amount, 0.5\) \(~middle\) over all rows is between 4\.\d+ and 5\.\d+ from",
        ),
        (
            "groups",
            "UPDATE {table} SET {count_distinct} = 212 WHERE region IS NULL",
            "where region is null is",
        ),
        (
            "groups",
            "UPDATE {table} SET {median} = 0 WHERE region = 'R3'",
            r"median\(amount\) \(middle\) where region = 'R3'",
        ),
    ],
)
def test_a_rollup_that_differs_from_its_mart_in_any_value_is_found(
    sales: duckdb.DuckDBPyConnection, rollup: str, change: str, words: str
) -> None:
    chosen = ROLLUPS[rollup]
    names = {leaf.function: f'"{column}"' for column, leaf in chosen.leaves.items()}
    reconcile(sales, chosen)
    sales.execute(change.format(table=f'"{chosen.table}"', **names))
    with pytest.raises(BuildFailed, match=rf"the rollup '{rollup}' does not add up: .*{words}"):
        reconcile(sales, chosen)


def test_a_difference_names_the_place_the_group_both_values_and_what_to_do(
    sales: duckdb.DuckDBPyConnection,
) -> None:
    chosen = ROLLUPS["groups"]
    count = next(iter(chosen.leaves))
    sales.execute(f'UPDATE "sales:groups" SET "{count}" = 7 WHERE region = \'R3\'')
    with pytest.raises(BuildFailed) as failed:
        reconcile(sales, chosen)
    assert str(failed.value).splitlines() == [
        ":1: the rollup 'groups' does not add up: count(*) where region = 'R3' is 750 from the mart's rows "
        "and 7 from the rollup",
        "  hint: a rollup keeps what is the same each time it is computed: no volatile functions, no sums of "
        "floating-point numbers (cast to DECIMAL); or leave the measure out of the rollup; "
        "nothing was published; the last version serves on",
    ]


def test_a_mart_without_rows_has_rollups_without_groups() -> None:
    with made(rows=0) as connection:
        assert connection.execute('SELECT count(*) FROM "sales:parts"').fetchall() == [(0,)]


def test_instants_fall_into_the_days_of_the_projects_zone(shop_files: Write) -> None:
    sql = "select id, timestamptz '2026-03-28 23:30:00Z' + to_hours(id) as at from raw_orders\n"
    rollups = (
        "rollups: {r: {dimensions: at.day, measures: orders}, w: {dimensions: at.week, measures: orders}}\n"
    )
    yml = f"columns: {{id: {{}}, at: {{}}}}\nmeasures: {{orders: {{agg: count}}}}\n{rollups}"
    files = {"marts/times.sql": sql.replace(" at ", ' "at" '), "marts/times.yml": yml}
    folder = shop_files(
        {**files, "project.yml": "name: shop\ntimezone: America/New_York\nweek_starts: sunday\n"}
    )
    found = []
    with opened(folder) as project:
        for zone, starts in (("America/New_York", "sunday"), ("Asia/Tokyo", "monday")):
            (folder / "project.yml").write_text(f"name: shop\ntimezone: {zone}\nweek_starts: {starts}\n")
            project.refresh()
            file = project.build().version.marts["times"]
            days = 'SELECT "at.day"::VARCHAR FROM "times:r"', 'SELECT "at.week"::VARCHAR FROM "times:w"'
            found.append([read(file.path, sql) for sql in days])
            assert {kept.timezone for kept in file.rollups} == {zone}
    assert found == [
        [[("2026-03-28",), ("2026-03-29",)], [("2026-03-22",), ("2026-03-29",)]],
        [[("2026-03-29",)], [("2026-03-23",)]],
    ]


def test_a_zone_that_there_is_not_is_named_with_its_place(shop_files: Write) -> None:
    folder = shop_files({"project.yml": "name: shop\ntimezone: Mars/Olympus\n"})
    with opened(folder) as project, pytest.raises(BuildFailed, match=r"project\.yml:2: .*'Mars/Olympus'"):
        project.build()


def test_a_rollup_nearly_as_large_as_its_mart_is_worth_a_warning(shop_files: Write) -> None:
    rollup = "rollups: {all_of_it: {dimensions: n, measures: rows}}\n"
    yml = f"columns: {{n: {{}}}}\nmeasures: {{rows: {{agg: count}}}}\n{rollup}"
    numbers = "select (i % 900)::int as n from range(1000) numbers(i)\n"
    with opened(shop_files({"marts/numbers.sql": numbers, "marts/numbers.yml": yml})) as project:
        for result in (project.build(), project.build()):  # also where nothing had to be made
            (warning,) = result.warnings
            assert "numbers.yml:3: the rollup 'all_of_it' has 900 rows, 'numbers' itself 1,000" in warning


def test_what_a_killed_build_left_half_done_is_cleared_by_the_next_one(shop_files: Write) -> None:
    with opened(shop_files({"marts/orders.yml": orders(BY_REGION)})) as project:
        project.marts_folder.mkdir(parents=True)
        left = project.marts_folder / ".draft-0123.duckdb"
        left.write_bytes(b"half")
        project.build()
        assert not left.exists()


def test_the_command_line_lists_rollups_beneath_their_mart(shop_files: Write) -> None:
    folder = shop_files({"orders.csv": CSV, "marts/orders.yml": orders(BY_REGION)})
    shown = CliRunner().invoke(app, ["build", "--project", str(folder), "--var", str(folder.parent / "var")])
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    place = next(i for i, line in enumerate(lines) if line.split()[:2] == ["built", "orders"])
    assert lines[place + 1] == "  rollup by_region  3 rows  (orders: 6)"
