"""Entitlement marts: a rule with a lookup equals the same rule as plain SQL over the raw marts."""

from collections.abc import Callable, Iterator

import duckdb
import pytest

from serving import Project, open_project
from serving.errors import QueryRefused
from serving.governance.access import governed_view
from serving.governance.entitlements import LOOKUP_LIMIT
from tests.conftest import write_files

RULES = (
    "id in (select id from owners where owner = user.email)",
    "id in (select id from owners where owner = user.email) or region = 'EMEA'",
    "id not in (select id from owners where owner = user.email)",
    "not (id in (select id from owners where owner = user.email) and region = user.region)",
    "id in (select id from owners where owner = 'nobody')",
    "id not in (select id from owners where owner = 'nobody')",
    "id in (select id from owners)",
    "id in (select manager from owners)",
    "region in (select region from regions where since < user.since and rank between 1 and 2)",
    "id in (select id from many)",
    "id not in (select id from many where id <> 7) and region = user.region",
    "price in (select price from prices)",
    "key in (select key from keys)",
)
CONTENT = {
    "project.yml": "name: entitled\n",
    "marts/sales.sql": """\
select i::bigint as id, ['EMEA', 'AMER', null][1 + i % 3] as region, (i / 4)::decimal(6,2) as price,
    md5(i::varchar)::uuid as key
from range(2000) t(i) union all select null, 'EMEA', null, null
""",
    "marts/sales.yml": "columns: {id: {}, region: {}, price: {}, key: {}}\n",
    "marts/owners.sql": """\
select * from (values (1::integer, 'ida@example.com', 5::utinyint), (2, 'ida@example.com', null),
    (2, 'ida@example.com', 7), (3, 'bo@example.com', 9)) as listed (id, owner, manager)
""",
    "marts/regions.sql": "select * from (values ('EMEA', date '2020-01-01', 1), "
    "('AMER', date '2026-01-01', 2), "
    "(null, date '2020-01-01', 1), ('it''s', date '2020-01-01', 2)) as listed (region, since, rank)\n",
    "marts/many.sql": "select i::bigint as id from range(1500) t(i)\n",
    "marts/prices.sql": "select (i / 2)::decimal(6,2) as price from range(5) t(i)\n",
    "marts/keys.sql": "select md5(i::varchar)::uuid as key from range(4) t(i)\n",
    "policies/access.yml": """\
attributes: {region: text, since: date}
roles: {viewer: {marts: [sales]}}
assign:
  - {email: ida@example.com, roles: viewer, attributes: {region: EMEA, since: 2022-02-02}}
rows:
  - {mart: sales, where: RULE}
""",
}
for _name in ("owners", "regions", "many", "prices", "keys"):
    CONTENT[f"marts/{_name}.yml"] = "visible: false\ncolumns: {id: {tests: [not_null]}}\n"
CONTENT["marts/owners.yml"] = "visible: false\ncolumns: {id: {tests: [not_null]}, owner: {}, manager: {}}\n"
CONTENT["marts/regions.yml"] = "visible: false\n"
CONTENT["marts/prices.yml"] = "visible: false\n"
CONTENT["marts/keys.yml"] = "visible: false\n"
Ruled = Callable[[str], Project]
IDA = "ida@example.com"


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ruled]:
    """The one project, with its rule changed."""
    folder = tmp_path_factory.mktemp("entitled")
    policy = folder / "models/policies/access.yml"
    write_files(folder / "models", {**CONTENT, "policies/access.yml": policy_text(RULES[0])})
    project = open_project(folder / "models", var=folder / "var")
    project.build()

    def changed(rule: str) -> Project:
        policy.write_text(policy_text(rule), encoding="utf-8")
        project.refresh()
        assert project.problems == ()
        return project

    yield changed
    project.close()


def policy_text(rule: str) -> str:
    return CONTENT["policies/access.yml"].replace("RULE", f'"{rule}"')


def plain(project: Project, rule: str) -> list[tuple[object, ...]]:
    """The rule as SQL over the raw marts, with the attributes written in by hand."""
    version = project.current_version()
    assert version is not None
    for name, value in (("email", "'ida@example.com'"), ("region", "'EMEA'"), ("since", "date '2022-02-02'")):
        rule = rule.replace(f"user.{name}", value)
    with duckdb.connect(":memory:") as raw:
        for name, file in version.marts.items():
            raw.execute(f"attach '{file.path}' as file_{name} (read_only)")
            raw.execute(f"create view {name} as from file_{name}.{name}")
        return raw.execute(f"select id, region from sales where {rule} order by all").fetchall()


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_with_a_lookup_gives_the_rows_of_the_same_sql(ruled: Ruled, rule: str) -> None:
    project = ruled(rule)
    table = project.ask("select id, region from sales order by all", user=IDA).table
    assert [tuple(row.values()) for row in table.to_pylist()] == plain(project, rule)


def test_values_become_constants_and_too_many_stay_a_subquery_on_secure_views(ruled: Ruled) -> None:
    few = ruled(RULES[0]).view("sales", ruled(RULES[0]).user(IDA))
    assert (few.secure, few.reads) == (False, ("sales",))
    assert '"id" IN (1, 2)' in few.body
    project = ruled("id in (select id from many)")
    many = project.view("sales", project.user(IDA))
    assert (many.secure, many.reads) == (True, ("sales", "many"))
    body = many.over({"sales": "x1", "many": "x2"})
    assert 'FROM "x1"."sales"' in body
    assert 'SELECT "id" FROM "x2"."many"' in body
    assert "base_" not in body


def test_exactly_the_limit_still_becomes_constants(ruled: Ruled) -> None:
    for more, secure in ((0, False), (1, True)):
        project = ruled(f"id in (select id from many where id < {LOOKUP_LIMIT + more})")
        assert project.view("sales", project.user(IDA)).secure is secure


def test_a_person_reads_of_a_lookup_but_not_the_name_of_a_mart_they_may_not_see(ruled: Ruled) -> None:
    receipt = ruled(RULES[1]).ask("select count(*) from sales", user=IDA).receipt
    assert receipt.policies == ("rows of sales: id is listed for you OR region = 'EMEA'",)
    assert 'LISTED_FOR_YOU("id")' in receipt.views["sales"]
    assert "owners" not in repr(receipt)


def test_the_lookup_asks_the_raw_mart_with_the_persons_own_values(ruled: Ruled) -> None:
    project, asked = ruled(RULES[0]), []
    version = project.current_version()
    assert version is not None
    built = {name: dict(file.columns) for name, file in version.marts.items()}

    def lookup(mart: str, column: str, predicate: str) -> tuple[object, ...]:
        asked.append((mart, column, predicate))
        return ()

    view = governed_view(project.content, "sales", built, project.user(IDA), "key", lookup)
    assert asked == [("owners", "id", "\"owner\" = 'ida@example.com'")]
    assert view.body.endswith("WHERE FALSE")


def test_a_person_without_the_attribute_of_a_lookup_sees_no_row(ruled: Ruled) -> None:
    project = ruled("id not in (select id from owners where owner = user.region)")
    user = project.user(IDA)
    blind = type(user)(user.email, user.roles)
    assert project.ask("select count(*) as n from sales", user=blind).table.to_pylist() == [{"n": 0}]


def test_a_lookup_that_does_not_fit_the_built_marts_hides_the_mart(ruled: Ruled) -> None:
    project = ruled("region in (select id from owners)")
    with pytest.raises(QueryRefused, match=r"'region' is VARCHAR and 'id' is INTEGER"):
        project.ask("select count(*) from sales", user=IDA)
