"""Undo takes back what one run changed, and nothing that anybody else did since."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import update

from connectors.protocol import CREATED, RESTORED, Capabilities, Change, Json, Op
from reverse_etl.adopt import adopt
from reverse_etl.errors import MappingInvalid, SyncError, UndoRefused, UnknownSync
from reverse_etl.inverse import NOTHING, Delivered, Found, Step, inverse
from reverse_etl.tables import runs
from serving.content.sync import Sync
from tests.spec.undo_rig import Rig

ANN, BEN, CAT = ("a", "Oslo", 1), ("b", "Rome", 2), ("c", "Bonn", 3)
Opens = Callable[..., Rig]


@pytest.fixture
def opens(tmp_path: Path) -> Iterator[Opens]:
    """Opens a rig whose sync has these keys."""
    made: list[Rig] = []

    def opened(**keys: object) -> Rig:
        made.append(Rig(tmp_path / str(len(made)), keys))
        return made[-1]

    yield opened
    for rig in made:
        rig.close()


@pytest.fixture
def rig(opens: Opens) -> Rig:
    return opens()


def left(rig: Rig, run: int) -> dict[str, int]:
    return {group.reason: group.rows for group in rig.plan_undo(run).left}


def test_undoing_a_first_run_deletes_what_it_created(rig: Rig) -> None:
    run = rig.run([ANN, BEN])

    plan = rig.undo(run)

    assert (plan.counts.remove, plan.counts.ledger, plan.checked) == (2, 2, True)
    assert rig.records() == {}


def test_values_that_were_there_come_back_field_by_field(rig: Rig) -> None:
    rig.run([ANN, BEN])
    before = rig.records()
    run = rig.run([("a", "Paris", 1), ("b", "Rome", None)])
    changes = rig.plan_undo(run)

    assert pq.read_table(changes.folder / "plan.parquet", columns=["op", "key", "fields"]).to_pylist() == [
        {"op": "update", "key": '{"id":"a"}', "fields": '{"city":"Oslo"}'},
        {"op": "update", "key": '{"id":"b"}', "fields": '{"score":2}'},
    ]
    rig.undo(run)
    assert rig.records() == before


@pytest.mark.parametrize("how", ["clear", "archive", "delete"])
def test_removed_rows_come_back(opens: Opens, how: str) -> None:
    rig = opens(on_removed=how)
    rig.run([ANN, BEN, CAT])
    before = rig.records()
    run = rig.run([ANN, BEN])
    assert rig.records() != before

    rig.undo(run)

    assert rig.records() == before


@pytest.mark.parametrize("how", ["clear", "archive", "delete"])
def test_an_undo_can_be_undone(opens: Opens, how: str) -> None:
    rig = opens(on_removed=how)
    rig.run([ANN, BEN])
    run = rig.run([("a", "Paris", 9), CAT])
    after, archived = rig.records(), rig.archived()
    rig.undo(run)
    undo = rig.number

    rig.undo(undo)

    assert (rig.records(), rig.archived()) == (after, archived)


def test_a_run_that_was_undone_is_not_undone_again(rig: Rig) -> None:
    run = rig.run([ANN])
    rig.undo(run)

    with pytest.raises(UndoRefused, match=f"run {run} was undone already, by run {run + 1}"):
        rig.undo(run)


def test_what_an_undo_could_not_deliver_can_be_undone_later(rig: Rig) -> None:
    run = rig.run([ANN, BEN])
    rig.faults(reject_ids_matching="^b$")
    rig.undo(run)
    assert rig.records().keys() == {"b"}
    rig.faults()

    rig.undo(run)

    assert rig.records() == {}


def test_a_record_that_was_there_before_the_first_run_is_not_deleted(rig: Rig) -> None:
    """An upsert cannot tell by itself whether it created the record."""
    rig.edit("a", phone="1")
    run = rig.run([ANN, BEN])

    assert left(rig, run) == {"the destination did not say that it was this run that made the record": 1}
    rig.undo(run)
    assert rig.records() == {"a": {"phone": "1", "city": "Oslo", "score": 1}}


def test_a_record_that_came_back_from_the_archive_goes_back_there(rig: Rig) -> None:
    rig.edit("a", phone="1")
    rig.send([Change(0, "archive", {"id": "a"})])
    run = rig.run([ANN])

    rig.undo(run)

    assert (rig.records(), rig.archived()) == ({}, {"a"})


def test_a_field_that_a_person_changed_since_stays_and_the_others_are_undone(rig: Rig) -> None:
    rig.run([ANN, BEN])
    run = rig.run([("a", "Paris", 9), ("b", "Nice", 2)])
    rig.edit("a", city="Wien")
    rig.edit("b", city="Wien")

    plan = rig.undo(run)

    assert rig.records() == {"a": {"city": "Wien", "score": 1}, "b": {"city": "Wien", "score": 2}}
    assert plan.counts.update == 1
    assert [(group.rows, group.reason) for group in plan.left] == [
        (2, "somebody else changed city since: left as it is")
    ]


def test_a_created_record_that_a_person_worked_on_stays(rig: Rig) -> None:
    run = rig.run([ANN, BEN])
    rig.edit("a", score=50)

    assert left(rig, run) == {"somebody else changed score since: the record stays": 1}
    rig.undo(run)
    assert rig.records() == {"a": {"city": "Oslo", "score": 50}}


def test_rows_of_later_runs_are_left_to_these(rig: Rig) -> None:
    rig.run([ANN, BEN, CAT])
    run = rig.run([("a", "Paris", 1), ("b", "Paris", 2), ("c", "Paris", 3)])
    later = rig.run([("a", "Paris", 1), ("b", "Nice", 2)])

    assert left(rig, run) == {
        f"run {later} has changed the row since": 1,
        "a later run has removed the row": 1,
    }
    rig.undo(run)
    assert rig.records() == {"a": {"city": "Oslo", "score": 1}, "b": {"city": "Nice", "score": 2}}


def test_a_later_run_that_sent_the_same_values_again_is_no_obstacle(rig: Rig) -> None:
    """As a full resend does."""
    rig.run([ANN])
    run = rig.run([("a", "Paris", 1)])
    rig.run([("a", "Paris", 1)], full=True)

    rig.undo(run)

    assert rig.records() == {"a": {"city": "Oslo", "score": 1}}


def test_records_that_are_gone_or_back_are_left(rig: Rig) -> None:
    rig.run([ANN, BEN])
    run = rig.run([("a", "Paris", 1)])
    rig.send([Change(0, "delete", {"id": "a"})])
    rig.edit("b", city="Wien")

    assert left(rig, run) == {
        "the record is gone": 1,
        "the record is there again: somebody else brought it back": 1,
    }


def test_a_record_that_a_person_had_deleted_before_the_run_is_not_brought_back(rig: Rig) -> None:
    rig.run([ANN, BEN])
    rig.send([Change(0, "delete", {"id": "b"})])
    run = rig.run([("a", "Paris", 1)])

    assert left(rig, run) == {"the record was already gone when the run removed it": 1}


def test_only_accepted_rows_are_undone(rig: Rig) -> None:
    rig.run([ANN, BEN])
    rig.faults(reject_ids_matching="^b$")
    run = rig.run([("a", "Paris", 1), ("b", "Paris", 2)])
    rig.faults()

    assert rig.plan_undo(run).counts.update == 1


def test_a_run_that_changed_nothing_has_nothing_to_undo(rig: Rig) -> None:
    rig.run([ANN])
    idle = rig.run([ANN])
    same = rig.run([ANN], full=True)

    with pytest.raises(UndoRefused, match="changed nothing at the destination"):
        rig.plan_undo(idle)
    with pytest.raises(UndoRefused, match="changed no values"):
        rig.plan_undo(same)


@pytest.mark.parametrize("state", ["planning", "delivering", "settling"])
def test_a_run_that_is_not_over_is_not_undone(rig: Rig, state: str) -> None:
    run = rig.run([ANN])
    with rig.store.write() as connection:
        connection.execute(update(runs).values(state=state))

    with pytest.raises(UndoRefused, match="is not over yet"):
        rig.plan_undo(run)


def test_a_run_to_another_target_is_not_undone(rig: Rig) -> None:
    run = rig.run([ANN])
    rig.sync = rig.sync.model_copy(update={"object": "companies"})

    with pytest.raises(
        UndoRefused, match=r"went to d/contacts\(id\), and the sync goes to d/companies\(id\)"
    ):
        rig.plan_undo(run)


def test_a_run_whose_files_are_gone_is_not_undone(rig: Rig) -> None:
    run = rig.run([ANN])
    (rig.folder / "plan.parquet").unlink()

    with pytest.raises(UndoRefused, match=f"row files of run {run} were removed"):
        rig.plan_undo(run)


def test_a_run_of_another_sync_or_of_none_is_not_found(rig: Rig) -> None:
    run = rig.run([ANN])
    rig.sync = rig.sync.model_copy(update={"name": "t"})

    for number in (run, 99):
        with pytest.raises(UnknownSync, match=f"sync 't' has no run {number}"):
            rig.plan_undo(number)


def test_a_run_that_only_created_is_refused_where_nothing_can_be_removed(rig: Rig) -> None:
    run = rig.run([ANN])
    only = frozenset[Op]({"insert", "update", "upsert"})
    rig.destination.capabilities = replace(rig.destination.capabilities, ops=only)

    with pytest.raises(UndoRefused, match="only created records, and the destination can neither delete"):
        rig.plan_undo(run)


def test_a_destination_that_does_not_answer_refuses_the_undo(rig: Rig) -> None:
    run = rig.run([ANN])
    rig.faults(reads=True, fail_500_share=1)

    with pytest.raises(SyncError, match="does not say what it holds"):
        rig.plan_undo(run)


CAN = Capabilities(frozenset({"upsert", "clear", "archive", "delete"}), partial=True)
BLIND = Found(asked=False)
A1: dict[str, Json] = {"a": 1}
A2: dict[str, Json] = {"a": 2}


def row(op: Op, sent: Any, old: Any, reason: str = "", *, unsure: bool = False) -> Delivered:
    return Delivered(op, sent, old, reason, sent, 1, unsure)


@pytest.mark.parametrize(
    ("delivered", "found", "can", "step"),
    [
        (row("upsert", A2, A1), BLIND, CAN, Step("upsert", "update", {"a": 1})),
        (row("update", A2, A1), BLIND, CAN, Step("upsert", "update", {"a": 1})),
        (row("upsert", A1, None, CREATED), BLIND, CAN, Step("delete", "remove")),
        (row("upsert", A1, None, RESTORED), BLIND, CAN, Step("archive", "remove")),
        (row("insert", A1, None), BLIND, CAN, Step("delete", "remove")),
        (row("insert", A1, None), BLIND, replace(CAN, ops={"archive"}), Step("archive", "remove")),
        (row("delete", {}, A1), BLIND, CAN, Step("upsert", "create", {"a": 1})),
        (row("clear", {"a": None}, A1), BLIND, CAN, Step("upsert", "update", {"a": 1})),
        (row("upsert", A1, A1), BLIND, CAN, NOTHING),
        # A field without a known old value is emptied, as the destination wants it.
        (row("upsert", A1, {}), BLIND, replace(CAN, cleared=""), Step("upsert", "update", {"a": ""})),
        # Where the whole record is replaced, the other fields go along.
        (
            row("upsert", {"a": 2, "b": 5}, {"a": 1, "b": 5}),
            BLIND,
            replace(CAN, partial=False),
            Step("upsert", "update", {"a": 1, "b": 5}),
        ),
        # What counts as the same value: 2 and 2.0, nothing and the empty value, not 1 and true.
        (row("upsert", A2, A1), Found(True, {"a": 2.0}), CAN, Step("upsert", "update", {"a": 1})),
        (
            row("upsert", {"a": None}, A1),
            Found(True, {"a": ""}),
            replace(CAN, cleared=""),
            Step("upsert", "update", {"a": 1}),
        ),
        (
            row("upsert", A1, A2),
            Found(True, {"a": True}),
            CAN,
            Step(None, left="somebody else changed a since: left as it is"),
        ),
        (
            row("upsert", A2, A1, unsure=True),
            BLIND,
            CAN,
            Step(None, left="a later change of the row may have arrived: its outcome is unknown"),
        ),
        (
            row("update", A2, None),
            BLIND,
            CAN,
            Step(None, left="the values that the record had are not known"),
        ),
        (
            row("delete", {}, None),
            BLIND,
            CAN,
            Step(None, left="the values that the record had are not known"),
        ),
    ],
)
def test_the_inverse_of_a_row(delivered: Delivered, found: Found, can: Capabilities, step: Step) -> None:
    assert inverse(delivered, found, can) == step


NUMBERS = pa.schema([("no", pa.int64()), ("amount", pa.decimal128(10, 2)), ("city", pa.string())])


def adopting(rig: Rig, schema: pa.Schema | None) -> dict[str, str]:
    sync = Sync.model_validate(
        {"name": "s", "source": "m", "run_as": "r", "destination": "d", "object": "contacts"}
        | {"key": {"id": "no"}, "fields": {"amount": "amount", "city": "city", "by": {"value": "sluice"}}}
    )
    found = pq.read_table(adopt(sync, rig.account, rig.home / "adopted", schema)).to_pylist()
    return {row["key"]: row["fields"] for row in found}


def test_adopted_records_are_written_as_the_sync_would_have_sent_them(rig: Rig) -> None:
    rig.edit("42", amount=10.5, city='Zoë\'s "Ø"\u0001', phone="1")
    rig.edit("7", amount=10.567)
    rig.edit("007", city="a key that no integer has")
    rig.edit("x", city="nor this")
    rig.edit("8")
    rig.send([Change(0, "archive", {"id": "8"})])

    assert adopting(rig, NUMBERS) == {
        '{"id":42}': '{"amount":10.5,"by":null,"city":"Zoë\'s \\"Ø\\"\\u0001"}',
        '{"id":7}': '{"amount":10.567,"by":null,"city":null}',
    }


def test_without_the_sources_types_adopted_keys_stay_text(rig: Rig) -> None:
    rig.edit("42", amount=1)

    assert adopting(rig, None) == {'{"id":"42"}': '{"amount":1,"by":null,"city":null}'}


def test_a_destination_that_cannot_list_adopts_nothing(rig: Rig) -> None:
    class Blind:
        capabilities = rig.destination.capabilities

    rig.account = replace(rig.account, destination=Blind())  # type: ignore[arg-type]

    with pytest.raises(MappingInvalid, match="d cannot list its records"):
        adopting(rig, None)
