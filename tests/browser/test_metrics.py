"""The page Metrics in a real browser: from a choice to a number, a link, a question in SQL."""

import re

import pytest

from tests.browser.conftest import Looker

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]


def pick(look: Looker, title: str, option: str) -> None:
    """Choose one more in a list of several."""
    field = look.page.get_by_test_id("stMultiSelect").filter(has_text=title).locator("input")
    field.fill(option)
    look.page.get_by_role("option", name=option, exact=True).click()
    look.page.keyboard.press("Escape")
    look.settle()


def test_a_choice_stands_in_the_link_and_leads_to_the_same_numbers_in_sql(look: Looker) -> None:
    look.open("/metrics?as=jonas@example.com&metrics=orders.revenue&where=ordered_at: 2026-01-01..2026-10-31")
    shown = look.page.locator(".big-figure").inner_text()
    pick(look, "Break down by", "Customers › Segment")
    look.page.wait_for_function("location.search.includes('by=customers.segment')")
    look.page.get_by_role("button", name="More").click()
    look.page.get_by_text("Totals", exact=True).click()
    look.page.keyboard.press("Escape")
    look.page.get_by_text("table", exact=True).click()
    expect(look.page.locator("tr.total")).to_contain_text(shown)
    look.shot("metrics")

    look.open("/" + look.page.url.rpartition("/")[2])
    expect(look.page.locator("tr.total")).to_contain_text(shown)
    look.page.get_by_role("tab", name="Take along").click()
    expect(look.page.get_by_text("by: [customers.segment]")).to_be_visible()
    look.page.get_by_role("button", name="Open as SQL").click()
    expect(look.page.get_by_label("SQL", exact=True)).to_have_value(re.compile("GROUPING SETS"))
    look.page.get_by_role("button", name="CSV", exact=True).wait_for()

    look.page.get_by_role("link", name="Metrics").click()
    expect(look.page.locator("tr.total")).to_contain_text(shown)  # as the same person, with the same choices
