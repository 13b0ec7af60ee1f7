"""A short run of the mixed load; `python -m tests.load --minutes 120` is the long one."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.alone
@pytest.mark.timeout(280)
def test_nobody_innocent_notices_kills_bombs_publishes_and_rollbacks() -> None:
    """In a process of its own: what it counts as left behind is then its own."""
    command = [sys.executable, "-m", "tests.load", "--minutes", "1", "--seed", "1", "--slack", "6"]
    load = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(load.stdout)
    assert load.returncode == 0, load.stdout + load.stderr[-3000:]
    figures = json.loads(load.stdout.splitlines()[-1])
    for must in ("right", "right over REST", "cancelled", "publishes", "rollbacks", "edits", "soup: refused"):
        assert figures["outcomes"][must] > 0, must
    assert figures["kills"] > 5
