"""Syncs from the mart to a real sandbox over HTTP: who is sent, who is not, and why."""

import asyncio
import errno
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from connectors.http import Delivery, Sender
from connectors.protocol import Capabilities, Change, Destination, Outcome, Request, Response
from connectors.sandbox.faults import Faults
from reverse_etl import history
from reverse_etl.accounts import Account, open_account
from reverse_etl.errors import MappingInvalid, StateUnwritable, SyncBusy, SyncPaused
from reverse_etl.journal import Order
from reverse_etl.lease import hold
from reverse_etl.requests import pause, resume
from reverse_etl.row_files import planned_rows
from reverse_etl.run import RunReport, Watch, run_sync
from reverse_etl.show import run_line
from reverse_etl.source import Door
from reverse_etl.tables import prepare
from serving import Project
from serving.content.sync import Sync
from serving.store import utc_now
from tests.chaos.rig import Person, Rig, rig

ANN: Person = ("1", "Ann", "ann@example.com")
BOB: Person = ("2", "Bob", "bob@example.com")
MANY: list[Person] = [(str(n), f"P{n}", f"p{n}@example.com") for n in range(250)]
ME = Order("tester")


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as made:
        yield made


def run(crm: Rig, order: Order = ME, *, later: timedelta = timedelta()) -> RunReport:
    """One run in this process, `later` than now."""
    with crm.project() as project:
        return run_sync(project, "people", order, watch=Watch(clock=lambda: utc_now() + later))


def test_every_row_is_sent_once_and_a_second_run_makes_no_call(crm: Rig) -> None:
    crm.people(MANY)
    first = run(crm)
    assert (first.state, first.counts.create, first.verdicts.accepted, first.calls) == ("done", 250, 250, 3)
    assert crm.contacts() == {k: {"name": n, "email": e} for k, n, e in MANY}

    second = run(crm)

    assert (second.state, second.counts.unchanged, second.calls) == ("done", 250, 0)
    assert len(crm.calls()) == 3


def test_one_changed_row_is_one_record_in_one_call_with_old_and_new(crm: Rig) -> None:
    crm.people([ANN, BOB])
    run(crm)
    crm.people([ANN, ("2", "Robert", BOB[2])])

    report = run(crm)

    assert report.counts.update == 1
    assert crm.calls()[-1].ids == ("2",)
    with crm.project() as project:
        [row] = planned_rows(project.var / "syncs/people" / str(report.run))
    assert [(c.name, c.old, c.new) for c in row.changes] == [("name", "Bob", "Robert")]


def test_a_change_in_a_column_that_is_not_mapped_makes_no_call(crm: Rig) -> None:
    crm.people([ANN, BOB])
    run(crm)
    crm.people([ANN, BOB], city="Bergen")

    report = run(crm)

    assert (report.counts.unchanged, report.calls) == (2, 0)


def test_a_row_that_left_the_source_is_archived_once(crm: Rig) -> None:
    crm.sync(guard={"deletes": "100%"})
    crm.people([ANN, BOB])
    run(crm)
    crm.people([ANN])

    report = run(crm)

    assert (report.counts.remove, report.verdicts.accepted) == (1, 1)
    assert crm.calls()[-1].path.endswith("/archive")
    assert list(crm.contacts()) == ["1"]
    assert run(crm).calls == 0


def test_the_guard_holds_a_run_that_would_remove_a_fifth_until_somebody_says_why(
    crm: Rig,
) -> None:
    crm.people(MANY)
    run(crm)
    crm.people(MANY[:200])

    held = run(crm)

    assert held.state == "guarded"
    assert [trip.message for trip in held.trips] == [
        "50 of 250 rows would be removed (20.0%), deletes allows 10.0%"
    ]
    assert len(crm.calls()) == 3
    approved = run(crm, Order("mia", approval="the shop in Oslo closed"))
    assert (approved.state, approved.verdicts.accepted) == ("done", 50)
    with crm.project() as project:
        row = history.find_run(project, approved.run)
        assert run_line(history.find_run(project, held.run)).endswith("50 rows held, nothing sent")
    assert (row.requested_by, row.approval) == ("mia", "the shop in Oslo closed")
    crm.people(MANY[:100])
    assert run(crm).state == "guarded"


def test_an_empty_source_is_held_and_not_taken_for_everybody_gone(crm: Rig) -> None:
    crm.people([ANN, BOB])
    run(crm)
    crm.people([])

    report = run(crm)

    assert report.state == "guarded"
    assert {trip.limit for trip in report.trips} == {"min_rows", "deletes"}


def test_a_duplicate_or_missing_key_is_a_rejected_row_with_a_reason_and_removes_nobody(crm: Rig) -> None:
    crm.people([ANN, BOB, MANY[7], MANY[8]])
    run(crm)
    crm.people([ANN, ("2", "Bob", "b@x.com"), ("2", "Rob", "r@x.com"), (None, "Nobody", "n@x.com")])

    report = run(crm)

    assert (report.state, report.verdicts.rejected, report.counts.held, report.calls) == ("done", 3, 3, 0)
    with crm.project() as project:
        reasons = [row.reason for row in history.row_outcomes(project, report.run, verdict="rejected")]
    assert (
        sorted(reasons)
        == ["key \"id\" is null (column 'id')".replace('"', "'")]
        + ['key {"id":"2"} stands 2 times in the source'] * 2
    )
    assert set(crm.contacts()) == {"1", "2", "7", "8"}


def test_a_rejected_row_keeps_the_destinations_words_waits_and_is_tried_again(crm: Rig) -> None:
    crm.people([ANN, ("2", "Bob", "not an address")])

    first = run(crm)

    assert (first.state, first.verdicts.accepted, first.verdicts.rejected) == ("done", 1, 1)
    with crm.project() as project:
        [group] = history.reasons(project, first.run)
    assert "email" in group.reason
    assert run(crm).calls == 0, "not before five minutes have passed"
    again = run(crm, later=timedelta(minutes=6))
    assert (again.counts.retry, again.calls, again.state) == (1, 1, "done")
    assert run(crm, later=timedelta(minutes=12)).calls == 0, "the wait doubles"
    crm.people([ANN, BOB])
    healed = run(crm)
    assert (healed.verdicts.accepted, healed.verdicts.rejected) == (1, 0), "a changed row goes at once"


def test_a_row_rejected_five_times_is_parked_until_a_person_retries_it(crm: Rig) -> None:
    crm.people([ANN, ("2", "Bob", "not an address")])
    reports = [run(crm, later=timedelta(days=day)) for day in range(6)]
    assert [report.calls for report in reports] == [1, 1, 1, 1, 1, 0]
    assert reports[-1].counts.parked == 1

    forced = run(crm, Order("mia", "retry", retry_of=reports[-2].run), later=timedelta(days=9))

    assert (forced.counts.retry, forced.calls) == (1, 1)


def test_a_run_of_which_nothing_was_accepted_has_failed(crm: Rig) -> None:
    crm.people([("1", "Ann", "nonsense"), ("2", "Bob", "nonsense")])

    report = run(crm)

    assert report.state == "failed"
    assert report.error.startswith("none of 2 rows was accepted")


def test_a_wrong_token_stops_the_run_defers_the_rows_and_says_so_without_the_token(crm: Rig) -> None:
    crm.people(MANY)
    token = crm.var / "sandbox" / "token"
    right = token.read_text()
    token.write_text("wrong-secret")

    report = run(crm)

    assert (report.state, report.verdicts.deferred) == ("failed", 250)
    assert "401" in report.error and "wrong-secret" not in report.error
    token.write_text(right)
    assert run(crm).verdicts.accepted == 250


def test_a_missing_token_fails_the_run_and_names_the_reference(crm: Rig) -> None:
    crm.people([ANN])
    (crm.var / "sandbox" / "token").unlink()

    report = run(crm)

    assert (report.state, report.calls) == ("failed", 0)
    assert "${file:sandbox/token}" in report.error


def test_rows_wait_while_the_destination_is_down_and_are_delivered_by_the_next_run(crm: Rig) -> None:
    crm.people(MANY)
    crm.write(
        "destinations/crm.yml", "connector: sandbox\nurl: http://127.0.0.1:9\ntoken: ${file:sandbox/token}\n"
    )
    with crm.project() as project:
        down = run_sync(project, "people", ME, opens=impatient)
    assert (down.state, down.verdicts.deferred) == ("failed", 250)
    crm.write(
        "destinations/crm.yml",
        f"connector: sandbox\nurl: {crm.sandbox.url}\ntoken: ${{file:sandbox/token}}\n",
    )

    up = run(crm)

    assert (up.state, up.counts.retry, up.verdicts.accepted) == ("done", 250, 250)


def impatient(project: Project, sync: Sync) -> Account:
    """The real account, with a sender that does not wait between tries."""

    async def at_once(seconds: float) -> None:
        await asyncio.sleep(0)

    account = open_account(project, sync)
    sender = account.open_sender()
    sender._budget._sleep = at_once  # type: ignore[attr-defined]
    return Account(account.destination, lambda: sender)


def test_a_write_whose_answer_was_lost_is_sent_again_and_counted_once(crm: Rig) -> None:
    crm.people(MANY)
    with crm.sandbox.client() as client:
        client.set_faults(Faults(drop_every=2))

    report = run(crm)

    assert (report.state, report.verdicts.accepted) == ("done", 250)
    assert len(crm.contacts()) == 250


def test_full_sends_every_row_again_and_does_not_forget_a_pending_removal(crm: Rig) -> None:
    crm.sync(guard={"deletes": "100%"})
    crm.people([ANN, BOB])
    run(crm)
    crm.people([ANN])

    report = run(crm, Order("mia", full=True))

    assert (report.counts.resend, report.counts.remove, report.verdicts.accepted) == (1, 1, 2)
    assert list(crm.contacts()) == ["1"]


def test_rows_that_left_stay_known_as_kept_where_the_sync_keeps_them(crm: Rig) -> None:
    crm.sync(on_removed="keep")
    crm.people([ANN, BOB])
    run(crm)
    crm.people([ANN])

    report = run(crm)

    assert (report.counts.kept, report.calls) == (1, 0)
    assert len(crm.contacts()) == 2


def test_one_sync_never_runs_twice_at_a_time(crm: Rig) -> None:
    crm.people([ANN])
    with crm.project() as project:
        prepare(project.store)
        with hold(project.store, "people"), pytest.raises(SyncBusy, match="process"):
            run_sync(project, "people", ME)


def test_a_paused_sync_does_not_run_until_it_is_resumed(crm: Rig) -> None:
    crm.people([ANN])
    with crm.project() as project:
        pause(project, "people", "mia")
        with pytest.raises(SyncPaused, match="mia"):
            run_sync(project, "people", ME)
        resume(project, "people")
        assert run_sync(project, "people", ME).state == "done"


def test_an_unknown_column_is_refused_at_its_line_and_the_run_is_closed_as_failed(crm: Rig) -> None:
    crm.sync(fields={"name": "name", "email": "emial"})
    crm.people([ANN])
    with pytest.raises(MappingInvalid, match=r"people\.yml:\d+: the source has no column 'emial'") as caught:
        run(crm)
    assert caught.value.hint == "did you mean 'email'?"
    with crm.project() as project:
        assert history.list_runs(project)[0].state == "failed"


def test_a_stop_finishes_what_flies_settles_it_and_the_next_run_goes_on(crm: Rig) -> None:
    crm.people(MANY)
    answered: list[int] = []
    with crm.project() as project:
        stop = Watch(on_rows=lambda rows: answered.append(len(rows)), stop=lambda: True)
        stopped = run_sync(project, "people", ME, watch=stop)
        assert (stopped.state, stopped.ok) == ("delivering", False)
    resumed = run(crm)

    assert (resumed.run, resumed.resumed, resumed.state) == (stopped.run, True, "done")
    assert resumed.verdicts.accepted == 250
    sent = [key for call in crm.calls() for key in call.ids]
    assert len(sent) == len(set(sent)) == 250


def test_times_are_recorded_so_that_the_ledger_can_say_since_when(crm: Rig) -> None:
    crm.people([ANN])
    report = run(crm)
    with crm.project() as project:
        row = history.find_run(project, report.run)
    assert isinstance(row.ended_at, datetime) and row.started_at <= row.ended_at
    assert row.version is not None


@pytest.mark.parametrize("step", ["planning", "settling"])
def test_a_full_disk_fails_the_run_with_advice_and_the_next_one_repeats_nothing(
    crm: Rig, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm.people(MANY)
    full = [True] if step == "planning" else []
    fsync = os.fsync

    def no_space(descriptor: int) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", no_space)
    with crm.project() as project:
        with pytest.raises(StateUnwritable, match="No space left on device") as caught:
            run_sync(project, "people", ME, watch=Watch(on_rows=lambda rows: full.append(True)))
        assert "make room" in caught.value.hint
        full.clear()
        again = run_sync(project, "people", ME)

    assert (again.state, again.verdicts.accepted, again.resumed) == ("done", 250, step == "settling")
    assert len(crm.calls()) == 3


def test_sigterm_does_not_wait_for_a_destination_that_asks_for_an_hour(crm: Rig) -> None:
    """The rows that wait did not leave; the next run sends them."""
    crm.people(MANY)
    with crm.sandbox.client() as client:
        client.set_faults(Faults(rate_limit=0.002))  # one call, then nothing for eight minutes
    waits: list[float] = []
    started = time.monotonic()

    with crm.project() as project:
        watch = Watch(on_wait=lambda seconds, why: waits.append(seconds), stop=lambda: bool(waits))
        stopped = run_sync(project, "people", ME, watch=watch)

    assert time.monotonic() - started < 30 and waits[0] > 60
    assert (stopped.state, stopped.verdicts.accepted) == ("delivering", 100)
    with crm.sandbox.client() as client:
        client.set_faults(Faults())
    sent = [key for call in crm.calls() for key in call.ids]
    assert len(sent) == len(set(sent)) == 100


@dataclass
class Brittle:
    """A sender that delivers for real until its second batch, which arrives and kills the process."""

    real: Sender
    calls: int = 0

    async def __aenter__(self) -> "Brittle":
        await self.real.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.real.__aexit__(None, None, None)

    async def send(self, destination: Destination, changes: Sequence[Change]) -> Delivery:
        self.calls += 1
        delivery = await self.real.send(destination, changes)
        if self.calls == 2:
            raise PowerCutError
        return delivery


class PowerCutError(Exception):
    """The process is gone."""


@dataclass(frozen=True)
class Unsafe:
    """The sandbox as if sending twice made two records; one batch at a time."""

    real: Destination
    capabilities: Capabilities

    def request(self, changes: Sequence[Change]) -> Request:
        return self.real.request(changes)

    def outcomes(self, changes: Sequence[Change], response: Response) -> list[Outcome]:
        return self.real.outcomes(changes, response)


@pytest.mark.parametrize("safe", [True, False])
def test_rows_in_flight_at_a_crash_are_sent_again_only_where_that_is_safe(crm: Rig, safe: bool) -> None:
    crm.people(MANY)

    def opens(project: Door, sync: Sync, *, brittle: bool = False) -> Account:
        account = open_account(project, sync)
        abilities = replace(
            account.destination.capabilities,
            resend=frozenset({"upsert"}) if safe else frozenset(),
            concurrent=1,
        )
        sender = account.open_sender()
        assert isinstance(sender, Sender)
        return Account(Unsafe(account.destination, abilities), lambda: Brittle(sender) if brittle else sender)

    with crm.project() as project:
        with pytest.raises(PowerCutError):
            run_sync(project, "people", ME, opens=partial(opens, brittle=True))
        report = run_sync(project, "people", ME, opens=opens)

    sent = Counter(key for call in crm.calls() for key in call.ids)
    assert report.resumed
    assert report.verdicts.total == 250
    if safe:
        assert (report.state, report.verdicts.accepted, max(sent.values())) == ("done", 250, 2)
    else:
        assert (report.state, report.verdicts.accepted, report.verdicts.unknown) == ("failed", 150, 100)
        assert max(sent.values()) == 1
    with crm.project() as project:
        after = run_sync(project, "people", ME, opens=opens)
    assert (after.calls, after.counts.parked) == (0, 0 if safe else 100)
