"""Hashes only say where to look: keys that share one are still two keys, and changes are still found."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlglot import exp

from reverse_etl.counts import Counts
from reverse_etl.digest import key_hash
from reverse_etl.ledger import Answered, settle
from reverse_etl.plan import Intent, Plan, make_plan
from serving.content.sync import Sync

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MIRROR = Sync.model_validate(
    {"name": "s", "source": "m", "run_as": "r", "destination": "d", "object": "o", "key": {"id": "id"}}
    | {"fields": {"v": "v"}, "mode": "mirror", "on_removed": "delete"}
)
Rows = list[tuple[str | None, int]]


@pytest.fixture(params=[1, 3])
def collide(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All keys share one hash, or three."""
    monkeypatch.setattr(
        "reverse_etl.mapping.key_hash",
        lambda key: exp.Mod(this=key_hash(key), expression=exp.Literal.number(request.param)),
    )


def plan(folder: Path, rows: Rows, ledger: Path | None) -> Plan:
    table = pa.table(
        {"id": pa.array([k for k, _ in rows], pa.string()), "v": pa.array([v for _, v in rows], pa.int64())}
    )
    return make_plan(MIRROR, table, ledger, folder, Intent(NOW))


def accept(folder: Path, rows: Rows, ledger: Path | None) -> Path | None:
    made = plan(folder, rows, ledger)
    answers = [Answered(1, made.counts.to_send, "accepted", "")] if made.counts.to_send else []
    return settle(made.folder, ledger, folder / "ledger.parquet", answers, None, 1, NOW).ledger or ledger


def leaving(made: Plan) -> list[tuple[str, Any]]:
    return [(r["kind"], json.loads(r["key"])["id"]) for r in pq.read_table(made.changes).to_pylist()]


@pytest.mark.usefixtures("collide")
def test_keys_that_share_a_hash_stay_apart(tmp_path: Path) -> None:
    ledger = accept(tmp_path / "1", [("a", 1), ("b", 2), ("c", 3), ("d", 4)], None)
    again = plan(tmp_path / "2", [("d", 4), ("c", 3), ("b", 2), ("a", 1)], ledger)
    assert again.counts == Counts(unchanged=4, wanted=4, ledger=4)
    made = plan(tmp_path / "3", [("a", 1), ("b", 9), ("e", 1), ("d", 4)], ledger)
    assert leaving(made) == [("remove", "c"), ("update", "b"), ("create", "e")]


@pytest.mark.usefixtures("collide")
def test_a_key_that_shares_its_hash_with_one_that_left_is_new_and_the_other_is_removed(
    tmp_path: Path,
) -> None:
    ledger = accept(tmp_path / "1", [("a", 1)], None)
    assert leaving(plan(tmp_path / "2", [("b", 1)], ledger)) == [("remove", "a"), ("create", "b")]
    ledger = accept(tmp_path / "3", [("a", 1), ("b", 1)], ledger)  # shares a hash from now on
    ledger = accept(tmp_path / "4", [("a", 1), ("b", 2), ("c", 1)], ledger)
    assert plan(tmp_path / "5", [("a", 1), ("b", 2), ("c", 1)], ledger).counts.unchanged == 3
    assert leaving(plan(tmp_path / "6", [("a", 1), ("c", 1)], ledger)) == [("remove", "b")]


@pytest.mark.usefixtures("collide")
def test_repeated_keys_are_found_among_keys_that_share_a_hash(tmp_path: Path) -> None:
    ledger = accept(tmp_path / "1", [("a", 1), ("b", 2), ("c", 3)], None)
    made = plan(tmp_path / "2", [("a", 1), ("a", 1), ("b", 2), ("c", 3)], ledger)
    assert (made.counts.rejected, made.counts.unchanged, made.counts.held) == (2, 2, 1)
    assert leaving(made) == []


def test_a_repeated_key_is_found_although_both_rows_equal_what_was_accepted(tmp_path: Path) -> None:
    ledger = accept(tmp_path / "1", [("a", 1), ("b", 2)], None)
    made = plan(tmp_path / "2", [("a", 1), ("b", 2), ("a", 1)], ledger)
    assert (made.counts.rejected, made.counts.unchanged, made.counts.held) == (2, 1, 1)
    half = plan(tmp_path / "3", [("a", 1), ("b", 2), ("a", 7)], ledger)
    assert (half.counts.rejected, half.counts.unchanged, half.counts.held) == (2, 1, 1)


def test_a_key_column_of_another_type_is_still_the_same_key(tmp_path: Path) -> None:
    def table(kind: pa.DataType) -> pa.Table:
        return pa.table({"id": pa.array([1, 2], kind), "v": [1, 2]})

    first = make_plan(MIRROR, table(pa.int64()), None, tmp_path / "1", Intent(NOW))
    new = tmp_path / "l.parquet"
    settle(first.folder, None, new, [Answered(1, 2, "accepted", "")], None, 1, NOW)
    other = make_plan(MIRROR, table(pa.uint64()), new, tmp_path / "2", Intent(NOW))
    assert other.counts == Counts(unchanged=2, wanted=2, ledger=2)
