"""`python -m serving metrics` and `explain`: the words, the marks, the receipts, without a process each."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from typer.testing import CliRunner, Result

import serving.__main__  # noqa: F401 - every command
from serving import open_project
from serving.cli import app
from tests.conftest import SHOP

ANA, EMIL, NOBODY = "ana@example.com", "emil@example.com", "nobody@example.com"
MORE = """\
time: day
joins: {customers: {mart: customers, on: {customer_id: customer_id}}}
rollups:
  by_day: {dimensions: [day.day, region], measures: [revenue, orders, aov, "~buyers"]}
"""
MEASURES = "  buyers: {agg: count_distinct, expr: customer_id, label: Customers, synonyms: [clients]}\n"
Sluice = Callable[..., Result]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("metrics")
    files = {**SHOP, "marts/orders.yml": SHOP["marts/orders.yml"] + MEASURES + MORE}
    for name, text in files.items():
        path = root / name if name.endswith(".csv") else root / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("${HERE}", str(root)), encoding="utf-8")
    project = open_project(root / "models", var=root / "var")
    project.build()
    project.close()
    yield root


@pytest.fixture
def sluice(folder: Path) -> Sluice:
    where = ["--project", str(folder / "models"), "--var", str(folder / "var")]
    return lambda *words, user=ANA: CliRunner().invoke(app, [*words, "--user", user, *where])


def test_metrics_are_asked_by_dimensions_with_totals_and_order(sluice: Sluice) -> None:
    words = ("metrics", "orders.revenue", "orders.aov", "--by", "region,day.month", "--totals")
    done = sluice(*words, "--order", "-revenue", "--json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert [(row["region"], row["day_month"], row["revenue"], row["row_kind"]) for row in rows] == [
        ("EMEA", "2026-02-01", 100, "group"),
        ("EMEA", "2026-01-01", 15, "group"),
        ("AMER", "2026-03-01", 9.25, "group"),
        ("AMER", "2026-02-01", 7, "group"),
        (None, None, 131.25, "total"),
    ]


def test_conditions_comparisons_and_gaps_come_from_options(sluice: Sluice) -> None:
    done = sluice(
        *("metrics", "orders.orders", "--by", "day.month", "--fill", "--compare", "previous period"),
        *("--where", "day: 2026-02-01..2026-03-31", "--where", "region = 'EMEA'", "--json"),
    )
    rows = json.loads(done.stdout)
    assert [(row["orders"], row["orders_before"]) for row in rows] == [(1, 0), (0, 2)]


def test_the_note_says_rollup_cache_and_estimates(sluice: Sluice) -> None:
    words = ("metrics", "~orders.buyers", "--by", "region")
    done = sluice(*words)
    assert "≈ buyers" in done.stdout
    assert "rollup orders.by_day; not from the cache; ≈ buyers" in done.stderr
    exact = sluice("metrics", "orders.buyers", "--by", "region")
    assert "≈" not in exact.output
    assert "mart orders; not from the cache" in exact.stderr
    assert "mart orders" in sluice(*words, "--no-rollups").stderr


def test_files_say_which_columns_are_estimates(sluice: Sluice, tmp_path: Path) -> None:
    words = ("metrics", "~orders.buyers", "orders.orders")
    out = tmp_path / "answer.parquet"
    assert sluice(*words, "--format", "parquet", "--out", str(out)).exit_code == 0
    buyers, orders = pa.parquet.read_schema(out)
    assert buyers.metadata[b"approximate"] == b"true"
    assert b"approximate" not in (orders.metadata or {})
    header = sluice(*words, "--format", "csv").stdout.splitlines()[0]
    assert header == '"buyers","orders"'


def test_explain_names_the_rollup_and_why_others_were_passed_over(sluice: Sluice) -> None:
    used = sluice("metrics", "orders.revenue", "--by", "day.month", "--explain").stdout
    assert "answered by orders: the rollup 'by_day' (5 rows)" in used
    assert '"orders:by_day"' in used
    passed = sluice("explain", "select note, sum(amount) from orders group by 1").stdout
    assert "answered by orders: the mart (5 rows)" in passed
    assert "passed over by_day (dimension): " in passed
    facts = json.loads(sluice("explain", "select sum(amount) from orders", "--json").stdout)
    assert [(route["mart"], route["rollup"]) for route in facts["routes"]] == [("orders", "by_day")]


def test_without_a_metric_it_lists_what_this_person_may_ask(sluice: Sluice) -> None:
    text = sluice("metrics").stdout
    assert "orders.buyers   Customers; also called clients; ≈ as ~orders.buyers" in text
    assert "day.GRAIN" in text
    (orders,) = json.loads(sluice("metrics", "--json", user=EMIL).stdout)
    names = [one["name"] for one in orders["dimensions"]]
    assert "customers.region" in names
    assert "customers.salary" not in names
    assert "customers.salary" in sluice("metrics").stdout


def test_what_has_no_meaning_exits_with_1_and_what_is_misused_with_2(sluice: Sluice) -> None:
    refused = sluice("metrics", "orders.revenu")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "did you mean 'revenue'?" in refused.stderr
    assert sluice("metrics", "--by", "region").exit_code == 2
    assert "cannot be read" in sluice("metrics", "orders.revenue", "--where", "region is").stderr


def test_rollups_are_listed_with_what_they_keep(sluice: Sluice) -> None:
    text = sluice("rollups", "list").stdout
    assert "orders.by_day" in text
    assert "5 rows of 5" in text
    assert "by     day.day, region" in text
    theirs = json.loads(sluice("rollups", "list", "--json", user=EMIL).stdout)
    assert [(one["mart"], one["rows"]) for one in theirs] == [("orders", None)]
