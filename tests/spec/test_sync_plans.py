"""Plans are kept, delivered as they were shown, and made again when what they stand on moved."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.protocol import Capabilities
from reverse_etl.errors import SyncError, SyncPaused, UnknownSync
from reverse_etl.journal import Order
from reverse_etl.plans import find_plan, moved, open_plan
from reverse_etl.price import price
from reverse_etl.propose import plan_sync, plan_undo
from reverse_etl.requests import resume
from reverse_etl.run import RunReport, Watch, run_sync
from serving.store import utc_now
from tests.chaos.rig import Person, Rig, rig

ME = Order("ana@example.com")
PEOPLE: list[Person] = [(str(number), f"N{number}", f"n{number}@example.com") for number in range(20)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig(tmp_path_factory.mktemp("plans")) as made:
        yield made


@pytest.fixture
def people(shared: Rig) -> Rig:
    """Twenty people, none of them news."""
    shared.sync(guard={"deletes": 0.5, "changes": 1.0})
    shared.people(PEOPLE)
    with shared.project() as project:
        run_sync(project, "people", Order("ana@example.com", approval="clean up after the last test"))
    return shared


def changed(number: int) -> list[Person]:
    return [(key, f"{name}!" if int(key or 0) < number else name, mail) for key, name, mail in PEOPLE]


def test_a_run_delivers_the_plan_that_was_shown(people: Rig) -> None:
    people.people(changed(2))
    with people.project() as project:
        shown = plan_sync(project, "people", ME, now=utc_now())

        report = run_sync(project, "people", ME)

        assert find_plan(project, shown.id).counts == report.counts
        assert (report.replanned, report.counts.update, report.verdicts.accepted) == ("", 2, 2)
        assert moved(project, shown) != "" and open_plan(project, "people") is None


def test_a_plan_whose_marts_moved_is_made_again_and_the_run_says_so(people: Rig) -> None:
    people.people(changed(2))
    with people.project() as project:
        shown = plan_sync(project, "people", ME, now=utc_now())
    people.people(changed(3))
    said: list[str] = []
    with people.project() as project:
        report = run_sync(project, "people", ME, watch=Watch(on_note=said.append))

    assert report.counts.update == 3
    assert f"plan {shown.id} does not hold any more: the marts moved from version" in report.replanned
    assert said == [report.replanned]


def test_a_plan_named_by_its_number_is_what_it_was_asked_to_be_and_of_its_own_sync(people: Rig) -> None:
    people.people(changed(1))
    with people.project() as project:
        full = plan_sync(project, "people", Order("ana@example.com", full=True), now=utc_now())
        report = run_sync(project, "people", Order("ana@example.com", plan=full.id))
        assert (report.counts.resend, report.counts.update) == (19, 1)

        undo = plan_undo(project, report.run, by="ana@example.com", now=utc_now())
        with pytest.raises(SyncError, match=f"plan {undo.id} is the undo of run {report.run}"):
            run_sync(project, "people", Order("ana@example.com", plan=undo.id))
        with pytest.raises(UnknownSync, match="there is no plan 9999"):
            run_sync(project, "people", Order("ana@example.com", plan=9999))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("syncs/people.yml", "description: another one\n"),
        ("policies/more.yml", "roles:\n  nobody: {marts: []}\n"),
    ],
)
def test_a_plan_does_not_outlive_a_change_of_the_files_it_stands_on(
    people: Rig, file: str, text: str
) -> None:
    with people.project() as project:
        shown = plan_sync(project, "people", ME, now=utc_now())
        assert moved(project, shown) == ""
    path = people.models / file
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    people.write(file, before + text)
    try:
        with people.project() as project:
            assert "changed" in moved(project, shown)
    finally:
        people.write(file, before or "{}\n")


def test_an_approval_lets_pass_what_was_seen_and_no_more(people: Rig) -> None:
    """Held at 12 of 20 removals; by the time somebody approves, it is 16."""
    people.people(PEOPLE[:8])
    with people.project() as project:
        held = run_sync(project, "people", ME)
    assert held.state == "guarded"
    people.people(PEOPLE[:4])
    with people.project() as project:
        again = run_sync(project, "people", Order("ana@example.com", approval="they left"))
        assert (again.state, again.counts.remove) == ("guarded", 16)
        assert "planned again" in again.replanned

        now_seen = run_sync(project, "people", Order("ana@example.com", approval="they left, too"))

    assert (now_seen.state, now_seen.verdicts.accepted) == ("done", 16)


def test_a_schedule_makes_no_second_guarded_run_while_nothing_moves(people: Rig) -> None:
    people.people(PEOPLE[:4])
    with people.project() as project:
        held = run_sync(project, "people", ME)

        again: RunReport = run_sync(project, "people", Order("schedule", "schedule"))

    assert (again.run, again.state) == (held.run, "guarded")
    assert again.trips == held.trips


def test_the_command_line_shows_a_plan_with_its_price_and_keeps_it_as_parquet(people: Rig) -> None:
    people.people(changed(1))

    shown = people.run("plan", "people").out
    told = people.run("plan", "people", "--json", "--rows", "5").json()

    assert "1 update; 19 unchanged" in shown and "1 call, at least 1 second at the account's limit" in shown
    assert 'id=0  name: "N0" → "N0!"' in shown
    assert (Path(str(told["folder"])) / "plan.parquet").exists()
    assert json.dumps(told["price"]).startswith('{"calls": 1,')


def test_a_price_counts_calls_by_rows_and_bytes_and_the_tightest_window() -> None:
    can = Capabilities(frozenset({"upsert", "delete"}), batch_rows=100, batch_bytes=1_000)

    told = price(
        {"upsert": (250, 900), "delete": (10, 5_000)},
        can,
        per_second=2.0,
        per_minute=60,
        per_day=20,
        used_today=15,
    )

    assert (told.calls, told.seconds, told.share) == (8, 8.0, 0.4)
    assert told.exceeds
    assert str(told) == (
        "8 calls, at least 8 seconds at the account's limit, 40.0% of 20 calls a day, 15 used today,"
        " more than are left today: the rest will be deferred"
    )


def test_rows_planned_under_another_policy_do_not_leave_when_the_run_is_resumed(people: Rig) -> None:
    """Stopped before the first batch; then a row rule hides half of the people from the sync."""
    people.people(changed(20))
    rule = "rows:\n  - {mart: people, where: id < '5'}\n"
    with people.project() as project:
        stopped = run_sync(project, "people", ME, watch=Watch(stop=lambda: True))
        assert stopped.state == "delivering"
    people.write("policies/more.yml", rule)
    try:
        with people.project() as project:
            assert not project.problems
            resumed = run_sync(project, "people", ME)
            assert (resumed.run, resumed.state, resumed.verdicts.accepted) == (stopped.run, "failed", 0)
            assert "the policy changed while the run was interrupted" in resumed.error

            after = plan_sync(project, "people", ME, now=utc_now())
    finally:
        people.write("policies/more.yml", "{}\n")

    assert 0 < after.counts.wanted < 20


def test_an_undo_is_a_run_that_pauses_the_sync_and_can_be_undone(people: Rig) -> None:
    people.people(changed(3))
    with people.project() as project:
        run = run_sync(project, "people", ME).run
        shown = plan_undo(project, run, by="ana@example.com", now=utc_now())

        undone = run_sync(project, "people", Order("ana@example.com", "undo", undo_of=run))

        assert (undone.state, undone.verdicts.accepted, shown.counts) == ("done", 3, undone.counts)
        assert people.contacts()["0"]["name"] == "N0"
        with pytest.raises(SyncPaused, match=f"the undo of run {run}"):
            run_sync(project, "people", ME)
        run_sync(project, "people", Order("ana@example.com", "undo", undo_of=undone.run))
        resume(project, "people")

    assert people.contacts()["0"]["name"] == "N0!"


def test_a_policy_that_changes_while_the_source_is_asked_makes_the_plan_stale(
    people: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked under the old policy must not pass for a plan under the new one."""
    with people.project() as project:
        ask = project.ask

        def asked(*arguments: object, **wishes: object) -> object:
            answer = ask(*arguments, **wishes)  # type: ignore[arg-type]
            people.write("policies/more.yml", "roles:\n  nobody: {marts: []}\n")
            project.refresh()
            return answer

        monkeypatch.setattr(project, "ask", asked)
        try:
            plan = plan_sync(project, "people", ME, now=utc_now())
            assert "changed" in moved(project, plan)
        finally:
            people.write("policies/more.yml", "{}\n")
