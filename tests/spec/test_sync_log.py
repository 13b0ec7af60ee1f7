"""The sync log as governed marts: who may read it, what it says, and that it is of now."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import insert, update
from sqlalchemy.dialects.sqlite import insert as upsert

from reverse_etl.journal import Order
from reverse_etl.log_file import LogUnwritable
from reverse_etl.log_marts import log_problem, refresh_log, told
from reverse_etl.row_files import general
from reverse_etl.run import run_sync
from reverse_etl.tables import approvals, batches, ledgers, prepare, runs
from serving import Project, open_project
from serving.catalog import describe
from serving.errors import ContentInvalid, NotPublished, QueryRefused
from serving.log_files import log_folder, pointed
from serving.project import check_project
from serving.store import Store
from serving.sync_log_mart import OUTCOMES, SYNC_LOG
from tests.chaos.rig import rig
from tests.conftest import ROOT, SHOP, write_files

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
AUDITOR, CLERK, STEWARD = (f"{name}@example.com" for name in ("auditor", "clerk", "ana"))
POLICY = """\
roles:
  auditor: {marts: [sluice_runs, sluice_outcomes, sluice_ledger, sluice_approvals, sluice_audit]}
  clerk: {marts: [sluice_outcomes]}
assign:
  - {email: auditor@example.com, roles: [auditor]}
  - {email: clerk@example.com, roles: [clerk]}
rows:
  - {mart: sluice_outcomes, where: "sync = 'people'", except: [auditor]}
columns:
  - {column: sluice_outcomes.fields, mask: hide, except: [auditor]}
  - {column: sluice_outcomes.old, mask: "null", except: [auditor]}
"""
Row = tuple[str, str, str]  # key, verdict, reason
PLAN = pa.schema([("seq", pa.int64()), *((n, pa.string()) for n in ("op", "kind", "key", "fields", "old"))])
OUTCOME = pa.schema(
    [("seq", pa.int64()), *((n, pa.string()) for n in ("op", "kind", "key", "verdict", "reason"))]
)
HELD = pa.schema(
    [
        *((name, pa.string()) for name in ("key", "fields", "pending", "reason")),
        *((name, pa.int64()) for name in ("run", "attempts")),
        *((name, pa.timestamp("us", "UTC")) for name in ("accepted_at", "next_try")),
    ]
)


class Syncs:
    """What runs leave behind, without the runs."""

    def __init__(self, var: Path) -> None:
        self.var, self.store = var, Store(var / "control.sqlite")
        prepare(self.store)

    def run(self, number: int, rows: list[Row], sync: str = "people", **more: object) -> Path:
        """A run that ended with these rows, and its batches of two; its folder."""
        folder = self.var / "syncs" / sync / str(number)
        folder.mkdir(parents=True)
        base = [
            {
                "seq": seq,
                "op": "upsert",
                "kind": "update",
                "key": _key(key),
                "verdict": verdict,
                "reason": reason,
            }
            for seq, (key, verdict, reason) in enumerate(rows, 1)
        ]
        plan = [
            {
                **row,
                "fields": json.dumps({"tier": f"T{number}"}),
                "old": json.dumps({"tier": f"T{number - 1}"}),
            }
            for row in base
        ]
        source = {
            "seq": None,
            "op": None,
            "kind": "source",
            "key": None,
            "verdict": "rejected",
            "reason": "no key",
        }
        pq.write_table(pa.Table.from_pylist(plan, PLAN), folder / "plan.parquet")
        pq.write_table(pa.Table.from_pylist([*base, source], OUTCOME), folder / "outcomes.parquet")
        row = {
            "id": number,
            "sync": sync,
            "target": "crm/contacts(id)",
            "state": "done",
            "trigger": "manual",
            "requested_by": "mia",
            "full_resend": False,
            "version": 10 + number,
            "started_at": NOON,
            "ended_at": NOON + timedelta(minutes=number),
            **more,
        }
        with self.store.write() as connection:
            connection.execute(insert(runs).values(row))
            for first in range(1, len(rows), 2):
                values = {
                    "run": number,
                    "no": first,
                    "first_seq": first,
                    "last_seq": first + 1,
                    "state": "answered",
                    "calls": 1,
                    "sent_at": NOON,
                    "answered_at": NOON + timedelta(seconds=first),
                }
                connection.execute(insert(batches).values(values))
        return folder

    def approve(self, run: int, by: str, reason: str) -> None:
        trips = json.dumps([{"limit": "deletes", "message": "20% would go"}])
        values = {
            "sync": "people",
            "run": run,
            "approved_by": by,
            "reason": reason,
            "trips": trips,
            "at": NOON,
        }
        with self.store.write() as connection:
            connection.execute(insert(approvals).values(values))

    def ledger(self, run: int, held: Mapping[str, str], sync: str = "people") -> None:
        """What the destination holds from now on."""
        rows = [
            {"key": _key(key), "fields": json.dumps({"tier": tier}), "run": run, "accepted_at": NOON}
            for key, tier in held.items()
        ]
        file = f"{sync}/ledger-{run}.parquet"
        path = self.var / "syncs" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, HELD), path)
        row = {"sync": sync, "target": "crm/contacts(id)", "file": file, "run": run}
        with self.store.write() as connection:
            connection.execute(
                upsert(ledgers).values(row).on_conflict_do_update(["sync", "target"], set_=row)
            )

    def rows(self, mart: str, columns: str = "run") -> list[tuple[Any, ...]]:
        """What the mart's file holds."""
        file = pointed(self.store, self.var)[mart].path
        with duckdb.connect(str(file), read_only=True) as connection:
            return connection.execute(f"select {columns} from {mart}").fetchall()


def _key(key: str) -> str:
    return key if key.startswith("{") else json.dumps({"id": key})


@pytest.fixture
def syncs(tmp_path: Path) -> Iterator[Syncs]:
    made = Syncs(tmp_path / "var")
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The shop, and four runs of three syncs; run 2 was approved."""
    folder = tmp_path_factory.mktemp("logged")
    files = {**SHOP, "policies/more.yml": POLICY}
    project = open_project(write_files(folder / "models", files), var=folder / "var", refresh_log=refresh_log)
    project.build()
    made = Syncs(folder / "var")
    made.run(1, [("41", "accepted", ""), ("42", "accepted", "")])
    made.run(2, [("42", "rejected", 'email \'x\' of {"id": "42"} invalid')])
    made.approve(2, "ben", "the shop in Oslo closed")
    made.run(3, [("42", "accepted", "")], sync="others", undo_of=1)
    made.run(4, [('{"id": "7", "shop": "Oslo"}', "accepted", "")], sync="pairs")
    made.ledger(1, {"41": "T1", "42": "T1"})
    yield project
    made.store.close()
    project.close()


def ask(project: Project, sql: str, user: str = AUDITOR, **more: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = project.ask(sql, user=user, **more).table.to_pylist()
    return rows


def test_what_was_told_about_customer_42_is_one_query(project: Project) -> None:
    sql = """select answered_at, sync, run, verdict, fields->>'tier' as tier, version, approved_by
             from sluice_outcomes where destination = 'crm' and key_value = '42' order by run"""
    found = [tuple(row.values()) for row in ask(project, sql)]
    assert found == [
        (NOON + timedelta(seconds=1), "people", 1, "accepted", "T1", 11, None),
        (NOON + timedelta(minutes=2), "people", 2, "rejected", "T2", 12, "ben"),
        (NOON + timedelta(minutes=3), "others", 3, "accepted", "T3", 13, None),
    ]


def test_outcomes_runs_ledgers_and_approvals_can_be_joined(project: Project) -> None:
    sql = """select r.run, r.calls, r.undo_of, a.reason, a.trips, count(*) as outcomes
             from sluice_outcomes o join sluice_runs r using (run) left join sluice_approvals a using (run)
             group by all order by 1"""
    assert [tuple(row.values()) for row in ask(project, sql)] == [
        (1, 1, None, None, None, 3),
        (2, 0, None, "the shop in Oslo closed", "20% would go", 2),
        (3, 0, 1, None, None, 2),
        (4, 0, None, None, None, 2),
    ]
    held = "select key_value, fields->>'tier' as tier, run from sluice_ledger order by 1"
    assert [tuple(row.values()) for row in ask(project, held)] == [("41", "T1", 1), ("42", "T1", 1)]


@pytest.mark.parametrize("mart", SYNC_LOG)
def test_every_column_of_the_log_can_be_named_plainly_and_is_described(project: Project, mart: str) -> None:
    live = SYNC_LOG[mart]
    answer = project.ask(f"select {', '.join(live.types)} from {mart} limit 1", user=AUDITOR)
    assert answer.table.column_names == list(live.types)
    (entry,) = (entry for entry in describe(project, project.user(AUDITOR)) if entry.mart == mart)
    assert {column.name: column.kind for column in entry.columns} == dict(live.types)
    assert entry.live and all(column.description for column in entry.columns)


@pytest.mark.parametrize("mart", SYNC_LOG)
def test_the_log_is_granted_by_name_only(project: Project, mart: str) -> None:
    for user in (STEWARD, "emil@example.com"):
        with pytest.raises(QueryRefused, match=f"no mart '{mart}' for you"):
            project.ask(f"from {mart}", user=user)


def test_row_rules_filter_outcomes_and_masks_hide_what_was_sent(project: Project) -> None:
    rows = ask(project, "select distinct sync, old from sluice_outcomes", CLERK)
    assert rows == [{"sync": "people", "old": None}]
    with pytest.raises(QueryRefused, match="no column 'fields'"):
        project.ask("select fields from sluice_outcomes", user=CLERK)


def test_no_error_speaks_of_outcomes_that_a_rule_hides(project: Project) -> None:
    for sql in (
        "select version::date from sluice_outcomes",
        "select (sync || run)::int from sluice_outcomes",
    ):
        with pytest.raises(QueryRefused) as refused:
            project.ask(sql, user=CLERK)
        assert "others" not in str(refused.value) and "pairs" not in str(refused.value)


def test_a_question_about_the_log_is_audited_with_its_rules(project: Project) -> None:
    project.ask("select count(*) from sluice_outcomes", user=CLERK)
    sql = "select marts, policies from sluice_audit where user = $who order by question desc limit 1"
    (entry,) = ask(project, sql, parameters={"who": CLERK})
    assert entry["marts"] == ["sluice_outcomes"]
    assert any("sync = 'people'" in policy for policy in entry["policies"])


def test_the_record_page_is_told_what_its_reader_may_see(project: Project) -> None:
    rows = told(project, AUDITOR, "42").to_pylist()
    assert [row["run"] for row in rows] == [3, 2, 1]
    assert rows[1] == {
        "at": NOON + timedelta(minutes=2),
        "sync": "people",
        "destination": "crm",
        "object": "contacts",
        "run": 2,
        "op": "upsert",
        "kind": "update",
        "verdict": "rejected",
        "reason": 'email \'x\' of {"id": "42"} invalid',
        "fields": '{"tier": "T2"}',
        "old": '{"tier": "T1"}',
        "version": 12,
        "approved_by": "ben",
    }
    assert [row["run"] for row in told(project, AUDITOR, _key("42"), limit=1, sync="people").to_pylist()] == [
        2
    ]
    seen = told(project, CLERK, "42").to_pylist()
    assert [(row["run"], row["fields"], row["old"]) for row in seen] == [(2, None, None), (1, None, None)]
    with pytest.raises(QueryRefused, match="no mart 'sluice_outcomes' for you"):
        told(project, STEWARD, "42")


def test_a_record_with_a_key_of_several_parts_is_found_by_one_of_them(project: Project) -> None:
    assert [row["sync"] for row in told(project, AUDITOR, "Oslo").to_pylist()] == ["pairs"]
    assert told(project, AUDITOR, "Os").num_rows == 0


def test_content_takes_no_name_of_the_log_and_keeps_no_entitlements_in_it(tmp_path: Path) -> None:
    rule = 'rows:\n  - {mart: orders, where: "region in (select sync from sluice_runs)"}\n'
    files = {
        **SHOP,
        "marts/sluice_runs.sql": "select 1 as one",
        "marts/sluice_runs.yml": "columns: {one: {}}",
        "policies/more.yml": rule,
    }
    words = str(ContentInvalid(check_project(write_files(tmp_path / "models", files))[2]))
    assert "the name 'sluice_runs' is reserved" in words
    files = {**SHOP, "policies/more.yml": rule}
    words = str(ContentInvalid(check_project(write_files(tmp_path / "other", files))[2]))
    assert "'sluice_runs' holds what happened, and no entitlements" in words


def test_before_any_sync_the_log_is_empty_and_after_a_run_it_is_of_now(
    tmp_path: Path, shop_files: Callable[..., Path]
) -> None:
    models = shop_files({"policies/more.yml": POLICY})
    plain = open_project(models, var=tmp_path / "var")
    plain.build()
    fresh = open_project(models, var=tmp_path / "var", refresh_log=refresh_log)
    made = Syncs(tmp_path / "var")
    count = "select count(*) as n, count(distinct run) as runs from sluice_outcomes"
    try:
        assert ask(plain, count) == [{"n": 0, "runs": 0}]
        made.run(1, [("1", "accepted", "")])
        assert ask(plain, count) == [{"n": 0, "runs": 0}]  # nobody wrote the log
        assert ask(fresh, count) == [{"n": 2, "runs": 1}]
        assert ask(plain, count) == [{"n": 2, "runs": 1}]
        made.run(2, [("1", "accepted", "")], state="delivering", ended_at=None)
        states = "select state, ended_at is null as open from sluice_runs order by run"
        assert [tuple(row.values()) for row in ask(fresh, states)] == [("done", False), ("delivering", True)]
        assert ask(fresh, count) == [{"n": 2, "runs": 1}]
        with made.store.write() as connection:
            connection.execute(update(runs).where(runs.c.id == 2).values(state="failed", ended_at=NOON))
        assert ask(fresh, count) == [{"n": 4, "runs": 2}]
        assert [row["state"] for row in ask(fresh, "select state from sluice_runs order by run")] == [
            "done",
            "failed",
        ]
    finally:
        made.store.close()
        fresh.close()
        plain.close()


def test_a_question_that_does_not_read_the_log_never_looks_at_it(
    tmp_path: Path, shop_files: Callable[..., Path]
) -> None:
    looks: list[Path] = []
    models = shop_files({"policies/more.yml": POLICY})
    project = open_project(models, var=tmp_path / "var", refresh_log=lambda _, var: looks.append(var))
    try:
        project.build()
        project.ask("select count(*) from orders", user=STEWARD)
        project.ask("show tables", user=STEWARD)
        assert looks == []
        project.ask("select count(*) from sluice_runs", user=AUDITOR)
        assert looks
    finally:
        project.close()


def test_nothing_is_written_where_nothing_happened(syncs: Syncs) -> None:
    syncs.run(1, [("1", "accepted", "")])
    before = refresh_log(syncs.store, syncs.var)
    assert refresh_log(syncs.store, syncs.var) == before
    syncs.approve(1, "ben", "why not")
    after = refresh_log(syncs.store, syncs.var)
    assert after[OUTCOMES] == before[OUTCOMES]
    assert after["sluice_approvals"] != before["sluice_approvals"]
    names = {path.name for path in log_folder(syncs.var).glob("*.duckdb*")}
    assert names == {file.path.name for file in after.values()}


def test_the_log_keeps_runs_whose_files_were_removed(syncs: Syncs) -> None:
    folder = syncs.run(1, [("1", "accepted", "")])
    refresh_log(syncs.store, syncs.var)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    syncs.run(2, [("1", "rejected", "no")])
    refresh_log(syncs.store, syncs.var)
    found = set(syncs.rows(OUTCOMES, "run, key_value"))
    assert found == {(1, None), (1, "1"), (2, None), (2, "1")}


def test_the_ledger_is_what_is_held_now_also_where_a_file_was_written_again(syncs: Syncs) -> None:
    syncs.ledger(1, {"1": "A", "2": "A"})
    syncs.ledger(1, {"9": "Z"}, sync="others")
    refresh_log(syncs.store, syncs.var)
    syncs.ledger(2, {"1": "B"})
    refresh_log(syncs.store, syncs.var)
    wanted = "sync, key_value, fields->>'tier', run"
    assert sorted(syncs.rows("sluice_ledger", wanted)) == [("others", "9", "Z", 1), ("people", "1", "B", 2)]
    syncs.ledger(2, {"1": "C", "3": "C"})  # a resumed run writes its ledger once more
    refresh_log(syncs.store, syncs.var)
    found = sorted(syncs.rows("sluice_ledger", "key_value, fields->>'tier'"))
    assert found == [("1", "C"), ("3", "C"), ("9", "Z")]


def test_reasons_are_grouped_as_everywhere_else(syncs: Syncs) -> None:
    reason = 'email \'x\' of {"id": "1"} is "bad"'
    syncs.run(1, [("1", "rejected", reason)])
    refresh_log(syncs.store, syncs.var)
    groups = syncs.rows(OUTCOMES, "reason_group")
    assert (general(reason, _key("1")),) in groups


def test_files_that_cannot_be_read_are_named_and_the_log_of_before_stays(syncs: Syncs) -> None:
    syncs.run(1, [("1", "accepted", "")])
    before = refresh_log(syncs.store, syncs.var)
    folder = syncs.run(2, [("1", "accepted", "")])
    (folder / "outcomes.parquet").write_bytes(b"no Parquet")
    with pytest.raises(LogUnwritable, match=r"the files of run 2 in .* cannot be read"):
        refresh_log(syncs.store, syncs.var)
    assert pointed(syncs.store, syncs.var)[OUTCOMES] == before[OUTCOMES]
    assert len(syncs.rows(OUTCOMES)) == 2


def test_a_lost_file_is_refused_by_readers_and_written_again_by_who_can(
    tmp_path: Path, shop_files: Callable[..., Path]
) -> None:
    models = shop_files({"policies/more.yml": POLICY})
    plain = open_project(models, var=tmp_path / "var")
    plain.build()
    made = Syncs(tmp_path / "var")
    made.run(1, [("1", "accepted", "")])
    try:
        refresh_log(made.store, made.var)[OUTCOMES].path.unlink()
        with pytest.raises(NotPublished, match=r"sluice_outcomes-.* is gone"):
            plain.ask("from sluice_outcomes", user=AUDITOR)
        refresh_log(made.store, made.var)
        assert len(ask(plain, "from sluice_outcomes")) == 2
    finally:
        made.store.close()
        plain.close()


def test_a_real_run_is_in_the_log_as_it_was(tmp_path: Path) -> None:
    with rig(tmp_path) as crm, crm.project() as opened:
        crm.people(
            [("1", "Ann", "ann@example.com"), ("2", "Bob", "bob@example.com"), (None, "No", "no@x.com")]
        )
        first = run_sync(opened, "people", Order("mia"))
        crm.people([("1", "Anna", "ann@example.com"), ("2", "Bob", "bob@example.com")])
        second = run_sync(opened, "people", Order("mia"))
        refresh_log(opened.store, opened.var)
        files = pointed(opened.store, opened.var)
    with duckdb.connect() as connection:
        for mart, file in files.items():
            connection.execute(f"attach '{file.path}' as of_{mart} (read_only)")
            connection.execute(f"create temp view {mart} as from of_{mart}.{mart}")
        told_about_1 = """select run, o.destination, o.object, kind, fields->>'name', old->>'name', verdict,
            o.answered_at between r.started_at and r.ended_at
            from sluice_outcomes o join sluice_runs r using (run) where key_value = '1' order by run"""
        assert connection.execute(told_about_1).fetchall() == [
            (first.run, "crm", "contacts", "create", "Ann", None, "accepted", True),
            (second.run, "crm", "contacts", "update", "Anna", "Ann", "accepted", True),
        ]
        numbers = "select planned, accepted, rejected, creates, updates, unsendable, calls from sluice_runs"
        assert connection.execute(f"{numbers} order by run").fetchall() == [
            (3, 2, 1, 2, 0, 1, first.calls),
            (1, 1, 0, 0, 1, 0, second.calls),
        ]
        held = "select key_value, fields->>'name', run from sluice_ledger order by 1"
        assert connection.execute(held).fetchall() == [("1", "Anna", second.run), ("2", "Bob", first.run)]


_WRITER = """
import sys
from pathlib import Path
from reverse_etl.log_marts import refresh_log
from serving.store import Store
var = Path(sys.argv[1])
print("go", flush=True)
refresh_log(Store(var / "control.sqlite"), var)
"""


def test_a_writer_that_is_killed_leaves_the_log_of_before_in_force(syncs: Syncs) -> None:
    syncs.run(1, [("1", "accepted", "")])
    before = refresh_log(syncs.store, syncs.var)
    syncs.run(2, [(str(n), "accepted", "") for n in range(20_000)])
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", _WRITER, str(syncs.var)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ, cwd=ROOT) as writer:
        while not (drafts := list(log_folder(syncs.var).glob(".draft*"))) and writer.poll() is None:
            time.sleep(0.0005)
        writer.send_signal(signal.SIGKILL)
    assert drafts and writer.returncode == -signal.SIGKILL
    assert pointed(syncs.store, syncs.var)[OUTCOMES] == before[OUTCOMES]
    assert len(syncs.rows(OUTCOMES)) == 2
    after = refresh_log(syncs.store, syncs.var)
    assert after[OUTCOMES].rows == 20_003
    names = {path.name for path in log_folder(syncs.var).glob("*.duckdb*")}
    assert names | {path.name for path in log_folder(syncs.var).glob(".draft*")} == {
        file.path.name for file in after.values()
    }


def test_a_hundred_thousand_outcomes_are_taken_up_once_and_then_cost_nothing(syncs: Syncs) -> None:
    folder = syncs.run(1, [("1", "accepted", "")])
    with duckdb.connect() as connection:
        rows = "range(1, 100001) t(i)"
        key = "'{\"id\": \"' || i || '\"}' as key"
        connection.execute(
            f"copy (select i as seq, 'upsert' as op, 'create' as kind, {key}, 'accepted' as verdict,"
            f" '' as reason from {rows}) to '{folder}/outcomes.parquet'"
        )
        connection.execute(
            f"copy (select i as seq, {key}, '{{}}' as fields, null::varchar as old from {rows})"
            f" to '{folder}/plan.parquet'"
        )
    assert refresh_log(syncs.store, syncs.var)[OUTCOMES].rows == 100_000
    started = time.monotonic()
    for _ in range(20):
        refresh_log(syncs.store, syncs.var)
    assert time.monotonic() - started < 2.0


def test_a_lost_ledger_is_said_and_the_rest_of_the_log_is_written(syncs: Syncs) -> None:
    syncs.run(1, [("1", "accepted", "")])
    syncs.ledger(1, {"1": "A"})
    refresh_log(syncs.store, syncs.var)
    syncs.run(2, [("1", "accepted", "")])
    (syncs.var / "syncs/people/ledger-1.parquet").unlink()
    assert "ledger-1.parquet of sync 'people' is gone" in log_problem(syncs.store, syncs.var)
    assert len(syncs.rows(OUTCOMES)) == 4
    assert len(syncs.rows("sluice_ledger")) == 1
