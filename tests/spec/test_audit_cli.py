"""`python -m serving audit` as auditors and their scripts rely on it."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

import serving.cli_audit  # noqa: F401 - its commands belong to the app
from serving.audit import Audit, Facts
from serving.cli import app
from tests.conftest import ROOT


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def sluice(var: Path, *words: str) -> Done:
    """The command in this process; what stands around it is tested with a real one."""
    result = CliRunner().invoke(app, ["audit", *words, "--var", str(var)])
    return Done(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An answered, a refused and an unfinished question: five entries."""
    folder = tmp_path_factory.mktemp("var")
    audit = Audit(folder / "audit.sqlite")
    number = audit.begin("ana@example.com", "sql", "select\n  'a\x1b[31m'")
    audit.end(number, "answered", Facts(marts=("orders",), version=1, rows=1200, milliseconds=12.34))
    audit.end(audit.begin("emil@example.com", "api", "drop"), "refused", Facts(reason="only SELECT"))
    audit.begin("ana@example.com", "cli", "select 3")
    audit.close()
    return folder


def test_the_commands_belong_to_python_m_serving(var: Path) -> None:
    command = [sys.executable, "-m", "serving", "audit", "verify", "--head", "f" * 64, "--var", str(var)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "is not in the audit, which ends with entry 5" in done.stderr


def test_list_shows_the_newest_first_without_control_characters(var: Path) -> None:
    done = sluice(var, "list")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["3", "2", "1"]
    assert "unfinished" in lines[0]
    assert lines[2].endswith("1,200 rows      12.3 ms  select 'a [31m'")


def test_list_filters_and_speaks_json(var: Path) -> None:
    found = json.loads(sluice(var, "list", "--mart", "orders", "--user", "ana@example.com", "--json").stdout)
    assert [(q["id"], q["outcome"], q["marts"], q["milliseconds"]) for q in found] == [
        (1, "answered", ["orders"], 12.3)
    ]
    refused = json.loads(sluice(var, "list", "--outcome", "refused", "--limit", "5", "--json").stdout)
    assert [q["reason"] for q in refused] == ["only SELECT"]
    assert sluice(var, "list", "--since", "2999-01-01").stdout == ""


def test_list_refuses_what_it_does_not_know(var: Path) -> None:
    wrong = sluice(var, "list", "--outcome", "denied")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "hint: one of answered, refused, failed, stopped, unfinished" in wrong.stderr
    assert "'yesterday' is no time" in sluice(var, "list", "--since", "yesterday").stderr


def test_a_missing_audit_is_said_and_not_made(tmp_path: Path) -> None:
    done = sluice(tmp_path, "verify")
    assert done.returncode == 1
    assert "there is no audit" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_verify_prints_the_head_and_finds_a_remembered_one(var: Path) -> None:
    done = sluice(var, "verify")
    assert done.returncode == 0
    assert done.stdout.startswith("5 entries (1 to 5): the chain holds\nhead ")
    head = done.stdout.split()[-1]
    assert sluice(var, "verify", "--head", head).returncode == 0
    other = sluice(var, "verify", "--head", "f" * 64)
    assert other.returncode == 1
    assert f"the remembered head {'f' * 64} is not in the audit" in other.stderr


def test_verify_names_the_first_broken_entry_and_exits_with_1(var: Path, tmp_path: Path) -> None:
    copy = tmp_path / "audit.sqlite"
    copy.write_bytes((var / "audit.sqlite").read_bytes())
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER entries_stay")
        connection.execute("UPDATE entries SET user = 'eve@example.com' WHERE id = 3")
    done = sluice(tmp_path, "verify")
    assert done.returncode == 1
    assert "entry 3 was changed: its hash does not fit what it says" in done.stderr
    told = json.loads(sluice(tmp_path, "verify", "--json").stdout)
    assert (told["ok"], told["entry"]) == (False, 3)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_export_writes_a_file_that_verify_reads(var: Path, tmp_path: Path, kind: str) -> None:
    target = tmp_path / f"audit.{kind}"
    done = sluice(var, "export", "--out", str(target))
    assert done.returncode == 0, done.stderr
    head = done.stdout.split()[-1]
    again = sluice(tmp_path, "verify", "--file", str(target), "--head", head)
    assert again.stdout == f"5 entries (1 to 5): the chain holds\nhead {head}\n"
