"""Egress: a tagged column leaves only for where the policy says it may."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import SHOP
from tests.spec.test_content import problems

Write = Callable[..., Path]
ORDERS = SHOP["marts/orders.yml"].replace("  note: {}", "  note: {tags: [secret]}")
HEAD = "run_as: sync\ndestination: crm\nobject: contacts\n"
SOURCE = f"source: customers\n{HEAD}key: {{id: customer_id}}\n"
MAY = "egress:\n  - {destination: crm, allow: [%s]}\n"


def found(write: Write, sync: str, allow: str = "") -> list[str]:
    files = {
        "marts/orders.yml": ORDERS,
        "destinations/crm.yml": "connector: sandbox\n",
        "destinations/other.yml": "connector: sandbox\n",
        "syncs/out.yml": sync,
        "policies/more.yml": allow or "{}\n",
    }
    return [
        problem
        for problem in problems(write, files)
        if "may not go" in problem or "cannot be read" in problem
    ]


@pytest.mark.parametrize(
    ("sync", "line"),
    [
        (f"{SOURCE}fields: {{city: region,\n  mail: email}}\n", 7),
        (f"{SOURCE}fields:\n  mail: {{column: EMAIL, map: {{a: b}}}}\n", 7),
        (f"{SOURCE}fields:\n  city: region\n  note: {{template: 'Write to {{email}}'}}\n", 8),
        (f"source: customers\n{HEAD}key:\n  id: email\n", 6),
    ],
)
def test_a_tagged_column_without_leave_is_a_problem_of_the_field_that_sends_it(
    shop_files: Write, sync: str, line: int
) -> None:
    assert found(shop_files, sync) == [
        f"syncs/out.yml:{line}: sends customers.email to 'crm', where pii.email may not go"
        " | if it may, add `- {destination: crm, allow: [pii.email]}` under egress: in models/policies/"
    ]


@pytest.mark.parametrize("allow", ["pii.email", "pii", "'*'", "secret, pii.email"])
def test_the_tag_what_it_is_a_part_of_or_a_star_give_leave(shop_files: Write, allow: str) -> None:
    assert found(shop_files, f"{SOURCE}fields: {{mail: email}}\n", MAY % allow) == []


@pytest.mark.parametrize("allow", ["secret", "pii.email.work", "pii.e"])
def test_another_tag_gives_none(shop_files: Write, allow: str) -> None:
    assert len(found(shop_files, f"{SOURCE}fields: {{mail: email}}\n", MAY % allow)) == 1


def test_leave_for_one_destination_is_none_for_another(shop_files: Write) -> None:
    allow = "egress:\n  - {destination: other, allow: '*'}\n"
    assert len(found(shop_files, f"{SOURCE}fields: {{mail: email}}\n", allow)) == 1


def test_columns_without_a_tag_and_constants_go_anywhere(shop_files: Write) -> None:
    fields = "fields: {city: region, origin: {value: email}, note: {template: 'from {region}'}}\n"
    assert found(shop_files, f"{SOURCE}{fields}") == []


@pytest.mark.parametrize(
    "sql",
    [
        "select customer_id as id, email from customers",
        "select customer_id as id, lower(c.EMAIL) as mail from customers c",
        "select * from customers",
        "from customers",
        "select c.* exclude (phone) from customers c",
        "select customer_id as id, c from customers c",
        "select customer_id as id, customers from customers",
        "select columns('e.*') from customers",
        "select columns(lambda x: x like 'e%') from customers",
        "select a as id, b from customers as t(a, r, b)",
        "with x as (from customers) select customer_id as id from x",
        "select customer_id as id from customers where email like '%@%'",
        "select id from (unpivot customers on phone, salary into name what value id)",
        "select #3 as id from customers",
    ],
)
def test_sql_that_may_give_a_tagged_column_needs_leave(shop_files: Write, sql: str) -> None:
    sync = f'sql: "{sql}"\n{HEAD}key: {{id: id}}\n'
    assert [problem.partition(" | ")[0] for problem in found(shop_files, sync)] == [
        "syncs/out.yml:1: sends customers.email to 'crm', where pii.email may not go"
    ]
    assert found(shop_files, sync, MAY % "pii") == []


@pytest.mark.parametrize(
    "sql",
    [
        "select customer_id as id, count(*) as n from customers group by all",
        "select id, amount from orders",
        "select o.id, c.region from orders o join customers c using (customer_id)",
    ],
)
def test_sql_that_names_no_tagged_column_needs_none(shop_files: Write, sql: str) -> None:
    assert found(shop_files, f'sql: "{sql}"\n{HEAD}key: {{id: id}}\n') == []


@pytest.mark.parametrize("measure", ["first_mail", "twice", "work_mails", "unknown", "~first_mail"])
def test_a_measure_of_a_tagged_column_needs_leave_as_the_column_does(shop_files: Write, measure: str) -> None:
    measures = """\
measures:
  first_mail: {agg: min, expr: email}
  twice: {expr: "concat(first_mail, first_mail)"}
  work_mails: {agg: count, filter: "email like '%@work'"}
  people: {agg: count}
"""
    asked = f"select region as id, MEASURE({measure}) as m from customers group by 1"
    sync = f'sql: "{asked}"\n{HEAD}key: {{id: id}}\n'
    files = {
        "marts/customers.yml": SHOP["marts/customers.yml"] + measures,
        "destinations/crm.yml": "connector: sandbox\n",
        "syncs/out.yml": sync,
    }
    assert any("sends customers.email" in problem for problem in problems(shop_files, files))
    files["syncs/out.yml"] = sync.replace(measure, "people")
    assert not any("sends" in problem for problem in problems(shop_files, files))


def test_sql_that_reads_several_marts_needs_leave_for_each_tagged_column(shop_files: Write) -> None:
    sync = f'sql: "select * from orders natural join customers"\n{HEAD}key: {{id: id}}\n'
    told = found(shop_files, sync, MAY % "pii")
    assert [problem.partition(",")[0] for problem in told] == ["syncs/out.yml:1: sends orders.note to 'crm'"]


@pytest.mark.parametrize("sql", ["select ( from", "select 1; select 2", "summarize customers"])
def test_sql_that_cannot_be_read_sends_nothing(shop_files: Write, sql: str) -> None:
    told = found(shop_files, f'sql: "{sql}"\n{HEAD}key: {{id: id}}\n')
    assert [problem.partition(" | ")[0] for problem in told] == [
        "syncs/out.yml:1: this SQL cannot be read, so nobody knows whether it sends tagged columns"
    ]


COPY = {
    "marts/mailing.sql": "with people as (select customer_id, lower(email) as mail from customers)\n"
    "select customer_id, mail as address, count(mail) as mails from people group by all\n",
    "marts/mailing.yml": "grain: customer_id\n",
    "policies/copies.yml": "roles:\n  copies: {marts: [mailing]}\n",
}


def copied(write: Write, field: str, mart: str = COPY["marts/mailing.yml"]) -> list[str]:
    sync = f"source: mailing\n{HEAD.replace('sync', 'copies')}key: {{id: customer_id}}\nfields: {field}\n"
    files = {**COPY, "marts/mailing.yml": mart, "destinations/crm.yml": "connector: sandbox\n"}
    return [p for p in problems(write, {**files, "syncs/out.yml": sync}) if "may not go" in p]


def test_a_column_made_of_a_tagged_one_carries_its_tags(shop_files: Write) -> None:
    """Through a function, a CTE and two aliases."""
    [problem] = copied(shop_files, "{mail: address}")

    assert "sends mailing.address (made of customers.email) to 'crm', where pii.email may not go" in problem


def test_a_count_of_tagged_values_tells_none_of_them(shop_files: Write) -> None:
    assert copied(shop_files, "{number: mails}") == []


def test_the_author_of_a_mart_may_say_that_a_column_tells_nothing(shop_files: Write) -> None:
    said = "grain: customer_id\ncolumns:\n  address: {tags: []}\n"

    assert copied(shop_files, "{mail: address}", said) == []
