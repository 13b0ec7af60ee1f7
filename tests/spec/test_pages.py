"""Each page draws, without a browser, for each kind of person."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from textwrap import dedent

import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

import serving.ui.explorer
from reverse_etl.journal import Order
from reverse_etl.requests import close_request, find_request
from reverse_etl.run import run_sync
from reverse_etl.ui.pages import SYNC_PAGES, sync_notices
from serving import Project, open_project
from serving.local import address_problem
from serving.ui.charts import bar_chart, line_chart
from serving.ui.explorer import Explorer, open_explorer
from serving.ui.figures import figure, short
from serving.ui.pages import serving_pages

CONTENT = {
    "project.yml": "name: Test shop",
    "marts/orders.sql": "select i as id, case when i % 3 = 0 then 'EMEA' else 'AMER' end as region, "
    "date '2026-01-01' + i::int as day, i * 10 as amount, 'a' || i || '@example.com' as email "
    "from range(90) t(i)",
    "marts/orders.yml": """
        description: One row per order
        grain: id
        columns:
          day: {description: When it was placed}
          region: {tests: [{in: [EMEA, AMER]}]}
          email: {tags: [pii.email]}
        measures:
          revenue: {agg: sum, expr: amount, format: "$,.0f"}
    """,
    "marts/secrets.sql": "select 1 as id",
    "marts/secrets.yml": "grain: id\nmeasures:\n  things: {agg: count}",
    "policies/access.yml": """
        attributes: {region: text}
        roles:
          steward: {marts: "*"}
          sales: {marts: orders}
          nobody: {marts: []}
        assign:
          - {email: ana@example.com, name: Ana, roles: steward}
          - {email: bob@example.com, name: Bob, roles: sales, attributes: {region: EMEA}}
          - {email: eve@example.com, name: Eve, roles: nobody}
        rows:
          - {mart: orders, where: region = user.region, except: steward}
        columns:
          - {tag: pii.email, mask: hash, except: steward}
        egress:
          - {destination: crm, allow: pii}
    """,
    "dashboards/sales.yml": """
        title: Sales
        filters: {day: all, region: all}
        tiles:
          - {title: Revenue, metrics: orders.revenue, chart: number}
          - {title: By region, metrics: orders.revenue, by: region, chart: bar}
          - {title: By month, metrics: orders.revenue, by: day.month, split: region, chart: line}
          - {title: Things, metrics: secrets.things, chart: number}
    """,
    "destinations/crm.yml": """
        connector: sandbox
        url: http://127.0.0.1:9
        token: ${env:SANDBOX_TOKEN_FOR_PAGES}
    """,
    "syncs/orders.yml": """
        source: orders
        run_as: steward
        destination: crm
        object: contacts
        key: {id: id}
        fields: {email: email, amount: amount}
    """,
}
PAGES = ("home", "dashboards", "metrics", "sql", "catalog", "syncs", "crm")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    root = tmp_path_factory.mktemp("shop")
    for name, text in CONTENT.items():
        file = root / "models" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text), encoding="utf-8")
    project = open_project(root / "models", var=root / "var")
    project.build()
    yield project
    project.close()


def look(shop: Project, page: str, person: str, **query: str) -> AppTest:
    """The page as the person sees it."""
    every = (*serving_pages(sync_notices), *SYNC_PAGES)
    open_explorer(Explorer(shop, sorted(every, key=lambda one: one.path != page)))
    test = AppTest.from_file(
        str(Path(serving.ui.explorer.__file__).with_name("script.py")), default_timeout=30
    )
    test.query_params["as"] = f"{person}@example.com"
    for name, value in query.items():
        test.query_params[name] = value
    return test.run()


def texts(test: AppTest) -> str:
    """All that the page says, as one text."""
    found = [
        element.value
        for kind in ("markdown", "caption", "error", "warning", "info")
        for element in test.get(kind)
    ]
    found += [str(element.proto.body) for element in test.get("html")]
    return "\n".join(map(str, found))


@pytest.mark.parametrize("person", ["ana", "bob", "eve"])
@pytest.mark.parametrize("page", PAGES)
def test_every_page_draws_for_everybody(shop: Project, page: str, person: str) -> None:
    assert not look(shop, page, person).exception


def test_the_dashboard_shows_each_person_their_own_sum(shop: Project) -> None:
    everything = sum(i * 10 for i in range(90))
    emea = sum(i * 10 for i in range(90) if i % 3 == 0)

    assert f"${everything:,}" in texts(look(shop, "dashboards", "ana"))
    bobs = texts(look(shop, "dashboards", "bob"))
    assert f"${emea:,}" in bobs
    assert f"${everything:,}" not in bobs


def test_metrics_show_each_person_their_own_sum_and_keep_the_choice_in_the_link(shop: Project) -> None:
    link = {"metrics": "orders.revenue", "where": "day: 2026-01-01..2026-12-31", "totals": "true"}
    everything, emea = sum(i * 10 for i in range(90)), sum(i * 10 for i in range(90) if i % 3 == 0)

    assert f"${everything:,}" in texts(look(shop, "metrics", "ana", **link))
    bobs = look(shop, "metrics", "bob", **link)
    assert f"${emea:,}" in texts(bobs)
    bobs.multiselect(key="metrics/by").set_value(["region"]).run()
    assert bobs.query_params["by"] == "region"
    assert bobs.query_params["where"] == "day: 2026-01-01..2026-12-31"


def test_metrics_that_are_not_there_for_somebody_are_refused_in_place(shop: Project) -> None:
    test = look(shop, "metrics", "bob", metrics="secrets.things")

    assert "there is no mart 'secrets' for you" in test.error[0].value
    assert (
        "no time range"
        in look(shop, "metrics", "bob", metrics="orders.revenue", where="day: x").error[0].value
    )


def test_a_refused_tile_says_why_and_the_others_answer(shop: Project) -> None:
    said = texts(look(shop, "dashboards", "bob"))

    assert "there is no mart 'secrets' for you" in said.replace("&#x27;", "'")
    assert "Revenue" in said


def test_a_link_with_sql_answers_at_once(shop: Project) -> None:
    test = look(shop, "sql", "bob", sql="select count(*) as orders from orders")

    assert test.dataframe[0].value["orders"].tolist() == [30]


def test_a_refusal_is_shown_in_words(shop: Project) -> None:
    test = look(shop, "sql", "bob", sql="select * from secrets")

    assert "there is no mart" in test.error[0].value


def test_the_catalog_names_no_mart_that_a_person_may_not_see(shop: Project) -> None:
    labels = {button.label for button in look(shop, "catalog", "bob").button}

    assert "orders" in labels
    assert "secrets" not in labels


def test_the_catalog_says_what_is_masked(shop: Project) -> None:
    assert "masked: hash" in texts(look(shop, "catalog", "bob", mart="orders"))


def test_only_a_steward_may_run_a_sync_or_read_its_rows(shop: Project) -> None:
    mine, theirs = (look(shop, "syncs", person, sync="orders") for person in ("ana", "bob"))

    assert not next(button for button in mine.button if button.label == "Run this plan").disabled
    assert next(button for button in theirs.button if button.label == "Run this plan").disabled
    assert "a1@example.com" in texts(mine)
    assert "a1@example.com" not in texts(theirs)


def test_running_a_sync_asks_the_worker_for_it(shop: Project) -> None:
    test = look(shop, "syncs", "ana", sync="orders")
    next(button for button in test.button if button.label == "Run this plan").click().run()

    assert "A run is under way" in texts(test)
    assert "Run this plan" not in [button.label for button in test.button]  # it is queued
    asked = find_request(shop, 1)
    assert asked is not None
    assert asked.plan is not None  # exactly the plan that was looked at


def test_a_crm_that_is_down_is_a_friendly_message(shop: Project) -> None:
    assert "does not answer" in look(shop, "crm", "ana").warning[0].value


def test_an_unknown_person_in_the_link_is_not_believed(shop: Project) -> None:
    test = look(shop, "home", "mallory")

    assert test.selectbox(key="view_as").value is None
    assert "Choose a person" in test.info[0].value
    assert "orders" not in texts(test)


def test_a_broken_file_is_told_on_every_page_and_the_last_good_reading_serves(shop: Project) -> None:
    file = shop.root / "dashboards" / "sales.yml"
    good = file.read_text(encoding="utf-8")
    try:
        file.write_text(good + "colour: red\n", encoding="utf-8")
        test = look(shop, "dashboards", "ana")
    finally:
        file.write_text(good, encoding="utf-8")
    assert "1 problem in the content" in test.error[0].value
    assert "sales.yml" in test.code[0].value
    assert "Revenue" in texts(test)


def test_the_guard_asks_for_a_reason(shop: Project) -> None:
    """A run that the guard holds shows what tripped, and runs only with a reason."""
    file = shop.root / "syncs" / "orders.yml"
    good = file.read_text(encoding="utf-8")
    try:
        file.write_text(good + "guard: {min_rows: 1000}\n", encoding="utf-8")
        shop.refresh()
        report = run_sync(shop, "orders", Order("ana"))
        assert report.state == "guarded"
        close_request(shop.store, 1, "taken", run=report.run)
        test = look(shop, "syncs", "ana", sync="orders")
        assert f"Run {report.run} is held by its guard" in texts(test)
        assert "90 rows that can be sent" in texts(test)
        assert next(button for button in test.button if button.label == "Approve and run").disabled
        why = next(field for field in test.text_input if field.label == "Why is this right?")
        why.input("a small test shop").run()
        assert not next(button for button in test.button if button.label == "Approve and run").disabled
    finally:
        file.write_text(good, encoding="utf-8")


@pytest.mark.parametrize(
    ("value", "form", "shown"),
    [
        (1234567.8, "$,.0f", "$1,234,568"),
        (-1234.5, "£,.2f", "−£1,234.50"),
        (0.1234, ".1%", "12.3%"),
        (0.1234, "+.1%", "+12.3%"),
        (-0.0004, ".1%", "−0.0%"),
        (41200, ",.0f", "41,200"),
        (None, "$,.0f", "–"),
        (float("nan"), ",.2f", "–"),
        (date(2026, 11, 3), "", "3 Nov 2026"),
        (True, "", "yes"),
        (3.14159, "", "3.14"),
    ],
)
def test_values_are_written_as_people_read_them(value: object, form: str, shown: str) -> None:
    assert figure(value, form) == shown


def test_short_figures_keep_their_unit() -> None:
    numbers = (9_999, 12_345, 3_345_678, 1_999_999_999)
    assert [short(number, "$,.0f") for number in numbers] == ["$9,999", "$12.3k", "$3.3M", "$2.0B"]


def test_a_month_without_orders_is_a_gap_and_no_straight_line() -> None:
    table = pa.table({"month": [date(2026, 1, 1), date(2026, 3, 1)], "revenue": [10.0, 30.0]})

    chart = line_chart(table, "month", ["revenue"], None, "$,.0f", "month")

    assert chart["xAxis"]["data"] == ["Jan 2026", "Feb 2026", "Mar 2026"]
    assert chart["series"][0]["data"] == [10.0, None, 30.0]


def test_the_group_without_a_value_has_a_name() -> None:
    table = pa.table({"region": ["EMEA", None], "revenue": [1.0, 2.0]})

    chart = bar_chart(table, "region", ["revenue"], None, "$,.0f")

    assert chart["xAxis"]["data"] == ["EMEA", "(none)"]


def test_only_loopback_addresses_may_be_listened_on() -> None:
    assert [address_problem(host) for host in ("127.0.0.1", "::1", "localhost", "127.0.0.5")] == [
        "",
        "",
        "",
        "",
    ]
    for host in ("0.0.0.0", "::", "", None, "192.168.1.4", "example.com"):
        assert "refused to listen" in address_problem(host)
