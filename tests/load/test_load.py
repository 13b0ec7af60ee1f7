"""A short run of the mixed load; `python -m tests.load --minutes 120` is the long one."""

import json
from pathlib import Path

import pytest

from tests.load.run import run


@pytest.mark.alone
@pytest.mark.timeout(280)
def test_nobody_innocent_notices_kills_bombs_publishes_and_rollbacks(tmp_path: Path) -> None:
    figures = run(tmp_path, seconds=60, clients=32, seed=1, slack=6)
    print(json.dumps(figures.numbers))
    assert not figures.wrong, "\n".join(figures.wrong)
    outcomes = figures.numbers["outcomes"]
    for must in ("right", "right over REST", "cancelled", "publishes", "rollbacks", "edits", "soup: refused"):
        assert outcomes[must] > 0, must
    assert figures.numbers["kills"] > 5
