"""After a crash: what is sent again, what is asked for, and who may go on."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from connectors.outcomes import same
from connectors.protocol import Change, DestinationStopped, Json, Op, Outcome, Request, Response
from reverse_etl.batches import Answer, Journal
from reverse_etl.deliver import Courier, deliver
from reverse_etl.errors import LeaseLost, SyncBusy, SyncError
from reverse_etl.lease import EXPIRY, Holder, hold, this_process
from reverse_etl.ledger import Answered
from reverse_etl.recover import judged
from reverse_etl.silence import with_silence
from reverse_etl.tables import leases
from reverse_etl.unpack import plan_batches
from serving.store import utc_now
from tests.spec.sync_night import NOW, SAFE, UPSERT, Night, Told, Tool, a_night, locked


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    yield from a_night(tmp_path, 95 * UPSERT)


def test_a_lease_that_was_taken_over_stops_the_process_before_its_next_call(night: Night) -> None:
    async def take_over(changes: Sequence[Change]) -> None:
        with night.store.write() as connection:
            connection.execute(update(leases).values(holder=json.dumps({"host": "other"})))

    night.tool.during.append(take_over)
    night.tool.capabilities = replace(SAFE, concurrent=1, resend=frozenset())
    with pytest.raises(LeaseLost):
        night.deliver()
    assert night.tool.sent == list(range(1, 11))
    assert night.journal() == [("answered", 1, 10)], "the answer that came is kept"


def test_a_process_that_slept_looks_at_its_lease_before_it_sends_what_was_planned(night: Night) -> None:
    """Intents were written ahead; then the machine slept for an hour and another one took over."""
    asleep: list[float] = []

    async def sleep_and_lose(changes: Sequence[Change]) -> None:
        await asyncio.sleep(0.05)  # the intents of the batches behind it are on disk
        if not asleep:
            with night.store.write() as connection:
                connection.execute(update(leases).values(holder=json.dumps({"host": "other"})))
            lease._renewed -= 3600
            asleep.append(1.0)

    night.tool.during.append(sleep_and_lose)
    night.tool.capabilities = replace(SAFE, concurrent=1)
    with hold(night.store, "people") as lease, pytest.raises(LeaseLost):
        journal = Journal(night.store, night.run, lease)
        asyncio.run(deliver(night.plan, Courier(night.tool, night.tool, journal, utc_now)))
    assert night.tool.sent == list(range(1, 11))


def test_an_answer_that_comes_after_another_process_took_over_changes_nothing(night: Night) -> None:
    night.crash((1, 10))
    night.recover()
    with hold(night.store, "people") as lease:
        journal = Journal(night.store, night.run, lease)
        journal.write([Answer(1, [Outcome(seq, "accepted") for seq in range(1, 11)], 1)], NOW)
    assert night.journal() == [("lost", 1, 10)]


def test_after_a_crash_upserts_in_flight_are_sent_again(night: Night) -> None:
    night.crash((1, 10), (11, 20))
    night.recover()
    assert night.deliver().complete
    assert sorted(night.tool.sent) == list(range(1, 96))
    assert set(night.verdicts().values()) == {"accepted"}


def test_after_a_crash_an_insert_goes_again_only_if_the_record_is_not_there(tmp_path: Path) -> None:
    """Rows 1 to 4 arrived, 5 was there with another name, the rest never arrived."""
    for night in a_night(tmp_path, ["insert"] * 10):
        night.tool.records |= {str(n): {"name": f"it's {n}"} for n in range(1, 5)}
        night.tool.records["5"] = {"name": "Eve"}
        night.crash((1, 10))

        night.recover()
        assert night.deliver().complete

        assert night.tool.sent == [6, 7, 8, 9, 10]
        assert night.verdicts() == {n: "unknown" if n == 5 else "accepted" for n in range(1, 11)}


@pytest.mark.parametrize(
    ("op", "held", "verdict"),
    [
        ("insert", None, None),
        ("upsert", None, "unknown"),
        ("upsert", {"name": "Ann"}, "accepted"),
        ("upsert", {"name": "Eve"}, "unknown"),
        ("update", {"name": "Ann", "age": 7}, "accepted"),
        ("delete", None, "accepted"),
        ("archive", {}, "unknown"),
    ],
)
def test_what_reading_back_says_of_a_row_that_may_have_left(
    op: Op, held: dict[str, Json] | None, verdict: str | None
) -> None:
    fields: dict[str, Json] = {} if op in ("delete", "archive") else {"name": "Ann"}
    found = judged(Change(1, op, {"id": 1}, fields), held)
    assert (found and found.verdict) == verdict


def test_after_a_crash_an_insert_that_nobody_can_ask_about_is_unknown_for_good(tmp_path: Path) -> None:
    for night in a_night(tmp_path, ["insert"] * 20):
        night.crash((1, 10))
        night.recover(asking=False)
        night.deliver()
        assert night.tool.sent == list(range(11, 21))
        assert {night.verdicts()[n] for n in range(1, 11)} == {"unknown"}


def test_a_destination_that_does_not_answer_leaves_inserts_open_for_the_next_run(tmp_path: Path) -> None:
    class Down(Tool):
        async def fetch(self, destination: object, request: Request) -> Response:
            raise DestinationStopped("no connection")

    for night in a_night(tmp_path, ["insert"] * 20):
        night.tool = Down()
        night.crash((1, 10))
        with pytest.raises(SyncError, match=r"rows 1 to 10 may have left.*no connection"):
            night.recover()
        assert night.journal() == [("intent", 1, 10)]


def test_a_row_that_left_before_a_crash_and_was_not_delivered_since_is_unknown_not_deferred(
    night: Night,
) -> None:
    """Else a source that went back to the old value would never correct what arrived."""
    night.crash((1, 10))
    night.recover()

    class Down(Tool):
        async def send(self, destination: object, changes: Sequence[Change]) -> Told:
            return Told(same(changes, "deferred", "no connection"))

    night.tool = Down()
    sent = night.deliver()

    assert sent.stopped.startswith("the destination takes no rows")
    verdicts = night.verdicts()
    assert {verdicts[n] for n in range(1, 11)} == {"unknown"} and verdicts[11] == "deferred"


def test_silence_is_put_exactly_where_no_answer_covers_it() -> None:
    answers = [Answered(1, 3, "accepted", ""), Answered(6, 9, "deferred", "down", ((7, "accepted", ""),))]
    found = list(with_silence(answers, [(2, 4), (8, 12), (11, 11)]))
    rows = {
        seq: {s: v for s, v, _ in part.exceptions}.get(seq, part.verdict)
        for part in found
        for seq in range(part.first, part.last + 1)
    }
    accepted, deferred, unknown = "accepted", "deferred", "unknown"
    assert rows == {
        **dict.fromkeys((1, 2, 3, 7), accepted),
        6: deferred,
        **dict.fromkeys((4, 8, 9, 10, 11, 12), unknown),
    }
    assert [part.first for part in found] == sorted(part.first for part in found)
    assert sum(part.last - part.first + 1 for part in found) == len(rows)


def test_answered_neighbours_are_one_range_so_that_memory_does_not_grow_with_batches(night: Night) -> None:
    night.deliver()
    with hold(night.store, "people") as lease:
        assert Journal(night.store, night.run, lease).answered_ranges() == [(1, 95)]


@pytest.mark.parametrize("answered", [(), ((1, 95),), ((4, 4), (11, 20), (60, 94))])
def test_a_plan_is_cut_into_batches_without_gaps_and_without_what_was_answered(
    night: Night, answered: tuple[tuple[int, int], ...]
) -> None:
    async def all_batches() -> list[list[int]]:
        return [[c.seq for c in batch] async for batch in plan_batches(night.plan, 10, answered)]

    found = asyncio.run(all_batches())

    left = [n for n in range(1, 96) if not any(first <= n <= last for first, last in answered)]
    assert [seq for batch in found for seq in batch] == left
    assert all(len(batch) <= 10 and batch[-1] - batch[0] == len(batch) - 1 for batch in found)


def test_a_holder_elsewhere_is_replaced_only_when_its_heartbeat_stands_still(night: Night) -> None:
    """A clock that jumped an hour ahead makes a living holder look dead until its next heartbeat."""
    far = Holder("elsewhere", 1, "1", "t", "another machine")
    row = {"sync": "people", "holder": json.dumps(far.__dict__), "heartbeat": NOW}
    with night.store.write() as connection:
        connection.execute(leases.insert().values(row))

    def beats(seconds: float) -> None:
        with night.store.write() as connection:
            connection.execute(update(leases).values(heartbeat=NOW + timedelta(hours=1)))

    def elsewhen(now: datetime, sleep: Callable[[float], None]) -> None:
        with hold(night.store, "people", lambda: now, sleep):
            pass

    for now in (NOW, NOW + timedelta(hours=2)):
        with pytest.raises(SyncBusy, match="process 1 on elsewhere"):
            elsewhen(now, beats)
        with night.store.write() as connection:
            connection.execute(update(leases).values(heartbeat=NOW))
    elsewhen(NOW + 2 * EXPIRY, lambda seconds: None)


def test_a_process_number_that_was_given_anew_does_not_keep_a_lease(night: Night) -> None:
    mine = this_process()
    earlier = replace(mine, started="1")
    row = {"sync": "people", "holder": json.dumps(earlier.__dict__), "heartbeat": utc_now()}
    with night.store.write() as connection:
        connection.execute(leases.insert().values(row))
    with hold(night.store, "people"):
        pass


def test_a_renamed_host_still_knows_its_own_living_process(night: Night) -> None:
    before = replace(this_process(), host="old-name")
    row = {"sync": "people", "holder": json.dumps(before.__dict__), "heartbeat": NOW - timedelta(days=1)}
    with night.store.write() as connection:
        connection.execute(leases.insert().values(row))
    with pytest.raises(SyncBusy), hold(night.store, "people"):
        pass


def test_a_lease_that_could_not_be_given_back_does_not_block_the_sync(night: Night) -> None:
    with hold(night.store, "people"):
        lock = locked(night.store)
        lock.__enter__()
    lock.__exit__(None, None, None)
    with night.store.read() as connection:
        assert connection.execute(select(leases)).one_or_none() is not None
    with hold(night.store, "people"):
        pass
