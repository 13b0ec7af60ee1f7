"""Marts that the door treats in a way of their own: the audit, and those that answer in aggregates only."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving import Project, open_project
from serving.access import explain_user
from serving.catalog import describe, readable_columns
from serving.errors import ContentInvalid, QueryRefused
from serving.ui.sight import sight
from tests.conftest import SHOP, write_files

AUDITOR, PARTNER, STEWARD = (f"{name}@example.com" for name in ("auditor", "partner", "ana"))
POLICY = """\
roles:
  auditor: {marts: [sluice_audit]}
  partner: {marts: [orders]}
assign:
  - {email: auditor@example.com, roles: [auditor]}
  - {email: partner@example.com, roles: [partner]}
rows:
  - {mart: sluice_audit, where: "user != 'ana@example.com'"}
columns:
  - {column: sluice_audit.text, mask: hide}
aggregates:
  - {mart: orders, min_group: 2, of: customer_id, except: [steward, emea]}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("audited")
    access = SHOP["policies/access.yml"].replace(
        'orders, where: "region = user.region", except: [steward]',
        'orders, where: "region = user.region", except: [steward, partner]',
    )
    files = {**SHOP, "policies/access.yml": access, "policies/more.yml": POLICY}
    project = open_project(write_files(folder / "models", files), var=folder / "var")
    project.build()
    yield project
    project.close()


def test_the_audit_is_a_mart_with_rules_and_masks_whose_rows_are_those_of_now(project: Project) -> None:
    project.ask("select 1", user="emil@example.com")
    project.ask("select 2", user=STEWARD)
    sql = "from sluice_audit select user, outcome order by question desc limit 2"
    assert project.ask(sql, user=AUDITOR).table.to_pylist() == [
        {"user": AUDITOR, "outcome": "unfinished"},
        {"user": "emil@example.com", "outcome": "answered"},
    ]
    again = project.ask(sql, user=AUDITOR).table.to_pylist()
    assert again[1] == {"user": AUDITOR, "outcome": "answered"}
    with pytest.raises(QueryRefused, match="no column 'text'"):
        project.ask("select text from sluice_audit", user=AUDITOR)


def test_the_audit_is_granted_by_name_only(project: Project) -> None:
    for user in (STEWARD, "emil@example.com"):
        with pytest.raises(QueryRefused, match="no mart 'sluice_audit' for you"):
            project.ask("from sluice_audit", user=user)
    (entry,) = explain_user(project, project.user(STEWARD), "sluice_audit").marts
    assert (entry.granted, entry.offered_by) == (False, ("auditor",))
    assert project.ask("show tables", user=AUDITOR).table.to_pylist() == [{"name": "sluice_audit"}]


def test_the_catalog_knows_the_audit_as_its_reader_sees_it(project: Project) -> None:
    auditor = project.user(AUDITOR)
    (entry,) = describe(project, auditor)
    assert (entry.mart, entry.live, entry.rows) == ("sluice_audit", True, None)
    kinds = {column.name: column.kind for column in entry.columns}
    assert (kinds["marts"], "text" in kinds) == ("VARCHAR[]", False)
    assert readable_columns(project, auditor)["sluice_audit"] == tuple(kinds)
    assert "sluice_audit" not in {entry.mart for entry in describe(project, project.user(STEWARD))}
    assert sight(project, auditor) == "1 of 3 marts, some rows"


def test_no_file_may_take_the_audits_name(tmp_path: Path) -> None:
    files = {
        **SHOP,
        "marts/sluice_audit.sql": "select 1 as one",
        "marts/sluice_audit.yml": "columns: {one: {}}",
    }
    with pytest.raises(ContentInvalid, match="the name 'sluice_audit' is reserved"):
        open_project(write_files(tmp_path / "models", files), var=tmp_path / "var")


def test_an_aggregate_only_mart_answers_in_groups_that_are_large_enough(project: Project) -> None:
    answer = project.ask("select region, count(*) as n from orders group by region", user=PARTNER)
    assert answer.table.to_pylist() == [{"region": "EMEA", "n": 3}]
    assert "in aggregates only, over at least 2 customer_id" in " ".join(answer.receipt.policies)
    assert project.ask("select count(*) n from orders", user=STEWARD).table.to_pylist() == [{"n": 5}]


@pytest.mark.parametrize(
    "sql", ["from orders", "select max(amount) from orders", "summarize orders", "select note from orders"]
)
def test_an_aggregate_only_mart_shows_no_single_row(project: Project, sql: str) -> None:
    with pytest.raises(QueryRefused, match="aggregates only"):
        project.ask(sql, user=PARTNER)


def test_errors_about_an_aggregate_only_mart_point_into_the_text_as_it_was_written(project: Project) -> None:
    with pytest.raises(QueryRefused, match=r"no column 'regoin' \(line 2, at 'regoin'\)") as refused:
        project.ask("select count(*),\n  regoin from orders group by all", user=PARTNER)
    assert refused.value.hint == "did you mean 'region'?"
