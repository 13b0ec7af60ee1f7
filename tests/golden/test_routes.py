"""Golden texts of questions that rollups answer, each also executed."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.spec.route_rig import Rig, make_rig

TEXT = (Path(__file__).parent / "routes.sql").read_text()
CASES = re.findall(r"-- answered by: (.*)\n(.*);\n-- reads:\n(.*);\n", TEXT)


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    made = make_rig()
    yield made
    made.db.close()


@pytest.mark.parametrize(("rollups", "question", "text"), CASES)
def test_a_question_becomes_what_is_written_and_has_the_same_answer(
    rig: Rig, rollups: str, question: str, text: str
) -> None:
    assert ", ".join(map(str, rig.rollups(question))) == rollups
    assert rig.routed(question)[0] == text


def test_all_cases_of_the_file_are_run() -> None:
    assert len(CASES) == TEXT.count("-- answered by:") == 18
