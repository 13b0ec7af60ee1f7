"""Each page draws, without a browser, for each kind of person."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from streamlit.testing.v1 import AppTest

import serving.ui.explorer
from reverse_etl.ui.pages import SYNC_PAGES, sync_notices
from serving import Project, open_project
from serving.ui.explorer import Explorer, open_explorer
from serving.ui.pages import serving_pages

CONTENT = {
    "project.yml": "name: Test shop",
    "marts/orders.sql": "select i as id, case when i % 3 = 0 then 'EMEA' else 'AMER' end as region, "
    "date '2026-01-01' + i as day, i * 10 as amount, 'a' || i || '@example.com' as email from range(90) t(i)",
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
    "destinations/crm.yml": "connector: sandbox\nurl: http://127.0.0.1:9\ntoken: ${env:SANDBOX_TOKEN_FOR_PAGES}",
    "syncs/orders.yml": """
        source: orders
        run_as: steward
        destination: crm
        object: contacts
        key: {id: id}
        fields: {email: email, amount: amount}
    """,
}
PAGES = ("home", "dashboards", "sql", "catalog", "syncs", "crm")


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
    test = AppTest.from_file(str(Path(serving.ui.explorer.__file__).with_name("script.py")), default_timeout=30)
    test.query_params["as"] = f"{person}@example.com"
    for name, value in query.items():
        test.query_params[name] = value
    return test.run()


def texts(test: AppTest) -> str:
    """All that the page says, as one text."""
    found = [element.value for kind in ("markdown", "caption", "error", "warning", "info") for element in test.get(kind)]
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

    assert not next(button for button in mine.button if button.label == "Run now").disabled
    assert next(button for button in theirs.button if button.label == "Run now").disabled
    assert "a1@example.com" in texts(mine)
    assert "a1@example.com" not in texts(theirs)


def test_running_a_sync_asks_the_worker_for_it(shop: Project) -> None:
    test = look(shop, "syncs", "ana", sync="orders")
    next(button for button in test.button if button.label == "Run now").click().run()

    assert next(button for button in test.button if button.label == "Run now").disabled  # it is queued


def test_a_crm_that_is_down_is_a_friendly_message(shop: Project) -> None:
    assert "does not answer" in look(shop, "crm", "ana").warning[0].value


def test_an_unknown_person_in_the_link_is_not_believed(shop: Project) -> None:
    test = look(shop, "home", "mallory")

    assert test.selectbox(key="view_as").value == "ana@example.com"  # the first of the policy
    assert "mallory" in test.toast[0].value
