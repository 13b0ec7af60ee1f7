"""The guard: which plans wait for a person, how small syncs are treated, and what red data tests hold."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import insert

from reverse_etl.approvals import approval_of, record
from reverse_etl.counts import Counts, Profile
from reverse_etl.errors import SyncError, UnknownSync
from reverse_etl.guard import Trip, trips, worse
from reverse_etl.red import red_tests
from reverse_etl.tables import prepare, runs
from serving import Project, open_project
from serving.content.sync import Guard, Sync
from serving.errors import BuildFailed
from serving.store import Store, utc_now


def limits(counts: Counts, guard: Guard | None = None, *more: object) -> list[str]:
    return [trip.limit for trip in trips(counts, guard or Guard(), *more)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (Counts(remove=1, wanted=4, ledger=5), []),  # one of five is a fifth, and everyday life
        (Counts(remove=2, wanted=3, ledger=5), ["deletes"]),
        (Counts(update=5, wanted=5, ledger=5), []),
        (Counts(update=6, wanted=6, ledger=6), ["changes"]),
        (Counts(remove=5, wanted=0, ledger=5), ["min_rows", "deletes"]),
        (Counts(remove=1, wanted=0, ledger=1), ["min_rows"]),
    ],
)
def test_defaults_let_single_rows_of_a_small_sync_pass_but_not_its_end(
    counts: Counts, expected: list[str]
) -> None:
    assert limits(counts) == expected


def test_a_limit_that_the_file_names_is_taken_literally_however_small_the_sync() -> None:
    assert limits(Counts(remove=1, wanted=4, ledger=5), Guard(deletes=0.0)) == ["deletes"]
    assert limits(Counts(update=3, wanted=5, ledger=5), Guard(changes=0.5)) == ["changes"]


def test_exactly_the_allowed_share_passes() -> None:
    assert limits(Counts(remove=29, wanted=71, ledger=100), Guard(deletes=0.29)) == []
    assert limits(Counts(remove=30, wanted=70, ledger=100), Guard(deletes=0.29)) == ["deletes"]


@pytest.mark.parametrize(
    ("now", "before", "found"),
    [(100, 100, None), (51, 100, None), (49, 100, -0.51), (151, 100, 0.51), (1, 6, None), (10, 4, 1.5)],
)
def test_the_number_of_rows_may_neither_fall_nor_grow_too_far_from_the_last_run(
    now: int, before: int, found: float | None
) -> None:
    counts = Counts(unchanged=now, wanted=now, ledger=before)
    tripped = trips(counts, Guard(), Profile(now, {}), Profile(before, {}))
    assert [(trip.limit, round(trip.found, 2)) for trip in tripped] == ([("rows", found)] if found else [])


def test_a_field_that_turns_null_is_named_with_its_numbers() -> None:
    counts = Counts(update=40, wanted=100, ledger=100)
    now, before = Profile(100, {"email": 41, "name": 2, "new": 100}), Profile(100, {"email": 1, "name": 0})

    [trip] = trips(counts, Guard(), now, before)

    assert trip.limit == "nulls.email"
    assert trip.message == (
        "field 'email' is null in 41 of 100 rows (41.0%), in the last run that was let pass in 1.0%:"
        " 40.0 points more, nulls allows 20.0"
    )


def test_one_new_null_among_three_rows_is_no_alarm_and_two_are() -> None:
    counts = Counts(update=2, wanted=3, ledger=3)
    assert limits(counts, Guard(), Profile(3, {"v": 1}), Profile(3, {"v": 0})) == []
    assert limits(counts, Guard(), Profile(3, {"v": 2}), Profile(3, {"v": 0})) == ["nulls.v"]


def test_a_first_run_is_held_only_by_too_few_rows_and_by_red_tests() -> None:
    counts = Counts(create=2, wanted=2, ledger=0)
    strange = (Profile(2, {"v": 2}), Profile(1000, {"v": 0}))
    assert limits(counts, Guard(), *strange) == []
    assert limits(counts, Guard(min_rows=3), *strange, ["mart 'm' is red"]) == ["red_tests", "min_rows"]
    assert limits(counts, Guard(red_tests="allow"), *strange, ["mart 'm' is red"]) == []


def test_rows_that_cannot_be_sent_are_told_from_an_empty_source() -> None:
    [empty] = trips(Counts(), Guard())
    [useless] = trips(Counts(rejected=12), Guard())
    assert empty.message == "the source is empty, min_rows is 1"
    assert useless.message == "the source has 0 rows that can be sent (12 cannot be), min_rows is 1"


@pytest.mark.parametrize(
    ("new", "approved", "expected"),
    [
        ([Trip("deletes", 0.2, 0.1, "")], [Trip("deletes", 0.2, 0.1, "")], False),
        ([Trip("deletes", 0.21, 0.1, "")], [Trip("deletes", 0.2, 0.1, "")], True),
        ([Trip("changes", 0.1, 0.1, "")], [Trip("deletes", 0.2, 0.1, "")], True),
        ([], [Trip("deletes", 0.2, 0.1, "")], False),
        ([Trip("rows", 0.6, 0.5, "")], [Trip("rows", -0.8, 0.5, "")], True),
        ([Trip("rows", -0.7, 0.5, "")], [Trip("rows", -0.8, 0.5, "")], False),
        ([Trip("min_rows", 3, 10, "")], [Trip("min_rows", 5, 10, "")], True),
        ([Trip("nulls.b", 0.3, 0.2, "")], [Trip("nulls.a", 0.9, 0.2, "")], True),
        ([Trip("red_tests", 1, 0, "b is red")], [Trip("red_tests", 1, 0, "a is red")], True),
    ],
)
def test_a_plan_goes_beyond_an_approval_with_another_limit_or_more_of_the_same(
    new: list[Trip], approved: list[Trip], expected: bool
) -> None:
    assert worse(new, approved) is expected


def test_an_approval_is_good_for_one_run_and_says_who_let_what_pass(tmp_path: Path) -> None:
    store = Store(tmp_path / "control.sqlite")
    prepare(store)
    trip, now = Trip("deletes", 0.2, 0.1, "2 of 10 rows would be removed"), utc_now()
    with store.write() as connection:
        row = {"sync": "s", "target": "t", "state": "guarded", "trigger": "manual", "requested_by": "mia"}
        connection.execute(insert(runs).values(row | {"full_resend": False, "started_at": now}))
        record(connection, 1, "mia", " moved house ", [trip], now)
        found = approval_of(connection, 1)
        assert found is not None
        assert (found.approved_by, found.reason, found.trips) == ("mia", "moved house", (trip,))
        with pytest.raises(SyncError, match="approved already"):
            record(connection, 1, "bob", "again", [], now)
        with pytest.raises(SyncError, match="needs a reason"):
            record(connection, 1, "bob", "  ", [], now)
        with pytest.raises(UnknownSync):
            record(connection, 2, "bob", "why", [], now)


# red data tests


def built_on(mart: str, **keys: object) -> Sync:
    base = {"name": "s", "run_as": "r", "destination": "d", "object": "o", "key": {"id": "id"}}
    return Sync.model_validate(base | (keys or {"source": mart}))


@pytest.fixture
def project(shop_files: Callable[..., Path], tmp_path: Path) -> Project:
    files = {"marts/big.sql": "select * from orders where amount > 5\n", "marts/big.yml": "grain: id\n"}
    return open_project(shop_files(files), var=tmp_path / "var")


def test_a_sync_is_held_while_its_mart_or_one_it_is_made_from_is_red(project: Project) -> None:
    project.build()
    orders, good = project.root / "orders.csv", (project.root / "orders.csv").read_text()
    orders.write_text(good + "5,3,MOON,1.00,x,2026-03-01\n", encoding="utf-8")
    with pytest.raises(BuildFailed, match="red"):
        project.build()

    [words] = red_tests(project, built_on("big"))
    assert words.startswith("mart 'orders' is red in the newest build: grain: id is unique: 1 failing")
    assert "MOON" not in words, "no row's values"
    assert red_tests(project, built_on("orders")) == (words,)
    assert red_tests(project, built_on("", sql="select o.* from Orders o join customers using (region)"))
    assert red_tests(project, built_on("customers")) == ()
    assert red_tests(project, built_on("", sql="select * from customers")) == ()

    project.build(["customers"])
    assert red_tests(project, built_on("big")), "a green build of something else proves nothing"
    orders.write_text(good, encoding="utf-8")
    project.build()
    assert red_tests(project, built_on("big")) == ()
    project.close()


def test_a_mart_that_cannot_be_built_is_red_without_the_engines_words(project: Project) -> None:
    orders = project.root / "orders.csv"
    project.build()
    orders.write_text(orders.read_text().replace("100.00", "POISON"), encoding="utf-8")
    with pytest.raises(BuildFailed):
        project.build()

    assert red_tests(project, built_on("orders")) == (
        "mart 'orders' is red in the newest build: cannot be built",
    )
    project.close()


def test_a_share_of_a_hundred_percent_holds_nothing_even_removals_of_rows_that_only_may_have_arrived() -> (
    None
):
    off = Guard.model_validate({"deletes": "100%", "changes": "100%", "min_rows": 0})

    assert trips(Counts(ledger=1, remove=3, update=1, wanted=5), off) == ()
    assert trips(Counts(ledger=0, remove=3, wanted=5), off) == ()
