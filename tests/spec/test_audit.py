"""The audit: what is written down, that it cannot be changed unnoticed, and what is refused without it."""

import hashlib
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving import open_project
from serving.audit import Audit, AuditBroken, AuditUnwritable, Facts, recent
from serving.audit_chain import FIELDS, GENESIS, Chain, Entry, sealed, verify
from serving.audit_export import export, exported
from serving.audit_log import entries, reading
from serving.errors import SluiceError
from tests.conftest import ROOT

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
FACTS = Facts(
    marts=("orders",),
    columns=("orders.amount", "orders.region"),
    policies=("rows of orders: region = user.region",),
    version=3,
    rows=2,
    milliseconds=4.26,
)


class Minutes:
    """A clock that goes on by a minute whenever it is read."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[Audit]:
    found = Audit(tmp_path / "audit.sqlite", clock=Minutes())
    yield found
    found.close()


@pytest.fixture
def full(audit: Audit) -> Audit:
    """Three questions, six entries: answered, refused, answered."""
    ask(audit, "ana@example.com", "select 1")
    audit.end(
        audit.begin("emil@example.com", "api", "drop x"), "refused", Facts(reason="only SELECT is allowed")
    )
    ask(audit, "ana@example.com", "select 'a', ünï from \"x\"\n-- , ;")
    return audit


def ask(audit: Audit, user: str, sql: str, facts: Facts = FACTS) -> int:
    number = audit.begin(user, "sql", sql)
    audit.end(number, "answered", facts)
    return number


def chain(audit: Audit, head: str | None = None) -> Chain:
    with reading(audit.path) as connection:
        return verify(entries(connection), head=head)


def all_entries(audit: Audit) -> list[Entry]:
    with reading(audit.path) as connection:
        return list(entries(connection))


def tamper(audit: Audit, *statements: str) -> None:
    """What somebody with the file and a shell can do."""
    with closing(sqlite3.connect(audit.path, isolation_level=None)) as connection:
        for name in ("entries_stay", "entries_are_kept", "entries_only_follow"):
            connection.execute(f"DROP TRIGGER IF EXISTS {name}")
        for statement in statements:
            connection.execute(statement)


# what is written down


def test_a_question_is_written_down_before_and_after(audit: Audit) -> None:
    number = audit.begin("ana@example.com", "sql", "select $x", {"x": 5, "day": NOON.date()})
    [asked] = recent(audit.path, 10)  # by another connection: it is committed already
    assert (asked.id, asked.outcome, asked.sql) == (number, "unfinished", "select $x")
    assert json.loads(asked.params) == {"x": 5, "day": "2026-11-21"}

    audit.end(number, "answered", FACTS)
    [ended] = audit.recent(10)
    assert (ended.user, ended.surface, ended.at) == ("ana@example.com", "sql", NOON + timedelta(minutes=1))
    assert (ended.outcome, ended.reason, ended.version, ended.rows) == ("answered", "", 3, 2)
    assert (ended.marts, ended.columns, ended.policies) == (FACTS.marts, FACTS.columns, FACTS.policies)
    assert ended.milliseconds == 4.3
    assert [(entry.id, entry.event) for entry in all_entries(audit)] == [(1, "asked"), (2, "ended")]


def test_questions_count_from_one_and_end_in_any_order(audit: Audit) -> None:
    one, two = audit.begin("a", "sql", "select 1"), audit.begin("b", "sql", "select 2")
    audit.end(two, "stopped", Facts(reason="too slow"))
    audit.end(one, "answered")
    assert (one, two) == (1, 2)
    assert [(q.id, q.outcome) for q in audit.recent(5)] == [(2, "stopped"), (1, "answered")]


def test_recent_questions_are_found_by_person_surface_mart_outcome_and_time(full: Audit) -> None:
    def found(**which: object) -> list[int]:
        return [question.id for question in full.recent(10, **which)]  # type: ignore[arg-type]

    assert found() == [3, 2, 1]
    assert found(user="ana@example.com") == [3, 1]
    assert found(user="ana@example.com", surface="api") == []
    assert found(mart="orders") == [3, 1]
    assert found(mart="order") == []
    assert found(outcome="refused") == [2]
    assert found(outcome="unfinished") == []
    assert found(since=NOON + timedelta(minutes=5)) == [3]
    assert [question.id for question in full.recent(1)] == [3]


def test_a_text_of_any_characters_and_length_is_kept_readable(audit: Audit) -> None:
    odd = "select '\ud800\x00\u200b\r\n' -- ü"
    ask(audit, "ana@example.com", odd)
    ask(audit, "ana@example.com", "x" * 300_000)
    long, kept = audit.recent(2)
    assert kept.sql == odd.replace("\ud800", "\\ud800")
    assert len(long.sql) < 100_200
    assert hashlib.sha256(b"x" * 300_000).hexdigest() in long.sql
    assert chain(audit).entries == 4


def test_only_the_owner_of_the_file_may_read_it(audit: Audit) -> None:
    assert audit.path.stat().st_mode & 0o077 == 0


# append-only


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET text = 'select 2' WHERE id = 1",
        "DELETE FROM entries WHERE id = 6",
        "DELETE FROM entries",
        "INSERT OR REPLACE INTO entries SELECT * FROM entries WHERE id = 1",
        "INSERT OR REPLACE INTO entries SELECT 7, at, question, event, user, surface, text, params, marts,"
        " columns, policies, version, rows, milliseconds, outcome, reason,"
        " (SELECT hash FROM entries WHERE id = 6), hash FROM entries WHERE id = 1",
        "INSERT INTO entries SELECT 7, at, 9, event, user, surface, text, params, marts, columns, policies,"
        " version, rows, milliseconds, outcome, reason, previous, hash FROM entries WHERE id = 1",
        "INSERT INTO entries SELECT 8, at, 9, event, user, surface, text, params, marts, columns, policies,"
        " version, rows, milliseconds, outcome, reason, hash, hash FROM entries WHERE id = 6",
    ],
)
def test_the_file_refuses_every_change_but_the_next_entry(full: Audit, statement: str) -> None:
    before = all_entries(full)
    with (
        closing(sqlite3.connect(full.path)) as connection,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        connection.execute(statement)
    assert all_entries(full) == before


def test_a_question_ends_once(full: Audit) -> None:
    with pytest.raises(AuditUnwritable, match="append-only"):
        full.end(1, "answered")
    assert chain(full).entries == 6


# the chain


def test_the_chain_holds_and_its_head_moves_with_every_entry(full: Audit) -> None:
    before = chain(full)
    assert (before.entries, before.first, before.last, before.before) == (6, 1, 6, GENESIS)
    full.begin("ana@example.com", "sql", "select 1")
    after = chain(full, head=before.head)
    assert after.entries == 7
    assert after.head != before.head


def test_an_empty_audit_holds(audit: Audit) -> None:
    assert chain(audit) == Chain(0, 0, 0, GENESIS, GENESIS)


@pytest.mark.parametrize("field", FIELDS)
def test_a_change_of_any_field_is_named_with_its_entry(full: Audit, field: str) -> None:
    numbers = {"id": 40, "question": 40, "version": 40, "rows": 40, "milliseconds": 40.5}
    texts = {"event": "'asked'", "marts": "'[\"x\"]'", "columns": "'[\"x\"]'", "policies": "'[\"x\"]'"}
    value = numbers.get(field, texts.get(field, "'x'"))
    tamper(full, "DROP INDEX entries_of_question", f"UPDATE entries SET {field} = {value} WHERE id = 4")
    with pytest.raises(AuditBroken) as broken:
        chain(full)
    assert broken.value.entry == 4
    assert "entry 4" in broken.value.problem


def test_a_changed_text_is_named_with_its_question(full: Audit) -> None:
    tamper(full, "UPDATE entries SET text = 'select 2' WHERE id = 5")
    with pytest.raises(AuditBroken, match=r"entry 5 was changed: .*question 3 asked by ana@example.com"):
        chain(full)


@pytest.mark.parametrize("value", ["'nonsense'", "'{}'", "'[1]'", "''"])
def test_a_list_that_is_none_is_a_broken_entry(full: Audit, value: str) -> None:
    tamper(full, f"UPDATE entries SET marts = {value} WHERE id = 2")
    with pytest.raises(AuditBroken, match="entry 2"):
        chain(full)


def test_a_removed_entry_is_missed(full: Audit) -> None:
    tamper(full, "DELETE FROM entries WHERE id = 3")
    with pytest.raises(AuditBroken, match="entry 3 is missing: entry 4 comes next"):
        chain(full)


def test_a_removed_beginning_is_missed(full: Audit) -> None:
    tamper(full, "DELETE FROM entries WHERE id <= 2")
    with pytest.raises(AuditBroken, match="entry 1 is missing"):
        chain(full)


def test_a_removed_entry_is_missed_though_the_others_are_numbered_anew(full: Audit) -> None:
    tamper(
        full,
        "DELETE FROM entries WHERE id = 3",
        *(f"UPDATE entries SET id = {n} WHERE id = {n + 1}" for n in (3, 4, 5)),
    )
    with pytest.raises(AuditBroken, match="entry 3 does not follow entry 2"):
        chain(full)


def test_swapped_entries_are_noticed(full: Audit) -> None:
    tamper(
        full, *(f"UPDATE entries SET id = {new} WHERE id = {old}" for old, new in ((3, 99), (4, 3), (99, 4)))
    )
    with pytest.raises(AuditBroken, match="entry 3 does not follow entry 2"):
        chain(full)


def test_a_cut_end_is_noticed_by_whoever_remembers_the_head(full: Audit) -> None:
    head = chain(full).head
    tamper(full, "DELETE FROM entries WHERE id >= 5")
    assert chain(full).last == 4
    with pytest.raises(AuditBroken, match=f"the remembered head {head} is not in the audit"):
        chain(full, head=head)


def test_a_chain_that_is_forged_throughout_is_noticed_by_whoever_remembers_the_head(full: Audit) -> None:
    head = chain(full).head
    forged, previous = [], GENESIS
    for entry in all_entries(full):
        values = {name: getattr(entry, name) for name in FIELDS} | {"previous": previous}
        values["text"] = entry.text.replace("select 1", "select 2")
        forged.append(sealed(Entry(**values)))
        previous = forged[-1].hash
    assert verify(forged).entries == 6
    with pytest.raises(AuditBroken, match="is not in the audit"):
        verify(forged, head=head)


def test_any_earlier_head_is_found_too(full: Audit) -> None:
    for entry in all_entries(full):
        assert chain(full, head=entry.hash).entries == 6
    assert chain(full, head=GENESIS).entries == 6


# many at once

WRITER = """
import sys
from pathlib import Path
from serving.audit import Audit
sys.stdin.readline()
audit = Audit(Path(sys.argv[1]))
for number in range(60):
    audit.end(audit.begin(sys.argv[2], "sql", f"select {number}"), "answered")
"""


def test_processes_that_start_at_once_append_to_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "var" / "audit.sqlite"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), f"{name}@example.com"], cwd=ROOT, stdin=subprocess.PIPE
        )
        for name in "abcd"
    ]
    for process in writers:  # all are waiting for their word by now, or will find it waiting
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.close()
    assert [process.wait() for process in writers] == [0, 0, 0, 0]
    questions = recent(path, 1000)
    assert sorted(question.id for question in questions) == list(range(1, 241))
    assert {question.outcome for question in questions} == {"answered"}
    with reading(path) as connection:
        assert verify(entries(connection)).entries == 480


def test_threads_append_to_one_chain(audit: Audit) -> None:
    numbers: list[int] = []

    def work(name: int) -> None:
        numbers.extend(ask(audit, f"{name}@example.com", f"select {n}") for n in range(40))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 321))
    assert chain(audit).entries == 640


# nothing is answered unaudited


def test_a_question_that_cannot_be_written_down_is_refused(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.sqlite", patience=0.05)
    with closing(sqlite3.connect(audit.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            AuditUnwritable, match="nothing can be written into the audit: database is locked"
        ):
            audit.begin("ana@example.com", "sql", "select 1")
        other.execute("ROLLBACK")
    assert audit.begin("ana@example.com", "sql", "select 1") == 1
    audit.close()
    with pytest.raises(AuditUnwritable, match="closed"):
        audit.begin("ana@example.com", "sql", "select 1")


def test_an_audit_that_is_moved_away_meanwhile_is_not_written_on_in_secret(audit: Audit) -> None:
    audit.begin("ana@example.com", "sql", "select 1")
    moved = audit.path.rename(audit.path.with_name("moved.sqlite"))
    with pytest.raises(AuditUnwritable):
        audit.begin("ana@example.com", "sql", "select 2")
    audit.path.touch()
    with pytest.raises(AuditUnwritable, match="replaced"):
        audit.begin("ana@example.com", "sql", "select 2")
    moved.replace(audit.path)
    assert audit.begin("ana@example.com", "sql", "select 2") == 2


def test_the_door_gives_no_answer_without_the_audit(shop_files: Callable[..., Path], tmp_path: Path) -> None:
    project = open_project(shop_files(), var=tmp_path / "var")
    try:
        project.build()
        assert project.ask("select 1", user="ana@example.com").receipt.question_id == 1
        with closing(sqlite3.connect(project.audit.path)) as connection:
            connection.execute("DROP TABLE entries")
        with pytest.raises(AuditUnwritable, match="nothing can be written into the audit"):
            project.ask("select 1", user="ana@example.com")
    finally:
        project.close()


# audits of older versions

OLD = """
CREATE TABLE questions (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, at VARCHAR(32) NOT NULL, user VARCHAR NOT NULL,
    surface VARCHAR NOT NULL, sql VARCHAR NOT NULL, outcome VARCHAR NOT NULL,
    reason VARCHAR DEFAULT '' NOT NULL, version INTEGER, marts VARCHAR DEFAULT '' NOT NULL,
    policies VARCHAR DEFAULT '' NOT NULL, rows INTEGER, seconds FLOAT
);
INSERT INTO questions VALUES
  (4, '2026-11-01T08:00:00.000000+00:00', 'ana@example.com', 'sql', 'select 1', 'answered', '', 2,
   'customers, orders', 'rows of orders: region = user.region; column customers.email: hash', 7, 1.5),
  (5, '2026-11-01T09:00:00.000000+00:00', 'emil@example.com', 'api', 'select 2', 'asked', '', NULL,
   '', '', NULL, NULL);
"""


def test_an_older_audit_is_carried_over_once_with_its_numbers(tmp_path: Path) -> None:
    path = tmp_path / "audit.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLD)
    Audit(path).close()
    audit = Audit(path)
    try:
        unfinished, answered = audit.recent(10)
        assert (unfinished.id, unfinished.outcome, unfinished.sql) == (5, "unfinished", "select 2")
        assert (answered.id, answered.outcome, answered.version, answered.rows) == (4, "answered", 2, 7)
        assert answered.at == datetime(2026, 11, 1, 8, tzinfo=UTC)
        assert (answered.marts, answered.milliseconds) == (("customers", "orders"), 1500.0)
        assert answered.policies == ("rows of orders: region = user.region", "column customers.email: hash")
        assert chain(audit).entries == 3
        assert ask(audit, "ana@example.com", "select 3") == 6
        assert chain(audit).entries == 5
    finally:
        audit.close()


# files

KINDS = ("jsonl", "csv", "parquet")


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_file_is_verified_alone(full: Audit, tmp_path: Path, kind: str) -> None:
    target = tmp_path / f"audit.{kind}"
    written = export(all_entries(full), target, whole=True)
    assert list(exported(target)) == all_entries(full)
    assert verify(exported(target), whole=False, head=written.head) == written == chain(full)
    assert [path.name for path in tmp_path.glob(f"*{kind}*")] == [target.name]


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_is_exported_and_says_what_it_follows(full: Audit, tmp_path: Path, kind: str) -> None:
    target = tmp_path / f"audit.{kind}"
    with reading(full.path) as connection:
        part = export(entries(connection, "2026-11-21T12:03"), target, whole=False)
    assert (part.first, part.last, part.before) == (3, 6, all_entries(full)[1].hash)
    assert verify(exported(target), whole=False) == part
    with pytest.raises(AuditBroken, match="entry 1 is missing"):
        verify(exported(target), whole=True)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=40), min_size=1, max_size=4),
    kind=st.sampled_from(KINDS),
)
def test_any_text_survives_the_export(tmp_path: Path, texts: list[str], kind: str) -> None:
    made: list[Entry] = []
    for number, text in enumerate(texts, 1):
        previous = made[-1].hash if made else GENESIS
        entry = Entry(
            number, "", number, "asked", text=text, reason=text[::-1], marts=(text,), previous=previous
        )
        made.append(sealed(entry))
    target = tmp_path / f"texts.{kind}"
    export(made, target, whole=True)
    assert list(exported(target)) == made


def test_a_changed_line_of_a_file_is_named(full: Audit, tmp_path: Path) -> None:
    target = tmp_path / "audit.jsonl"
    export(all_entries(full), target, whole=True)
    text = target.read_text(encoding="utf-8")
    target.write_text(text.replace("emil@example.com", "eve@example.com"), encoding="utf-8")
    with pytest.raises(AuditBroken, match="entry 3 was changed"):
        verify(exported(target), whole=False)
    target.write_text(text.replace('"rows": 2, ', "", 1), encoding="utf-8")
    with pytest.raises(AuditBroken, match=r"entry 2: has other fields than an entry \(rows\)"):
        verify(exported(target), whole=False)
    target.write_text(text + "{", encoding="utf-8")
    with pytest.raises(AuditBroken, match="cannot be read as an exported audit"):
        verify(exported(target), whole=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_something_else_is_refused(tmp_path: Path, kind: str) -> None:
    target = tmp_path / f"audit.{kind}"
    target.write_text("question,user\n1,ana\n", encoding="utf-8")
    with pytest.raises(AuditBroken):
        verify(exported(target), whole=False)


def test_a_broken_chain_is_not_exported(full: Audit, tmp_path: Path) -> None:
    tamper(full, "UPDATE entries SET user = 'eve@example.com' WHERE id = 3")
    with reading(full.path) as connection, pytest.raises(AuditBroken, match="entry 3"):
        export(entries(connection), tmp_path / "audit.csv", whole=True)
    assert not list(tmp_path.glob("*audit.csv*"))


def test_an_unknown_kind_of_file_is_refused(full: Audit, tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=r"not exported as '\.xlsx'"):
        export(all_entries(full), tmp_path / "audit.xlsx", whole=True)


def test_a_file_can_be_verified_without_sluice(full: Audit, tmp_path: Path) -> None:
    """The recipe of docs/audit.md, with nothing but Python's own library."""
    target = tmp_path / "audit.jsonl"
    export(all_entries(full), target, whole=True)
    recipe = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    command = [sys.executable, "-I", "-c", recipe, str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, f"6 entries, head {chain(full).head}"), done.stderr
    target.write_text(target.read_text(encoding="utf-8").replace("drop x", "drop y"), encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (1, "entry 3 does not fit")
