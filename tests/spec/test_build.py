"""Builds: write, audit, publish; what is red is never served."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from serving import Project, open_project
from serving.errors import BuildFailed, NotPublished
from tests.conftest import SHOP

Write = Callable[..., Path]


@contextmanager
def opened(folder: Path) -> Iterator[Project]:
    project = open_project(folder, var=folder.parent / "var")
    try:
        yield project
    finally:
        project.close()


def total(project: Project) -> object:
    return project.ask("select sum(amount) from orders", user="ana@example.com").table[0][0].as_py()


def test_a_build_publishes_and_a_second_one_has_nothing_to_do(shop_files: Write) -> None:
    with opened(shop_files()) as project:
        first = project.build()
        assert (first.version.number, first.published, set(first.built)) == (1, True, {"orders", "customers"})
        second = project.build()
        assert (second.version.number, second.published, second.built) == (1, False, ())
        assert (second.tests, second.known_green) == (0, first.tests)


def test_only_what_changed_is_rebuilt(shop_files: Write) -> None:
    folder = shop_files()
    with opened(folder) as project:
        project.build()
        (folder / "orders.csv").write_text(SHOP["orders.csv"] + "6,1,EMEA,1.00,one,2026-03-02\n")
        result = project.build()
        assert result.built == ("orders",)
        assert result.unchanged == ("customers",)
        assert str(total(project)) == "132.25"


def test_a_changed_upstream_rebuilds_what_is_made_from_it(shop_files: Write) -> None:
    folder = shop_files({"marts/big.sql": "select * from orders where amount > 50", "marts/big.yml": "{}"})
    with opened(folder) as project:
        project.build()
        (folder / "orders.csv").write_text(SHOP["orders.csv"] + "6,1,EMEA,60.00,one,2026-03-02\n")
        assert set(project.build().built) == {"orders", "big"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1,1,EMEA,1.00,again,2026-01-01", "grain: id is unique: 1 failing row\n    id=1, rows=2"),
        ("9,1,EAMR,1.00,x,2026-01-01", "region is one of EMEA, AMER: 1 failing row\n    region=EAMR, rows=1"),
        ("9,77,EMEA,1.00,x,2026-01-01", "customer_id stands in customers.customer_id: 1 failing row"),
        ("9,,EMEA,1.00,x,2026-01-01", "customer_id is never null: 1 failing row"),
    ],
)
def test_a_red_test_publishes_nothing_and_shows_rows(shop_files: Write, row: str, words: str) -> None:
    folder = shop_files()
    with opened(folder) as project:
        project.build()
        before = total(project)
        (folder / "orders.csv").write_text(SHOP["orders.csv"] + row + "\n")
        with pytest.raises(BuildFailed) as failed:
            project.build()
        assert words in str(failed.value)
        assert "orders.yml:" in str(failed.value)
        assert "the last version serves on" in str(failed.value)
        assert total(project) == before
        version = project.current_version()
        assert version is not None
        assert version.number == 1


def test_a_sql_test_and_freshness_can_be_red(shop_files: Write) -> None:
    more = "tests: ['select id from orders where amount > 50']\nfreshness: {column: day, error: 1 day}\n"
    folder = shop_files({"marts/orders.yml": SHOP["marts/orders.yml"] + more})
    with opened(folder) as project, pytest.raises(BuildFailed) as failed:
        project.build()
    assert "2 data tests are red" in str(failed.value)
    assert "id=3" in str(failed.value)
    assert "newer than 1 day" in str(failed.value)


def test_a_stale_source_is_red_where_its_file_says_error_and_a_word_where_it_says_warn(
    shop_files: Write,
) -> None:
    stale = {
        "sources/raw_orders.yml": SHOP["sources/raw_orders.yml"] + "freshness: {column: day, LEVEL: 2 days}\n"
    }
    warned = shop_files({name: text.replace("LEVEL", "warn") for name, text in stale.items()})
    with opened(warned) as project:
        result = project.build()
        assert result.published
        assert "raw_orders: newer than 2 days: 1 failing row" in result.warnings[0]
    red = shop_files({name: text.replace("LEVEL", "error") for name, text in stale.items()})
    with opened(red) as project, pytest.raises(BuildFailed, match="raw_orders: newer than 2 days"):
        project.build()


def test_a_broken_source_or_query_names_the_file_and_leaves_no_draft(shop_files: Write) -> None:
    folder = shop_files()
    with opened(folder) as project:
        project.build()
        (folder / "orders.csv").write_text("id,customer_id\n1,2\n")
        with pytest.raises(BuildFailed, match=r"orders\.sql: the mart cannot be built"):
            project.build()
        (folder / "orders.csv").unlink()
        with pytest.raises(BuildFailed, match=r"raw_orders\.yml:1: there is no file"):
            project.build()
        assert str(total(project)) == "131.25"
        assert not list((folder.parent / "var/marts").glob(".draft*"))


def test_rollback_serves_an_older_version_again_and_as_of_asks_it(shop_files: Write) -> None:
    folder = shop_files()
    with opened(folder) as project:
        project.build()
        (folder / "orders.csv").write_text(SHOP["orders.csv"] + "6,1,EMEA,1.00,one,2026-03-02\n")
        project.build()
        old = project.ask("select count(*) from orders", user="ana@example.com", as_of=1).table[0][0].as_py()
        assert (old, str(total(project))) == (5, "132.25")
        project.rollback(1)
        assert str(total(project)) == "131.25"
        with pytest.raises(NotPublished, match="there is no version 9"):
            project.rollback(9)


def test_old_versions_and_their_files_go_after_keep_versions(shop_files: Write) -> None:
    folder = shop_files({"project.yml": "name: shop\nkeep_versions: 2\n"})
    with opened(folder) as project:
        for amount in range(4):
            (folder / "orders.csv").write_text(SHOP["orders.csv"] + f"6,1,EMEA,{amount}.00,x,2026-03-02\n")
            project.build()
        assert [version.number for version in project.versions()] == [4, 3]
        assert len(list((folder.parent / "var/marts").glob("orders-*.duckdb"))) == 2


def test_sources_may_be_parquet_json_duckdb_files_and_globs(shop_files: Write) -> None:
    folder = shop_files(
        {
            "sources/parts.yml": "path: ${HERE}/../data/*.csv\n",
            "sources/lines.yml": "path: ${HERE}/lines.jsonl\n",
            "sources/columns.yml": "path: ${HERE}/columns.parquet\n",
            "sources/base.yml": "path: ${HERE}/base.duckdb\ntable: stock\n",
            "../data/a.csv": "n\n1\n",
            "../data/b.csv": "n\n2\n",
            "lines.jsonl": '{"n": 4}\n',
            "marts/every.sql": "from parts union all from lines union all from columns union all from base",
            "marts/every.yml": "grain: n\n",
        }
    )
    with duckdb.connect(str(folder / "base.duckdb")) as base:
        base.execute("create table stock as select 16::bigint as n")
        base.execute(f"copy (select 8 as n) to '{folder / 'columns.parquet'}'")
    with opened(folder) as project:
        project.build()
        assert project.ask("select sum(n) from every", user="ana@example.com").table[0][0].as_py() == 31
        (folder.parent / "data/c.csv").write_text("n\n32\n")
        assert project.build().built == ("every",)
        assert project.ask("select sum(n) from every", user="ana@example.com").table[0][0].as_py() == 63


def test_asking_before_the_first_build_says_what_to_run(shop_files: Write) -> None:
    with opened(shop_files()) as project, pytest.raises(NotPublished, match="python -m serving build"):
        total(project)


def test_no_question_fails_while_versions_flip(shop_files: Write) -> None:
    """Readers ask without pause while another process-like project builds five versions."""
    folder = shop_files({"project.yml": "name: shop\nkeep_versions: 1\n"})
    with opened(folder) as reader, opened(folder) as builder:
        builder.build()
        answers: list[str] = []
        errors: list[Exception] = []
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                try:
                    answers.append(str(total(reader)))
                except Exception as error:
                    errors.append(error)

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for amount in range(5):
            (folder / "orders.csv").write_text(SHOP["orders.csv"] + f"6,1,EMEA,{amount}.00,x,2026-03-02\n")
            builder.build()
        stop.set()
        for thread in threads:
            thread.join()
        assert not errors
        assert set(answers) <= {"131.25", "132.25", "133.25", "134.25", "135.25"}
        assert str(total(reader)) == "135.25"


def test_two_builds_at_once_are_refused_with_a_sentence(shop_files: Write) -> None:
    folder = shop_files()
    with opened(folder) as one, opened(folder) as other:
        seen: list[str] = []

        def meanwhile(mart: str, status: str, rows: int) -> None:
            if status == "building" and not seen:
                with pytest.raises(BuildFailed) as failed:
                    other.build()
                seen.append(failed.value.problem)

        one.build(report=meanwhile)
        assert seen == ["another build is running"]


def test_settings_reach_the_sql_and_change_its_fingerprint(shop_files: Write) -> None:
    changes = {
        "project.yml": "name: shop\nsettings: {scale: 3}\n",
        "marts/numbers.sql": "select i from range(getvariable('scale')) t(i)",
        "marts/numbers.yml": "grain: i\n",
    }
    folder = shop_files(changes)
    with opened(folder) as project:
        assert project.build().version.marts["numbers"].rows == 3
    (folder / "project.yml").write_text("name: shop\nsettings: {scale: 4}\n")
    with opened(folder) as project:
        result = project.build()
        assert result.built == ("numbers",)
        assert result.version.marts["numbers"].rows == 4
