"""Where other tools lose, repeat or hide rows, and that this one does not.

The traps are those that users of such tools reported, or that can be read in their code. Most
are proven where the feature is tested: PROVEN says where, and a test says that the place exists.
The rest stands below, against a real CRM.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from connectors.sandbox.faults import Faults
from connectors.sandbox_client import Call
from reverse_etl import history
from reverse_etl.journal import Order
from reverse_etl.overview import sync_overview
from reverse_etl.requests import pause
from reverse_etl.row_files import ReasonGroup
from reverse_etl.run import RunReport, Watch, run_sync
from serving import Project
from serving.answer import Answer, Receipt
from serving.store import utc_now
from tests.chaos.rig import Rig, rig, write_calls

ROOT = Path(__file__).resolve().parents[2]

RUN = "tests/spec/test_sync_run.py"
RULES = "tests/spec/test_sync_rules.py"
MAPPING = "tests/spec/test_sync_mapping.py"
WORKER = "tests/spec/test_sync_worker.py"
CONNECTORS = "tests/contract/test_connectors.py"
CHAOS = "tests/chaos/test_sync_chaos.py"
CONVERGES = "tests/property/test_sync_converges.py"

PROVEN: Mapping[str, tuple[str, str]] = {
    "a rejected row is skipped ever after": (
        RUN,
        "test_a_rejected_row_keeps_the_destinations_words_waits_and_is_tried_again",
    ),
    "a row that raised stays pending under its old run": (
        RUN,
        "test_rows_wait_while_the_destination_is_down_and_are_delivered_by_the_next_run",
    ),
    "a run of which every row failed is a success": (
        RUN,
        "test_a_run_of_which_nothing_was_accepted_has_failed",
    ),
    "rows fail and no reason is kept": (WORKER, "test_plan_and_show_speak_json_and_exit_codes_tell_done"),
    "a change in an unmapped column costs a call": (
        RUN,
        "test_a_change_in_a_column_that_is_not_mapped_makes_no_call",
    ),
    "a first run sends nothing": (
        RUN,
        "test_every_row_is_sent_once_and_a_second_run_makes_no_call",
    ),
    "one call per row": (RUN, "test_every_row_is_sent_once_and_a_second_run_makes_no_call"),
    "deletes are not seen": (RUN, "test_a_row_that_left_the_source_is_archived_once"),
    "a full resync forgets pending removals": (
        RUN,
        "test_full_sends_every_row_again_and_does_not_forget_a_pending_removal",
    ),
    "a removal that failed is forgotten": (
        RULES,
        "test_a_removal_that_was_not_accepted_is_planned_again_from_the_ledger",
    ),
    "the source is empty, so everybody is removed": (
        RUN,
        "test_an_empty_source_is_held_and_not_taken_for_everybody_gone",
    ),
    "rows without a key vanish, rows with the same key overwrite each other": (
        RUN,
        "test_a_duplicate_or_missing_key_is_a_rejected_row_with_a_reason_and_removes_nobody",
    ),
    "a permanent reject costs a call for ever": (
        RUN,
        "test_a_row_rejected_five_times_is_parked_until_a_person_retries_it",
    ),
    "failed rows cannot be sent again by hand": (
        RUN,
        "test_a_row_rejected_five_times_is_parked_until_a_person_retries_it",
    ),
    "a crash after the write and before the state doubles rows": (
        RUN,
        "test_rows_in_flight_at_a_crash_are_sent_again_only_where_that_is_safe",
    ),
    "an interrupted run is started from its beginning": (
        RUN,
        "test_a_stop_finishes_what_flies_settles_it_and_the_next_run_goes_on",
    ),
    "a killed process loses or repeats rows": (
        CHAOS,
        "test_whatever_is_killed_whenever_the_tool_ends_as_the_source_and_the_ledger_says_so",
    ),
    "the state says sent of what never arrived": (
        CONVERGES,
        "test_the_ledger_never_says_accepted_of_what_the_destination_does_not_hold",
    ),
    "one sync runs twice at a time": (RUN, "test_one_sync_never_runs_twice_at_a_time"),
    "waiting for a rate limit uses up tries": (
        CONNECTORS,
        "test_a_429_with_seconds_is_waited_for_and_costs_no_try",
    ),
    "a date in Retry-After is not understood": (CONNECTORS, "test_a_429_with_a_date_is_waited_for"),
    "an answer that speaks of some rows is taken for all": (
        CONNECTORS,
        "test_a_200_that_does_not_speak_of_every_row_is_unknown",
    ),
    "an outcome nobody knows is told as a failure": (
        CONNECTORS,
        "test_a_later_failure_does_not_turn_unknown_into_deferred",
    ),
    "a wrong credential is tried again and again": (
        CONNECTORS,
        "test_wrong_credentials_stop_at_once_and_the_token_is_in_no_message",
    ),
    "results in request order are matched to the wrong rows": (
        "tests/contract/test_webhook.py",
        "test_each_row_has_the_verdict_that_its_result_gives",
    ),
    "a 200 that says no counts as delivered": (
        "tests/contract/test_webhook.py",
        "test_a_200_that_says_no_is_a_refusal",
    ),
    "values change their type on the way": (MAPPING, "test_each_type_has_one_form_on_the_wire"),
    "a column that is gone empties the field": (
        RUN,
        "test_an_unknown_column_is_refused_at_its_line_and_the_run_is_closed_as_failed",
    ),
    "personal data leaves with a send": (
        "tests/spec/test_policy_egress.py",
        "test_a_tagged_column_without_leave_is_a_problem_of_the_field_that_sends_it",
    ),
    "a fire that was missed is lost, or made up for many times": (
        WORKER,
        "test_a_fire_missed_while_the_worker_was_down_is_made_up_for_once",
    ),
    "a broken file stops all schedules without a word": (
        WORKER,
        "test_a_changed_sync_file_is_scheduled_anew_and_a_broken_one_changes_nothing",
    ),
    "a token that expires in mid-run fails its rows": (
        "tests/contract/test_budget.py",
        "test_a_token_that_expires_on_the_way_is_looked_up_again_once",
    ),
    "each sync has a limiter of its own, so that together they are too fast": (
        "tests/contract/test_budget.py",
        "test_two_processes_with_one_account_stay_under_the_limit_together",
    ),
    "only limits of one kind can be declared": (
        "tests/contract/test_budget.py",
        "test_limits_of_a_second_a_minute_a_day_and_of_parallel_calls_hold_together",
    ),
    "a record is locked for a moment, or a create races a lookup, and the row is refused for good": (
        "tests/contract/test_budget.py",
        "test_a_transient_refusal_is_tried_again_where_that_is_safe_and_else_deferred",
    ),
    "a limit told as 403 stops the sync as if the token were wrong": (
        "tests/contract/test_budget.py",
        "test_a_limit_in_other_words_is_no_credential_problem",
    ),
    "the log lives in somebody else's web page": (
        "tests/spec/test_sync_log.py",
        "test_what_was_told_about_customer_42_is_one_query",
    ),
    "errors vanish after an hour": (
        "tests/spec/test_sync_log.py",
        "test_the_log_keeps_runs_whose_files_were_removed",
    ),
    "a wrong list was sent and nothing brings the old values back": (
        "tests/spec/test_sync_undo.py",
        "test_values_that_were_there_come_back_field_by_field",
    ),
    "a column turns null upstream and empties a field everywhere": (
        "tests/spec/test_sync_guard.py",
        "test_a_field_that_turns_null_is_named_with_its_numbers",
    ),
    "a sync that waits for another never runs and nobody is told": (
        "tests/spec/test_sync_schedule.py",
        "test_syncs_that_wait_for_each_other_or_for_nobody_are_refused",
    ),
    "a run that was asked for is lost with its worker": (
        "tests/spec/test_sync_schedule.py",
        "test_a_request_whose_worker_died_before_the_run_began_waits_again",
    ),
    "the disk is full and the state is lost": (
        "tests/spec/test_sync_delivery.py",
        "test_a_full_disk_stops_the_run_and_keeps_what_was_answered",
    ),
    "an insert whose answer was lost is sent a second time": (
        "tests/spec/test_sync_plan.py",
        "test_an_insert_that_may_have_arrived_is_repeated_only_where_that_is_safe",
    ),
    "null means clear, and an update sends every field": (
        "tests/spec/test_sync_plan.py",
        "test_an_update_carries_only_what_differs_and_a_retry_everything",
    ),
    "the first mirror run ignores what the tool holds already": (
        "tests/spec/test_sync_plan.py",
        "test_adopted_records_count_as_accepted_and_a_mirror_may_remove_them",
    ),
}


@pytest.mark.parametrize("trap", PROVEN)
def test_each_trap_that_is_proven_elsewhere_still_is(trap: str) -> None:
    file, name = PROVEN[trap]
    assert re.search(rf"^ *(async )?def {name}", (ROOT / file).read_text(), re.MULTILINE)


Row = tuple[object, ...]


class InHand:
    """A project whose source rows the test has in its hand; all else is real."""

    def __init__(self, project: Project, table: pa.Table) -> None:
        self._project, self._table = project, table
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._project, name)

    def ask(self, sql: str, **how: object) -> Answer:
        self.asked.append(sql)
        receipt = Receipt(1, sql, {}, 1, (), {}, self._table.num_rows, truncated=False, seconds=0.0)
        return Answer(self._table, receipt)


@dataclass
class Shop:
    """A sync of its own for each test, over one project and one CRM."""

    crm: Rig
    name: str
    table: pa.Table = field(default_factory=lambda: pa.table({}))

    def sync(self, **keys: object) -> None:
        """The sync file: contacts by id, with name, email and city."""
        for old in (self.crm.models / "syncs").glob("*.yml"):
            old.unlink()
        self.crm.sync(**{"fields": {"name": "name", "email": "email"}, **keys})
        (self.crm.models / "syncs/people.yml").rename(self.crm.models / f"syncs/{self.name}.yml")

    def source(self, *rows: Row) -> None:
        """(id, name, email) of each row; text ids get the test's own prefix."""
        ids = [self.key(row[0]) if isinstance(row[0], str) else row[0] for row in rows]
        self.table = pa.table({"id": ids, "name": [r[1] for r in rows], "email": [r[2] for r in rows]})

    def key(self, text: str) -> str:
        return f"{self.name}-{text}"

    def run(self, order: Order | None = None, later: timedelta = timedelta()) -> RunReport:
        with self.crm.project() as project:
            watch = Watch(clock=lambda: utc_now() + later)
            return run_sync(InHand(project, self.table), self.name, order or Order("mia"), watch=watch)

    def faults(self, **faults: Any) -> None:
        with self.crm.sandbox.client() as client:
            client.set_faults(Faults(**{"rate_limit": None, **faults}))

    def held(self) -> dict[str, dict[str, object]]:
        """Live contacts of this test, without the prefix."""
        start = f"{self.name}-"
        return {k.removeprefix(start): v for k, v in self.crm.contacts().items() if k.startswith(start)}

    def calls(self) -> list[Call]:
        with self.crm.sandbox.client() as client:
            calls = write_calls(client)
        return [call for call in calls if any(key.startswith(f"{self.name}-") for key in call.received)]

    def written(self) -> Counter[str]:
        return Counter(key.removeprefix(f"{self.name}-") for call in self.calls() for key in call.ids)

    def write(self, action: str, *rows: Row) -> None:
        """What somebody else does in the CRM."""
        records = [
            {"id": f"{self.name}-{key}", "properties": {"name": name, "email": email}}
            for key, name, email in rows
        ]
        httpx.post(
            f"{self.crm.sandbox.url}/v1/contacts/batch/{action}",
            headers={"Authorization": f"Bearer {self.crm.sandbox.token}"},
            json={"records": records},
            trust_env=False,
        ).raise_for_status()


@pytest.fixture(scope="module")
def crm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig(tmp_path_factory.mktemp("traps")) as made:
        yield made


_numbers = itertools.count(1)


@pytest.fixture
def shop(crm: Rig) -> Iterator[Shop]:
    made = Shop(crm, f"t{next(_numbers):02}")
    made.sync()
    made.faults()
    yield made
    made.faults()


def people(many: int) -> list[Row]:
    return [(f"{n:03}", f"P{n}", f"p{n}@example.com") for n in range(many)]


def test_one_good_row_does_not_make_its_batch_good(shop: Shop) -> None:
    """Multiwoven marks a batch with one success as wholly successful."""
    shop.source(*[(n, name, email if n == "007" else "nobody") for n, name, email in people(100)])

    report = shop.run()

    assert (report.verdicts.accepted, report.verdicts.rejected) == (1, 99)
    assert list(shop.held()) == ["007"]


def test_quotes_and_backslashes_arrive_as_they_are_in_values_and_keys(shop: Shop) -> None:
    """Multiwoven doubles every single quote."""
    rows: list[Row] = [
        ("O'Hara", "d''Arc \\n 'x'", "o'hara@example.com"),
        ("ß%_", "„Ü“ {name}", "u@example.com"),
    ]
    shop.source(*rows)
    shop.run()

    assert shop.held() == {str(k): {"name": n, "email": e} for k, n, e in rows}
    assert shop.run().calls == 0
    shop.sync(guard={"deletes": "100%", "changes": "100%"})
    shop.source(rows[0])
    assert shop.run().counts.remove == 1
    assert list(shop.held()) == ["O'Hara"]


def test_the_source_is_read_by_one_query_as_it_was_written(shop: Shop) -> None:
    """Multiwoven pages with LIMIT and OFFSET over a query without an order."""
    sql = "select id, name, email from people order by name desc limit 7"
    shop.sync(source=None, sql=sql)
    shop.source(*people(7))

    with shop.crm.project() as project:
        door = InHand(project, shop.table)
        report = run_sync(door, shop.name, Order("mia"))

    assert (door.asked, report.verdicts.accepted) == ([sql], 7)


def test_a_second_full_resend_sends_everything_again(shop: Shop) -> None:
    """Multiwoven's second full refresh looks like one without work."""
    shop.source(*people(5))
    shop.run()

    reports = [shop.run(Order("mia", full=True)) for _ in range(2)]

    assert [(r.counts.resend, r.verdicts.accepted) for r in reports] == [(5, 5), (5, 5)]
    assert set(shop.written().values()) == {3}


def test_a_full_resend_still_removes_what_left_and_keeps_a_removal_that_failed_in_mind(shop: Shop) -> None:
    """Hightouch's full resync forgets the rows that were to be removed."""
    shop.sync(guard={"deletes": "100%", "changes": "100%"})
    shop.source(*people(4))
    shop.run()
    shop.source(*people(2))
    shop.faults(reject_ids_matching=f"{shop.name}-003")
    first = shop.run(Order("mia", full=True))
    assert (first.counts.remove, first.verdicts.rejected) == (2, 1)
    shop.faults()

    second = shop.run(Order("mia", full=True))

    assert second.verdicts.rejected == 0
    assert list(shop.held()) == ["000", "001"]


def test_a_mirror_never_removes_what_it_did_not_send(shop: Shop) -> None:
    """A first run takes nobody's records away; nor does a later one."""
    shop.write("upsert", ("manual", "Typed in by hand", "hand@example.com"))
    shop.source(*people(3))

    reports = [shop.run(), shop.run(Order("mia", full=True))]

    assert [report.counts.remove for report in reports] == [0, 0]
    assert shop.held()["manual"] == {"name": "Typed in by hand", "email": "hand@example.com"}


def test_one_bad_row_in_a_hundred_that_spoils_the_batch_costs_fourteen_calls_not_a_hundred(
    shop: Shop,
) -> None:
    """HubSpot answers 409 for the whole batch: others stop, or send each row alone."""
    shop.source(*people(100))
    shop.faults(bad_records="409", reject_ids_matching=f"{shop.name}-042")

    report = shop.run()

    assert (report.verdicts.accepted, report.verdicts.rejected, report.state) == (99, 1, "done")
    assert 10 <= report.calls <= 16
    [group] = history_reasons(shop, report.run)
    assert "refused_id" in group.reason and group.rows == 1


def history_reasons(shop: Shop, number: int) -> Sequence[ReasonGroup]:
    with shop.crm.project() as project:
        return history.reasons(project, number)


@pytest.mark.parametrize("shape", ["207", "200", "409", "ok:false"])
def test_a_row_is_accepted_by_what_the_body_says_whatever_the_status(shop: Shop, shape: str) -> None:
    """Slack, Mailchimp, Braze and HubSpot say 200 and mean no."""
    shop.source(*people(8))
    shop.faults(bad_records=shape, reject_ids_matching=f"{shop.name}-00[25]")

    report = shop.run()

    assert (report.verdicts.accepted, report.verdicts.rejected) == (6, 2)
    assert sorted({f"{n:03}" for n in range(8)} - shop.held().keys()) == ["002", "005"]


def test_an_answer_that_cannot_be_read_is_unknown_and_neither_success_nor_failure(shop: Shop) -> None:
    shop.source(*people(3))
    shop.faults(garble_share=1.0)

    report = shop.run()

    assert (report.state, report.verdicts.unknown, report.verdicts.total) == ("failed", 3, 3)
    shop.faults()
    assert shop.run().verdicts.accepted == 3


@pytest.mark.parametrize("hint", ["seconds", "none"])
def test_being_told_to_wait_is_no_error_of_a_run_or_a_row(shop: Shop, hint: str) -> None:
    """Grouparoo's users: waiting for a rate limit must not count as an error."""
    shop.source(*people(300))
    shop.faults(limited_share=0.5, limited_seconds=0, hint=hint, seed=3)

    report = shop.run()

    limited = sum(call.status == 429 for call in shop.calls())
    assert limited >= 1
    assert (report.state, report.error, report.verdicts.accepted) == ("done", "", 300)
    assert history_reasons(shop, report.run) == ()
    assert set(shop.written().values()) == {1}


def test_a_key_whose_type_changed_upstream_is_held_before_it_removes_and_makes_everybody_anew(
    shop: Shop,
) -> None:
    """Hightouch cannot retry removals when a column's type changed; a naive diff swaps all records."""
    first = 1000 * int(shop.name[1:])
    shop.source(*[(first + n, f"P{n}", f"p{n}@example.com") for n in range(20)])
    assert shop.run().verdicts.accepted == 20
    shop.table = shop.table.set_column(0, "id", shop.table["id"].cast(pa.string()))

    report = shop.run()

    assert report.calls == 0
    assert report.state == "guarded" or report.counts.unchanged == 20


def test_a_row_that_arrives_late_with_an_old_date_is_sent(shop: Shop) -> None:
    """A cursor on a column misses it; so does one that only looks forward."""
    shop.source(("2026-11-20", "New", "new@example.com"))
    shop.run()
    shop.source(("2026-11-20", "New", "new@example.com"), ("2019-01-01", "Late", "late@example.com"))
    assert shop.run().counts.create == 1
    assert len(shop.held()) == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("key: {id: id}", "key"),
        ("source: people", "source"),
    ],
)
def test_a_sync_without_a_key_or_a_source_is_refused_and_nothing_is_guessed(
    shop: Shop, line: str, words: str
) -> None:
    """Singer's users: refuse an upsert without keys instead of guessing."""
    file = shop.crm.models / f"syncs/{shop.name}.yml"
    text = "\n".join(part for part in file.read_text().splitlines() if part.partition(":")[0] != words)
    file.write_text(text)

    with shop.crm.project() as project:
        told = [str(problem) for problem in project.problems]

    assert any(words in problem and file.name in problem for problem in told), (line, told)


def test_the_key_cannot_be_overwritten_by_a_field(shop: Shop) -> None:
    shop.sync(fields={"id": "name"})
    with shop.crm.project() as project:
        assert any("both a key and a field" in str(problem) for problem in project.problems)


def test_a_paused_sync_says_who_paused_it_instead_of_silently_not_running(shop: Shop) -> None:
    """Multiwoven: a scheduled sync never runs and shows no error."""
    shop.sync(schedule={"every": "1 minute"})
    shop.source(*people(1))
    with shop.crm.project() as project:
        pause(project, shop.name, "mia@example.com")
        overview = sync_overview(project, shop.name, utc_now())
    assert "mia@example.com" in str(overview)


def test_a_scheduled_sync_without_its_destination_says_so(shop: Shop) -> None:
    shop.sync(schedule={"every": "1 minute"}, destination="gone")
    with shop.crm.project() as project:
        told = [str(problem) for problem in project.problems]
        assert any("gone" in problem for problem in told), told


def test_an_update_never_creates_and_an_insert_never_changes(shop: Shop) -> None:
    """Users of Salesforce want to enrich what is there, or to add and never touch."""
    shop.write("upsert", ("000", "As it was", "was@example.com"))
    shop.source(*people(2))
    shop.sync(mode="update", on_removed="keep")
    updated = shop.run()
    assert (updated.verdicts.accepted, updated.verdicts.rejected) == (1, 1)
    assert shop.held() == {"000": {"name": "P0", "email": "p0@example.com"}}

    shop.name += "x"
    shop.write("upsert", ("000", "As it was", "was@example.com"))
    shop.sync(mode="insert", on_removed="keep")
    shop.source(*people(2))
    inserted = shop.run()
    assert (inserted.verdicts.accepted, inserted.verdicts.rejected) == (1, 1)
    assert shop.held()["000"] == {"name": "As it was", "email": "was@example.com"}
    assert shop.run().calls == 0


def test_a_null_can_leave_the_value_the_tool_has(shop: Shop) -> None:
    """Nulls overwrote good values."""
    shop.sync(
        fields={"name": "name", "email": {"column": "email", "nulls": "skip"}},
        guard={"changes": "100%", "nulls": "100%"},
    )
    shop.source(("1", "Ann", "ann@example.com"))
    shop.run()
    shop.source(("1", "Anna", None))

    assert shop.run().verdicts.accepted == 1
    assert shop.held() == {"1": {"name": "Anna", "email": "ann@example.com"}}
    assert shop.run().calls == 0


def test_a_row_that_may_have_arrived_is_removed_although_its_next_change_was_refused(shop: Shop) -> None:
    """Forgetting the doubt leaves a record behind that nobody ever removes."""
    shop.sync(guard={"deletes": "100%", "changes": "100%"})
    shop.source(("1", "Ann", "ann@example.com"), ("2", "Bob", "bob@example.com"))
    shop.run()
    shop.source(
        *[("1", "Ann", "ann@example.com"), ("2", "Bob", "bob@example.com"), ("3", "Cy", "cy@example.com")]
    )
    shop.faults(garble_share=1.0)
    assert shop.run().verdicts.unknown == 1
    shop.faults()
    shop.source(
        *[("1", "Ann", "ann@example.com"), ("2", "Bob", "bob@example.com"), ("3", "Cy", "cy at home")]
    )
    assert shop.run().verdicts.rejected == 1

    shop.source(*[("1", "Ann", "ann@example.com"), ("2", "Bob", "bob@example.com")])
    shop.run()

    assert sorted(shop.held()) == ["1", "2"]


def test_a_row_that_goes_back_to_what_was_accepted_is_sent_where_another_value_may_have_arrived(
    shop: Shop,
) -> None:
    shop.sync(guard={"deletes": "100%", "changes": "100%"})
    shop.source(("1", "Ann", "ann@example.com"))
    shop.run()
    shop.source(("1", "Anna", "ann@example.com"))
    shop.faults(garble_share=1.0)
    assert shop.run().verdicts.unknown == 1
    shop.faults()
    shop.source(("1", "Anna", "ann at home"))
    assert shop.run().verdicts.rejected == 1

    shop.source(("1", "Ann", "ann@example.com"))
    shop.run()

    assert shop.held() == {"1": {"name": "Ann", "email": "ann@example.com"}}
