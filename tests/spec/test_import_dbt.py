"""A dbt project's manifest becomes marts over the tables that dbt built, and whatever does not is listed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from typer.testing import CliRunner

from serving import Project, open_project
from serving.__main__ import app
from serving.content.load import read_content
from serving.content.model import Content, Mart
from serving.errors import SluiceError, UnknownUser
from serving.importing.dbt.project import import_dbt
from serving.importing.expressions import row_expression, translated
from serving.importing.findings import NotCarried
from serving.importing.names import free_name, sluice_name
from serving.importing.place import Place
from serving.importing.sketch import Draft
from serving.importing.write import draft_files, write_draft
from serving.project import check_project
from serving.semantic.asking.words import read_request
from tests.conftest import ROOT

MANIFEST = yaml.safe_load((ROOT / "tests/projects/dbt_shop/manifest.yml").read_text(encoding="utf-8"))
BUILT = """\
create schema main_marts;
create table main_marts.fct_orders as from (values
    (1, 'paid', 1, 'a@example.com', 40.00::decimal(9,2), timestamp '2026-01-05 10:00', 'web', 7),
    (2, 'paid', 2, 'b@example.com', 60.50, timestamp '2026-01-09 23:30', 'shop', 7),
    (3, 'refunded', 1, null, -40.00, timestamp '2026-02-01 00:00', 'web', null),
    (4, 'open', 2, null, 99.00, timestamp '2026-02-03 12:00', null, 8),
    (5, 'paid', 3, 'c@example.com', 10.25, timestamp '2026-02-04 09:15', 'shop', 8)
) t(order_id, status, customer_id, email, amount, ordered_at, channel, driver_id);
create table main_marts.dim_customers as from (values
    (1, 'DE', date '2025-12-01'), (2, 'DE', date '2026-01-02'), (3, 'FR', date '2026-02-01')
) t(customer_id, country, joined_on);
create table stock_levels as from (values
    ('tea', 5, '2026-01-01 08:00'), ('tea', 3, '2026-01-02 08:00'), ('mug', 9, '2026-01-01 09:00')
) t(sku, pieces, counted_at);
"""


def written(folder: Path, manifest: Any = MANIFEST) -> Path:
    """The manifest as dbt writes it."""
    path = folder / "target" / "manifest.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(manifest), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What dbt built."""
    path = tmp_path_factory.mktemp("dbt") / "warehouse.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(BUILT)
    return path


@pytest.fixture(scope="module")
def draft(warehouse: Path) -> Draft:
    return import_dbt(written(warehouse.parent), Place(warehouse))


@pytest.fixture(scope="module")
def models(draft: Draft, warehouse: Path) -> Path:
    """The imported folder, as it was written."""
    folder = warehouse.parent / "models"
    write_draft(draft, folder)
    return folder


@pytest.fixture(scope="module")
def content(models: Path) -> Content:
    return read_content(models)[0]


@pytest.fixture(scope="module")
def project(draft: Draft, warehouse: Path) -> Iterator[Project]:
    """The same with one person assigned, built."""
    folder = warehouse.parent / "assigned"
    write_draft(draft, folder)
    policy = folder / "policies/access.yml"
    grant = "assign:\n  - {email: ada@example.com, roles: [steward]}\n"
    policy.write_text(policy.read_text(encoding="utf-8") + grant, encoding="utf-8")
    opened = open_project(folder, var=warehouse.parent / "var")
    opened.build()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def sql(warehouse: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        connection.execute("set search_path = 'main,main_marts'")
        yield connection


def left(draft: Draft) -> dict[str, str]:
    return {finding.what: finding.words for finding in draft.findings if finding.kind == "left"}


def orders_of(draft: Draft) -> Mart:
    return next(each.mart for each in draft.marts if each.mart.name == "fct_orders")


def variant(change: Any, warehouse: Path, folder: Path, select: tuple[str, ...] = ()) -> Draft:
    """The import of a changed manifest."""
    manifest = json.loads(json.dumps(MANIFEST))
    change(manifest)
    return import_dbt(written(folder, manifest), Place(warehouse), select)


def test_the_imported_folder_has_no_problems(models: Path) -> None:
    assert check_project(models)[2] == []


def test_public_models_those_of_a_marts_folder_and_those_with_metrics_become_marts(content: Content) -> None:
    marts = {name for name, mart in content.marts.items() if not mart.built_in}
    assert marts == {"fct_orders", "dim_customers", "stock_levels"}
    assert {name: source.table for name, source in content.sources.items()} == {
        "fct_orders_table": "main_marts.fct_orders",
        "dim_customers_table": "main_marts.dim_customers",
        "stock_levels_table": "stock_levels",
    }


def test_descriptions_owners_tags_and_users_are_carried(content: Content) -> None:
    orders = content.marts["fct_orders"]
    assert orders.description == (
        "One row per order. Refunds are rows of their own."
        " Used by Weekly figures (dashboard, ada@example.com)."
    )
    assert (orders.label, orders.owner) == ("Orders", "finance@example.com")
    assert content.marts["dim_customers"].owner == "crm@example.com"
    assert orders.columns["email"].tags == ("contact", "pii.email", "secret")


def test_tests_and_constraints_become_tests_and_the_grain(content: Content) -> None:
    orders, customers = content.marts["fct_orders"], content.marts["dim_customers"]
    assert (orders.grain, customers.grain) == (("order_id",), ("customer_id",))
    assert orders.columns["order_id"].tests == ()  # the grain says it
    assert orders.columns["status"].tests[0].model_dump(by_alias=True) == {"in": ("paid", "refunded", "open")}  # type: ignore[union-attr]
    assert orders.columns["customer_id"].tests[0].to == "dim_customers.customer_id"  # type: ignore[union-attr]
    assert orders.tests == ("select email from fct_orders where (status = 'paid') and email is null",)
    assert customers.tests == ("select * from dim_customers where not (length(country) = 2)",)


def test_a_contract_lists_its_columns_and_others_show_all(content: Content) -> None:
    assert content.marts["dim_customers"].sql == (
        "select customer_id, country, joined_on from dim_customers_table\n"
    )
    assert content.marts["fct_orders"].sql == "select * from fct_orders_table\n"


def test_a_time_that_is_computed_becomes_a_column(content: Content) -> None:
    stock = content.marts["stock_levels"]
    assert stock.time == "counted_on"
    assert stock.sql == "select *, cast(counted_at as date) as counted_on from stock_levels_table\n"


def test_an_entity_of_another_model_is_a_join(content: Content) -> None:
    (join,) = content.marts["fct_orders"].joins.values()
    assert (join.mart, dict(join.on), join.kind) == (
        "dim_customers",
        {"customer_id": "customer_id"},
        "many_to_one",
    )


def test_everything_that_is_not_carried_is_listed_with_its_reason(draft: Draft) -> None:
    found = left(draft)
    expected = {
        "test mean_amount": "no test like dbt_expectations.expect_column_mean_to_be_between",
        "test no_loss": "a SELECT over dbt's names",
        "test not_null_country": "only warns",
        "test relationships_country": "not imported",
        "dimension orders.rank": "window function",
        "measure orders.p90_discrete": "discrete percentile",
        "metric visit_to_order": "conversion",
        "metric revenue_growth": "shifts 'revenue' by 1 month",
        "metric german_revenue": "through a join",
        "entity orders.driver": "the key of no mart",
        "entity stock.article": "natural",
        "model int_days": "ephemeral",
        "model stg_orders": "--select",
        "seed countries": "--select",
        "meta 'steward' of column fct_orders.email": "no meaning",
        "meta 'priority' of model fct_orders": "no meaning",
        "tags of model fct_orders": "columns do",
        "saved_query.corner_shop.monthly": "saved query",
        "unit_test.corner_shop.fct_orders.adds_up": "unit test",
        "source.corner_shop.till.receipts": "read by dbt",
        "model.corner_shop.fct_old": "disabled",
        "operation.corner_shop.grants": "operation",
    }
    assert found.keys() == expected.keys()
    for what, words in expected.items():
        assert words in found[what], what


def test_differences_and_new_names_are_listed(draft: Draft) -> None:
    changed = {finding.what for finding in draft.findings if finding.kind == "changed"}
    assert changed == {"exposure weekly", "metric stock_on_hand", "metric orders_mtd", "measure orders.p90"}
    renamed = {finding.what: finding.words for finding in draft.findings if finding.kind == "renamed"}
    assert renamed == {
        "model Stock Levels": "is called stock_levels here",
        "dimension orders.Sales Channel": "is called sales_channel here",
    }


def test_the_report_stands_in_the_folder(models: Path, draft: Draft) -> None:
    report = (models / "import-report.md").read_text(encoding="utf-8")
    for finding in draft.findings:
        assert finding.what in report


def test_nobody_sees_anything_before_a_role_is_assigned(models: Path, content: Content) -> None:
    assert (content.policy.assign, list(content.policy.roles)) == ((), ["steward"])
    opened = open_project(models, var=models.parent / "nobody")
    try:
        with pytest.raises(UnknownUser):
            opened.user("ada@example.com")
    finally:
        opened.close()


PAID = "sum(amount) filter (status = 'paid')"
ASKED = {
    "revenue": PAID,
    "order_count": "count(*)",
    "order_total": "sum(amount)",
    "late_revenue": "sum(amount) filter (ordered_at >= '2026-02-01' and customer_id is not null)",
    "largest": "max(amount)",
    "buyers": "count(distinct customer_id)",
    "paid_orders": "sum((status = 'paid')::integer)",
    "typical": "median(amount)",
    "p90": "quantile_cont(amount, 0.9)",
    "paid_share": "count(*) filter (amount >= 50) / count(*)",
    "average_order": f"{PAID} / count(*)",
}


@pytest.mark.parametrize(
    ("by", "key"),
    [
        ("status", "status"),
        ("ordered_at.month", "date_trunc('month', ordered_at)::date"),
        ("sales_channel", "channel"),
        ("size", "case when amount >= 50 then 'large' else 'small' end"),
        (
            "dim_customers.country",
            "(select country from dim_customers c where c.customer_id = o.customer_id)",
        ),
    ],
)
def test_a_metric_asked_through_the_door_equals_plain_sql(
    project: Project, sql: duckdb.DuckDBPyConnection, by: str, key: str
) -> None:
    request = read_request({"metrics": [f"fct_orders.{name}" for name in ASKED], "by": [by]})
    answer = project.ask(metrics=request, user="ada@example.com").table.to_pylist()
    shown = [text if name != "revenue" else f"coalesce({text}, 0)" for name, text in ASKED.items()]
    rows = sql.execute(
        f"select {key} as key, {', '.join(shown)} from fct_orders o group by 1 order by 1 nulls last"
    ).fetchall()
    assert [tuple(row.values()) for row in answer] == rows


def test_metrics_of_two_marts_windows_and_stocks_equal_plain_sql(
    project: Project, sql: duckdb.DuckDBPyConnection
) -> None:
    def asked(metric: str, *by: str) -> list[tuple[Any, ...]]:
        request = read_request({"metrics": [metric], "by": list(by)})
        table = project.ask(metrics=request, user="ada@example.com").table
        return [tuple(row.values()) for row in table.to_pylist()]

    assert (
        asked("fct_orders.revenue_per_customer")
        == sql.execute(
            f"select {PAID} / (select count(customer_id) from dim_customers) from fct_orders"
        ).fetchall()
    )
    running = sql.execute(
        "select day::date, (select sum(amount) from fct_orders"
        " where ordered_at >= day - interval 6 day and ordered_at < day + interval 1 day)"
        " from range(timestamp '2026-01-05', timestamp '2026-02-05', interval 1 day) t(day)"
    ).fetchall()
    assert asked("fct_orders.revenue_7d", "time.day") == running
    assert asked("fct_orders.orders_mtd", "time.month")[-1][1] == 3
    assert asked("stock_levels.stock_on_hand", "sku") == [("mug", 9), ("tea", 3)]


def test_a_manifest_of_the_older_spec_gives_the_same_measures(warehouse: Path, tmp_path: Path) -> None:
    def older(manifest: Any) -> None:
        manifest["metadata"]["dbt_schema_version"] = "https://schemas.getdbt.com/dbt/manifest/v10.json"
        metrics = manifest["metrics"]
        metrics["metric.corner_shop.revenue"]["filter"] = {
            "where_sql_template": "{{ Dimension('order__status') }} = 'paid'"
        }
        metrics["metric.corner_shop.revenue_7d"]["type_params"] = {
            "measure": "order_total",
            "window": {"count": 7, "granularity": "day"},
        }

    measures = orders_of(variant(older, warehouse, tmp_path)).measures
    assert measures["revenue"].filter == "status = 'paid'"
    assert (measures["revenue_7d"].cumulative, measures["revenue_7d"].window) == ("order_total", "7 day")


def test_selected_relations_only(warehouse: Path, tmp_path: Path) -> None:
    draft = variant(lambda manifest: None, warehouse, tmp_path, ("dim_*",))
    assert [each.mart.name for each in draft.marts] == ["dim_customers"]
    found = left(draft)
    assert found["semantic model orders"] == "its relation is not imported"
    assert "is of no semantic model that is imported" in found["metric revenue"]
    with pytest.raises(SluiceError, match="--select nope finds no relation"):
        variant(lambda manifest: None, warehouse, tmp_path, ("nope",))


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ Metric('revenue', group_by=['customer']) }} > 3", "a condition on rows cannot"),
        ("{{ Dimension('order__nope') }} = 1", "which orders does not hold"),
        ("{% if target.name == 'x' %} true {% endif %}", "Jinja"),
        ("{{ var('limit') }} < amount", "a condition on rows cannot"),
        ("sum(amount) > 3", "holds the aggregate sum()"),
        ("{{ Dimension('order__status').lower() }} = 'x'", "more than the name of a dimension"),
    ],
)
def test_a_filter_that_is_no_condition_on_rows_leaves_the_metric_out(
    warehouse: Path, tmp_path: Path, template: str, words: str
) -> None:
    def filtered(manifest: Any) -> None:
        metric = manifest["metrics"]["metric.corner_shop.revenue"]
        metric["filter"] = {"where_filters": [{"where_sql_template": template}]}

    draft = variant(filtered, warehouse, tmp_path)
    measures = orders_of(draft).measures
    assert words in left(draft)["metric revenue"]
    assert not {"revenue", "average_order", "revenue_per_customer"} & measures.keys()
    assert words in left(draft)["metric average_order"]


def test_unknown_aggregations_and_types_are_never_guessed(warehouse: Path, tmp_path: Path) -> None:
    def strange(manifest: Any) -> None:
        models = manifest["semantic_models"]
        models["semantic_model.corner_shop.orders"]["measures"][0]["agg"] = "geometric_mean"
        manifest["metrics"]["metric.corner_shop.order_count"]["type"] = "forecast"

    found = left(variant(strange, warehouse, tmp_path))
    assert "'geometric_mean' is not known" in found["metric revenue"]
    assert "of type forecast" in found["metric order_count"]


def test_sql_of_another_warehouse_is_translated_or_left(warehouse: Path, tmp_path: Path) -> None:
    def snowflake(manifest: Any) -> None:
        manifest["metadata"]["adapter_type"] = "snowflake"
        dimensions = manifest["semantic_models"]["semantic_model.corner_shop.orders"]["dimensions"]
        dimensions[2]["expr"] = "iff(amount >= 50, 'large', 'small')"
        dimensions[3]["expr"] = "my_udf(channel)"

    draft = variant(snowflake, warehouse, tmp_path)
    orders = orders_of(draft)
    assert orders.dimensions["size"].expr == "CASE WHEN amount >= 50 THEN 'large' ELSE 'small' END"
    assert "calls my_udf()" in left(draft)["dimension orders.Sales Channel"]
    with pytest.raises(NotCarried, match="written for oracle"):
        translated("nvl(a, b)", "oracle")
    assert row_expression("order") == '"order"'


def test_a_dimension_never_takes_the_name_of_a_column(warehouse: Path, tmp_path: Path) -> None:
    def clashing(manifest: Any) -> None:
        model = manifest["semantic_models"]["semantic_model.corner_shop.orders"]
        model["dimensions"][1]["expr"] = "upper(status)"
        model["dimensions"][2] = {"name": "channel", "type": "categorical", "expr": "lower(channel)"}
        model["dimensions"][3]["name"] = "time"

    draft = variant(clashing, warehouse, tmp_path)
    assert {name: each.expr for name, each in orders_of(draft).dimensions.items()} == {
        "status_computed": "upper(status)",
        "channel_computed": "lower(channel)",
        "the_time": "channel",
    }
    write_draft(draft, tmp_path / "models")
    assert check_project(tmp_path / "models")[2] == []


def test_parquet_files_take_the_place_of_a_database(tmp_path: Path, sql: duckdb.DuckDBPyConnection) -> None:
    for table in ("fct_orders", "dim_customers"):
        sql.execute(f"copy {table} to '{tmp_path / table}.parquet'")
    draft = import_dbt(written(tmp_path), Place(parquet=tmp_path))
    assert [source.path for source in draft.sources] == [
        f"{tmp_path}/dim_customers.parquet",
        f"{tmp_path}/fct_orders.parquet",
    ]
    assert "there is no stock_levels.parquet" in left(draft)["model Stock Levels"]


def test_a_file_that_is_no_known_manifest_is_refused_with_a_hint(warehouse: Path, tmp_path: Path) -> None:
    def newer(manifest: Any) -> None:
        manifest["metadata"]["dbt_schema_version"] = "https://schemas.getdbt.com/dbt/manifest/v99.json"

    with pytest.raises(SluiceError, match="known are v10, v11, v12"):
        variant(newer, warehouse, tmp_path)
    with pytest.raises(SluiceError, match="it is not said where the table"):
        import_dbt(written(tmp_path), Place())
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    for name, words in (("broken.json", "is no JSON"), ("absent.json", "cannot be read")):
        with pytest.raises(SluiceError, match=words):
            import_dbt(tmp_path / name, Place(warehouse))


def test_the_command_writes_nothing_over_without_force(warehouse: Path, tmp_path: Path) -> None:
    manifest, out = str(written(tmp_path)), tmp_path / "content"
    words = ["import", "dbt", manifest, "--out", str(out), "--database", str(warehouse)]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert (facts["ok"], facts["marts"], facts["problems"]) == (True, 3, [])
    assert {"kind", "what", "words"} == facts["findings"][0].keys()
    (out / "project.yml").write_text("name: mine\n", encoding="utf-8")
    (out / "marts/stock_levels.yml").unlink()
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 1
    assert "would be written over" in refused.output
    assert not (out / "marts/stock_levels.yml").exists()
    assert (out / "project.yml").read_text(encoding="utf-8") == "name: mine\n"
    forced = CliRunner().invoke(app, [*words, "--force"])
    assert forced.exit_code == 0
    assert "Not carried over (" in forced.output
    assert (out / "project.yml").read_text(encoding="utf-8") == "name: corner_shop\n"
    assert not list(tmp_path.glob(".import-*"))


def test_the_files_read_as_a_person_would_write_them(draft: Draft) -> None:
    assert draft_files(draft)["marts/stock_levels.yml"] == (
        "time: counted_on\n"
        "columns:\n"
        "  counted_on: {}\n"
        "  pieces: {}\n"
        "  sku: {}\n"
        "measures:\n"
        "  stock_on_hand: {agg: sum, expr: pieces, semi_additive: counted_on, per: [sku]}\n"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Orders v1.2", "orders_v1_2"),
        ("2024", "the_2024"),
        ("time", "the_time"),
        ("x" * 80, "x" * 63),
        ("é", "the"),
    ],
)
def test_names_that_are_none_here_are_mapped(old: str, new: str) -> None:
    assert sluice_name(old) == new
    assert free_name("a" * 63, {"a" * 63}) == "a" * 61 + "_2"
