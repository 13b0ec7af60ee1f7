"""What a plan sends in each mode, and what it leaves alone; what the ledger says afterwards."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.protocol import Op, Verdict
from reverse_etl.counts import Counts, Profile
from reverse_etl.errors import MappingInvalid, SyncError
from reverse_etl.ledger import LAST_WAIT, Answered, Rest, settle
from reverse_etl.plan import Intent, Plan, make_plan
from serving.content.spec import Where
from serving.content.sync import Sync

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WHERE = Where(
    "models/syncs/s.yml",
    {("fields", "v", "nulls"): 7, ("fields", "v", "round"): 8, ("send",): 9, ("ignore_changes", "v"): 11},
)


@dataclass
class Line:
    """A sync, its ledger, and its plans one after the other."""

    home: Path
    sync: Sync
    ledger: Path | None = None
    runs: int = 0

    def plan(self, table: pa.Table, **intent: Any) -> Plan:
        self.runs += 1
        usual: dict[str, Any] = {"now": NOW + timedelta(days=self.runs), "partial": True}
        asked = Intent(**(usual | intent))
        return make_plan(self.sync, table, self.ledger, self.home / str(self.runs), asked)

    def settle(self, plan: Plan, verdict: Verdict = "accepted", at: datetime | None = None) -> None:
        now = at or NOW + timedelta(days=self.runs)
        new = self.home / f"ledger-{self.runs}.parquet"
        rest = Rest(verdict, "" if verdict == "accepted" else "words")
        self.ledger = settle(plan.folder, self.ledger, new, [], rest, self.runs, now).ledger or self.ledger

    def run(self, table: pa.Table, verdict: Verdict = "accepted", **intent: Any) -> Counts:
        plan = self.plan(table, **intent)
        self.settle(plan, verdict)
        return plan.counts

    def held(self) -> dict[str, Any]:
        """What the ledger says the destination holds, by id."""
        assert self.ledger is not None
        rows = pq.read_table(self.ledger).to_pylist()
        return {json.loads(r["key"])["id"]: json.loads(r["fields"]) for r in rows if r["fields"] is not None}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def line(home: Path, fields: dict[str, object] | None = None, **keys: object) -> Line:
    made = Sync.model_validate(
        {"name": "s", "source": "m", "run_as": "r", "destination": "d", "object": "o", "key": {"id": "id"}}
        | {"fields": fields or {"v": "v"}}
        | keys
    )
    made._where = WHERE
    return Line(home, made)


def rows(*values: object, **columns: Sequence[object]) -> pa.Table:
    """Rows 1, 2 … with these values of `v`."""
    ids = [str(number) for number in range(1, len(values) + 1)]
    return pa.table({"id": pa.array(ids, pa.string()), "v": list(values), **columns})


def sent(plan: Plan) -> list[tuple[str, str, str, Any]]:
    """op, kind, id and fields of what leaves."""
    return [
        (r["op"], r["kind"], json.loads(r["key"])["id"], r["fields"] and json.loads(r["fields"]))
        for r in pq.read_table(plan.changes).to_pylist()
    ]


def nonzero(counts: Counts) -> dict[str, int]:
    return {name: number for name, number in asdict(counts).items() if number}


# modes


def test_insert_sends_only_keys_that_were_never_accepted_and_counts_changed_ones_as_skipped(
    home: Path,
) -> None:
    new = line(home, mode="insert")
    assert nonzero(new.run(rows(1, 2))) == {"create": 2, "wanted": 2}
    plan = new.plan(rows(1, 5, 3))
    assert sent(plan) == [("insert", "create", "3", {"v": 3})]
    assert nonzero(plan.counts) == {"create": 1, "unchanged": 1, "skipped": 1, "wanted": 3, "ledger": 2}


def test_a_full_resend_inserts_nothing_a_second_time(home: Path) -> None:
    new = line(home, mode="insert")
    new.run(rows(1, 2))
    assert sent(new.plan(rows(1, 5, 3), full=True)) == [("insert", "create", "3", {"v": 3})]


@pytest.mark.parametrize(("resend", "kinds"), [(frozenset({"insert"}), ["retry"]), (frozenset(), [])])
@pytest.mark.parametrize("full", [False, True])
def test_an_insert_that_may_have_arrived_is_repeated_only_where_that_is_safe(
    home: Path, resend: frozenset[Op], kinds: list[str], full: bool
) -> None:
    new = line(home, mode="insert")
    new.run(rows(1), "unknown")
    assert [kind for _, kind, *_ in sent(new.plan(rows(2), resend=resend, full=full))] == kinds


def test_update_sends_keys_it_never_sent_as_updates_with_nothing_known_of_them(home: Path) -> None:
    enrich = line(home, mode="update")
    plan = enrich.plan(rows(1))
    assert sent(plan) == [("update", "update", "1", {"v": 1})]
    assert pq.read_table(plan.changes).column("old").to_pylist() == [None]
    enrich.settle(plan, "rejected")
    assert nonzero(enrich.plan(rows(1), now=NOW + timedelta(days=1, minutes=1)).counts) == {
        "waiting": 1,
        "wanted": 1,
    }
    assert sent(enrich.plan(rows(1))) == [("update", "retry", "1", {"v": 1})]


def test_a_full_resend_keeps_removals_that_are_pending_and_rows_that_are_parked(home: Path) -> None:
    mirror = line(home, mode="mirror", on_removed="delete", park_after=1)
    mirror.run(rows(1, 2, 3))
    mirror.run(rows(1, 2), "deferred")  # the removal of 3 does not come through
    plan = mirror.plan(rows(1, 2), full=True)
    assert sent(plan) == [
        ("delete", "retry", "3", None),
        ("upsert", "resend", "1", {"v": 1}),
        ("upsert", "resend", "2", {"v": 2}),
    ]
    mirror.settle(plan, "deferred")
    assert "3" in mirror.held()


def test_clear_sends_what_the_destination_takes_for_an_empty_field(home: Path) -> None:
    mirror = line(home, mode="mirror", on_removed="clear")
    mirror.run(rows(1, 2))
    assert sent(mirror.plan(rows(1), cleared="")) == [("clear", "remove", "2", {"v": ""})]


# tolerances


@pytest.mark.parametrize(
    ("tolerance", "old", "new", "small"),
    [
        ({"below": 1.0}, 10, 10.99, True),
        ({"below": 1.0}, 10, 11, False),
        ({"below": 1.0}, 10, 9.5, True),
        ({"below": 0.1}, 10.1, 10.2, False),  # as doubles they are less than 0.1 apart
        ({"below": 1.0}, Decimal("10.00"), Decimal("10.50"), True),
        ({"below": 1.0}, 10, None, False),
        ({"below": 1.0}, None, 10, False),
        ({"below": 1.0}, "10", "10.5", False),  # texts, not numbers
        ({"below": 1e30}, 1e300, 1.1e300, False),
        ({"share": "5%"}, 100, 104, True),
        ({"share": "5%"}, 100, 105, False),
        ({"share": 0.05}, -100, -104, True),
        ({"share": "50%"}, 0, 1, False),
        ({"share": "50%"}, 1, 0, False),
        ("always", 1, None, True),
        ("always", "a", "b", True),
    ],
)
def test_a_change_within_its_tolerance_is_no_news(
    home: Path, tolerance: object, old: object, new: object, small: bool
) -> None:
    calm = line(home, ignore_changes={"v": tolerance})
    kind = pa.float64() if isinstance(new, float) else None
    calm.run(pa.table({"id": ["1"], "v": pa.array([old], kind)}))
    counts = calm.run(pa.table({"id": ["1"], "v": pa.array([new], kind)}))
    assert (counts.small, counts.update) == ((1, 0) if small else (0, 1))


def test_drift_does_not_creep_because_what_was_accepted_last_counts(home: Path) -> None:
    calm = line(home, ignore_changes={"v": {"below": 1.0}})
    calm.run(rows(10.0))
    assert [calm.run(rows(value)).update for value in (10.4, 10.8, 11.2, 11.6)] == [0, 0, 1, 0]


def test_one_field_that_is_news_takes_all_current_values_along(home: Path) -> None:
    calm = line(home, {"v": "v", "w": "w"}, ignore_changes={"v": {"below": 1.0}})
    calm.run(rows(10.0, w=["a"]))
    assert sent(calm.plan(rows(10.5, w=["b"]))) == [("upsert", "update", "1", {"v": 10.5, "w": "b"})]


def test_a_refused_change_that_came_back_within_tolerance_is_forgotten(home: Path) -> None:
    calm = line(home, ignore_changes={"v": {"below": 1.0}})
    calm.run(rows(10.0))
    calm.run(rows(20.0), "rejected")
    assert calm.run(rows(10.5)).small == 1
    assert calm.ledger is not None
    assert pq.read_table(calm.ledger).column("pending").to_pylist() == [None]


@pytest.mark.parametrize("tolerance", [{"below": 1.0}, {"share": 0.1}])
def test_a_date_has_no_tolerance_in_numbers(home: Path, tolerance: object) -> None:
    with pytest.raises(MappingInvalid, match=r"models/syncs/s\.yml:11: '(below|share)' goes with numbers"):
        line(home, ignore_changes={"v": tolerance}).plan(rows(date(2026, 1, 1)))


@pytest.mark.parametrize(
    ("value", "digits", "wire"),
    [(Decimal("2.345"), 2, 2.35), (Decimal("-2.345"), 2, -2.35), (2.5, 0, 3.0), (7, 1, 7), (None, 1, None)],
)
def test_what_is_sent_is_rounded_half_away_from_zero(
    home: Path, value: object, digits: int, wire: object
) -> None:
    plan = line(home, {"v": {"column": "v", "round": digits}}).plan(
        pa.table({"id": ["1"], "v": pa.array([value], None if value is not None else pa.float64())})
    )
    assert sent(plan)[0][3] == {"v": wire}


def test_what_is_rounded_is_compared_rounded_and_only_numbers_are_rounded(home: Path) -> None:
    rounded = line(home, {"v": {"column": "v", "round": 1}})
    rounded.run(rows(1.21))
    assert nonzero(rounded.run(rows(1.19))) == {"unchanged": 1, "wanted": 1, "ledger": 1}
    with pytest.raises(MappingInvalid, match=r"models/syncs/s\.yml:8: .* not a number"):
        rounded.plan(rows("a"))


def test_a_number_beyond_what_doubles_hold_is_compared_digit_by_digit(home: Path) -> None:
    wide = line(home)
    kind = pa.decimal128(38, 2)
    first, second = Decimal("12345678901234567890123.10"), Decimal("12345678901234567890123.20")
    wide.run(pa.table({"id": ["1"], "v": pa.array([first], kind)}))
    assert wide.plan(pa.table({"id": ["1"], "v": pa.array([second], kind)})).counts.update == 1
    assert wide.plan(pa.table({"id": ["1"], "v": pa.array([first], kind)})).counts.unchanged == 1


def test_another_scale_of_a_decimal_column_is_no_change(home: Path) -> None:
    money = line(home)
    money.run(rows(Decimal("10.50")))
    assert money.run(rows(Decimal("10.5000"))).unchanged == 1
    assert money.run(rows(Decimal("10.5001"))).update == 1


# min_resend


def test_a_row_that_was_accepted_a_moment_ago_waits_unless_a_person_asks_for_everything(home: Path) -> None:
    calm = line(home, min_resend="2 days", mode="mirror", on_removed="delete")
    calm.run(rows(1, 1, 1))
    counts = calm.plan(rows(1, 2)).counts
    assert nonzero(counts) == {"early": 1, "unchanged": 1, "remove": 1, "wanted": 2, "ledger": 3}
    assert calm.plan(rows(1, 2), now=NOW + timedelta(days=2), full=True).counts.update == 1
    assert calm.plan(rows(1, 2), now=NOW + timedelta(days=3)).counts.update == 1


def test_retries_and_creates_do_not_wait(home: Path) -> None:
    calm = line(home, min_resend="9 days")
    calm.run(rows(1))
    calm.plan(rows(2))
    late = calm.plan(rows(2), now=NOW + timedelta(days=20))
    calm.settle(late, "deferred")
    again = calm.plan(rows(2, 1), now=NOW + timedelta(days=3)).counts
    assert (again.retry, again.create, again.early) == (1, 1, 0)


# nulls


@pytest.mark.parametrize(
    ("policy", "wire", "held"),
    [
        ("send", {"v": None, "w": 2}, {"v": None, "w": 2}),
        ("clear", {"v": "", "w": 2}, {"v": "", "w": 2}),
        ("skip", {"w": 2}, {"v": 1, "w": 2}),
    ],
)
def test_a_null_is_sent_cleared_or_left_out_and_the_ledger_says_what_the_destination_holds(
    home: Path, policy: str, wire: object, held: object
) -> None:
    kind = pa.int64()
    nulls = line(home, {"v": {"column": "v", "nulls": policy}, "w": "w"})
    nulls.run(rows(1, w=[1]))
    plan = nulls.plan(pa.table({"id": ["1"], "v": pa.array([None], kind), "w": [2]}), cleared="")
    assert sent(plan) == [("upsert", "update", "1", wire)]
    nulls.settle(plan)
    assert nulls.held() == {"1": held}
    again = pa.table({"id": ["1"], "v": pa.array([None], kind), "w": [2]})
    assert nulls.plan(again, cleared="").counts.unchanged == 1


def test_a_null_that_is_skipped_is_no_change_and_a_create_leaves_the_field_out(home: Path) -> None:
    nulls = line(home, {"v": {"column": "v", "nulls": "skip"}})
    table = pa.table({"id": ["1", "2"], "v": pa.array([1, None], pa.int64())})
    plan = nulls.plan(table)
    assert [fields for *_, fields in sent(plan)] == [{"v": 1}, {}]
    nulls.settle(plan)
    assert nonzero(nulls.run(pa.table({"id": ["1", "2"], "v": pa.array([None, None], pa.int64())}))) == {
        "unchanged": 2,
        "wanted": 2,
        "ledger": 2,
    }


def test_skip_and_changed_fields_only_need_a_destination_that_keeps_the_rest(home: Path) -> None:
    skipping = line(home, {"v": {"column": "v", "nulls": "skip"}})
    with pytest.raises(MappingInvalid, match=r"s\.yml:7: 'skip' needs a destination that keeps"):
        skipping.plan(rows(1), partial=False)
    with pytest.raises(MappingInvalid, match=r"s\.yml:9: d/o cannot take only some fields"):
        line(home, send="changed").plan(rows(1), partial=False)


# send: changed


def test_an_update_carries_only_what_differs_and_a_retry_everything(home: Path) -> None:
    lean = line(home, {"v": "v", "w": "w"}, send="changed")
    lean.run(rows(1, w=["a"]))
    plan = lean.plan(rows(1, w=["b"]))
    assert sent(plan) == [("upsert", "update", "1", {"w": "b"})]
    lean.settle(plan, "deferred")
    again = lean.plan(rows(1, w=["b"]))
    assert sent(again) == [("upsert", "retry", "1", {"v": 1, "w": "b"})]
    lean.settle(again)
    assert lean.held() == {"1": {"v": 1, "w": "b"}}


def test_what_the_ledger_merges_keeps_quotes_nulls_and_nested_values(home: Path) -> None:
    lean = line(home, {'q"\\é/~': "v", "w": "w", "x": "x"}, send="changed")
    nested, other = [{"a": "it's", "b": [1, None]}], [{"a": '"', "b": [2]}]
    lean.run(rows('O\'Brien \\ "x"', w=[1], x=nested))
    lean.run(rows('O\'Brien \\ "x"', w=pa.array([None], pa.int64()), x=other))
    assert lean.held() == {"1": {'q"\\é/~': 'O\'Brien \\ "x"', "w": None, "x": {"a": '"', "b": [2]}}}


# adoption


def adopt(home: Path, records: dict[str, object]) -> Path:
    """What a destination holds, as read back: other spacing, other order."""
    file = home / "adopted.parquet"
    keys, fields = [json.dumps({"id": key}) for key in records], [json.dumps(v) for v in records.values()]
    pq.write_table(pa.table({"key": keys, "fields": fields}), file)
    return file


def test_adopted_records_count_as_accepted_and_a_mirror_may_remove_them(home: Path) -> None:
    mirror = line(home, mode="mirror", on_removed="delete")
    file = adopt(home, {"1": {"v": 1}, "2": {"v": 7}, "9": {"v": 9}})
    plan = mirror.plan(rows(1, 2, 3), adopted=file)
    assert sent(plan) == [
        ("delete", "remove", "9", None),
        ("upsert", "update", "2", {"v": 2}),
        ("upsert", "create", "3", {"v": 3}),
    ]
    assert nonzero(plan.counts) | {"ledger": 3} == nonzero(plan.counts)
    mirror.settle(plan)
    first, mirror.ledger = mirror.held(), None
    mirror.settle(plan)  # again, as after a crash
    assert mirror.held() == first == {"1": {"v": 1}, "2": {"v": 2}, "3": {"v": 3}}
    assert nonzero(mirror.run(rows(1, 2, 3))) == {"unchanged": 3, "wanted": 3, "ledger": 3}


def test_adoption_keeps_what_the_ledger_knows_better(home: Path) -> None:
    known = line(home)
    known.run(rows(1))
    assert known.run(rows(1), adopted=adopt(home, {"1": {"v": 5}, "2": {"v": 6}})).unchanged == 1
    assert known.held() == {"1": {"v": 1}, "2": {"v": 6}}


def test_a_destination_with_two_records_of_one_key_is_not_adopted(home: Path) -> None:
    file = home / "twice.parquet"
    pq.write_table(pa.table({"key": ['{"id":"1"}', '{"id": "1"}'], "fields": ["{}", "{}"]}), file)
    with pytest.raises(SyncError, match=r'd/o holds 2 records with the key {"id":"1"}'):
        line(home).plan(rows(1), adopted=file)


# numbers of a plan


def test_a_plan_knows_its_nulls_and_how_much_leaves(home: Path) -> None:
    fields: dict[str, object] = {
        "v": "v",
        "w": {"column": "w", "default": "none"},
        "x": {"column": "w", "map": {"a": 1}},
        "y": {"value": 1},
    }
    table = pa.table(
        {
            "id": ["1", "2", "3", "3", None],
            "v": pa.array([1, None, None, None, None], pa.int64()),
            "w": ["a", None, "a", "a", "a"],
        }
    )
    plan = line(home, fields).plan(table)
    assert plan.profile == Profile(2, {"v": 1, "w": 0, "x": 1})
    written = pq.read_table(plan.changes, columns=["key", "fields"]).to_pylist()
    assert plan.sizes == {"upsert": (2, sum(len(row["key"]) + len(row["fields"]) for row in written))}


# rejections


def test_waits_double_up_to_a_day_and_a_row_is_parked_until_it_changes(home: Path) -> None:
    stubborn = line(home, park_after=12)
    waits = []
    for _ in range(12):
        plan = stubborn.plan(rows(1))
        assert plan.counts.to_send == 1
        stubborn.settle(plan, "rejected")
        assert stubborn.ledger is not None
        [row] = pq.read_table(stubborn.ledger).to_pylist()
        waits.append(row["next_try"] - (NOW + timedelta(days=stubborn.runs)))
    assert row["reason"] == "words"
    assert waits[:3] == [timedelta(minutes=5), timedelta(minutes=10), timedelta(minutes=20)]
    assert max(waits) == waits[-1] == LAST_WAIT
    assert stubborn.plan(rows(1)).counts.parked == 1
    assert stubborn.plan(rows(2)).counts.create == 1, "the row changed"
    stubborn.sync = line(home, {"v": "v", "w": {"value": 1}}, park_after=12).sync
    assert stubborn.plan(rows(1)).counts.create == 1, "the mapping changed"


@pytest.mark.parametrize("content", [b"", b"PAR1 is not all", None])
def test_a_ledger_that_cannot_be_read_is_named(home: Path, content: bytes | None) -> None:
    file = home / "ledger-7.parquet"
    if content is None:
        pq.write_table(pa.table({"key": ["x"]}), file)
    else:
        file.write_bytes(content)
    broken = line(home)
    broken.ledger = file
    with pytest.raises(SyncError, match=r"ledger-7\.parquet .*\n  hint: restore this file"):
        broken.plan(rows(1))


# undo


def test_the_plan_of_an_undo_merges_what_was_accepted_and_lets_the_next_plan_compare_texts(
    home: Path,
) -> None:
    undone = line(home, {"v": "v", "w": "w"})
    undone.run(rows(1, 2, w=["a", "b"]))
    folder = home / "undo"
    folder.mkdir()
    plan = pa.table(
        {
            "seq": [1, 2],
            "op": ["update", "delete"],
            "kind": ["undo", "undo"],
            "key": ['{"id":"1"}', '{"id":"2"}'],
            "fields": ['{"w":"z"}', None],
            "old": ['{"w":"a"}', None],
            "d1": pa.array([None, None], pa.uint64()),
            "d2": pa.array([None, None], pa.uint64()),
            "merge": [True, False],
        }
    )
    pq.write_table(plan, folder / "plan.parquet")
    for name, columns in (("rejects", ("pos", "key", "reason")), ("forgotten", ("key",))):
        pq.write_table(pa.table({c: pa.array([], pa.string()) for c in columns}), folder / f"{name}.parquet")
    new = home / "undone.parquet"
    undone.ledger = settle(folder, undone.ledger, new, [Answered(1, 2, "accepted", "")], None, 9, NOW).ledger
    assert undone.held() == {"1": {"v": 1, "w": "z"}}
    assert sorted(kind for _, kind, *_ in sent(undone.plan(rows(1, 2, w=["a", "b"])))) == ["create", "update"]
    assert undone.plan(rows(1, w=["z"])).counts.unchanged == 1


def test_a_plan_in_pieces_keeps_the_order_of_the_source_with_removals_first(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few rows are judged at a time, the plan and the next ledger are the same."""
    ids = [f"k{number:03}" for number in range(40)]
    before = pa.table({"id": ids, "v": list(range(40))})
    after = pa.table({"id": [*reversed(ids[5:]), "new"], "v": [*range(34, -1, -1), 7]})
    found = []
    for piece in (3, 500_000):
        monkeypatch.setattr("reverse_etl.judge.SLICE", piece)
        monkeypatch.setattr("reverse_etl.ledger.SLICE", piece)
        pipe = line(home / str(piece), mode="mirror", on_removed="delete")
        pipe.run(before)
        plan = pipe.plan(after)
        changes = pq.read_table(plan.changes).to_pylist()
        pipe.settle(plan, "rejected")
        assert pipe.ledger is not None
        found.append((plan.counts, changes, pq.read_table(pipe.ledger).sort_by("key").to_pylist()))
    assert found[0] == found[1]
    changes = found[0][1]
    assert [row["seq"] for row in changes] == list(range(1, 42))
    assert [json.loads(row["key"])["id"] for row in changes] == [*ids[:5], *reversed(ids[5:]), "new"]


def test_a_ledger_of_the_first_layout_is_read_and_compared_by_its_texts(home: Path) -> None:
    """Before plans went by hashes; the unknown row of it may have arrived."""
    old = line(home)
    old.run(rows(1, 2, 3))
    before = pq.read_table(old.ledger).drop_columns(["k", "doubt"])
    pending = pa.array(["unknown" if '"3"' in key else None for key in before.column("key").to_pylist()])
    before = before.set_column(before.schema.get_field_index("pending"), "pending", pending)
    assert old.ledger is not None
    pq.write_table(before, old.ledger)

    plan = old.plan(rows(1, 5, 3), resend=frozenset({"upsert"}))

    assert nonzero(plan.counts) == {"update": 1, "retry": 1, "unchanged": 1, "wanted": 3, "ledger": 3}
