"""Guard, schedule and lease: pure rules, each in one sentence."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import insert, select

from connectors.protocol import Op, Verdict
from reverse_etl.counts import Counts
from reverse_etl.errors import LeaseLost, MappingInvalid, SyncBusy
from reverse_etl.guard import trips
from reverse_etl.lease import EXPIRY, Holder, hold, started_at
from reverse_etl.ledger import Answered, Rest, settle
from reverse_etl.plan import Intent, Plan, make_plan
from reverse_etl.row_files import FieldChange, PlannedRow
from reverse_etl.schedule import next_fire, trigger_of
from reverse_etl.show import planned_line
from reverse_etl.tables import leases, prepare
from serving.content.sync import Guard, Sync
from serving.store import Store, utc_now

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)  # a Friday


def sync(**keys: object) -> Sync:
    base = {"name": "s", "source": "m", "run_as": "r", "destination": "d", "object": "o", "key": {"id": "id"}}
    return Sync.model_validate(base | {"fields": {"v": "v"}} | keys)


# guard


@pytest.mark.parametrize(
    ("counts", "guard", "limits"),
    [
        (Counts(create=1000, wanted=1000), Guard(), []),
        (Counts(remove=10, wanted=90, ledger=100), Guard(), []),
        (Counts(remove=11, wanted=89, ledger=100), Guard(), ["deletes"]),
        (Counts(remove=5, update=46, wanted=95, ledger=100), Guard(changes=0.5), ["changes"]),
        (Counts(wanted=0), Guard(), ["min_rows"]),
        (Counts(wanted=0), Guard(min_rows=0), []),
        (Counts(resend=100, wanted=100, ledger=100), Guard(changes=0.1), []),
    ],
)
def test_the_guard_trips_on_shares_of_the_ledger_and_on_too_few_rows(
    counts: Counts, guard: Guard, limits: list[str]
) -> None:
    assert [trip.limit for trip in trips(counts, guard)] == limits


# schedule


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"every": "15 minutes"}, "2026-11-20T12:15+00:00"),
        ({"every": "1 day"}, "2026-11-21T12:00+00:00"),
        ({"cron": "0 * * * *"}, "2026-11-20T13:00+00:00"),
        ({"cron": "30 6 * * 0"}, "2026-11-22T06:30+00:00"),  # cron's 0 is Sunday, so is its 7
        ({"cron": "30 6 * * 7"}, "2026-11-22T06:30+00:00"),
        ({"cron": "0 6 * * 1-5"}, "2026-11-23T06:00+00:00"),
        ({"cron": "0 6 * * sat"}, "2026-11-21T06:00+00:00"),
        ({"cron": "0 6 25 * sun"}, "2026-11-22T06:00+00:00"),  # two restricted day fields: either
        ({"cron": "0 9 * * *", "timezone": "America/New_York"}, "2026-11-20T14:00+00:00"),
    ],
)
def test_a_schedule_names_its_next_moment(schedule: dict[str, str], expected: str) -> None:
    found = next_fire(sync(schedule=schedule), "UTC", NOW)
    assert found is not None
    assert found.astimezone(UTC).isoformat(timespec="minutes") == expected


def test_cron_follows_the_projects_time_zone_through_a_clock_change() -> None:
    friday = datetime(2026, 3, 27, 12, tzinfo=UTC)
    fires = []
    for _ in range(3):
        found = next_fire(sync(schedule={"cron": "0 8 * * *"}), "Europe/Berlin", friday)
        assert found is not None
        fires.append((friday := found).astimezone(UTC).hour)
    assert fires == [7, 6, 6]


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"every": "soon"}, "'soon' is no span of time"),
        ({"every": "0 minutes"}, "'0 minutes' is no span of time"),
        ({"cron": "0 * * *"}, "has 4 fields"),
        ({"cron": "61 * * * *"}, "'61 * * * *'"),
        ({"cron": "0 6 * * 8"}, "'8' is no weekday"),
        ({"cron": "0 6 * * *", "timezone": "Mars/North"}, "there is no time zone 'Mars/North'"),
    ],
)
def test_a_schedule_that_cannot_be_read_is_refused(schedule: dict[str, str], message: str) -> None:
    with pytest.raises(MappingInvalid, match=message.replace("*", r"\*")):
        trigger_of(sync(schedule=schedule), "UTC", NOW)


# lease


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "control.sqlite")
    prepare(made)
    return made


def leave(store: Store, holder: Holder, heartbeat: datetime) -> None:
    """A lease as another process left it."""
    with store.write() as connection:
        row = {"sync": "s", "holder": json.dumps(asdict(holder)), "heartbeat": heartbeat}
        connection.execute(insert(leases).values(row))


def test_the_lease_of_a_process_that_died_here_is_taken_over_at_once(store: Store) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    holder = Holder(socket.gethostname(), child.pid, started_at(child.pid) or "", "x")
    leave(store, holder, utc_now())
    with pytest.raises(SyncBusy, match=str(child.pid)), hold(store, "s"):
        pass
    child.kill()
    child.communicate()
    with hold(store, "s"):
        pass


def test_a_process_that_got_the_number_of_a_dead_one_does_not_hold_its_lease(store: Store) -> None:
    leave(store, Holder(socket.gethostname(), os.getpid(), "another start", "x"), utc_now())
    with hold(store, "s"):
        pass


def test_a_lease_of_another_machine_counts_until_it_expires(store: Store) -> None:
    leave(store, Holder("elsewhere", 1, "1", "x"), utc_now() - EXPIRY / 2)
    with pytest.raises(SyncBusy, match="elsewhere"), hold(store, "s"):
        pass
    with hold(store, "s", clock=lambda: utc_now() + EXPIRY):
        pass


def test_a_process_whose_lease_was_taken_over_may_not_write_any_more(store: Store) -> None:
    with hold(store, "s") as lease:
        with store.write() as connection:
            connection.execute(leases.update().values(holder="somebody else"))
        with store.write() as connection, pytest.raises(LeaseLost):
            lease.check(connection)


def test_a_lease_is_given_back_at_the_end_even_of_a_failure(store: Store) -> None:
    with pytest.raises(RuntimeError), hold(store, "s"):
        raise RuntimeError
    with store.read() as connection:
        assert connection.execute(select(leases)).all() == []


# unknown rows


@pytest.mark.parametrize(("safe", "kinds"), [(True, ["retry"]), (False, [])])
def test_a_row_that_may_have_arrived_is_sent_again_only_where_that_does_no_harm(
    tmp_path: Path, safe: bool, kinds: list[str]
) -> None:
    source = pa.table({"id": ["1"], "v": [1]})
    resend: frozenset[Op] = frozenset({"upsert"} if safe else ())
    first = make_plan(sync(), source, None, tmp_path / "1", Intent(NOW, resend))
    answers = [Answered(1, 1, "unknown", "no answer")]
    settled = settle(first.folder, None, tmp_path / "l1.parquet", answers, None, 1, NOW)
    assert settled.verdicts.unknown == 1

    def next_plan(value: int, forced: tuple[str, ...] = ()) -> Plan:
        table = pa.table({"id": ["1"], "v": [value]})
        return make_plan(sync(), table, settled.ledger, tmp_path / "2", Intent(NOW, resend, forced=forced))

    again = pq.read_table(next_plan(1).changes)
    assert again.column("kind").to_pylist() == kinds
    assert next_plan(2).counts.to_send == 1
    assert next_plan(1, ('{"id":"1"}',)).counts.to_send == 1


def test_a_removal_that_was_not_accepted_is_planned_again_from_the_ledger(tmp_path: Path) -> None:
    mirror = sync(mode="mirror", on_removed="delete")
    full, empty = pa.table({"id": ["1", "2"], "v": [1, 1]}), pa.table({"id": ["1"], "v": [1]})
    first = make_plan(mirror, full, None, tmp_path / "1", Intent(NOW))
    ledger = settle(
        first.folder, None, tmp_path / "l1", [Answered(1, 2, "accepted", "")], None, 1, NOW
    ).ledger
    gone = make_plan(mirror, empty, ledger, tmp_path / "2", Intent(NOW))
    ledger = settle(gone.folder, ledger, tmp_path / "l2", [], Rest("deferred", "down"), 2, NOW).ledger

    again = make_plan(mirror, empty, ledger, tmp_path / "3", Intent(NOW + timedelta(days=1)))

    [row] = pq.read_table(again.changes).to_pylist()
    assert (row["op"], row["kind"], row["key"], row["old"]) == ("delete", "retry", '{"id":"2"}', '{"v":1}')


@pytest.mark.parametrize(("verdict", "removals"), [("unknown", 1), ("rejected", 0), ("deferred", 0)])
def test_a_row_that_left_before_it_was_accepted_is_removed_only_if_it_may_have_arrived(
    tmp_path: Path, verdict: Verdict, removals: int
) -> None:
    mirror = sync(mode="mirror", on_removed="delete")
    first = make_plan(mirror, pa.table({"id": ["1"], "v": [1]}), None, tmp_path / "1", Intent(NOW))
    answers = [Answered(1, 1, verdict, "words")]
    ledger = settle(first.folder, None, tmp_path / "l1", answers, None, 1, NOW).ledger

    gone = make_plan(mirror, pa.table({"id": ["2"], "v": [1]}), ledger, tmp_path / "2", Intent(NOW))

    assert gone.counts.remove == removals
    after = settle(gone.folder, ledger, tmp_path / "l2", [], Rest("deferred", "down"), 2, NOW).ledger
    assert pq.read_table(after).num_rows == 1 + removals, "what never was there is forgotten"


def test_a_renamed_digest_function_would_cost_no_call_because_texts_are_compared(tmp_path: Path) -> None:
    source = pa.table({"id": ["1"], "v": [1]})
    first = make_plan(sync(), source, None, tmp_path / "1", Intent(NOW))
    new = tmp_path / "l1.parquet"
    settle(first.folder, None, new, [Answered(1, 1, "accepted", "")], None, 1, NOW)
    table = pq.read_table(new)
    strange = pa.array([7], pa.uint64())
    pq.write_table(table.set_column(table.schema.get_field_index("d1"), "d1", strange), new)

    assert make_plan(sync(), source, new, tmp_path / "2", Intent(NOW)).counts == Counts(
        unchanged=1, wanted=1, ledger=1
    )


@pytest.mark.parametrize(
    ("op", "line"),
    [
        ("archive", '  - archive id=5  (was tier: "gold")'),
        ("delete", '  - delete id=5  (was tier: "gold")'),
        ("clear", '  - clear id=5  tier: "gold" → null'),
    ],
)
def test_a_removal_shows_what_goes_and_only_a_clearing_shows_nulls(op: Op, line: str) -> None:
    change = FieldChange("tier", "gold", None, known=True)
    assert planned_line(PlannedRow(1, op, "remove", {"id": "5"}, (change,))) == line
