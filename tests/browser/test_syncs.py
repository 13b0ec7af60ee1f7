"""A sync in a real browser: plan, live run, outcomes with reasons, retry, guard, approval, undo."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from connectors.sandbox.faults import Faults
from connectors.sandbox_client import SandboxClient
from reverse_etl.requests import request_run
from serving import open_project
from tests.browser.conftest import ROOT, Looker, Served, free_port, wait_for

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
pytestmark = [pytest.mark.alone, pytest.mark.timeout(240)]

PEOPLE = """
select 'P-' || lpad(i::varchar, 5, '0') as id, 'Person ' || i as name, '{tier}' as tier,
       'p' || i || case when i % 50 = 7 then '@bad.example' else '@example.com' end as email
from range({rows}) as r(i)
"""
CONTENT = {
    "project.yml": "name: people",
    "marts/people.sql": PEOPLE.format(tier="silver", rows=600),
    "marts/people.yml": "grain: id\ncolumns:\n  email: {tags: [pii.email]}",
    "policies/access.yml": """
        roles:
          steward: {marts: ["*", sluice_outcomes]}
          sales: {marts: people}
        assign:
          - {email: mara@example.com, name: "Mara Lindqvist, data lead", roles: steward}
          - {email: jonas@example.com, name: "Jonas Keller, sales", roles: sales}
        egress:
          - {destination: crm, allow: [pii.email]}
    """,
    "destinations/crm.yml": """
        connector: sandbox
        url: http://127.0.0.1:SANDBOX
        token: ${file:sandbox/token}
        limits: {concurrent: 1}
    """,
    "syncs/people.yml": """
        description: Everybody as a contact of the CRM
        source: people
        run_as: steward
        destination: crm
        object: contacts
        key: {id: id}
        fields: {name: name, tier: tier, email: email}
        mode: mirror
        on_removed: archive
    """,
}


@pytest.fixture(scope="module")
def sandbox_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, sandbox_port: int) -> Iterator[Served]:
    """The program over a project of this test alone: its marts change under way."""
    home = tmp_path_factory.mktemp("people")
    models, var, port = home / "models", home / "var", free_port()
    for name, text in CONTENT.items():
        file = models / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text).replace("SANDBOX", str(sandbox_port)), encoding="utf-8")
    var.mkdir()
    command = [sys.executable, str(ROOT / "app.py"), "--project", str(models), "--var", str(var)]
    with (var / "app.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)], cwd=var, env=dict(os.environ), stdout=log, stderr=log
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/healthz", process)
        wait_for(f"http://127.0.0.1:{sandbox_port}/healthz", process)
        yield Served(f"http://127.0.0.1:{port}", var, process, var / "app.log")
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="module")
def crm(served: Served, sandbox_port: int) -> Iterator[SandboxClient]:
    token = (served.var / "sandbox" / "token").read_text(encoding="utf-8").strip()
    with SandboxClient(f"http://127.0.0.1:{sandbox_port}", token) as client:
        yield client


def rebuild(served: Served, *, tier: str, rows: int) -> None:
    """The source changes: another version of the marts."""
    (models_of(served) / "marts" / "people.sql").write_text(PEOPLE.format(tier=tier, rows=rows))
    project = open_project(models_of(served), var=served.var)
    project.build()
    project.close()


def models_of(served: Served) -> Path:
    return served.var.parent / "models"


def asked_by_hand(served: Served) -> None:
    """A run that somebody asks for without a look at the plan."""
    project = open_project(models_of(served), var=served.var)
    request_run(project, "people", "jonas@example.com")
    project.close()


def press(look: Looker, name: str) -> None:
    look.page.get_by_role("button", name=name).click()


def until(look: Looker, text: str | re.Pattern[str], seconds: float = 30.0) -> None:
    look.page.get_by_text(text).first.wait_for(timeout=1_000 * seconds)


def test_a_sync_is_planned_run_explained_retried_held_approved_and_undone(
    look: Looker, served: Served, crm: SandboxClient
) -> None:
    """The life of one sync, as its steward sees it."""
    _plan_and_run(look, crm)
    _explain_and_retry(look, crm)
    _hold_and_approve(look, served, crm)
    _undo(look, crm)
    _tell_of_one_record(look)


def _plan_and_run(look: Looker, crm: SandboxClient) -> None:
    look.open("/syncs?sync=people")
    until(look, "P-00001")
    look.page.get_by_label("Search by key").fill("00599")
    until(look, "1 of 600 rows match")
    look.shot("sync-plan")
    with look.page.expect_download() as download:
        press(look, "CSV")
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 600 * 3, "one line per field of the whole plan, whatever the search"

    crm.set_faults(Faults(slow_ms=500, reject_emails_matching="@bad"))
    press(look, "Run this plan")
    until(look, re.compile(r"Run 1: \d00 of 600 rows, \d+ rows/s, about"))
    look.shot("sync-live")
    until(look, "600 rows planned = ")
    expect(look.page.locator(".sum .rejected").first).to_have_text("12 rejected")


def _explain_and_retry(look: Looker, crm: SandboxClient) -> None:
    look.page.wait_for_function("location.search.includes('run=1')")  # what was run is looked at next
    reasons = look.page.locator("table.reasons")
    expect(reasons).to_contain_text("rejected")
    assert reasons.locator("tr").count() == 2, "one reason for all twelve rows"
    expect(look.page.locator(".rows td.key")).to_have_count(12)
    look.page.get_by_label("Search by key").fill("00057")
    expect(look.page.locator(".rows td.key")).to_have_text(["P-00057"])
    look.shot("sync-outcomes")

    crm.set_faults(Faults())
    press(look, "Retry 12 rows")
    until(look, "12 rows planned = ")
    assert crm.stats().records["contacts"] == 600


def _hold_and_approve(look: Looker, served: Served, crm: SandboxClient) -> None:
    rebuild(served, tier="gold", rows=500)
    asked_by_hand(served)
    look.open("/syncs?sync=people")
    until(look, "is held by its guard; nothing was sent")
    until(look, "100 of 600 rows would be removed (16.7%)")
    approve = look.page.get_by_role("button", name="Approve and run")
    expect(approve).to_be_disabled()
    look.shot("sync-guarded")

    look.page.get_by_label("Why is this right?").fill("closed the shop")
    expect(approve).to_be_enabled()
    approve.click()
    until(look, "600 rows planned = ")
    assert crm.stats().records["contacts"] == 500
    look.open("/syncs?sync=people&run=4")
    until(look, "Approved by mara@example.com: closed the shop")
    look.shot("sync-approved")


def _undo(look: Looker, crm: SandboxClient) -> None:
    press(look, "Undo this run …")
    until(look, "a dry run, nothing is sent yet")
    look.page.get_by_role("radio", name="Set back · 500").click(force=True)
    expect(look.page.locator(".rows li", has_text="tier").first).to_have_text("tier gold → silver")
    assert crm.stats().records["contacts"] == 500, "a dry run sends nothing"
    look.page.get_by_label("Why is it undone?").fill("the shop opens again")
    look.shot("sync-undo")

    press(look, "Undo this run: restore")
    look.page.wait_for_function("location.search.includes('run=5')", timeout=30_000)
    until(look, "paused by the undo of run 4")
    records = {record.id: record.properties["tier"] for record in crm.every_record("contacts")}
    assert len(records) == 600
    assert set(records.values()) == {"silver"}
    look.shot("sync-undone")


def _tell_of_one_record(look: Looker) -> None:
    look.open("/syncs?sync=people&key=P-00001")
    until(look, "approved by mara@example.com")
    assert look.page.locator(".told").count() >= 3
    look.shot("sync-record")


@pytest.mark.parametrize("width", ["phone"], indirect=True)
def test_somebody_without_the_role_sees_numbers_on_a_phone_but_no_rows(look: Looker, served: Served) -> None:
    look.open("/syncs?sync=people&as=jonas@example.com")
    expect(look.page.locator(".rows")).to_have_count(0)
    look.open("/syncs?sync=people&run=1&as=jonas@example.com")
    until(look, "600 rows planned = ")
    expect(look.page.get_by_role("button", name=re.compile("^Retry"))).to_be_disabled()
    expect(look.page.locator(".rows")).to_have_count(0)
    look.shot("sync-run")
    look.open("/syncs?sync=people&key=P-00001&as=jonas@example.com")
    until(look, re.compile("sluice_outcomes"))
