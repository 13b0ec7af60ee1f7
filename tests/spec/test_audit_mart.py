"""`sluice_audit`: the audit as the columns of a mart."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from serving.audit import Audit, Facts
from serving.audit_mart import AUDIT_MART, NAME, TYPES, AuditRows
from serving.content.load import read_content
from serving.governance.row_rules import bind_rule, parse_rule
from serving.identity import User
from serving.semantic.leaves import measure_sql

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[Audit]:
    """Two answered, one refused, one unfinished question."""
    found = Audit(tmp_path / "audit.sqlite", clock=lambda: NOON)
    for ms in (2.0, 5.0):
        number = found.begin("ana@example.com", "sql", "select 1")
        found.end(number, "answered", Facts(("orders",), ("orders.id",), ("p",), 1, 7, ms))
    found.end(found.begin("emil@example.com", "api", "drop"), "refused", Facts(reason="only SELECT"))
    found.begin("emil@example.com", "api", "select 2")
    yield found
    found.close()


@pytest.fixture
def engine(audit: Audit) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register(NAME, AuditRows(audit).table())
        yield connection


def test_every_column_has_its_type_and_a_description(engine: duckdb.DuckDBPyConnection) -> None:
    described = engine.execute(f"SELECT column_name, column_type FROM (DESCRIBE {NAME})").fetchall()
    assert described == list(TYPES.items())
    assert list(AUDIT_MART.columns) == list(TYPES)
    assert all(column.description for column in AUDIT_MART.columns.values())


def test_a_question_is_one_row_with_its_end(audit: Audit) -> None:
    rows = AuditRows(audit).table().to_pylist()
    assert rows[1] == {
        "question": 2,
        "asked_at": NOON,
        "user": "ana@example.com",
        "surface": "sql",
        "text": "select 1",
        "outcome": "answered",
        "reason": "",
        "marts": ["orders"],
        "columns": ["orders.id"],
        "policies": ["p"],
        "version": 1,
        "rows": 7,
        "milliseconds": 5.0,
    }
    assert [row["outcome"] for row in rows] == ["answered", "answered", "refused", "unfinished"]
    assert (rows[3]["marts"], rows[3]["rows"], rows[3]["milliseconds"]) == ([], None, None)


def test_its_columns_can_be_named_plainly(engine: duckdb.DuckDBPyConnection) -> None:
    names = ", ".join(TYPES)
    assert engine.sql(f"SELECT {names} FROM {NAME}").to_arrow_table().num_rows == 4
    by_user = f"SELECT user, count(*) FROM {NAME} GROUP BY user ORDER BY user"
    assert engine.execute(by_user).fetchall() == [("ana@example.com", 2), ("emil@example.com", 2)]


def test_its_measures_count_what_they_say(engine: duckdb.DuckDBPyConnection) -> None:
    texts = [measure_sql(AUDIT_MART, name) for name in AUDIT_MART.measures]
    (values,) = engine.execute(f"SELECT {', '.join(texts)} FROM {NAME}").fetchall()
    assert dict(zip(AUDIT_MART.measures, values, strict=True)) == {
        "questions": 4,
        "people": 2,
        "refused": 1,
        "refused_share": 0.25,
        "average_milliseconds": 3.5,
        "median_milliseconds": 3.5,
    }


def test_people_can_be_shown_their_own_questions_only(engine: duckdb.DuckDBPyConnection) -> None:
    emil = User("emil@example.com", (), {"email": "emil@example.com"})
    rule = bind_rule(parse_rule("user = user.email"), emil, TYPES)
    found = engine.execute(f"SELECT question FROM {NAME} WHERE {rule.sql('duckdb')} ORDER BY 1").fetchall()  # type: ignore[union-attr]
    assert found == [(3,), (4,)]


def test_only_the_newest_questions_are_in_it(audit: Audit) -> None:
    assert AuditRows(audit, limit=2).table().column("question").to_pylist() == [3, 4]


def test_an_empty_audit_is_an_empty_mart(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "empty.sqlite")
    table = AuditRows(audit).table()
    audit.close()
    assert (table.num_rows, table.column_names) == (0, list(TYPES))


@pytest.mark.parametrize(
    "files",
    [
        {"marts/sluice_audit.sql": "select 1 as id", "marts/sluice_audit.yml": "description: mine\n"},
        {"sources/sluice_audit.yml": "path: ${HERE}/orders.csv\n"},
    ],
)
def test_its_name_is_reserved(shop_files: Callable[..., Path], files: dict[str, str]) -> None:
    _, problems = read_content(shop_files(files), built_in={NAME: AUDIT_MART})
    reserved = [problem for problem in problems if "reserved" in problem.message]
    assert reserved[0].message == "the name 'sluice_audit' is reserved"
    assert reserved[0].file.endswith("sluice_audit.yml")


def test_other_names_are_free(shop_files: Callable[..., Path]) -> None:
    _, problems = read_content(shop_files(), built_in={NAME: AUDIT_MART})
    assert problems == []


def test_what_has_settled_is_read_once_and_what_has_not_is_read_again(audit: Audit) -> None:
    now = NOON
    rows = AuditRows(audit, clock=lambda: now)
    assert rows.table().column("outcome").to_pylist() == ["answered", "answered", "refused", "unfinished"]
    audit.end(4, "failed", Facts(reason="a cast"))
    audit.begin("ana@example.com", "sql", "select 3")
    outcomes = ["answered", "answered", "refused", "failed", "unfinished"]
    assert rows.table().column("outcome").to_pylist() == outcomes
    assert rows.table().equals(AuditRows(audit).table())
    now = NOON + timedelta(hours=2)
    assert rows.table().num_rows == 5
    audit.end(5, "answered")  # too late to be believed: it was taken to have died
    assert rows.table().column("outcome").to_pylist() == outcomes
