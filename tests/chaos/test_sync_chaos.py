"""Two hundred kills: the real worker against the real CRM with faults; nothing lost, nothing doubled.

`SLUICE_KILLS` says how many, `SLUICE_SEED` where the chances start: a failure names its seed,
and `SLUICE_SEED=n SLUICE_KILLS=40` plays its chances again, though never its instants.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.chaos.checks import gather, problems, story
from tests.chaos.forkserver import ForkServer
from tests.chaos.world import PHASES, Phase, world

KILLS = int(os.environ.get("SLUICE_KILLS") or (200 if os.environ.get("CI") else 40))
SEED = int(os.environ.get("SLUICE_SEED") or 1)
IN_A_WORLD = min(40, KILLS)
CASTS: Sequence[Sequence[str]] = (
    ("upsert", "archive", "clear"),
    ("insert", "update", "delete"),
    ("archive", "delete", "upsert"),
    ("clear", "delete", "archive"),
)
WORLDS = max(1, KILLS // IN_A_WORLD)

_hit: Counter[Phase] = Counter()


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with ForkServer(tmp_path_factory.mktemp("forks") / "worker.log") as made:
        yield made


@pytest.mark.parametrize("seed", range(SEED, SEED + WORLDS))
def test_whatever_is_killed_whenever_the_tool_ends_as_the_source_and_the_ledger_says_so(
    tmp_path: Path, forks: ForkServer, seed: int
) -> None:
    with world(tmp_path, forks, seed, CASTS[seed % len(CASTS)]) as made:
        for kill in range(IN_A_WORLD):
            if kill % 3 == 2:
                made.change()
                made.publish()
            made.set_faults(made.faults())
            made.ask()
            made.kill()
        _hit.update(made.phases)
        made.settle_down()

        found = gather(made)
        broken = problems(found)

        assert not broken, "\n".join(
            [
                f"SLUICE_SEED={seed} SLUICE_KILLS={IN_A_WORLD}: {len(broken)} promises broken",
                *broken[:12],
                *(story(found, key) for key in broken[0].split() if key in made.versions),
            ]
        )


def test_the_kills_hit_every_phase_of_a_run() -> None:
    kills = sum(_hit.values())
    print(f"{kills} kills from seed {SEED}: " + ", ".join(f"{_hit[phase]} {phase}" for phase in PHASES))
    if kills >= 100:  # fewer prove nothing about chances
        assert all(_hit[phase] >= 3 for phase in PHASES), _hit
