"""The worker process: schedules, missed fires, builds, requests, one per var directory."""

import json
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from reverse_etl import history
from reverse_etl.journal import Order
from reverse_etl.overview import sync_overview
from reverse_etl.requests import close_request, find_request, fired, request_run
from reverse_etl.run import run_sync
from reverse_etl.tables import prepare
from reverse_etl.worker import worker_status
from serving.store import utc_now
from tests.chaos.rig import Rig, finish, rig, wait_for

PEOPLE = [("1", "Ann", "ann@example.com"), ("2", "Bob", "bob@example.com")]


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as made:
        yield made


class Worker:
    """The worker as a process, ended with the test."""

    def __init__(self, crm: Rig) -> None:
        self.process: subprocess.Popen[str] = crm.start("worker")

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.code = finish(self.process).code


def runs(crm: Rig) -> list[tuple[str, str]]:
    """Trigger and state of every run, oldest first."""
    with crm.project() as project:
        return [(run.trigger, run.state) for run in reversed(history.list_runs(project))]


def test_a_fire_missed_while_the_worker_was_down_is_made_up_for_once(crm: Rig) -> None:
    crm.sync(schedule={"every": "1 hour"})
    crm.people(PEOPLE)
    with crm.project() as project:
        prepare(project.store)
        fired(project.store, "people", utc_now() - timedelta(hours=5, minutes=30))
    with Worker(crm) as worker:
        wait_for(lambda: ("schedule", "done") in runs(crm))
    assert runs(crm) == [("schedule", "done")]
    assert worker.code == 0, "SIGTERM is a clean end"


def test_a_new_schedule_does_not_fire_before_its_time_and_then_again_and_again(crm: Rig) -> None:
    crm.sync(schedule={"every": "2 seconds"})
    crm.people(PEOPLE)
    with Worker(crm):
        wait_for(lambda: len(runs(crm)) >= 2)
    with crm.project() as project:
        first = history.list_runs(project)[-1]
        assert first.calls == 1


def test_a_schedule_after_build_runs_for_each_new_version_and_only_then(crm: Rig) -> None:
    crm.sync(schedule={"after": "build"})
    crm.people(PEOPLE)
    with Worker(crm):
        wait_for(lambda: runs(crm) == [("build", "done")])
        crm.people([*PEOPLE, ("3", "Cy", "cy@example.com")])
        wait_for(lambda: runs(crm) == [("build", "done")] * 2)
    assert len(crm.contacts()) == 3
    assert runs(crm) == [("build", "done")] * 2


def test_a_requested_run_is_taken_and_its_number_is_told(crm: Rig) -> None:
    crm.people(PEOPLE)
    with Worker(crm), crm.project() as project:
        number = request_run(project, "people", "mia@example.com")
        wait_for(lambda: (asked := find_request(project, number)) is not None and asked.run is not None)
        asked = find_request(project, number)
        assert asked is not None and asked.run is not None
        assert history.find_run(project, asked.run).requested_by == "mia@example.com"
        status = worker_status(project.store, utc_now())
        assert status is not None and status.alive


def test_a_run_that_was_asked_for_counts_as_queued_until_it_has_begun(crm: Rig) -> None:
    """Also between the worker taking the request and the run: a page must not look away then."""
    crm.people(PEOPLE)
    with crm.project() as project:
        number = request_run(project, "people", "mia@example.com")
        assert sync_overview(project, "people", utc_now()).queued
        close_request(project.store, number, "taken")
        assert sync_overview(project, "people", utc_now()).queued
        assert not sync_overview(project, "people", utc_now() + timedelta(hours=1)).queued
        run_sync(project, "people", Order("mia@example.com", "request"))
        assert not sync_overview(project, "people", utc_now()).queued


def test_a_changed_sync_file_is_scheduled_anew_and_a_broken_one_changes_nothing(crm: Rig) -> None:
    crm.people(PEOPLE)
    with Worker(crm):
        with crm.project() as project:
            wait_for(lambda: worker_status(project.store, utc_now()) is not None)
            crm.write("syncs/people.yml", "nonsense: true\n")
            wait_for(lambda: "nonsense" in problem(crm))
        crm.sync(schedule={"every": "1 second"})
        wait_for(lambda: ("schedule", "done") in runs(crm))
        wait_for(lambda: problem(crm) == "")


def problem(crm: Rig) -> str:
    """What the worker complains about."""
    assert crm.opened is not None
    status = worker_status(crm.opened.store, utc_now())
    return status.problem if status else ""


def test_a_second_worker_of_the_same_var_directory_ends_with_a_clear_message(crm: Rig) -> None:
    crm.people(PEOPLE)
    with Worker(crm), crm.project() as project:
        wait_for(lambda: worker_status(project.store, utc_now()) is not None)
        second = crm.run("worker")
    assert second.code == 1
    assert "has a worker already" in second.err


def test_a_worker_killed_in_a_scheduled_run_goes_on_with_it_and_fires_no_second_time(crm: Rig) -> None:
    many = [(str(n), f"P{n}", f"p{n}@example.com") for n in range(3000)]
    crm.sync(schedule={"every": "1 hour"})
    crm.people(many)
    with crm.project() as project:
        prepare(project.store)
        fired(project.store, "people", utc_now() - timedelta(hours=5, minutes=30))
    killed = crm.start("worker")
    wait_for(lambda: len(crm.calls()) > 0)
    killed.kill()
    killed.communicate()
    with Worker(crm):
        wait_for(lambda: runs(crm) == [("schedule", "done")])
    assert runs(crm) == [("schedule", "done")]
    assert len(crm.contacts()) == 3000


def test_plan_and_show_speak_json_and_exit_codes_tell_done_refused_and_usage(crm: Rig) -> None:
    crm.people([*PEOPLE, ("3", "Cy", "nonsense")])
    planned = crm.run("plan", "people", "--json")
    assert (planned.code, planned.json()["counts"]["create"], crm.calls()) == (0, 3, ())  # type: ignore[index]
    done = crm.run("run", "people")
    assert done.code == 0
    assert "warning: 1 row was rejected" in done.err
    assert "3 planned = 2 accepted + 1 rejected + 0 deferred + 0 unknown" in done.out
    shown = crm.run("show", "1", "--rows", "--json").json()
    assert [row["key"] for row in shown["rows"]] == [{"id": "3"}]  # type: ignore[attr-defined]
    assert json.loads(crm.run("runs", "people", "--json").out)[0]["state"] == "done"
    assert crm.run("run", "peopel").code == 1
    assert crm.run("run").code == 2
