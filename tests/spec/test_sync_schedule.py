"""Schedules: clock changes, chains, pauses and requests; decided from the control store."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from reverse_etl import due
from reverse_etl.errors import SyncError, SyncPaused, UnknownSync
from reverse_etl.history import list_runs
from reverse_etl.overview import sync_overview
from reverse_etl.requests import (
    close_request,
    find_request,
    fired,
    last_fire,
    pause,
    reclaim,
    request_run,
    resume,
    waiting_requests,
)
from reverse_etl.schedule import trigger_of
from reverse_etl.tables import prepare, requests, runs
from reverse_etl.worker import work
from reverse_etl.worker_status import worker_status
from serving import Project, open_project
from serving.content.sync import Sync
from serving.errors import ContentInvalid
from serving.store import utc_now
from tests.chaos.rig import wait_for

# clocks that change


def fires(cron: str, zone: str, start: str, number: int) -> list[str]:
    """The next moments, each asked for with the one before, as the scheduler does."""
    base = {"name": "s", "source": "m", "run_as": "r", "destination": "d", "object": "o", "key": {"id": "id"}}
    begin = datetime.fromisoformat(start).astimezone(UTC)
    trigger = trigger_of(Sync.model_validate(base | {"schedule": {"cron": cron}}), zone, begin)
    assert trigger is not None
    found: list[datetime] = []
    while len(found) < number:
        before = found[-1] if found else None
        found.append(trigger.get_next_fire_time(before, before or begin))
    return [moment.isoformat()[5:16] + moment.isoformat()[19:] for moment in found]


@pytest.mark.parametrize(
    ("cron", "zone", "start", "expected"),
    [
        (  # 02:30 does not exist on the 29th
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00Z",
            ["03-29T03:30+02:00", "03-30T02:30+02:00"],
        ),
        (  # 02:30 comes twice on the 25th
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00Z",
            ["10-25T02:30+02:00", "10-26T02:30+01:00"],
        ),
        (
            "30 2 * * *",
            "America/New_York",
            "2026-03-07T12:00Z",
            ["03-08T03:30-04:00", "03-09T02:30-04:00"],
        ),
        (
            "30 1 * * *",
            "America/New_York",
            "2026-10-31T12:00Z",
            ["11-01T01:30-04:00", "11-02T01:30-05:00"],
        ),
        (  # every hour is every hour, also the one that comes twice
            "0 * * * *",
            "Europe/Berlin",
            "2026-10-24T23:30Z",
            ["10-25T02:00+02:00", "10-25T02:00+01:00", "10-25T03:00+01:00"],
        ),
        (
            "0 * * * *",
            "Europe/Berlin",
            "2026-03-28T23:30Z",
            ["03-29T01:00+01:00", "03-29T03:00+02:00", "03-29T04:00+02:00"],
        ),
        (  # what 02:30 became and 03:30 are one moment
            "30 2,3 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00Z",
            ["03-29T03:30+02:00", "03-30T02:30+02:00"],
        ),
        (  # a start within the second showing
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-25T01:10Z",
            ["10-26T02:30+01:00"],
        ),
    ],
)
def test_a_moment_on_the_wall_fires_once_when_the_clocks_change(
    cron: str, zone: str, start: str, expected: list[str]
) -> None:
    assert fires(cron, zone, start, len(expected)) == expected


# a project with syncs to nowhere

_SYNC = """\
source: customers
run_as: sync
destination: hook
object: people
key: {id: customer_id}
fields: {region: region}
"""


@pytest.fixture
def project(shop_files: Callable[..., Path], tmp_path: Path) -> Iterator[Project]:
    files = {
        "destinations/hook.yml": "connector: webhook\nurl: http://127.0.0.1:9/none\n",
        "syncs/first.yml": _SYNC,
        "syncs/second.yml": _SYNC + "schedule: {after: {sync: first}}\n",
    }
    opened = open_project(shop_files(files), var=tmp_path / "var")
    prepare(opened.store)
    yield opened
    opened.close()


def ran(project: Project, sync: str, moment: datetime, state: str = "done", **keys: object) -> None:
    """A run as the control store has it."""
    row = {"sync": sync, "target": "t", "state": state, "trigger": "manual", "requested_by": "mia"}
    times = {"full_resend": False, "started_at": moment - timedelta(seconds=1), "ended_at": moment}
    with project.store.write() as connection:
        connection.execute(insert(runs).values(row | times | keys))


def test_a_sync_follows_each_good_run_of_another_once_and_no_bad_one(project: Project) -> None:
    second, now = project.content.syncs["second"], utc_now()

    def waits() -> bool:
        return due.unfollowed_run(project.store, second, "first") is not None

    ran(project, "first", now - timedelta(hours=2))
    assert not waits(), "the worker has not seen the sync yet: what was before it does not count"
    fired(project.store, "second", now - timedelta(hours=1))
    assert not waits()
    ran(project, "first", now, "failed")
    ran(project, "first", now, "guarded")
    ran(project, "first", now, undo_of=1)
    assert not waits()
    ran(project, "second", now + timedelta(seconds=5))  # began before the next run of `first` ended
    ran(project, "first", now + timedelta(seconds=10))
    assert waits()
    ran(project, "second", now + timedelta(seconds=20), "failed")
    assert not waits(), "once per run, however it ended"


def test_syncs_that_wait_for_each_other_or_for_nobody_are_refused(
    shop_files: Callable[..., Path], tmp_path: Path
) -> None:
    files = {
        "destinations/hook.yml": "connector: webhook\nurl: http://127.0.0.1:9/none\n",
        "syncs/a.yml": _SYNC + "schedule: {after: {sync: b}}\n",
        "syncs/b.yml": _SYNC + "schedule: {after: {sync: a}}\n",
        "syncs/c.yml": _SYNC + "schedule: {after: {sync: nobody}}\n",
        "syncs/d.yml": _SYNC + "schedule: {after: {sync: d}}\n",
        "syncs/e.yml": _SYNC + "schedule: {every: soon}\n",
        "syncs/f.yml": _SYNC + "schedule: {cron: '0 6 * * *', timezone: Europe/Berlni}\n",
    }
    with pytest.raises(ContentInvalid) as invalid:
        open_project(shop_files(files), var=tmp_path / "var")
    said = str(invalid.value)
    assert "a.yml:7: syncs wait for each other in a circle: a -> b -> a" in said
    assert "b.yml" not in said, "a circle is told once"
    assert "c.yml:7: there is no sync 'nobody'" in said
    assert "d.yml:7: syncs wait for each other in a circle: d -> d" in said
    assert "e.yml:7: 'soon' is no span of time" in said
    assert "f.yml:7: there is no time zone 'Europe/Berlni'" in said


def test_every_kind_of_schedule_says_when_it_runs_next(project: Project) -> None:
    def words(name: str) -> str:
        return sync_overview(project, name, datetime(2026, 11, 20, 12, 10, tzinfo=UTC)).next_run

    assert words("second") == "after sync first"
    assert words("first") == "by hand"
    pause(project, "second", "mia")
    assert words("second") == "not before it is resumed: paused by mia"
    file = project.root / "syncs/first.yml"
    file.write_text(_SYNC + "schedule: {cron: '0 9 * * *', timezone: America/New_York}\n", encoding="utf-8")
    project.refresh()
    assert words("first") == "2026-11-20 09:00 EST"
    file.write_text(_SYNC + "schedule: {cron: '0 9 * *'}\n", encoding="utf-8")
    project.refresh()
    assert words("first").startswith("never")
    assert "has 4 fields" in sync_overview(project, "first", utc_now()).problem


def test_a_run_that_began_on_schedule_honours_the_moment_even_if_its_worker_died(project: Project) -> None:
    now = utc_now()
    fired(project.store, "first", now - timedelta(days=1))
    ran(project, "first", now, trigger="schedule")
    assert last_fire(project.store, "first") == now - timedelta(seconds=1)


# requests


def test_the_same_request_twice_is_one_and_another_kind_is_another(project: Project) -> None:
    ran(project, "first", utc_now())
    one = request_run(project, "first", "mia")
    assert request_run(project, "first", "bob") == one
    retry = request_run(project, "first", "mia", retry_of=1)
    assert retry != one
    approved = request_run(project, "first", "mia", "moved house")
    assert request_run(project, "first", "bob", "moved house") != approved, "an approval is one person's word"
    assert request_run(project, "first", "mia", full=True) not in (one, retry, approved)
    close_request(project.store, one, "taken")
    assert request_run(project, "first", "mia") != one


def test_a_request_becomes_an_order_with_all_it_asks_for(project: Project) -> None:
    ran(project, "first", utc_now())
    asked = find_request(project, request_run(project, "first", "mia", "why", undo_of=1, plan=7))
    assert asked is not None
    order = asked.order
    assert (order.requested_by, order.trigger, order.approval) == ("mia", "undo", "why")
    assert (order.undo_of, order.plan, order.full, order.adopt, order.retry_of) == (1, 7, False, False, None)


def test_a_request_that_cannot_be_taken_is_refused_at_once_with_the_reason(project: Project) -> None:
    pause(project, "first", "mia")
    with pytest.raises(SyncPaused, match="paused by mia"):
        request_run(project, "first", "bob")
    resume(project, "first")
    with pytest.raises(UnknownSync, match="no run 7 of sync 'first'"):
        request_run(project, "first", "bob", retry_of=7)
    with pytest.raises(SyncError, match="exclude each other"):
        request_run(project, "first", "bob", full=True, adopt=True)
    with pytest.raises(SyncError, match="needs a reason"):
        request_run(project, "first", "bob", "  ")
    assert waiting_requests(project.store) == ()


def test_a_request_whose_worker_died_before_the_run_began_waits_again(project: Project) -> None:
    lost, begun = request_run(project, "first", "mia"), request_run(project, "second", "mia")
    for number in (lost, begun):
        close_request(project.store, number, "taken")
    ran(project, "second", utc_now() + timedelta(seconds=5))
    reclaim(project.store)
    assert [request.id for request in waiting_requests(project.store)] == [lost]


# the worker, in a thread of this process


@contextmanager
def working(project: Project) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(project, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def begun(project: Project) -> list[tuple[str, str]]:
    """Sync and trigger of every run, oldest first."""
    return [(run.sync, run.trigger) for run in reversed(list_runs(project))]


def test_the_worker_starts_waiting_syncs_by_priority_and_chains_them(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a built mart every run fails at once, which is all that this needs."""
    monkeypatch.setattr("reverse_etl.worker.AT_ONCE", 1)
    for name, priority in (("a_low", "low"), ("b_normal", "normal"), ("c_high", "high")):
        (project.root / f"syncs/{name}.yml").write_text(f"{_SYNC}priority: {priority}\n", encoding="utf-8")
    project.refresh()
    for name in ("a_low", "b_normal", "c_high"):
        request_run(project, name, "mia")
    with working(project):
        wait_for(lambda: len(begun(project)) == 3)
        assert [sync for sync, _ in begun(project)] == ["c_high", "b_normal", "a_low"]
        wait_for(lambda: find_request(project, 1).state == "refused")  # type: ignore[union-attr]
        assert "nothing is published" in find_request(project, 1).message  # type: ignore[union-attr]
        ran(project, "first", utc_now())
        wait_for(lambda: ("second", "sync") in begun(project))
    with working(project):  # a restart does not follow the same run again
        status = worker_status(project.store, utc_now())
        assert status is not None
        ran(project, "first", utc_now(), "failed")
        request_run(project, "first", "mia")
        wait_for(lambda: begun(project)[-1] == ("first", "request"))
    assert begun(project).count(("second", "sync")) == 1


def test_a_paused_sync_never_fires_and_is_not_made_up_for_after_the_pause(project: Project) -> None:
    (project.root / "syncs/first.yml").write_text(f"{_SYNC}schedule: {{every: 1 hour}}\n", encoding="utf-8")
    project.refresh()
    long_ago = utc_now() - timedelta(hours=5)
    fired(project.store, "first", long_ago)
    pause(project, "first", "mia")
    with working(project):
        wait_for(lambda: (last_fire(project.store, "first") or long_ago) > long_ago)
        resume(project, "first")
        request_run(project, "second", "mia")
        wait_for(lambda: begun(project) == [("second", "request")])
    assert begun(project) == [("second", "request")]


def test_a_run_whose_file_is_gone_waits_for_it_and_says_so(project: Project) -> None:
    ran(project, "first", utc_now(), "planning", ended_at=None)
    file = project.root / "syncs/first.yml"
    text = file.read_text()
    (project.root / "syncs/second.yml").unlink()
    file.unlink()
    project.refresh()

    def problem() -> str:
        status = worker_status(project.store, utc_now())
        return status.problem if status else ""

    with working(project):
        wait_for(lambda: "goes on when models/syncs/first.yml is back" in problem())
        file.write_text(text, encoding="utf-8")
        wait_for(lambda: list_runs(project, "first")[-1].state == "failed")
        wait_for(lambda: "goes on when" not in problem())
    assert "interrupted while planning" in list_runs(project, "first")[-1].error


def test_a_request_for_a_sync_that_another_process_runs_waits_and_is_not_lost(project: Project) -> None:
    from reverse_etl.lease import hold

    with working(project), hold(project.store, "first"):
        number = request_run(project, "first", "mia")
        wait_for(lambda: "being run by" in find_request(project, number).message)  # type: ignore[union-attr]
        with project.store.read() as connection:
            state = connection.execute(select(requests.c.state).where(requests.c.id == number)).scalar()
        assert state == "waiting"
