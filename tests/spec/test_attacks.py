"""Every attack of tests/attacks.txt is refused, or equals the filtered copy; nothing hidden is printed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving import Limits, Project, open_project
from serving.engine.lockdown import NotLocked, open_locked, prove_locked
from serving.errors import QueryRefused, SluiceError
from tests.conftest import SHOP, write_files

LINES = (Path(__file__).parent.parent / "attacks.txt").read_text().splitlines()
ATTACKS = [line for line in LINES if line and not line.startswith("#")]
HIDDEN = ("POISON", "AMER", "3000", "two@example", "one@example", "base_")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A physical copy that holds only what Emil may see, in the hands of somebody who sees all of it."""
    files = dict(SHOP)
    files["orders.csv"] = (
        "\n".join(line for line in SHOP["orders.csv"].splitlines() if "AMER" not in line) + "\n"
    )
    files["customers.csv"] = "\n".join(
        line for line in SHOP["customers.csv"].splitlines() if "AMER" not in line
    )
    folder = tmp_path_factory.mktemp("copy")
    project = open_project(write_files(folder / "models", files), var=folder / "var")
    project.build()
    yield project
    project.close()


def variants(sql: str) -> list[str]:
    """The same attack in another spelling, one level deeper, and after a comment."""
    return [
        sql,
        sql.upper() if "{" not in sql and "'" not in sql else sql,
        f"select * from ({sql}\n)",
        f"/* x */ {sql}",
    ]


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_or_sees_the_filtered_copy(shop: Project, copy: Project, attack: str) -> None:
    version = shop.current_version()
    assert version is not None
    for sql in variants(attack.replace("{own}", str(version.marts["orders"].path))):
        outcome = ask(shop, sql)
        assert not any(hidden in repr(outcome) for hidden in HIDDEN if hidden not in sql), (sql, outcome)
        if "sample" not in sql.lower():  # which rows a sample takes is the engine's to choose
            assert outcome == ask(copy, sql), sql


def ask(project: Project, sql: str) -> object:
    """The outcome: header, types and rows (sorted: no attack relies on order), or the refusal's words."""
    try:
        table = project.ask(sql, user="emil@example.com", limits=Limits(rows=1000, seconds=10)).table
    except SluiceError as refusal:
        assert refusal.problem
        return type(refusal).__name__, refusal.problem
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
    locked = open_locked([(own, "x1")], memory_mb=500, threads=1, timezone="UTC")
    prove_locked(locked, own)
    locked.close()


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
