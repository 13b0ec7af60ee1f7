"""Processes that write the audit are killed at any moment: nothing committed is lost, the chain holds."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serving.audit import Audit, Facts, recent
from serving.audit_chain import Chain, verify
from serving.audit_log import entries, reading
from tests.conftest import ROOT

KILLS = 8

WRITER = """
import sys
from pathlib import Path
from serving.audit import Audit, Facts

audit = Audit(Path(sys.argv[1]))
while True:
    number = audit.begin(sys.argv[2], "chaos", "select 1" * 200)
    print("asked", number, flush=True)
    audit.end(number, "answered", Facts(marts=("orders",), rows=1))
    print("ended", number, flush=True)
"""


def writer(path: Path, user: str) -> subprocess.Popen[str]:
    """A process that asks without end and says what it has committed."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), user], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def whole_chain(path: Path) -> Chain:
    with reading(path) as connection:
        return verify(entries(connection))


def killed(process: subprocess.Popen[str], seconds: float) -> list[tuple[str, int]]:
    """Kill it some moments after its first word; everything it said it had committed."""
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    time.sleep(seconds)  # the chaos: where in its work it is struck
    process.kill()
    lines += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    words = [line.split() for line in lines if line.endswith("\n")]
    return [(event, int(number)) for event, number in words]


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_process_loses_no_committed_entry_and_never_breaks_the_chain(
    tmp_path: Path, seed: int
) -> None:
    """Two write at once; one after the other dies, and the next ones go on where they stopped."""
    chance = random.Random(seed)
    path = tmp_path / "audit.sqlite"
    said: list[tuple[str, int]] = []
    living = writer(path, "first@example.com")
    for kill in range(KILLS // 2):
        following = writer(path, f"{kill}@example.com")
        said += killed(living, chance.uniform(0, 0.15))
        living = following
    said += killed(living, 0)

    with reading(path) as connection:
        kept = {(entry.event, entry.question) for entry in entries(connection)}
    assert len(said) == len(set(said)) > 2 * KILLS
    assert set(said) <= kept
    assert whole_chain(path).entries == len(kept) <= len(said) + KILLS // 2 + 1
    unfinished = [question for question in recent(path, 1_000_000) if question.outcome == "unfinished"]
    assert len(unfinished) <= KILLS // 2 + 1


def test_after_a_kill_the_audit_is_written_on_with_the_next_number(tmp_path: Path) -> None:
    path = tmp_path / "audit.sqlite"
    killed(writer(path, "a@example.com"), 0.05)
    newest = recent(path, 1)[0].id

    audit = Audit(path)
    number = audit.begin("b@example.com", "chaos", "select 2")
    audit.end(number, "answered", Facts())
    audit.close()

    assert number == newest + 1
    whole_chain(path)
