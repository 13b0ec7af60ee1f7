"""The catalog: what there is, as one person may see it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from serving import Project, open_project
from serving.catalog import describe, lineage, readable_columns
from tests.conftest import SHOP


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
