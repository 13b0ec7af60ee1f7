"""Joins are walked where the version that is asked was tested for them, not where a file says so since."""

from collections.abc import Callable
from pathlib import Path

import pytest

from serving import open_project
from serving.errors import QueryRefused
from serving.semantic.asking.words import read_request
from tests.conftest import SHOP

ANA = "ana@example.com"
JOIN = "joins:\n  customers: {mart: customers, on: {customer_id: customer_id}}\n"
REQUEST = read_request({"metrics": ["orders.revenue"], "by": ["customers.region"]})
MEASURE = (
    "select c.region, MEASURE(revenue) as total from orders join customers c using (customer_id) group by 1"
)


def test_a_key_that_is_declared_after_the_build_proves_nothing_until_the_next(
    shop_files: Callable[..., Path], tmp_path: Path
) -> None:
    customers = SHOP["marts/customers.yml"].replace("grain: customer_id\n", "")
    folder = shop_files({"marts/customers.yml": customers})
    project = open_project(folder, var=tmp_path / "var")
    project.build()
    with pytest.raises(QueryRefused, match="may be repeated"):
        project.ask(MEASURE, user=ANA)

    (folder / "marts/customers.yml").write_text(SHOP["marts/customers.yml"])
    (folder / "marts/orders.yml").write_text(SHOP["marts/orders.yml"] + JOIN)
    project.refresh()
    with pytest.raises(QueryRefused, match="was not tested for: customers") as refused:
        project.ask(metrics=REQUEST, user=ANA)
    assert refused.value.hint == "`python -m serving build`"
    with pytest.raises(QueryRefused, match="may be repeated"):
        project.ask(MEASURE, user=ANA)

    project.build()
    found = project.ask(metrics=REQUEST, user=ANA).table.to_pylist()
    assert (
        sum(row["revenue"] for row in found)
        == project.ask("select sum(amount) as total from orders", user=ANA).table["total"][0].as_py()
    )
    assert project.ask(MEASURE, user=ANA).table.num_rows == 2
    project.close()
