"""What every connector promises, tried against the real tool behind a gate with faults."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from connectors.http import DeliveryStopped
from connectors.protocol import Capabilities, Change, DestinationStopped, ListsRecords, Op, ReadsBack
from connectors.registry import connector_names
from connectors.secrets import Secret
from tests.contract.served import Answer
from tests.contract.tools import TOKEN, TOOLS, Line, upserts

BAD = {"email": "joe example.com"}


def not_safe(line: Line) -> Capabilities:
    """Makes the destination one that must never get a batch twice."""
    line.destination.capabilities = replace(line.destination.capabilities, resend=frozenset())
    return line.destination.capabilities


def verdicts(line: Line, changes: list[Change], **how: float) -> list[str]:
    return [outcome.verdict for outcome in line.send(changes, **how).outcomes]


def test_every_registered_connector_is_in_this_suite() -> None:
    assert set(TOOLS) == set(connector_names())


def test_every_change_gets_exactly_one_outcome_in_order(line: Line) -> None:
    changes = upserts(253)
    changes[17] = replace(changes[17], fields=BAD)

    delivery = line.send(changes)

    assert [outcome.seq for outcome in delivery.outcomes] == [change.seq for change in changes]
    assert [outcome.seq for outcome in delivery.outcomes if outcome.verdict != "accepted"] == [17]
    assert line.tool.records().keys() == {f"k{n:04}" for n in range(253)} - {"k0017"}


def test_no_changes_are_no_calls(line: Line) -> None:
    assert line.send([]).outcomes == []
    assert line.tool.gate.calls == 0


def test_sending_the_same_row_twice_leaves_one_record(line: Line) -> None:
    line.send(upserts(1, city="Oslo"))
    line.send(upserts(1, city="Oslo"))

    assert line.tool.records() == {"k0000": {"n": 0, "city": "Oslo"}}


def test_a_rejected_row_carries_the_tools_own_words(line: Line) -> None:
    delivery = line.send([Change(5, "upsert", {"id": "a"}, BAD)])

    assert delivery.outcomes[0].verdict == "rejected"
    assert "'joe example.com' is no valid e-mail address" in delivery.outcomes[0].reason


def test_clearing_empties_the_fields_and_keeps_the_record(line: Line) -> None:
    line.send([Change(0, "upsert", {"id": "a"}, {"city": "Oslo", "tier": "gold"})])
    line.send([Change(0, "clear", {"id": "a"}, {"tier": None})])

    assert line.tool.records() == {"a": {"city": "Oslo"}}


@pytest.mark.parametrize("op", ["archive", "delete"])
def test_a_removed_row_is_gone_and_removing_it_again_is_accepted(line: Line, op: str) -> None:
    line.send(upserts(3))
    removal = [Change(0, op, {"id": "k0001"})]  # type: ignore[arg-type]

    assert verdicts(line, removal) == ["accepted"]
    assert line.tool.records().keys() == {"k0000", "k0002"}
    assert verdicts(line, removal) == ["accepted"]


def test_an_insert_writes_new_records_and_leaves_others_alone(line: Line) -> None:
    line.send([Change(0, "upsert", {"id": "a"}, {"n": 1})])

    delivery = line.send([Change(n, "insert", {"id": key}, {"n": 2}) for n, key in enumerate("ab")])

    assert [outcome.verdict for outcome in delivery.outcomes] == ["rejected", "accepted"]
    assert delivery.outcomes[0].reason
    assert line.tool.records() == {"a": {"n": 1}, "b": {"n": 2}}


def test_an_update_changes_what_is_there_and_makes_nothing(line: Line) -> None:
    line.send([Change(0, "upsert", {"id": "a"}, {"n": 1, "city": "Oslo"})])

    found = verdicts(line, [Change(n, "update", {"id": key}, {"n": 2}) for n, key in enumerate("ab")])

    assert found == ["accepted", "rejected"]
    assert line.tool.records() == {"a": {"n": 2, "city": "Oslo"}}


OPS: list[Op] = ["insert", "update", "upsert", "clear", "archive", "delete"]
FIELDS = {"update": {"n": 2}, "insert": {"n": 2}, "upsert": {"n": 2}, "clear": {"n": None}}
AFTER = {"update": {"a": {"n": 2}}, "insert": {"a": {"n": 2}}, "upsert": {"a": {"n": 2}}, "clear": {"a": {}}}


@pytest.mark.parametrize("op", OPS)
def test_an_op_declared_safe_is_sent_again_when_its_answer_is_lost_and_another_is_unknown(
    line: Line, op: Op
) -> None:
    if op not in line.destination.capabilities.ops:
        pytest.skip(f"{line.tool.name} does not declare {op}")
    if op != "insert":
        line.send([Change(0, "upsert", {"id": "a"}, {"n": 1})])
        line.tool.gate.reset()
    line.tool.gate.script.append("deliver, then drop")
    safe = op in line.destination.capabilities.resend

    found = verdicts(line, [Change(0, op, {"id": "a"}, FIELDS.get(op, {}))])

    assert found == ["accepted" if safe else "unknown"]
    assert line.tool.gate.calls == (2 if safe else 1)
    assert line.tool.records() == AFTER.get(op, {})


def test_a_value_that_goes_there_and_back_arrives_each_time(line: Line) -> None:
    """A tool that remembers answers by idempotency key must not take the third change for the first."""
    for version, city in (("run 1", "Oslo"), ("run 2", "Rome"), ("run 3", "Oslo")):
        line.send([Change(0, "upsert", {"id": "a"}, {"city": city}, version)])
        assert line.tool.records() == {"a": {"city": city}}


def test_reading_back_says_what_each_record_holds_in_the_order_asked(line: Line) -> None:
    if not isinstance(line.destination, ReadsBack):
        with pytest.raises(DestinationStopped, match="cannot say what it holds"):
            line.read(["a"], ["n"])
        return
    line.send(upserts(205, city="Oslo"))
    line.send([Change(0, "archive", {"id": "k0007"})])
    keys = [f"k{n:04}" for n in reversed(range(210))]

    found = line.read(keys, ["n", "zip"])

    assert [record and record["n"] for record in found] == [
        None if n == 7 or n >= 205 else n for n in reversed(range(210))
    ]
    assert found[-1] == {"n": 0, "zip": None}


def test_listing_gives_every_live_record_once(line: Line) -> None:
    if not isinstance(line.destination, ListsRecords):
        with pytest.raises(DestinationStopped, match="cannot list"):
            line.listed(["n"])
        return
    line.send(upserts(2_003, city="Oslo"))
    line.send([Change(0, "archive", {"id": "k0007"})])

    found = line.listed(["n", "zip"])

    assert found == {f"k{n:04}": {"n": n, "zip": None} for n in range(2_003) if n != 7}


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"results": 7}', b'{"results": [{"id": 1}]}'])
def test_an_answer_that_cannot_be_read_stops_the_reading(line: Line, body: bytes) -> None:
    if not isinstance(line.destination, ReadsBack):
        return
    line.tool.gate.script.extend([Answer(200, body=body)] * 2)

    with pytest.raises(DestinationStopped, match="cannot be read"):
        line.read(["a"], ["n"])
    with pytest.raises(DestinationStopped, match="cannot be read"):
        line.listed(["n"])


def test_ops_are_never_mixed_or_reordered(line: Line) -> None:
    """The same key is written, removed and written again in one `send`."""
    key = {"id": "a"}
    changes = [
        Change(0, "upsert", key, {"n": 1}),
        Change(1, "delete", key),
        Change(2, "upsert", key, {"m": 2}),
    ]

    assert verdicts(line, changes) == ["accepted"] * 3
    assert line.tool.records() == {"a": {"m": 2}}
    assert line.tool.gate.calls == 3


def test_a_429_with_seconds_is_waited_for_and_costs_no_try(line: Line) -> None:
    line.tool.gate.script.extend([Answer(429, {"Retry-After": "7"})] * 3)

    delivery = line.send(upserts(1), tries=1)

    assert delivery.outcomes[0].verdict == "accepted"
    assert line.time.naps == [7, 7, 7]
    assert (delivery.calls, delivery.waited) == (4, 21)


def test_a_429_with_a_date_is_waited_for(line: Line) -> None:
    """The date is read against the answer's own Date header, so no clock has to agree."""
    date = datetime(2031, 3, 1, 12, 0, tzinfo=UTC)
    headers = {
        "Date": format_datetime(date, usegmt=True),
        "Retry-After": format_datetime(date + timedelta(seconds=90), usegmt=True),
    }
    line.tool.gate.script.append(Answer(429, headers))

    assert verdicts(line, upserts(1)) == ["accepted"]
    assert line.time.naps == [90]


def test_waiting_for_a_rate_limit_has_an_end(line: Line) -> None:
    line.tool.gate.script.extend([Answer(429, {"Retry-After": "400"})] * 5)

    delivery = line.send(upserts(2), patience=900)

    assert {outcome.verdict for outcome in delivery.outcomes} == {"deferred"}
    assert "rate limited by" in delivery.outcomes[0].reason
    assert sum(line.time.naps) <= 900
    assert line.tool.records() == {}


def test_a_500_is_tried_again_with_growing_pauses(line: Line) -> None:
    line.tool.gate.script.extend([Answer(500)] * 3)

    assert verdicts(line, upserts(1), base=1.0) == ["accepted"]
    assert line.time.naps == [0.5, 1.0, 2.0]


def test_a_tool_that_stays_broken_defers_its_rows(line: Line) -> None:
    line.tool.gate.script.extend([Answer(500)] * 3)

    delivery = line.send(upserts(2), tries=3)

    assert {outcome.verdict for outcome in delivery.outcomes} == {"deferred"}
    assert "answered 500 (tried 3 times)" in delivery.outcomes[0].reason


def test_a_dropped_connection_is_tried_again_where_that_is_safe(line: Line) -> None:
    line.tool.gate.script.append("drop")

    assert verdicts(line, upserts(2)) == ["accepted"] * 2
    assert line.tool.gate.calls == 2


def test_a_dropped_connection_is_unknown_where_resending_is_not_safe(line: Line) -> None:
    not_safe(line)
    line.tool.gate.script.append("drop")

    assert verdicts(line, upserts(2)) == ["unknown"] * 2
    assert line.tool.gate.calls == 1


@pytest.mark.parametrize("fault", ["deliver, then drop", "deliver, then hang"])
def test_no_answer_after_the_write_is_settled_by_a_safe_resend(line: Line, fault: str) -> None:
    line.tool.gate.script.append(fault)  # type: ignore[arg-type]

    assert verdicts(line, upserts(2), read_timeout=0.25) == ["accepted"] * 2
    assert len(line.tool.records()) == 2


@pytest.mark.parametrize("fault", ["deliver, then drop", "deliver, then hang"])
def test_no_answer_after_the_write_is_unknown_where_resending_is_not_safe(line: Line, fault: str) -> None:
    not_safe(line)
    line.tool.gate.script.append(fault)  # type: ignore[arg-type]

    delivery = line.send(upserts(2), read_timeout=0.25)

    assert {outcome.verdict for outcome in delivery.outcomes} == {"unknown"}
    assert delivery.calls == line.tool.gate.calls == 1
    assert len(line.tool.records()) == 2


def test_a_later_failure_does_not_turn_unknown_into_deferred(line: Line) -> None:
    line.tool.gate.script.extend(["deliver, then drop", Answer(500)])

    delivery = line.send(upserts(1), tries=2)

    assert delivery.outcomes[0].verdict == "unknown"
    assert "500" in delivery.outcomes[0].reason


def test_wrong_credentials_stop_at_once_and_the_token_is_in_no_message(line: Line) -> None:
    line.secret = Secret("wr0ng-t0ken")

    with pytest.raises(DeliveryStopped) as stop:
        line.send(upserts(25))

    assert "401" in stop.value.problem and "token" in stop.value.hint
    assert not any(secret in str(stop.value) for secret in ("wr0ng-t0ken", TOKEN))
    assert line.tool.gate.calls == 1
    assert [outcome.seq for outcome in stop.value.delivery.outcomes] == list(range(25))
    assert {outcome.verdict for outcome in stop.value.delivery.outcomes} == {"deferred"}


@pytest.mark.parametrize("status", [301, 308, 403, 404, 405, 410])
def test_a_wrong_address_stops_at_once(line: Line, status: int) -> None:
    line.tool.gate.script.append(Answer(status, {"Location": "http://127.0.0.1:9/"}))

    with pytest.raises(DeliveryStopped, match=str(status)):
        line.send(upserts(2))

    assert line.tool.gate.calls == 1


def test_what_was_accepted_before_a_stop_is_known(line: Line) -> None:
    rows = line.destination.capabilities.batch_rows
    line.tool.gate.script.extend(["pass", Answer(403)])

    with pytest.raises(DeliveryStopped) as stop:
        line.send(upserts(rows * 3))

    found = [outcome.verdict for outcome in stop.value.delivery.outcomes]
    assert found == ["accepted"] * rows + ["deferred"] * (2 * rows)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Welcome</html>",
        b"",
        b"[]",
        b'{"results": [], "errors": []}',
        b'{"results": [{"ok": true}, {"ok": true}], "errors": [{"index": 7, "code": "x", "message": "y"}]}',
    ],
)
def test_a_200_that_does_not_speak_of_every_row_is_unknown(line: Line, body: bytes) -> None:
    line.tool.gate.script.append(Answer(200, body=body))

    assert verdicts(line, upserts(3)) == ["unknown"] * 3


def test_a_wholly_rejected_batch_is_halved_until_the_bad_row_stands_alone(line: Line) -> None:
    if line.tool.refuses_batches:
        line.tool.refuse_whole_batches()
    changes = upserts(10)
    changes[6] = replace(changes[6], fields=BAD)

    delivery = line.send(changes)

    assert [outcome.seq for outcome in delivery.outcomes if outcome.verdict == "rejected"] == [6]
    assert len(line.tool.records()) == 9
    assert delivery.calls == (7 if line.tool.refuses_batches else 1)


def test_a_row_that_is_too_large_is_rejected_with_its_size_and_the_others_arrive(line: Line) -> None:
    line.destination.capabilities = replace(line.destination.capabilities, batch_bytes=500)
    changes = upserts(8)
    changes[3] = replace(changes[3], fields={"note": "x" * 1_000})

    delivery = line.send(changes)

    rejected = [outcome for outcome in delivery.outcomes if outcome.verdict == "rejected"]
    assert [outcome.seq for outcome in rejected] == [3]
    assert "bytes, the destination at most 500" in rejected[0].reason
    assert len(line.tool.records()) == 7


def test_a_number_that_json_cannot_say_is_a_rejected_row(line: Line) -> None:
    changes = upserts(4)
    changes[2] = replace(changes[2], fields={"n": float("nan")})

    assert verdicts(line, changes) == ["accepted", "accepted", "rejected", "accepted"]


def test_text_arrives_as_it_was_sent(line: Line) -> None:
    text = 'Zoë\'s “Ø” – 100 %\n\t{x} \\ "quoted" 🎈'

    line.send([Change(0, "upsert", {"id": "a/b?c#d é"}, {"note": text})])

    assert line.tool.records() == {"a/b?c#d é": {"note": text}}
