"""Fixtures of the chaos suite: one process that forks the workers of a file."""

from collections.abc import Iterator

import pytest

from tests.chaos.forkserver import ForkServer


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with ForkServer(tmp_path_factory.mktemp("forks") / "worker.log") as made:
        yield made
