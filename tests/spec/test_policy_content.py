"""Policies as content: what contradicts itself, names nothing or could fail is told before anybody asks."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from serving import Project, open_project
from serving.errors import ContentInvalid
from serving.governance.type_check import type_problems
from tests.conftest import SHOP
from tests.spec.test_content import problems

Write = Callable[..., Path]
MORE = "policies/more.yml"
HIDDEN = {
    "marts/owners.sql": "select customer_id, 'x' as owner from raw_customers\n",
    "marts/owners.yml": "visible: false\ncolumns: {customer_id: {}, owner: {tags: [secret]}}\n",
}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "attributes: {region: text}\n",
            "policies/more.yml:1: the attribute 'region' is defined twice | keep one of them",
        ),
        ("attributes: {email: text}\n", "policies/more.yml:1: user.email is built in"),
        ("attributes: {Region: text}\n", "policies/more.yml:1: 'Region' cannot be the name of an attribute"),
        (
            "attributes: {since: dat}\n",
            "policies/more.yml:1: 'attributes.since' is 'dat' | did you mean 'date'?",
        ),
        (
            "assign:\n  - {email: a@x.com, attributes: {regoin: EMEA}}\n",
            "policies/more.yml:2: the attribute 'regoin' is not declared | did you mean 'region'?",
        ),
        (
            "attributes: {size: number}\nassign:\n  - email: a@x.com\n    attributes:\n      size: big\n",
            "policies/more.yml:5: 'size' is declared as number; 'big' is none | write digits without quotes",
        ),
        (
            "assign:\n  - {email: a@x.com, attributes: {region: no}}\n",
            "policies/more.yml:2: 'region' is declared as text; False is none | put it in quotes",
        ),
        (
            "attributes: {since: date}\nassign:\n"
            "  - {email: a@x.com, attributes: {since: 2026-01-31 10:00}}\n",
            "policies/more.yml:3: 'since' is declared as date; '2026-01-31 10:00' is none | write 2026-01-31",
        ),
        (
            "attributes: {since: date}\nassign:\n  - {email: a@x.com, attributes: {since: '2026-02-30'}}\n",
            "policies/more.yml:3: 'since' is declared as date; '2026-02-30' is none",
        ),
        (
            "attributes: {at: timestamp}\nassign:\n"
            "  - {email: a@x.com, attributes: {at: '2026-01-31T10:00Z'}}\n",
            "policies/more.yml:3: 'at' is declared as timestamp; ",
        ),
        (
            "attributes: {least: number}\nassign:\n  - {email: a@x.com, attributes: {least: .nan}}\n",
            "policies/more.yml:3: 'least' is declared as number; nan is none",
        ),
        (
            "assign:\n  - {email: a@x.com, attributes: {region: [EMEA, AMER]}}\n",
            "policies/more.yml:2: 'region' is one text, here is a list | declare it as a list",
        ),
        (
            "assign:\n  - {email: a@x.com, attributes: {email: b@x.com}}\n",
            "policies/more.yml:2: user.email is built in",
        ),
        ("assign:\n  - {email: nobody}\n", "policies/more.yml:2: 'nobody' is no e-mail address"),
        ("assign:\n  - {domain: '@x.com'}\n", "policies/more.yml:2: '@x.com' is no mail domain"),
        ("assign:\n  - {domain: x.com, groups: [a]}\n", "policies/more.yml:2: 'groups' goes with 'email'"),
        (
            "assign:\n  - {group: sales}\n  - {email: a@x.com, groups: [slaes]}\n",
            "policies/more.yml:3: there is no assignment of the group 'slaes' | did you mean 'sales'?",
        ),
        (
            "assign:\n  - {group: a, attributes: {region: A}}\n  - {group: b, attributes: {region: B}}\n"
            "  - {email: x@x.com, groups: [a, b]}\n",
            "policies/more.yml:4: x@x.com is given two values of 'region': ",
        ),
        (
            "assign:\n  - {email: x@x.com, attributes: {region: A}}\n"
            "  - {email: X@x.com, attributes: {region: B}}\n",
            "policies/more.yml:3: x@x.com is given two values of 'region': ",
        ),
        (
            "rows:\n  - {mart: orders, where: region = user.regoin}\n",
            "policies/more.yml:2: the attribute 'regoin' is not declared | did you mean 'region'?",
        ),
        (
            "attributes: {least: {type: number, many: true}}\nrows:\n"
            "  - {mart: orders, where: amount > user.least}\n",
            "policies/more.yml:3: 'user.least' is a list; 'amount > user.least' needs one value | use "
            "IN, = or <>",
        ),
        (
            "rows:\n  - {mart: orders, where: regoin = 'EMEA'}\n",
            "policies/more.yml:2: 'orders' describes no column 'regoin' | did you mean 'region'?",
        ),
        (
            "rows:\n  - {mart: orders, where: amount > 10 and amount < 5}\n",
            "policies/more.yml:2: no row can fulfil the rule 'amount > 10 and amount < 5'",
        ),
        (
            "rows:\n  - {mart: orders, where: region = user.region, except: [stewart]}\n",
            "policies/more.yml:2: there is no role 'stewart' | did you mean 'steward'?",
        ),
        (
            "rows:\n  - {mart: orders, where: customer_id in (select customer_id from ownres)}\n",
            "policies/more.yml:2: there is no mart 'ownres' | did you mean 'owners'?",
        ),
        (
            "rows:\n  - {mart: orders, where: customer_id in (select id from owners)}\n",
            "policies/more.yml:2: 'owners' describes no column 'id'",
        ),
        (
            "rows:\n  - {mart: orders, where: customer_id not in (select customer_id from owners)}\n",
            "policies/more.yml:2: 'owners.customer_id' may be NULL, and NOT IN then shows no row at all"
            " | give the column the test: `customer_id: {tests: [not_null]}`",
        ),
        (
            "columns:\n  - {tag: secret, mask: hide}\n",
            "policies/more.yml:2: the rule reaches no column: only building blocks carry the tag 'secret'",
        ),
        (
            "columns:\n  - {tag: pii.emial, mask: hide}\n",
            "policies/more.yml:2: there is no column with the tag 'pii.emial' | did you mean 'pii.email'?",
        ),
        (
            "columns:\n  - {column: orders.note, mask: {bukcet: 3}}\n",
            "policies/more.yml:2: unknown key 'bukcet' | did you mean 'bucket'?",
        ),
        (
            "assign:\n  - {email: a@x.com, attributes: {region: null}}\n",
            "policies/more.yml:2: 'assign.0.attributes.region' must be a text, number, boolean, date or",
        ),
        (
            "columns:\n  - {column: orders.day, mask: {bucket: 3, truncate: day}}\n",
            "policies/more.yml:2: 'columns.0.mask' must be one mask, here are bucket and truncate",
        ),
        ("columns:\n  - {column: orders.note, mask: {partial: {}}}\n", "policies/more.yml:2: "),
        ("columns:\n  - {column: orders.amount, mask: {bucket: -1}}\n", "policies/more.yml:2: "),
        (
            "aggregates:\n  - {mart: order, min_group: 5}\n",
            "policies/more.yml:2: there is no visible mart 'order'",
        ),
        (
            "aggregates:\n  - {mart: orders, min_group: 5, of: customer}\n",
            "policies/more.yml:2: there is no column of orders 'customer' | did you mean 'customer_id'?",
        ),
        (
            "aggregates:\n  - {mart: orders, min_group: 5}\n"
            "  - {mart: orders, min_group: 9, except: [steward]}\n",
            "policies/more.yml:3: there is more than one aggregate rule for 'orders'",
        ),
        (
            "aggregates:\n  - {mart: customers, min_group: 5, of: salary}\n",
            "policies/more.yml:2: groups are counted by 'salary', which ",
        ),
        (
            "egress:\n  - {destination: crn, allow: pii}\n",
            "policies/more.yml:2: there is no destination 'crn'",
        ),
        (
            "egress:\n  - {destination: crm, allow: [pii, pii.phone]}\n",
            "policies/more.yml:2: there is no column with the tag 'pii.phone' | known here: pii.email, "
            "secret",
        ),
        ("limits:\n  - {role: analyst}\n", "policies/more.yml:2: this limits nothing of 'analyst'"),
        ("limits:\n  - {role: analist, rows: 5}\n", "policies/more.yml:2: there is no role 'analist'"),
    ],
)
def test_a_wrong_word_of_a_policy_is_told_with_its_line_and_a_way_out(
    shop_files: Write, text: str, message: str
) -> None:
    found = problems(shop_files, {**HIDDEN, "destinations/crm.yml": "connector: sandbox\n", MORE: text})
    assert any(problem.startswith(message) for problem in found), found


@pytest.mark.parametrize(
    "text",
    [
        "attributes: {unused: text}\n",
        "attributes: {since: date}\nassign:\n  - {email: a@x.com, attributes: {since: 2026-01-31}}\n",
        "attributes: {at: timestamp}\nassign:\n  - {email: a@x.com, attributes: {at: 2026-01-31 12:00:00}}\n",
        "assign:\n  - {group: a, attributes: {region: A}}\n  - {group: b, attributes: {region: B}}\n"
        "  - {email: x@x.com, groups: [a, b], attributes: {region: C}}\n",
        "attributes: {regions: {type: text, many: true}}\nassign:\n  - {group: a, attributes: {regions: A}}\n"
        "  - {group: b, attributes: {regions: [B]}}\n  - {email: x@x.com, groups: [a, b]}\n",
        "rows:\n  - {mart: orders, where: customer_id in (select customer_id from owners where owner = "
        "user.email)}\n",
        "rows:\n  - {mart: orders, where: amount > 5 and (amount < 3 or region = 'EMEA') and region <> "
        "'AMER'}\n",
        "columns:\n  - {column: customers.phone, mask: {partial: {last: 2}}, except: [analyst, sync]}\n",
        "columns:\n  - {column: orders.amount, mask: {bucket: 5}, except: steward}\n"
        "  - {column: orders.day, mask: {truncate: month}}\n"
        "  - {column: orders.note, mask: {constant: '-'}}\n",
        "aggregates:\n  - {mart: orders, min_group: 5, of: customer_id, except: steward}\n",
        "egress:\n  - {destination: crm, allow: pii}\n  - {destination: crm, allow: '*'}\n",
        "columns:\n  - {column: orders.note, mask: null}\n",
        "limits:\n  - {role: analyst, megabytes: 1.5, concurrent: 1, queued: 0}\n",
    ],
)
def test_a_policy_that_holds_has_no_problem(shop_files: Write, text: str) -> None:
    assert problems(shop_files, {**HIDDEN, "destinations/crm.yml": "connector: sandbox\n", MORE: text}) == []


def test_two_masks_are_a_conflict_only_for_a_role_that_gets_both(shop_files: Write) -> None:
    both = "columns:\n  - {column: customers.phone, mask: hide, except: [emea]}\n"
    found = problems(shop_files, {MORE: both})
    assert len(found) == 1
    assert found[0].startswith("policies/more.yml:2: 'customers.phone' has a mask already, at ")
    assert found[0].endswith("one mask a column: 'analyst' gets both; add 'except' to one")


def test_a_sync_that_may_not_see_single_rows_is_told_so(shop_files: Write) -> None:
    found = problems(
        shop_files,
        {
            MORE: "aggregates:\n  - {mart: customers, min_group: 5}\n",
            "destinations/crm.yml": "connector: sandbox\n",
            "syncs/out.yml": "source: customers\nrun_as: sync\ndestination: crm\nobject: contacts\n"
            "key: {id: customer_id}\n",
        },
    )
    assert len(found) == 1
    assert found[0].startswith("syncs/out.yml:2: sees no single row of 'customers': ")


TYPES: Mapping[str, str] = {
    "columns: [{column: orders.amount, mask: hash}]": "'hash' does not fit 'orders.amount': the mask "
    "'hash' needs",
    "columns: [{column: orders.day, mask: {truncate: hour}}]": "a DATE has no hours",
    "columns: [{column: orders.id, mask: {constant: none}}]": "the constant 'none' is no value of a column",
    "rows: [{mart: orders, where: amount = 'x'}]": "'amount': 'x' cannot be compared with a column of type",
    "rows: [{mart: orders, where: day > user.region}]": "'day' is DATE, which user.region (text) cannot be",
    "rows: [{mart: orders, where: day > 'yesterday'}]": "'day': 'yesterday' cannot be compared with",
    "rows: [{mart: orders, where: id = user.email}]": "'id' is BIGINT, which user.email (text) cannot be",
    "rows: [{mart: orders, where: id in (select owner from owners)}]": "'id' is BIGINT and 'owner' is "
    "VARCHAR",
    "rows: [{mart: orders, where: id in (select customer_id from owners where owner = 3)}]": "'owner': "
    "3 cannot",
}


@pytest.mark.parametrize("text", TYPES)
def test_a_build_whose_columns_the_policy_does_not_fit_publishes_nothing(
    shop_files: Write, text: str
) -> None:
    folder = shop_files({**HIDDEN, MORE: f"{text}\n"})
    project = open_project(folder, var=folder.parent / "var")
    with pytest.raises(ContentInvalid) as refused:
        project.build()
    assert project.current_version() is None
    project.close()
    assert str(refused.value).startswith(f"{folder / MORE}:1: ") or f"{MORE}:1: " in str(refused.value)
    assert TYPES[text] in str(refused.value)


def test_a_column_that_changes_its_type_is_noticed_by_the_build_that_changes_it(shop_files: Write) -> None:
    folder = shop_files()
    project = open_project(folder, var=folder.parent / "var")
    assert project.build().version.number == 1
    sql = SHOP["marts/customers.sql"].replace("email", "[email] as email")
    (folder / "marts/customers.sql").write_text(sql, encoding="utf-8")
    project.refresh()
    with pytest.raises(ContentInvalid, match=r"'hash' does not fit 'customers.email'"):
        project.build()
    version = project.current_version()
    assert version is not None
    assert version.number == 1
    project.close()


def test_types_are_judged_only_where_something_is_built(shop: Project) -> None:
    assert type_problems(shop.content, {}) == []
    wrong = type_problems(shop.content, {"customers": {"customer_id": "BIGINT", "email": "INTEGER"}})
    assert len(wrong) == 4  # email no text; no region for the rule, no phone and no salary for their masks
