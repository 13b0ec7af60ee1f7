"""The kills of the chaos suite: one world, its kills, and what must hold when all is calm.

`SLUICE_KILLS` says how many kills there are in all, `SLUICE_SEED` where the chances start: a
failure names its seed, and `SLUICE_SEED=n SLUICE_KILLS=50` plays its chances again, though
never its instants.
"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.checks import gather, problems, story
from tests.chaos.forkserver import ForkServer
from tests.chaos.world import PHASES, Phase, world

KILLS = int(os.environ.get("SLUICE_KILLS") or (200 if os.environ.get("CI") else 40))
SEED = int(os.environ.get("SLUICE_SEED") or 1)
IN_A_WORLD = min(50, KILLS)
CASTS: Sequence[Sequence[str]] = (
    ("upsert", "archive", "clear"),
    ("insert", "update", "delete"),
    ("archive", "delete", "upsert"),
    ("clear", "delete", "archive"),
)
SEEDS = tuple(range(SEED, SEED + max(1, KILLS // IN_A_WORLD)))


def killed_and_calm(folder: Path, forks: ForkServer, seed: int) -> Counter[Phase]:
    """Play the world of this seed; the phases its kills hit."""
    with world(folder, forks, seed, CASTS[seed % len(CASTS)]) as made:
        for kill in range(IN_A_WORLD):
            if kill % 3 == 2:
                made.change()
                made.publish()
            made.set_faults(made.faults())
            made.ask()
            made.kill()
        hit = Counter(made.phases)
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
        return hit


def spread(hit: Counter[Phase]) -> str:
    """How many kills there were, and in which phases of a run."""
    return f"{hit.total()} kills from seed {SEED}: " + ", ".join(f"{hit[p]} {p}" for p in PHASES)
