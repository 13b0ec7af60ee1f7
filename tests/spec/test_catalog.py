"""The catalog: what there is, as one person may see it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving import Project, open_project
from serving.catalog import CatalogEntry, describe, lineage, readable_columns
from serving.ui.catalog import _matches
from tests.conftest import SHOP, write_files

MEANING = {
    "marts/orders.yml": SHOP["marts/orders.yml"].replace("grain: id\n", "grain: id\ntime: day\n")
    + """\
  buyers: {agg: count_distinct, expr: customer_id, label: Active buyers, synonyms: [clients]}
  large: {agg: sum, expr: amount, filter: amount > 50, description: Large orders only}
  revenue_28d: {cumulative: revenue, window: 28 days}
  per_salary: {expr: revenue / customers.pay}
  per_person: {expr: revenue / customers.people}
dimensions:
  noted: {expr: note is not null, synonyms: [remarked]}
joins:
  customers: {mart: customers, on: {customer_id: customer_id}}
hierarchies:
  place: [region, customer_id]
rollups:
  monthly: {dimensions: [day.month, region], measures: [revenue, aov, ~buyers]}
  noted: {dimensions: [noted], measures: [orders]}
""",
    "marts/customers.yml": SHOP["marts/customers.yml"]
    + """\
dimensions:
  rich: {expr: salary > 1500}
measures:
  people: {agg: count}
  pay: {agg: sum, expr: salary}
  paid: {agg: count, filter: salary > 0}
  pay_rate: {expr: pay / people}
hierarchies:
  pay: [region, rich, email]
  rank: [region, salary]
rollups:
  by_region: {dimensions: [region], measures: [people]}
  by_pay: {dimensions: [region, rich], measures: [people]}
tests: [select customer_id from customers where SALARY < 0]
""",
    "policies/more.yml": "roles:\n  clerk: {marts: [orders]}\nassign:\n"
    "  - {email: cleo@example.com, roles: [clerk], attributes: {region: EMEA}}\n"
    "columns:\n  - {column: orders.note, mask: hide, except: [steward, analyst, emea]}\n",
}


@pytest.fixture(scope="module")
def meant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The shop with all that can be said about meaning."""
    folder = tmp_path_factory.mktemp("meant")
    project = open_project(write_files(folder / "models", {**SHOP, **MEANING}), var=folder / "var")
    project.build()
    yield project
    project.close()


def entry(project: Project, mart: str, user: str | None) -> CatalogEntry:
    """The mart as the person sees it."""
    who = project.user(f"{user}@example.com") if user else None
    return next(entry for entry in describe(project, who) if entry.mart == mart)


def test_a_hidden_column_has_no_name_anywhere_in_the_catalog(shop_files: Callable[..., Path]) -> None:
    more = "measures:\n  pay: {agg: sum, expr: salary}\n  people: {agg: count}\n"
    columns = SHOP["marts/customers.yml"].replace("  salary: {}\n", "  salary: {tests: [not_null]}\n")
    folder = shop_files({"marts/customers.yml": columns + more})
    project = open_project(folder, var=folder.parent / "var")
    project.build()
    emil, ana = project.user("emil@example.com"), project.user("ana@example.com")
    assert "salary" not in repr(describe(project, emil))
    assert "salary" in repr(describe(project, ana))
    assert readable_columns(project, emil)["customers"] == ("customer_id", "region", "email", "phone")
    answer = project.ask("select count(*) from customers", user=emil)
    assert "salary" not in repr(answer.receipt)
    project.close()


def test_tests_of_a_published_mart_are_green_and_dated(shop: Project) -> None:
    (orders,) = (entry for entry in describe(shop) if entry.mart == "orders")
    assert {test.state for test in orders.tests} == {"green"}
    assert all(test.at is not None for test in orders.tests)
    assert orders.rows == 5


def test_who_sees_a_part_of_the_rows_is_not_told_how_many_there_are(shop: Project) -> None:
    (orders,) = (entry for entry in describe(shop, shop.user("emil@example.com")) if entry.mart == "orders")
    assert orders.rows is None
    assert orders.policies == ("rows of orders: region = user.region",)


@pytest.mark.parametrize(("user", "arrows"), [(None, 2), ("emil@example.com", 2)])
def test_lineage_leads_from_sources_to_marts(shop: Project, user: str | None, arrows: int) -> None:
    found = lineage(shop, shop.user(user) if user else None)
    assert found == [("raw_customers", "customers"), ("raw_orders", "orders")]
    assert len(found) == arrows


def test_the_catalog_says_how_each_number_is_computed(meant: Project) -> None:
    found = {one.name: one for one in entry(meant, "orders", "ana").meaning.measures}
    assert {name: one.computed for name, one in found.items()} == {
        "revenue": "sum(amount)",
        "orders": "count(*)",
        "aov": "revenue / orders",
        "buyers": "count(distinct customer_id)",
        "large": "sum(amount) where amount > 50",
        "revenue_28d": "revenue of the last 28 days",
        "per_salary": "revenue / customers.pay",
        "per_person": "revenue / customers.people",
    }
    assert (found["buyers"].label, found["buyers"].estimate) == ("Active buyers", "~orders.buyers")
    assert found["revenue"].estimate == ""


def test_what_is_made_of_a_hidden_column_is_hidden_too(meant: Project) -> None:
    """Also where another mart's measure is behind it, and however a test spells the column."""
    emil, ana = entry(meant, "customers", "emil").meaning, entry(meant, "customers", "ana").meaning
    assert [one.name for one in emil.measures] == ["people"]
    assert [one.name for one in ana.measures] == ["people", "pay", "paid", "pay_rate"]
    assert (emil.dimensions, emil.hierarchies) == ((), {"pay": ("region", "email")})
    assert ana.hierarchies == {"pay": ("region", "rich", "email"), "rank": ("region", "salary")}
    assert [one.name for one in emil.rollups] == ["by_region"]
    for mart in ("orders", "customers"):
        assert "salary" not in repr(entry(meant, mart, "emil")).lower().replace("per_salary", "")
    assert "per_salary" not in repr(entry(meant, "orders", "emil"))
    assert "per_person" in repr(entry(meant, "orders", "emil"))


def test_joins_lead_only_to_marts_that_the_reader_may_read(meant: Project) -> None:
    (join,) = entry(meant, "orders", "emil").meaning.joins
    assert (join.name, join.mart, join.on, join.kind) == (
        "customers",
        "customers",
        {"customer_id": "customer_id"},
        "many_to_one",
    )
    cleo = entry(meant, "orders", "cleo")
    assert cleo.meaning.joins == ()
    assert "customers" not in repr(cleo)  # nor do tests or measures name it
    assert [one.name for one in cleo.meaning.rollups] == ["monthly"]  # `noted` is made of what is hidden


def test_rollups_are_listed_and_what_was_proven_is_for_who_sees_everything(meant: Project) -> None:
    monthly, noted = entry(meant, "orders", "ana").meaning.rollups
    assert (monthly.dimensions, monthly.measures) == (("day.month", "region"), ("revenue", "aov", "~buyers"))
    assert (monthly.built, monthly.rows, noted.rows) == (True, 4, 1)
    assert any("sum(amount)" in sentence for sentence in monthly.reconciled)
    emil = entry(meant, "orders", "emil").meaning.rollups[0]
    assert (emil.built, emil.rows, emil.reconciled) == (True, None, ())  # he sees a part of the rows


def test_synonyms_are_found_and_facts_are_plain_values(meant: Project) -> None:
    orders = entry(meant, "orders", "ana")
    assert all(_matches(orders, word) for word in ("clients", "remarked", "active buyers", "revenue"))
    assert not _matches(orders, "salary of clients")
    facts = json.loads(json.dumps(orders.facts(), default=str))
    assert facts["time"] == "day"
    assert facts["measures"][0]["computed"] == "sum(amount)"
    assert facts["joins"][0]["on"] == {"customer_id": "customer_id"}
