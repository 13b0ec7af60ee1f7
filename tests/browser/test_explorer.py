"""What a person sees in a real browser: the demo, as its three people."""

import re
from pathlib import Path
from typing import Any

import duckdb
import pytest

from serving import open_project
from tests.browser.conftest import ROOT, Looker, Served

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]
both_widths = pytest.mark.parametrize("width", ["wide", "phone"], indirect=True)


def straight(served: Served, sql: str) -> Any:
    """One value from the mart's own file, past everything that Sluice does."""
    project = open_project(ROOT / "models", var=served.var)
    version = project.current_version()
    project.close()
    assert version is not None
    with duckdb.connect(str(version.marts["orders"].path), read_only=True) as file:
        return file.execute(sql).fetchone()[0]  # type: ignore[index]


def headline(look: Looker, title: str) -> str:
    """The number on a tile."""
    tile = look.page.locator(
        "[class*=st-key-tile-]", has=look.page.locator(".tile-title", has_text=title)
    ).first
    return str(tile.locator(".big-figure").inner_text())


@both_widths
def test_home_shows_headlines_dashboards_marts_and_syncs(look: Looker) -> None:
    look.open("/")

    assert headline(look, "Revenue").startswith("$")
    for text in ("Dashboards", "Marts", "Syncs", "serves"):
        expect(look.page.get_by_text(text).first).to_be_visible()
    look.shot("home")


@both_widths
def test_two_people_see_their_own_sums_on_the_same_dashboard(look: Looker, served: Served) -> None:
    everything = straight(served, "select sum(revenue) from orders")
    emea = straight(served, "select sum(revenue) from orders where region = 'EMEA'")

    look.open("/dashboards?ordered_at=all")
    assert headline(look, "Revenue") == f"${everything:,.0f}"
    look.shot("dashboard-mara")

    look.person("Jonas")
    look.page.get_by_text(f"${emea:,.0f}").first.wait_for()
    assert headline(look, "Revenue") == f"${emea:,.0f}"
    look.shot("dashboard-jonas")


def test_a_filter_stands_in_the_link_and_changes_the_numbers(look: Looker, served: Served) -> None:
    apac = straight(served, "select sum(revenue) from orders where region = 'APAC'")

    look.open("/dashboards?ordered_at=all&region=APAC")

    assert headline(look, "Revenue") == f"${apac:,.0f}"


def test_tiles_that_a_person_may_not_see_say_so_in_place(look: Looker) -> None:
    look.open("/dashboards?as=priya@example.com&board=sales")

    expect(look.page.get_by_text("there is no mart 'orders' for you").first).to_be_visible()
    look.shot("dashboard-refused")


@both_widths
def test_a_question_is_answered_and_the_same_link_answers_others_differently(
    look: Looker, served: Served
) -> None:
    everything = straight(served, "select count(*) from orders")
    emea = straight(served, "select count(*) from orders where region = 'EMEA'")
    look.open("/sql")
    look.ask("select count(*) as orders, 'x' as mark from orders")
    look.page.get_by_role("tab", name="What ran").click()
    look.page.get_by_text("in the audit").wait_for()
    look.page.wait_for_function("location.search.includes('sql=select')")

    look.page.get_by_role("button", name="CSV", exact=True).wait_for()
    with look.page.expect_download() as download:
        look.page.get_by_role("button", name="CSV", exact=True).click()
    assert Path(download.value.path()).read_text() == f'"orders","mark"\n{everything},"x"\n'

    look.person("Jonas")
    look.page.get_by_text("region = user.region").first.wait_for()
    with look.page.expect_download() as download:
        look.page.get_by_role("button", name="CSV", exact=True).click()
    assert Path(download.value.path()).read_text() == f'"orders","mark"\n{emea},"x"\n'
    look.shot("sql")


def test_a_long_query_can_be_cancelled(look: Looker) -> None:
    look.open("/sql")
    look.ask("select count(*) from orders a, orders b, orders c where a.revenue + b.revenue > c.revenue")
    look.page.get_by_role("button", name="Cancel").click()

    look.page.get_by_text("the query was cancelled").wait_for(timeout=15_000)


def test_a_refused_question_says_what_to_do(look: Looker) -> None:
    look.open("/sql")
    look.ask("select * from read_csv('/etc/passwd')")

    look.page.get_by_role("alert").first.wait_for()
    look.ask("select * from ordres")
    look.page.get_by_text("there is no mart 'ordres' for you").wait_for()
    look.shot("sql-refused")


@both_widths
def test_the_catalog_leads_from_a_mart_to_a_question(look: Looker) -> None:
    look.open("/catalog?as=jonas@example.com")
    look.page.get_by_role("button", name="customers", exact=True).click()
    look.page.get_by_text("masked: hash").first.wait_for()
    look.shot("catalog")
    look.page.get_by_role("tab", name="Lineage").click()
    look.page.get_by_alt_text("What customers is made of").wait_for()
    look.shot("lineage")
    look.page.get_by_role("button", name="Ask this mart").click()
    look.page.get_by_role("button", name="CSV", exact=True).wait_for()
    expect(look.page.get_by_label("SQL", exact=True)).to_have_value(re.compile("from customers"))


def test_a_sync_is_planned_and_run_and_its_records_arrive_in_the_crm(look: Looker) -> None:
    look.open("/syncs?sync=customers")
    look.page.locator(".plan").or_(look.page.get_by_text("Nothing to send")).first.wait_for()
    look.shot("plan")
    look.page.get_by_role("button", name="Run this plan").click()
    look.page.get_by_text("planned =").first.wait_for(timeout=60_000)
    look.shot("run")

    look.open("/crm")
    look.page.get_by_text("Select a row").first.wait_for()
    contacts = look.page.get_by_role("tab", name="Contacts").inner_text()
    assert int(contacts.rpartition("·")[2].replace(",", "")) > 1_000
    look.shot("crm")


def test_the_crm_and_the_syncs_fit_a_phone(chromium: object, served: Served) -> None:
    for path in ("/syncs", "/syncs?sync=customers", "/crm"):
        look = Looker(chromium, served, "phone")
        look.open(path)
        look.page.wait_for_timeout(500)
        look.shot(path.strip("/").replace("?", "-").replace("=", "-"))
        look.judge()
        look.context.close()


def test_somebody_without_the_role_sees_states_but_no_rows(look: Looker) -> None:
    look.open("/syncs?sync=customers&as=jonas@example.com")

    expect(look.page.get_by_role("button", name="Pause")).to_be_disabled()
    assert look.page.locator(".plan").count() == 0
