"""Plans and ledgers against a destination in memory: whatever happens on the way, both ends agree."""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reverse_etl.counts import Verdicts
from reverse_etl.ledger import Answered, Rest, settle
from reverse_etl.plan import Intent, make_plan
from serving.content.sync import Sync

EXAMPLES = 60 if os.environ.get("CI") else 20

KEYS = st.sampled_from(["a", "b", "c", "d", "e", None])
ROWS = st.lists(st.tuples(KEYS, st.sampled_from([1, 2, None])), max_size=7)
Row = tuple[str | None, int | None]


@dataclass(frozen=True)
class Night:
    """What the source holds in one run, and what goes wrong in it."""

    rows: list[Row]
    refused: frozenset[str]  # keys the destination rejects
    batch: int  # rows a batch
    crash_at: int | None  # killed while this batch is in flight …
    arrived: bool  # … which the destination took in, or not
    down_at: int | None  # from this batch on nobody answers
    silent_at: int | None  # this batch is never answered; it arrived, or not
    full: bool


NIGHTS = st.builds(
    Night,
    rows=ROWS,
    refused=st.frozensets(st.sampled_from("abcde"), max_size=2),
    batch=st.integers(1, 4),
    crash_at=st.none() | st.integers(0, 3),
    arrived=st.booleans(),
    down_at=st.none() | st.integers(0, 3),
    silent_at=st.none() | st.integers(0, 3),
    full=st.sampled_from([False, False, False, True]),
)


@dataclass
class Tool:
    """A destination: records by key, cleared ones without values count as gone."""

    records: dict[str, object] = field(default_factory=dict)

    def take(self, change: dict[str, object], refused: frozenset[str]) -> str:
        key = json.loads(str(change["key"]))["id"]
        if key in refused:
            return "rejected"
        if change["op"] == "upsert":
            self.records[key] = json.loads(str(change["fields"]))["v"]
        else:
            self.records.pop(key, None)
        return "accepted"


@dataclass
class Pipe:
    """A sync, its ledger and its clock, over many nights."""

    sync: Sync
    home: Path
    tool: Tool
    ledger: Path | None = None
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    run: int = 0

    def night(self, night: Night) -> Verdicts:
        self.run += 1
        self.now += timedelta(days=1)
        folder = self.home / str(self.run)
        source = pa.table(
            {
                "id": pa.array([r[0] for r in night.rows], pa.string()),
                "v": pa.array([r[1] for r in night.rows], pa.int64()),
            }
        )
        plan = make_plan(self.sync, source, self.ledger, folder, Intent(self.now, full=night.full))
        changes = pq.read_table(plan.changes).to_pylist()
        self._only_honest_removals(night, changes)
        answers = self._deliver(night, changes)
        new = self.home / f"ledger-{self.run}.parquet"
        rest = Rest("deferred", "nobody answers")
        settled = settle(folder, self.ledger, new, answers, rest, self.run, self.now)
        assert settle(folder, self.ledger, new, answers, rest, self.run, self.now) == settled
        self.ledger = settled.ledger or self.ledger
        assert settled.verdicts.total == plan.counts.planned
        return settled.verdicts

    def _deliver(self, night: Night, changes: Sequence[dict[str, object]]) -> list[Answered]:
        parts = [changes[start : start + night.batch] for start in range(0, len(changes), night.batch)]
        answers: list[Answered] = []
        for number, part in enumerate(parts):
            if night.down_at is not None and number >= night.down_at:
                break
            if number == night.silent_at:
                if night.arrived:
                    for change in part:
                        self.tool.take(change, night.refused)
                first, last = int(str(part[0]["seq"])), int(str(part[-1]["seq"]))
                answers.append(Answered(first, last, "unknown", "no answer"))
                continue
            if number == night.crash_at and night.arrived:  # the resumed run sends it a second time
                for change in part:
                    self.tool.take(change, night.refused)
            ended = [
                (int(str(change["seq"])), self.tool.take(change, night.refused), "no") for change in part
            ]
            others = tuple(row for row in ended if row[1] != "accepted")
            answers.append(Answered(ended[0][0], ended[-1][0], "accepted", "", others))  # type: ignore[arg-type]
        return answers

    def _only_honest_removals(self, night: Night, changes: Sequence[dict[str, object]]) -> None:
        removed = {json.loads(str(change["key"]))["id"] for change in changes if change["op"] != "upsert"}
        present = {key for key, _ in night.rows}
        assert not removed & present, "a row that stands in the source is never removed"
        assert not removed or None not in present, "a row without key could be any of the removed ones"


REFUSED_THEN_REVERTED = [
    Night(rows, refused, 1, None, False, None, None, False)
    for rows, refused in (
        ([("e", 1)], frozenset()),
        ([("e", None)], frozenset("e")),
        ([("e", 1)], frozenset()),
    )
]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(removal="upsert", nights=REFUSED_THEN_REVERTED, last={"e": None})
@given(
    removal=st.sampled_from(["upsert", "keep", "clear", "archive", "delete"]),
    nights=st.lists(NIGHTS, max_size=4),
    last=st.dictionaries(st.sampled_from("abcde"), st.sampled_from([1, 2, None])),
)
def test_after_any_history_a_calm_run_makes_both_ends_equal_and_the_next_one_sends_nothing(
    removal: str, nights: list[Night], last: dict[str, int | None]
) -> None:
    """Rejects, crashes, outages, keys missing or twice, full resends: all of it heals."""
    with tempfile.TemporaryDirectory() as folder:
        tool = Tool()
        pipe = Pipe(_sync(removal), Path(folder), tool)
        for night in nights:
            pipe.night(night)
        before = dict(tool.records)
        calm = Night(list(last.items()), frozenset(), 3, None, False, None, None, False)

        pipe.night(calm)

        wanted = last if removal in ("clear", "archive", "delete") else before | last
        assert tool.records == wanted
        assert pipe.night(calm) == Verdicts()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(NIGHTS, min_size=1, max_size=3))
def test_the_ledger_never_says_accepted_of_what_the_destination_does_not_hold(nights: list[Night]) -> None:
    """After each run, every accepted row of the ledger stands in the destination with these values."""
    with tempfile.TemporaryDirectory() as folder:
        pipe = Pipe(_sync("delete"), Path(folder), Tool())
        for night in nights:
            pipe.night(replace(night, silent_at=None))
            rows = pq.read_table(pipe.ledger).to_pylist() if pipe.ledger else []
            held = {json.loads(r["key"])["id"]: json.loads(r["fields"])["v"] for r in rows if r["fields"]}
            assert held == pipe.tool.records


def _sync(removal: str) -> Sync:
    mode = {"mode": "upsert"} if removal == "upsert" else {"mode": "mirror", "on_removed": removal}
    return Sync.model_validate(
        {"name": "s", "source": "m", "run_as": "r", "destination": "d", "object": "o"}
        | {"key": {"id": "id"}, "fields": {"v": "v"}}
        | mode
    )
