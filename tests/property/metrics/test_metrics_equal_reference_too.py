"""The other half of the worlds, so that two processes share the work."""

import pytest

from tests.property.metrics.test_metrics_equal_reference import prove_worlds


@pytest.mark.timeout(600)
def test_answers_equal_the_reference_to_the_last_digit_in_other_worlds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    prove_worlds(2**30 + 1, 2**31, capsys)
