"""Every metric request, through the door, equals a reference that computes it group by group.

Random marts, data, policies, rollups and requests; with rollups and without. The same worlds each time;
SLUICE_METRICS_WORLDS=100 asks as many, and others each time. A failure prints the world's number, its
content folder (which is kept), the person and the request.
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.property.metrics.proof import Tally, prove

WORLDS = int(os.environ.get("SLUICE_METRICS_WORLDS", "12"))
REQUESTS = 210  # of each world


def prove_worlds(first: int, last: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Worlds of these numbers: no wrong answer, few refusals, and rollups that do answer."""
    tally = Tally()

    @settings(
        max_examples=WORLDS,
        deadline=None,
        derandomize="SLUICE_METRICS_WORLDS" not in os.environ,
        database=None,
        phases=[Phase.generate],  # a smaller number is another world, not a smaller one
        suppress_health_check=list(HealthCheck),
    )
    @given(seed=st.integers(first, last))
    def worlds(seed: int) -> None:
        prove(seed, REQUESTS, tally)

    worlds()
    with capsys.disabled():
        print(f"\n{tally}")
    assert tally.asked >= WORLDS * REQUESTS * 0.95
    assert sum(tally.refused.values()) <= 0.15 * tally.asked, str(tally)
    assert tally.routed >= 0.3 * tally.with_rollups, str(tally)


@pytest.mark.timeout(600)
def test_answers_equal_the_reference_to_the_last_digit(capsys: pytest.CaptureFixture[str]) -> None:
    prove_worlds(0, 2**30, capsys)


def test_a_filter_over_a_join_to_no_row_is_not_lost() -> None:
    """A world in which the engine dropped a HAVING: decision 15."""
    prove(1_582_086_794, 50, Tally())
