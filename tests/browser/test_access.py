"""The Access page in a real browser: a steward looks at somebody, at a column, at the changes."""

import pytest

from tests.browser.conftest import Looker

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]


@pytest.mark.parametrize("width", ["wide", "phone"], indirect=True)
def test_a_steward_follows_a_link_to_a_person_a_column_and_the_changes(look: Looker) -> None:
    look.open("/access?who=jonas@example.com&mart=customers")
    expect(look.page.get_by_text("hash by tag pii.email").first).to_be_visible()
    expect(look.page.get_by_text("region = 'EMEA'").first).to_be_visible()
    expect(look.page.get_by_role("radio", name="Columns")).to_be_attached()
    look.shot("access-person")

    look.page.get_by_role("radio", name="Columns").click(force=True)
    look.page.wait_for_function("location.search.includes('show=columns')")
    look.open("/access?show=columns&column=customers.email")
    expect(look.page.get_by_text("does not apply to steward").first).to_be_visible()
    look.shot("access-column")

    look.open("/access?show=changes")
    expect(look.page.get_by_text("Nothing changes for anybody").first).to_be_visible()
    look.shot("access-changes")


def test_somebody_else_sees_their_own_access_only(look: Looker) -> None:
    look.open("/access?as=priya@example.com&who=mara@example.com")

    expect(look.page.get_by_text("What you may see, and why").first).to_be_visible()
    expect(look.page.get_by_text("lifetime_value")).to_have_count(0)
    look.shot("access-own")
