"""One world, asked through the door: the answers with rollups and without equal the reference."""

import json
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from serving import Project, open_project
from serving.answer import Answer
from serving.errors import QueryRefused
from serving.semantic.asking.words import write_request
from tests.property.metrics.reference import expected
from tests.property.metrics.requests import Asked, make_request
from tests.property.metrics.sight import Sight
from tests.property.metrics.world import make_world, write_world

Table = tuple[list[str], list[tuple[object, ...]]]


@dataclass
class Tally:
    """How many requests were asked, answered, and answered by a rollup."""

    asked: int = 0
    by_rollup: int = 0
    split: int = 0  # of these, by whole buckets of one and the edges from the mart
    refused: Counter[str] = field(default_factory=Counter)
    features: Counter[str] = field(default_factory=Counter)
    worlds: int = 0
    with_rollups: int = 0  # worlds that have some
    routed: int = 0  # worlds of which a rollup answered something

    def __str__(self) -> str:
        return (
            f"{self.asked} requests of {self.worlds} worlds, {self.by_rollup} answered by a rollup, "
            f"{self.split} of them with edges from the mart "
            f"({self.routed} of {self.with_rollups} worlds with rollups), "
            f"{sum(self.refused.values())} refused: {dict(self.refused.most_common(8))}\n"
            f"{dict(self.features)}"
        )


def prove(seed: int, requests: int, tally: Tally) -> None:
    """Ask one world; fails with the content folder and the request that is answered wrongly."""
    world = make_world(seed)
    folder = Path(tempfile.mkdtemp(prefix=f"sluice-world-{seed}-"))
    sights = [Sight(world, person) for person in world.people]
    project = open_project(write_world(world, folder / "models"), var=folder / "var")
    try:
        project.build()
        dice, before = random.Random(seed), tally.by_rollup
        for number in range(requests):
            _ask(
                project, dice.choice(sights), dice, tally, f"world {seed}, request {number}, {folder}/models"
            )
        tally.worlds += 1
        tally.with_rollups += any(mart.rollups for mart in world.marts.values())
        tally.routed += tally.by_rollup > before
    finally:
        project.close()
        for sight in sights:
            sight.copy.close()
    shutil.rmtree(folder)  # kept where something failed


def _ask(project: Project, sight: Sight, dice: random.Random, tally: Tally, where: str) -> None:
    asked = make_request(dice, sight)
    tally.asked += 1
    told = f"{where}, {sight.person.email}\n{json.dumps(write_request(asked.request))}"
    try:
        routed = project.ask(metrics=asked.request, user=sight.person.email)
    except QueryRefused as refusal:
        tally.refused[_kind(refusal.problem)] += 1
        return
    answers = [("with rollups", routed)]
    by_rollup = any(route.rollup for route in routed.receipt.routes)
    if by_rollup or tally.asked % 10 == 0:  # else both are the same text
        plain = project.ask(metrics=asked.request, user=sight.person.email, rollups=False)
        assert not any(route.rollup for route in plain.receipt.routes), told
        answers = [("without rollups", plain), *answers]
    wanted = expected(sight, asked.request, asked.ranges)
    for words, answer in answers:
        difference = differs(table(answer), wanted)
        assert not difference, f"{words}: {difference}\n{told}\n{answer.receipt.sql}"
    tally.by_rollup += by_rollup
    tally.split += any(route.split for route in routed.receipt.routes)
    tally.features.update(_features(asked))


def table(answer: Answer) -> Table:
    """Headers and rows as Python values."""
    found = answer.table
    return found.column_names, list(zip(*(column.to_pylist() for column in found.columns), strict=True))


def differs(found: Table, wanted: Table) -> str:
    """What is not the same: headers, values, their types or the order of rows; nothing where all is."""
    if found[0] != wanted[0]:
        return f"headers {found[0]}, not {wanted[0]}"
    ours = [_comparable(row) for row in found[1]]
    theirs = [_comparable(row) for row in wanted[1]]
    if ours == theirs:
        return ""
    wrong = [row for row, ours_ in zip(found[1], ours, strict=True) if ours_ not in theirs]
    missing = [row for row, theirs_ in zip(wanted[1], theirs, strict=True) if theirs_ not in ours]
    if not wrong and not missing:
        return f"the order of rows: {found[1]}, not {wanted[1]}"
    return f"{wrong[:5]}, not {missing[:5]} ({len(found[1])} rows, not {len(wanted[1])})"


def _comparable(row: Sequence[object]) -> list[tuple[str, object]]:
    """Values with their types; instants of any zone alike."""
    found = []
    for value in row:
        if isinstance(value, datetime) and value.tzinfo is not None:
            value = value.astimezone(UTC)
        found.append((type(value).__name__, value))
    return found


def _kind(problem: str) -> str:
    return " ".join(word for word in problem.split() if "'" not in word)[:60]


def _features(asked: Asked) -> list[str]:
    request = asked.request
    names = ("by", "filters", "spans", "having", "compare", "top", "totals", "fill", "order", "limit")
    found = [name for name in names if getattr(request, name)]
    return [*found, *(["several marts"] if len({m.mart for m in request.metrics}) > 1 else [])]
