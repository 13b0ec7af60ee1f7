"""Apache Ossie both ways: what goes out comes back the same, and a foreign model becomes marts."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from serving import Project, open_project
from serving.__main__ import app
from serving.content.model import Content, Mart, ProjectSpec
from serving.content.policy import Policy
from serving.errors import SluiceError
from serving.importing.ossie.export import hidden_measures, ossie_document, ossie_text
from serving.importing.ossie.project import import_ossie
from serving.importing.place import Place
from serving.importing.sketch import Draft
from serving.importing.write import write_draft
from serving.project import check_project
from serving.semantic.asking.words import read_request
from tests.conftest import ROOT

FOREIGN = ROOT / "tests/projects/ossie_retail/model.yaml"
BUILT = """\
create table store_sales as from (values
    (1, 10, 1, date '2026-01-02', 3, 2.50::decimal(9,2), 1.00::decimal(9,2)),
    (2, 10, 1, date '2026-01-02', 1, null, 0.10),
    (1, 11, 2, date '2026-02-01', 5, 2.00, -0.40),
    (3, 12, null, date '2026-02-03', 2, 9.99, 4.00)
) t(item_sk, ticket_number, customer_sk, sold_on, quantity, price, net_profit);
create table customer as from (values
    (1, 'a@example.com', 'Ann', 'Ash', date '1990-01-01', date '2025-01-01'),
    (2, 'b@example.com', 'Ben', 'Birch', date '1980-01-01', date '2025-02-01')
) t(customer_sk, email, first_name, last_name, born, joined);
"""
# the keys that each part of a document may have (core specification 0.2.0.dev0)
ABOUT = {"name", "description", "ai_context", "custom_extensions"}
KEYS: Mapping[str, set[str]] = {
    "document": {*ABOUT, "version", "datasets", "relationships", "metrics"},
    "dataset": {*ABOUT, "source", "primary_key", "unique_keys", "fields"},
    "field": {*ABOUT, "expression", "dimension", "label", "datatype"},
    "relationship": {"name", "from", "to", "from_columns", "to_columns", "ai_context", "custom_extensions"},
    "metric": {*ABOUT, "expression", "datatype"},
}
DIALECTS = set("ANSI_SQL SNOWFLAKE MDX TABLEAU DATABRICKS MAQL BIGQUERY SIGMA THOUGHTSPOT DAX".split())


def fits(kind: str, part: Any, required: str) -> None:
    """The part has the keys it must, none it may not, and values of their forms."""
    assert set(required.split()) <= part.keys() <= KEYS[kind], part
    assert all(isinstance(part.get(key, ""), str) for key in ("name", "description", "source", "label"))
    for extension in part.get("custom_extensions", []):
        assert extension.keys() == {"vendor_name", "data"}
        assert extension["vendor_name"] == "SLUICE"
        assert isinstance(json.loads(extension["data"]), dict)
    if "ai_context" in part:
        assert part["ai_context"].keys() == {"synonyms"}
    for each in part.get("expression", {}).get("dialects", []):
        assert each.keys() == {"dialect", "expression"}
        assert each["dialect"] in DIALECTS
    if "expression" in part:
        assert len(part["expression"]["dialects"]) >= 1


def fits_ossie(document: Any) -> None:
    """The document is one that Ossie's schema takes."""
    fits("document", document, "version name datasets")
    assert document["version"] == "0.2.0.dev0"
    for dataset in document["datasets"]:
        fits("dataset", dataset, "name source")
        assert all(isinstance(key, list) for key in dataset.get("unique_keys", []))
        for field in dataset.get("fields", []):
            fits("field", field, "name expression")
            assert field.get("dimension", {}).keys() <= {"is_time"}
    for relationship in document.get("relationships", []):
        fits("relationship", relationship, "name from to from_columns to_columns")
        assert len(relationship["from_columns"]) == len(relationship["to_columns"]) >= 1
    for metric in document.get("metrics", []):
        fits("metric", metric, "name expression")
    for kind in ("datasets", "relationships", "metrics"):
        names = [part["name"] for part in document.get(kind, [])]
        assert len(names) == len(set(names))


def marts_of(draft: Draft) -> dict[str, Mart]:
    return {each.mart.name: each.mart for each in draft.marts}


def typed(marts: Mapping[str, Mart]) -> dict[str, dict[str, Any]]:
    """What the files of marts say, without where they say it."""
    return {name: mart.model_dump() for name, mart in marts.items() if not mart.built_in}


def left(draft: Draft) -> dict[str, str]:
    return {finding.what: finding.words for finding in draft.findings if finding.kind == "left"}


@pytest.fixture(scope="module")
def demo() -> Content:
    return check_project(ROOT / "models")[0]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tables of the foreign model."""
    folder = tmp_path_factory.mktemp("ossie")
    with duckdb.connect(str(folder / "retail.duckdb")) as connection:
        connection.execute(BUILT)
    return folder


@pytest.fixture(scope="module")
def foreign(files: Path) -> Draft:
    return import_ossie(FOREIGN, Place(files / "retail.duckdb"))


@pytest.fixture(scope="module")
def project(foreign: Draft, files: Path) -> Iterator[Project]:
    """The foreign model, with one person assigned, built."""
    write_draft(foreign, files / "models")
    policy = files / "models/policies/access.yml"
    grant = "assign:\n  - {email: ada@example.com, roles: [steward]}\n"
    policy.write_text(policy.read_text(encoding="utf-8") + grant, encoding="utf-8")
    opened = open_project(files / "models", var=files / "var")
    opened.build()
    yield opened
    opened.close()


def test_the_demo_comes_back_as_it_went(demo: Content, tmp_path: Path) -> None:
    path = tmp_path / "demo.yaml"
    path.write_text(ossie_text(demo), encoding="utf-8")
    draft = import_ossie(path, Place(tmp_path / "demo.duckdb"))
    assert {name: mart.model_dump() for name, mart in marts_of(draft).items()} == typed(demo.marts)
    assert draft.findings == ()
    write_draft(draft, tmp_path / "models")
    assert check_project(tmp_path / "models")[2] == []


def test_an_export_has_the_form_that_ossie_asks_for(demo: Content) -> None:
    document = yaml.safe_load(ossie_text(demo))
    fits_ossie(document)
    metrics = {each["name"]: each["expression"]["dialects"][0]["expression"] for each in document["metrics"]}
    assert metrics["contact_rate"] == (
        "CAST(COUNT(tickets.ticket_id) AS DOUBLE PRECISION) / NULLIF(COUNT(orders.order_id), 0)"
    )
    assert metrics["urgent"] == "COUNT(CASE WHEN tickets.priority = 'urgent' THEN 1 END)"
    assert metrics["first_response_p90"] == (
        "PERCENTILE_CONT(0.9) WITHIN GROUP (ORDER BY tickets.first_response_minutes)"
    )


def test_measures_that_others_would_compute_wrongly_are_no_metrics(demo: Content) -> None:
    hidden = hidden_measures(demo)
    assert "orders.revenue_28d" in hidden
    metrics = json.dumps(ossie_document(demo)["metrics"])
    assert "revenue_28d" not in metrics
    assert "revenue_year_to_date" not in metrics


def test_an_expression_edited_elsewhere_counts(demo: Content, tmp_path: Path) -> None:
    document = ossie_document(demo)
    for metric in document["metrics"]:
        if metric["name"] == "urgent":
            metric["expression"]["dialects"][0]["expression"] = "MAX(tickets.satisfaction)"
        if metric["name"] == "open":
            metric["description"] = "Still to be solved"
    path = tmp_path / "edited.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    draft = import_ossie(path, Place(tmp_path / "demo.duckdb"))
    measures = marts_of(draft)["tickets"].measures
    assert (measures["urgent"].agg, measures["urgent"].expr) == ("max", "satisfaction")
    assert measures["open"].description == "Still to be solved"
    assert [finding.what for finding in draft.findings] == ["metric urgent"]


NAMES = st.sampled_from(["region", "amount", "day", "note", "Order ID", "from"])
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
EXPRESSIONS = st.sampled_from(
    ["amount", "amount * 2", "case when region = 'EMEA' then amount end", "lower(region)", '"Order ID" % 7']
)
CONDITIONS = st.sampled_from(["region is null", "amount > 3 or note like 'x%'", "day >= date '2026-01-01'"])


@st.composite
def a_measure(draw: st.DrawFn, made: list[str]) -> dict[str, Any]:
    about = {"label": draw(TEXTS), "description": draw(TEXTS), "format": draw(st.sampled_from(["", ",.0f"]))}
    about |= {"fill_nulls_with": draw(st.sampled_from([None, 0, 1.5]))}
    kind = draw(st.sampled_from(["agg", "agg", "rows", "derived", "cumulative", "semi", "quantile"]))
    if kind == "derived" and made:
        one, other = draw(st.sampled_from(made)), draw(st.sampled_from(made))
        return {**about, "expr": draw(st.sampled_from([f"{one} / {other}", f"2 * ({one} - {other})"]))}
    if kind == "cumulative" and made:
        return {"cumulative": made[0], "window": draw(st.sampled_from([None, "28 days"]))}
    filtered = {"filter": draw(st.none() | CONDITIONS)}
    if kind == "rows":
        return {**about, **filtered, "agg": "count"}
    if kind == "quantile":
        return {**about, **filtered, "agg": "quantile", "expr": "amount", "quantile": draw(st.floats(0, 1))}
    semi = {"semi_additive": "day", "per": ["region"], "take": "first"} if kind == "semi" else {}
    agg = draw(st.sampled_from(["sum", "count", "count_distinct", "avg", "min", "max", "median"]))
    return {**about, **filtered, **semi, "agg": agg, "expr": draw(EXPRESSIONS)}


@st.composite
def a_mart(draw: st.DrawFn, name: str, others: list[str]) -> Mart:
    columns = {
        column: {"label": draw(TEXTS), "description": draw(TEXTS), "tags": draw(st.lists(TEXTS, max_size=2))}
        for column in ["region", "amount", "day", *draw(st.lists(NAMES, unique=True))]
    }
    columns["region"] |= {"tests": draw(st.sampled_from([[], ["unique"], ["not_null", {"in": ["EMEA", 3]}]]))}
    measures: dict[str, Any] = {}
    for number in range(draw(st.integers(0, 4))):
        plain = [key for key, spec in measures.items() if "agg" in spec and "semi_additive" not in spec]
        measures[f"m{number}"] = draw(a_measure(plain))
    joins = {other: {"mart": other, "on": {"region": "region"}} for other in others if draw(st.booleans())}
    mart = Mart.model_validate(
        {
            "name": name,
            "label": draw(TEXTS),
            "description": draw(TEXTS),
            "owner": draw(TEXTS),
            "synonyms": draw(st.lists(TEXTS, max_size=2)),
            "grain": draw(st.sampled_from([[], ["region"], ["region", "day"]])),
            "time": draw(st.sampled_from([None, "day"])),
            "columns": columns,
            "dimensions": {"basket": {"expr": draw(EXPRESSIONS), "description": draw(TEXTS)}},
            "measures": measures,
            "joins": joins,
            "hierarchies": draw(st.sampled_from([{}, {"geo": ["region", "note"]}])),
            "rollups": draw(
                st.sampled_from([{}, {"daily": {"dimensions": ["day.month"], "measures": ["m0"]}}])
            ),
            "tests": draw(st.lists(st.just("select 1 as x where false"), max_size=1)),
            "freshness": draw(st.sampled_from([None, {"column": "day", "warn": "1 day"}])),
            "visible": draw(st.booleans()),
        }
    )
    mart._sql_file = f"{name}.sql"
    return mart


@st.composite
def contents(draw: st.DrawFn) -> Content:
    names = ["orders", "customers", "x" * 63][: draw(st.integers(1, 3))]
    marts = {name: draw(a_mart(name, [other for other in names if other != name])) for name in names}
    project = ProjectSpec(name=draw(TEXTS), timezone=draw(st.sampled_from(["UTC", "Europe/Berlin"])))
    return Content(Path(), project, {}, marts, Policy(), {}, {}, {})


@settings(max_examples=60, deadline=None)
@given(content=contents())
def test_any_content_comes_back_as_it_went(
    tmp_path_factory: pytest.TempPathFactory, content: Content
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.ossie.yaml"
    text = ossie_text(content)
    path.write_text(text, encoding="utf-8")
    fits_ossie(yaml.safe_load(text))
    draft = import_ossie(path, Place(Path("any.duckdb")))
    assert {name: mart.model_dump() for name, mart in marts_of(draft).items()} == typed(content.marts)
    assert (draft.project, draft.findings) == (content.project, ())


def test_a_foreign_model_becomes_marts(foreign: Draft) -> None:
    sales, customer = marts_of(foreign)["store_sales"], marts_of(foreign)["customer"]
    assert (sales.grain, sales.time) == (("item_sk", "ticket_number"), "sold_on")
    assert sales.synonyms == ("POS data",)
    assert sales.dimensions["profit"].expr == "net_profit"
    assert sales.dimensions["amount"].expr == "quantity * CASE WHEN price IS NULL THEN 0 ELSE price END"
    assert (customer.grain, customer.columns["email"].tests) == (("customer_sk",), ("unique",))
    assert customer.dimensions["sk"].expr == "customer_sk"
    assert dict(sales.joins["customer"].on) == {"customer_sk": "customer_sk"}
    assert {name: measure.expr for name, measure in sales.measures.items() if measure.agg is None} == {
        "sales_per_customer": "sales / NULLIF(customer.customers, 0)",
        "profit_per_piece": "total_profit / sum_quantity",
        "profit_share": "100 * total_profit / sales",
    }


def test_what_a_foreign_model_says_beyond_is_listed(foreign: Draft) -> None:
    expected = {
        "description of model retail": "none",
        "ai_context instructions of model retail": "no place",
        "synonyms of relationship sales_to_customer": "none",
        "extension SNOWFLAKE of dataset Customer": "SNOWFLAKE only",
        "field store_sales.mood": "MDX only",
        "dataset recent": "a query",
        "relationship sales_to_recent": "not imported",
        "time of dataset Customer": "several",
        "synonym 'gain' of dimension store_sales.profit": "means 'total_profit' already",
        "metric pairs": "over customer and store_sales at once",
        "metric lines": "does not say of which dataset",
        "metric spread": "no measure is made by STDDEV",
        "metric running": "more than arithmetic",
        "metric bare": "outside of an aggregate",
        "metric loyal": "DAX only",
        "metric unfinished": "not SQL",
        "metric foreign": "in no dataset",
    }
    found = left(foreign)
    assert found.keys() == expected.keys()
    for what, words in expected.items():
        assert words in found[what], (what, found[what])
    renamed = {finding.what for finding in foreign.findings if finding.kind == "renamed"}
    assert renamed == {"dataset Customer", "metric Profit Share (%)"}


def test_metrics_of_a_foreign_model_equal_plain_sql(project: Project, files: Path) -> None:
    assert check_project(project.root)[2] == []
    amount = "quantity * coalesce(price, 0)"
    asked = {
        "total_profit": "sum(net_profit)",
        "sales": f"sum({amount})",
        "profit_per_piece": "sum(net_profit) / sum(quantity)",
        "large_lines": "count(*) filter (quantity > 2)",
        "median_profit": "median(net_profit)",
        "profit_share": f"100 * sum(net_profit) / sum({amount})",
    }
    request = read_request({"metrics": [f"store_sales.{name}" for name in asked], "by": ["time.month"]})
    answer = project.ask(metrics=request, user="ada@example.com").table.to_pylist()
    overall = read_request({"metrics": ["store_sales.sales_per_customer"], "by": ["customer.full_name"]})
    each = project.ask(metrics=overall, user="ada@example.com").table.to_pylist()
    with duckdb.connect(str(files / "retail.duckdb"), read_only=True) as connection:
        rows = connection.execute(
            f"select date_trunc('month', sold_on)::date, {', '.join(asked.values())} from store_sales"
            " group by 1 order by 1"
        ).fetchall()
        people = connection.execute(
            f"select any_value(first_name || ' ' || last_name), sum({amount})"
            " / nullif(count(distinct c.customer_sk), 0) from store_sales left join customer c"
            " using (customer_sk) group by customer_sk order by 1 nulls last"
        ).fetchall()
    assert [tuple(row.values()) for row in answer] == rows
    assert [tuple(row.values()) for row in each] == people


def test_older_forms_are_read_and_strange_keys_listed(files: Path, tmp_path: Path) -> None:
    model = yaml.safe_load(FOREIGN.read_text(encoding="utf-8"))
    del model["version"]
    model["datasets"][0]["colour"] = "red"
    for held in ([model], model):
        path = tmp_path / "older.json"
        path.write_text(json.dumps({"version": "0.1.1", "semantic_model": held}), encoding="utf-8")
        draft = import_ossie(path, Place(files / "retail.duckdb"))
        assert "older form" in draft.origin
        assert left(draft)["retail.store_sales.colour"] == "is no key of Ossie 0.2"
        assert marts_of(draft).keys() == {"store_sales", "customer"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version: '7'\nname: x\n", "of version 7"),
        ("name: x\ndatasets: []\n", "no version"),
        ("version: 0.2.0.dev0\nname: x\ndatasets: []\n", "datasets"),
        ("version: 0.2.0.dev0\nname: x\n", "datasets: Field required"),
        ("[1, 2]\n", "holds no model"),
        ("a: [\n", "neither YAML nor JSON"),
    ],
)
def test_a_file_that_is_no_model_is_refused_with_a_hint(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SluiceError, match=words) as refused:
        import_ossie(path, Place(tmp_path / "x.duckdb"))
    assert refused.value.hint


def test_the_commands_go_out_and_back(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo.yaml"
    done = CliRunner().invoke(app, ["export", "ossie", "--project", str(ROOT / "models"), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "orders.revenue_28d" in done.output  # what other tools do not see is said
    words = ["import", "ossie", str(FOREIGN), "--out", str(tmp_path / "models")]
    done = CliRunner().invoke(app, [*words, "--database", str(files / "retail.duckdb"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["marts"] == 2
    refused = CliRunner().invoke(app, [*words[:-1], str(tmp_path / "other")])
    assert refused.exit_code == 1
    assert not (tmp_path / "other").exists()
