"""Content files: every problem of every file, with its line and a way out."""

import gc
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from serving.errors import ContentInvalid
from serving.project import check_project

Write = Callable[..., Path]


def problems(write: Write, changes: Mapping[str, str | None]) -> list[str]:
    """The problems as `file:line: message | hint`, files relative to the content folder."""
    folder = write(changes)
    found = check_project(folder)[2]
    shown = [(Path(p.file).resolve().relative_to(folder), p) for p in found]
    return [f"{path}:{p.line}: {p.message}" + (f" | {p.hint}" if p.hint else "") for path, p in shown]


def test_the_shop_has_no_problems(shop_files: Write) -> None:
    assert problems(shop_files, {}) == []


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "marts/orders.yml",
            "descripton: x\n",
            "marts/orders.yml:1: unknown key 'descripton' | did you mean 'description'?",
        ),
        (
            "sources/raw_orders.yml",
            "path: a.csv\nfreshness: {colum: x}\n",
            "sources/raw_orders.yml:2: unknown key 'colum' | did you mean 'column'?",
        ),
        ("project.yml", "nmae: x\n", "project.yml:1: unknown key 'nmae' | did you mean 'name'?"),
        (
            "dashboards/sales.yml",
            "title: S\ntiles:\n  - {title: T, metrics: [orders.revenu], chart: number}\n",
            "dashboards/sales.yml:3: there is no measure of orders 'revenu' | did you mean 'revenue'?",
        ),
        (
            "dashboards/sales.yml",
            "title: S\ntiles:\n  - {title: T, metrics: [orders.revenue], chart: pie}\n",
            "dashboards/sales.yml:3: 'tiles.0.chart' is 'pie' | known here: bar, line, number, table",
        ),
        (
            "destinations/crm.yml",
            "connector: sandboks\n",
            "destinations/crm.yml:1: there is no connector 'sandboks' | did you mean 'sandbox'?",
        ),
        (
            "syncs/customers.yml",
            "source: customers\nrun_as: stewart\ndestination: crm\nobject: contacts\nkey: {id: region}\n",
            "syncs/customers.yml:2: there is no role 'stewart' | did you mean 'steward'?",
        ),
        (
            "syncs/customers.yml",
            "source: customers\nrun_as: sync\ndestination: crm\nobject: contact\nkey: {id: customer_id}\n",
            "syncs/customers.yml:4: ",
        ),
        (
            "syncs/orders.yml",
            "source: orders\nrun_as: analyst\ndestination: crm\nobject: contacts\nkey: {id: id}\n",
            "syncs/orders.yml:2: sees no row of 'orders': ",
        ),
        (
            "policies/more.yml",
            "rows:\n  - {mart: orders, where: region = user.region or 1=1}\n",
            "policies/more.yml:2: '1' must be a column of the mart (it stands on the left)",
        ),
        (
            "policies/more.yml",
            "columns:\n  - {column: customers.email, mask: 'null'}\n",
            "policies/more.yml:2: 'customers.email' has a mask already, at ",
        ),
        (
            "marts/orders.sql",
            "select * from\nraw_order\n",
            "marts/orders.sql:2: reads 'raw_order': no source or mart | did you mean 'raw_orders'?",
        ),
        (
            "marts/orders.sql",
            "select * from read_csv('x.csv')",
            "marts/orders.sql:1: reads READ_CSV('x.csv') directly | declare the file in models/sources/",
        ),
        (
            "marts/orders.sql",
            "delete from raw_orders",
            "marts/orders.sql:1: exactly one SELECT is expected here",
        ),
        (
            "marts/orders.yml",
            "tests: ['select ( from']\n",
            "marts/orders.yml:1: this is not SQL that can be understood",
        ),
        (
            "marts/orders.yml",
            "tests: [select * from ordres]\n",
            "marts/orders.yml:1: the test reads 'ordres': no mart or source | did you mean 'orders'?",
        ),
        ("marts/lost.sql", "select 1", "marts/lost.sql:1: lost.yml is missing beside it"),
        ("martz/a.yml", "x: 1", "martz:1: unknown folder 'martz' | did you mean 'marts'?"),
    ],
)
def test_a_wrong_word_is_reported_with_its_line_and_a_way_out(
    shop_files: Write, file: str, text: str, message: str
) -> None:
    changes = {file: text}
    if file.startswith("syncs"):
        changes["destinations/crm.yml"] = "connector: sandbox\n"
    assert any(problem.startswith(message) for problem in problems(shop_files, changes)), problems(
        shop_files, changes
    )


def test_all_problems_of_all_files_are_reported_at_once(shop_files: Write) -> None:
    found = problems(
        shop_files,
        {
            "marts/orders.yml": "descripton: x\ngrains: id\n",
            "sources/raw_orders.yml": "pth: a\n",
            "policies/access.yml": "roles: {a: {mart: orders}}\n",
        },
    )
    assert {problem.partition(":")[0] for problem in found} >= {
        "marts/orders.yml",
        "sources/raw_orders.yml",
        "policies/access.yml",
    }


def test_broken_yaml_is_one_problem_and_hides_no_other_file(shop_files: Write) -> None:
    found = problems(shop_files, {"marts/orders.yml": "a: [1\nb: 2\n", "project.yml": "nmae: x\n"})
    assert any("marts/orders.yml" in problem and "not valid YAML" in problem for problem in found)
    assert any(problem.startswith("project.yml:1:") for problem in found)


def test_a_key_that_stands_twice_is_refused(shop_files: Write) -> None:
    found = problems(shop_files, {"project.yml": "name: a\nname: b\n"})
    assert found == ["project.yml:2: the key 'name' stands here a second time | keep one of them"]


def test_a_circle_of_marts_names_both_files(shop_files: Write) -> None:
    found = problems(
        shop_files,
        {
            "marts/a.sql": "select * from b",
            "marts/a.yml": "{}",
            "marts/b.sql": "select * from a",
            "marts/b.yml": "{}",
        },
    )
    assert len(found) == 1
    assert "a.sql" in found[0]
    assert "b.sql" in found[0]


def test_a_role_that_extends_nothing_known_hides_no_other_problem(shop_files: Write) -> None:
    changes = {
        "policies/more.yml": "roles:\n  a: {extends: nobody}\n",
        "destinations/crm.yml": "connector: sandbox\n",
        "syncs/orders.yml": "source: orders\nrun_as: a\ndestination: crm\nobject: contacts\nkey: {id: id}\n",
        "project.yml": "nmae: x\n",
    }
    found = problems(shop_files, changes)
    assert any("there is no role 'nobody'" in problem for problem in found)
    assert any("nmae" in problem for problem in found)


def test_a_circle_of_roles_or_measures_is_named(shop_files: Write) -> None:
    roles = "roles:\n  a: {extends: b}\n  b: {extends: a}\n"
    assert any("extends itself" in problem for problem in problems(shop_files, {"policies/more.yml": roles}))
    measures = "measures:\n  a: {expr: b + 1}\n  b: {expr: a + 1}\n"
    assert any(
        "a -> b -> a" in problem for problem in problems(shop_files, {"marts/customers.yml": measures})
    )


def test_a_variable_that_is_not_set_is_a_problem_and_a_default_is_not(shop_files: Write) -> None:
    missing = {"sources/raw_orders.yml": "path: ${NO_SUCH_VARIABLE}/a.csv\n"}
    assert problems(shop_files, missing) == [
        "sources/raw_orders.yml:1: the environment variable NO_SUCH_VARIABLE is not set"
        " | set it, or write ${NO_SUCH_VARIABLE:-default}"
    ]
    assert problems(shop_files, {"sources/raw_orders.yml": "path: ${NO_SUCH_VARIABLE:-a}.csv\n"}) == []


def test_a_secret_in_plain_text_is_refused_and_not_repeated(shop_files: Write) -> None:
    found = problems(shop_files, {"destinations/crm.yml": "connector: sandbox\ntoken: hunter2\n"})
    assert len(found) == 1
    assert found[0].startswith("destinations/crm.yml:2:")
    assert "hunter2" not in found[0]


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(ContentInvalid, match="no such folder"):
        check_project(tmp_path / "nothing")


def test_reading_files_again_and_again_keeps_nothing_of_them(shop_files: Write) -> None:
    check_project(shop_files())
    gc.collect()
    assert not any(isinstance(thing, yaml.Node) for thing in gc.get_objects())
