"""Golden definitions of governed views, each also executed."""

import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from serving import Project, open_project
from tests.conftest import SHOP, write_files

TEXT = (Path(__file__).parent / "views.sql").read_text()
CASES = re.findall(r"-- user: (\S+)  mart: (\w+)\n(.*?);\n", TEXT, re.DOTALL)
PEOPLE = {
    "marts/people.sql": """\
select * from (values
  (1, 'Ann Bell', 'ann@example.com', date '1980-05-17', timestamp '2026-03-04 05:06:07', 4321.50, -7, 'x'),
  (2, 'Bo', null, null, null, null, null, null),
  (3, '', '', date '2001-12-31', timestamp '1999-12-31 23:59:59.9', -0.01, 100, 'POISON')
) as listed (id, name, email, born, seen, salary, points, note)
""",
    "marts/people.yml": """\
grain: id
columns: {id: {}, name: {}, email: {tags: [pii.email]}, born: {}, seen: {}, salary: {}, points: {}, note: {}}
""",
    "marts/owners.sql": "select * from (values (1, 'ida@example.com'), (3, 'ida@example.com'), (2, 'bo@x')) "
    "as listed (id, owner)\n",
    "marts/owners.yml": "visible: false\ncolumns: {id: {tests: [not_null]}, owner: {}}\n",
    "marts/mine.sql": "select id, name from people\n",
    "marts/mine.yml": "columns: {id: {}, name: {}}\n",
    "marts/rest.sql": "select id, name from people\n",
    "marts/rest.yml": "columns: {id: {}, name: {}}\n",
    "marts/young.sql": "select id, born from people\n",
    "marts/young.yml": "columns: {id: {}, born: {}}\n",
    "policies/people.yml": """\
attributes: {since: date, ids: {type: number, many: true}}
roles:
  viewer: {marts: [people, mine, rest, young]}
assign:
  - email: ida@example.com
    roles: [viewer]
    attributes: {since: 1980-01-01, ids: [1, 2.5, 3]}
rows:
  - {mart: mine, where: id in (select id from owners where owner = user.email), except: [steward]}
  - mart: rest
    where: not id in (select id from people where points > 0) and id in (user.ids)
    except: [steward]
  - {mart: young, where: born >= user.since, except: [steward]}
columns:
  - {column: people.name, mask: {partial: {first: 1, last: 2}}, except: [steward]}
  - {column: people.born, mask: {truncate: year}, except: [steward]}
  - {column: people.seen, mask: {truncate: hour}, except: [steward]}
  - {column: people.salary, mask: {bucket: 0.5}, except: [steward]}
  - {column: people.points, mask: {bucket: 10}, except: [steward]}
  - {column: people.note, mask: {constant: "-"}, except: [steward]}
  - {column: young.born, mask: hide, except: [steward]}
""",
}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("golden")
    project = open_project(write_files(folder / "models", {**SHOP, **PEOPLE}), var=folder / "var")
    project.build()
    yield project
    project.close()


def by_hand(project: Project) -> duckdb.DuckDBPyConnection:
    """The raw marts under their names, and what definitions only hint at."""
    version = project.current_version()
    assert version is not None
    key = (project.var / "secrets/mask.key").read_text().strip()
    raw = duckdb.connect(":memory:")
    for name, file in version.marts.items():
        raw.execute(f"attach '{file.path}' as file_{name} (read_only)")
        raw.execute(f"create view {name} as from file_{name}.{name}")
    inner = f"sha256('{key}' || value)"
    raw.execute(f"create macro keyed_hash(value) as left(sha256('{key}' || {inner}), 32)")
    raw.execute("create macro listed_for_you(value) as value in (1, 3)")
    return raw


@pytest.mark.parametrize(("user", "mart", "definition"), CASES)
def test_a_view_is_defined_as_written_and_gives_those_rows(
    people: Project, user: str, mart: str, definition: str
) -> None:
    answer = people.ask(f"from {mart}", user=user)
    assert answer.receipt.views[mart] == definition
    with by_hand(people) as raw:
        expected = raw.sql(definition.replace("ROW_RULE()", "born >= '1980-01-01'")).to_arrow_table()
    assert answer.table.to_pylist() == expected.to_pylist()
    assert answer.table.schema.types == expected.schema.types


def test_all_cases_of_the_file_are_run() -> None:
    assert len(CASES) == TEXT.count("-- user:") == 8
