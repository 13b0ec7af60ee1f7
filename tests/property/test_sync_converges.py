"""Plans and ledgers against a destination in memory: whatever happens on the way, both ends agree."""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from connectors.protocol import Op
from reverse_etl.counts import Verdicts
from reverse_etl.ledger import Answered, Rest, settle
from reverse_etl.plan import Intent, make_plan
from serving.content.sync import Sync

EXAMPLES = 20 if os.environ.get("CI") else 12
SAFE: frozenset[Op] = frozenset({"update", "upsert", "clear", "archive", "delete"})
EVERY: frozenset[Op] = frozenset({"insert", "update", "upsert", "clear", "archive", "delete"})

KEYS = st.sampled_from(["a", "b", "c", "d", "e", None])
VALUES = st.sampled_from([1.0, 1.4, 3.0, None])
WORDS = st.sampled_from(["x", "y'"])
Row = tuple[str | None, float | None, str]
Record = dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """What the sync's file says."""

    mode: str = "upsert"
    removed: str = "keep"
    send: str = "all"
    nulls: str = "send"
    below: float | None = None
    calm_days: int | None = None  # min_resend
    insert_twice: bool = False  # the destination takes a repeated insert for one

    @property
    def removes(self) -> bool:
        return self.mode == "mirror" and self.removed != "keep"

    @property
    def sync(self) -> Sync:
        optional: dict[str, object] = {}
        if self.below is not None:
            optional["ignore_changes"] = {"v": {"below": self.below}}
        if self.calm_days is not None:
            optional["min_resend"] = f"{self.calm_days} days"
        if self.mode == "mirror":
            optional["on_removed"] = self.removed
        return Sync.model_validate(
            {"name": "s", "source": "m", "run_as": "r", "destination": "d", "object": "o"}
            | {"key": {"id": "id"}, "fields": {"v": {"column": "v", "nulls": self.nulls}, "w": "w"}}
            | {"mode": self.mode, "send": self.send}
            | optional
        )


@dataclass(frozen=True)
class Night:
    """What the source holds in one run, and what goes wrong in it."""

    rows: list[Row]
    refused: frozenset[str] = frozenset()  # keys the destination rejects
    batch: int = 3  # rows a batch
    crash_at: int | None = None  # killed while this batch is in flight …
    arrived: bool = False  # … which the destination took in, or not
    down_at: int | None = None  # from this batch on nobody answers
    silent_at: int | None = None  # this batch is never answered; it arrived, or not
    full: bool = False


RULES = st.builds(
    Rule,
    mode=st.sampled_from(["insert", "update", "upsert", "mirror", "mirror"]),
    removed=st.sampled_from(["keep", "clear", "archive", "delete"]),
    send=st.sampled_from(["all", "changed"]),
    nulls=st.sampled_from(["send", "skip", "clear"]),
    below=st.sampled_from([None, 0.5]),
    calm_days=st.sampled_from([None, 2]),
    insert_twice=st.booleans(),
)
NIGHTS = st.builds(
    Night,
    rows=st.lists(st.tuples(KEYS, VALUES, WORDS), max_size=7),
    refused=st.frozensets(st.sampled_from("abcde"), max_size=2),
    batch=st.integers(1, 4),
    crash_at=st.none() | st.integers(0, 3),
    arrived=st.booleans(),
    down_at=st.none() | st.integers(0, 3),
    silent_at=st.none() | st.integers(0, 3),
    full=st.sampled_from([False, False, False, True]),
)
RECORDS = st.dictionaries(
    st.sampled_from("abcf"), st.fixed_dictionaries({"v": VALUES, "w": WORDS}), max_size=3
)
LAST = st.dictionaries(st.sampled_from("abcde"), st.tuples(VALUES, WORDS))


@dataclass
class Tool:
    """A destination that keeps fields which are left out; a record that was cleared counts as gone."""

    rule: Rule
    records: dict[str, Record] = field(default_factory=dict)
    inserted: set[str] = field(default_factory=set)

    def take(self, change: dict[str, Any], refused: frozenset[str]) -> str:
        key, op = json.loads(change["key"])["id"], change["op"]
        if key in refused or (op == "update" and key not in self.records):
            return "rejected"
        if op == "insert":
            if key in self.records and not (self.rule.insert_twice and key in self.inserted):
                return "rejected"
            assert self.rule.insert_twice or key not in self.inserted, "no insert is ever repeated blindly"
            self.inserted.add(key)
        if op in ("insert", "update", "upsert"):
            self.records[key] = self.records.get(key, {}) | json.loads(change["fields"])
        else:
            self.records.pop(key, None)
        return "accepted"


@dataclass
class Pipe:
    """A sync, its ledger and its clock, over many nights."""

    rule: Rule
    home: Path
    tool: Tool
    adopted: Path | None = None
    ledger: Path | None = None
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    run: int = 0

    def night(self, night: Night, *, later: int = 1) -> Verdicts:
        self.run += 1
        self.now += timedelta(days=later)
        folder = self.home / str(self.run)
        columns = list(zip(*night.rows, strict=True)) or [(), (), ()]
        kinds = {"id": pa.string(), "v": pa.float64(), "w": pa.string()}
        source = pa.table(
            {
                name: pa.array(column, kind)
                for (name, kind), column in zip(kinds.items(), columns, strict=True)
            }
        )
        resend = EVERY if self.rule.insert_twice else SAFE
        intent = Intent(self.now, resend, night.full, partial=True, adopted=self.adopted)
        plan = make_plan(self.rule.sync, source, self.ledger, folder, intent)
        self.adopted = None
        changes = pq.read_table(plan.changes).to_pylist()
        self._only_honest_removals(night, changes)
        answers = self._deliver(night, changes)
        new = self.home / f"ledger-{self.run}.parquet"
        settled = settle(folder, self.ledger, new, answers, Rest("deferred", "nobody"), self.run, self.now)
        self.ledger = settled.ledger or self.ledger
        assert settled.verdicts.total == plan.counts.planned
        return settled.verdicts

    def held(self) -> dict[str, Record]:
        """What the ledger says the tool holds."""
        rows = pq.read_table(self.ledger).to_pylist() if self.ledger else []
        return {json.loads(r["key"])["id"]: json.loads(r["fields"]) for r in rows if r["fields"] is not None}

    def _deliver(self, night: Night, changes: Sequence[dict[str, Any]]) -> list[Answered]:
        parts = [changes[start : start + night.batch] for start in range(0, len(changes), night.batch)]
        answers: list[Answered] = []
        for number, part in enumerate(parts):
            if night.down_at is not None and number >= night.down_at:
                break
            crashed = number == night.crash_at
            repeatable = self.rule.mode != "insert" or self.rule.insert_twice
            if number == night.silent_at or (crashed and not repeatable):
                if night.arrived:
                    for change in part:
                        self.tool.take(change, night.refused)
                answers.append(Answered(part[0]["seq"], part[-1]["seq"], "unknown", "no answer"))
                continue
            if crashed and night.arrived:  # the resumed run sends it a second time
                for change in part:
                    self.tool.take(change, night.refused)
            ended = [(change["seq"], self.tool.take(change, night.refused), "no") for change in part]
            others = tuple(row for row in ended if row[1] != "accepted")
            answers.append(Answered(ended[0][0], ended[-1][0], "accepted", "", others))  # type: ignore[arg-type]
        return answers

    def _only_honest_removals(self, night: Night, changes: Sequence[dict[str, Any]]) -> None:
        removals = ("clear", "archive", "delete")
        removed = {json.loads(change["key"])["id"] for change in changes if change["op"] in removals}
        present = {row[0] for row in night.rows}
        assert not removed & present, "a row that stands in the source is never removed"
        assert not removed or None not in present, "a row without key could be any of the removed ones"


def started(rule: Rule, records: dict[str, Record], home: Path) -> Pipe:
    """A pipe to a tool with records that are adopted in the first night (update mode finds them there)."""
    tool = Tool(rule, {key: dict(record) for key, record in records.items()})
    pipe = Pipe(rule, home, tool)
    if records and rule.mode != "update":
        pipe.adopted = home / "adopted.parquet"
        keys = [json.dumps({"id": key}) for key in records]
        fields = [json.dumps(record) for record in records.values()]
        pq.write_table(pa.table({"key": keys, "fields": fields}), pipe.adopted)
    return pipe


def fits(rule: Rule, held: Record, before: Record, v: float | None, w: str) -> bool:
    """Whether a record says what the row does, as far as the rule wants it to."""
    if held["w"] != w:
        return False
    if v is None and rule.nulls == "skip":
        return held.get("v") == before.get("v")
    if held["v"] == v:
        return True
    small = rule.below is not None and held["v"] is not None and v is not None
    return small and abs(held["v"] - v) < (rule.below or 0)


def check(pipe: Pipe, before: dict[str, Record], last: dict[str, tuple[float | None, str]]) -> None:
    """The tool is as the mode promises after a calm run."""
    rule, records = pipe.rule, pipe.tool.records
    others = {key: record for key, record in records.items() if key not in last}
    assert others == ({} if rule.removes else {k: r for k, r in before.items() if k not in last})
    for key, (v, w) in last.items():
        if rule.mode == "insert" and (key in before or not rule.insert_twice):
            assert records.get(key) == before.get(key) or key not in before, "what was inserted stays"
        elif rule.mode == "update" and key not in before:
            assert key not in records
        else:
            assert fits(rule, records[key], before.get(key, {}), v, w)


CALM = Rule("mirror", "delete")
REFUSED_THEN_REVERTED = [
    Night([("e", 1.0, "x")]),
    Night([("e", None, "x")], frozenset("e")),
    Night([("e", 1.0, "x")]),
]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(rule=Rule(), records={}, nights=REFUSED_THEN_REVERTED, last={"e": (None, "x")}, piece=1)
@given(
    rule=RULES,
    records=RECORDS,
    nights=st.lists(NIGHTS, max_size=3),
    last=LAST,
    piece=st.sampled_from([1, 2, 500_000]),
)
def test_after_any_history_a_calm_run_keeps_the_promise_and_the_next_one_sends_nothing(
    rule: Rule,
    records: dict[str, Record],
    nights: list[Night],
    last: dict[str, tuple[float | None, str]],
    piece: int,
) -> None:
    """Rejects, crashes, outages, keys missing or twice, full resends, adoption: all of it heals.

    `piece` is how many candidates are judged and settled at a time.
    """
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("reverse_etl.judge.SLICE", piece)
        patch.setattr("reverse_etl.ledger.SLICE", piece)
        pipe = started(rule, records, Path(folder))
        for night in nights:
            pipe.night(night)
        before = {key: dict(record) for key, record in pipe.tool.records.items()}
        calm = Night([(key, *values) for key, values in last.items()])

        pipe.night(calm, later=9)

        check(pipe, before, last)
        assert pipe.night(calm, later=9).accepted == 0


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(RULES, RECORDS, st.lists(NIGHTS, min_size=1, max_size=3))
def test_the_ledger_never_says_accepted_of_what_the_destination_does_not_hold(
    rule: Rule, records: dict[str, Record], nights: list[Night]
) -> None:
    """After each run, every accepted row of the ledger stands in the destination with these values."""
    with tempfile.TemporaryDirectory() as folder:
        pipe = started(rule, records, Path(folder))
        for night in nights:
            pipe.night(replace(night, silent_at=None, crash_at=None))
            held = pipe.held()
            for key, record in held.items():
                assert record.items() <= pipe.tool.records[key].items(), "update mode knows only what it sent"
            assert rule.mode == "update" or held == pipe.tool.records


@settings(max_examples=EXAMPLES // 3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(NIGHTS, min_size=1, max_size=2))
def test_settling_again_after_a_crash_gives_the_same_ledger(nights: list[Night]) -> None:
    """The files of a run and the ledger before it are all that counts."""
    with tempfile.TemporaryDirectory() as folder:
        pipe = Pipe(CALM, Path(folder), Tool(CALM))
        for night in nights:
            before = pipe.ledger
            pipe.night(night)
            answers: list[Answered] = []
            twice = [
                settle(
                    Path(folder) / str(pipe.run),
                    before,
                    Path(folder) / name,
                    answers,
                    None,
                    pipe.run,
                    pipe.now,
                )
                for name in ("once", "again")
            ]
            assert twice[0].verdicts == twice[1].verdicts
            if twice[0].ledger and twice[1].ledger:
                once, again = (
                    pq.read_table(file).sort_by("key")
                    for file in (Path(folder) / "once", Path(folder) / "again")
                )
                assert once.equals(again)
