"""Two hundred kills: the real worker against the real CRM with faults; nothing lost, nothing doubled.

The worlds between; two files, so that two cores share the work (see kills.py).
"""

from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.forkserver import ForkServer
from tests.chaos.kills import SEEDS, killed_and_calm, spread
from tests.chaos.world import PHASES, Phase

_hit: Counter[Phase] = Counter()


@pytest.mark.parametrize("seed", SEEDS[1::2])
def test_whatever_is_killed_whenever_the_tool_ends_as_the_source_and_the_ledger_says_so(
    tmp_path: Path, forks: ForkServer, seed: int
) -> None:
    _hit.update(killed_and_calm(tmp_path, forks, seed))


def test_the_kills_hit_every_phase_of_a_run() -> None:
    print(spread(_hit))
    if _hit.total() >= 80:  # fewer prove nothing about chances
        assert all(_hit[phase] >= 2 for phase in PHASES), _hit
