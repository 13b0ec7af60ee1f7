"""The real invoices: numbers checked by hand against the file."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from serving import Project, open_project
from serving.errors import BuildFailed
from tests.conftest import ROOT

FOLDER = ROOT / "tests/projects/online_retail"
ANA, UMA = "ana@example.com", "uma@example.com"


@pytest.fixture(scope="module")
def retail(retail_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_RETAIL_CSV", str(retail_csv))
        project = open_project(FOLDER, var=tmp_path_factory.mktemp("retail"))
    project.build()
    yield project
    project.close()


def one(project: Project, sql: str, user: str = ANA) -> object:
    return project.ask(sql, user=user).table[0][0].as_py()


def test_the_file_holds_what_its_documentation_says(retail_csv: Path) -> None:
    with duckdb.connect(":memory:") as plain:
        (facts,) = plain.execute(
            """select count(*), count(*) filter (InvoiceNo like 'C%'), count(distinct InvoiceNo),
            count(distinct CustomerID) filter (CustomerID <> '(blank)'), count(distinct Country)
            from read_csv(?, types = {InvoiceNo: 'VARCHAR', CustomerID: 'VARCHAR'})""",
            [str(retail_csv)],
        ).fetchall()
    assert facts == (25_943, 3_837, 25_900, 4_372, 38)


def test_the_marts_keep_every_invoice_customer_and_country(retail: Project) -> None:
    assert one(retail, "select count(*) from orders") == 25_900
    assert one(retail, "select count(*) from customers") == 4_372
    assert one(retail, "select count(distinct country) from orders") == 38
    assert one(retail, "select sum(parts) from orders") == 25_943


def test_the_grain_test_finds_the_43_invoice_numbers_that_stand_twice(
    retail_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_RETAIL_CSV", str(retail_csv))
    for name in ("project.yml", "sources/invoices.yml"):
        (tmp_path / "models" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "models" / name).write_text((FOLDER / name).read_text())
    marts = tmp_path / "models/marts"
    marts.mkdir()
    (marts / "raw.sql").write_text("select InvoiceNo as invoice_no, Country as country from invoices\n")
    (marts / "raw.yml").write_text("grain: invoice_no\n")
    project = open_project(tmp_path / "models", var=tmp_path / "var")
    with pytest.raises(BuildFailed, match="invoice_no is unique: 43 failing rows"):
        project.build()
    assert project.current_version() is None
    project.close()


def test_each_persons_total_is_the_sum_over_the_filtered_file(retail: Project) -> None:
    everything = one(retail, "select sum(revenue) from orders")
    kingdom = one(retail, "select sum(revenue) from orders where country = 'United Kingdom'")
    assert one(retail, "select sum(revenue) from orders", UMA) == kingdom
    assert kingdom != everything
    version = retail.current_version()
    assert version is not None
    with duckdb.connect(str(version.marts["orders"].path), read_only=True) as raw:
        assert raw.sql("select sum(revenue) from orders").fetchall() == [(everything,)]
        by_hand = raw.sql("select sum(revenue) from orders where country = 'United Kingdom'").fetchall()
    assert by_hand == [(kingdom,)]


def test_customers_revenue_is_net_of_cancellations(retail: Project) -> None:
    net = one(retail, "select sum(revenue) from customers")
    assert net == one(retail, "select sum(revenue) from orders where customer_id is not null")
    assert str(net) == "12966948.08"
