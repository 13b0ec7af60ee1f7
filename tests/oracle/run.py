"""Many questions of one person, on both worlds; people side by side in processes."""

import multiprocessing
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from serving import Project, open_project
from tests.oracle.choices import replayed, seeded, shrunk
from tests.oracle.copies import Copies
from tests.oracle.generate import question, schema_of
from tests.oracle.judge import BAD, Tally, Verdict, judge
from tests.oracle.outcome import Asked
from tests.oracle.poison import markers
from tests.oracle.scan import left_behind, standard_error
from tests.oracle.tables import Schema
from tests.oracle.world import World, make_world, opened

SHRUNK = 3  # of a job's failures are made smaller; the others are likely the same

Judge = Callable[[Asked], Verdict]


@dataclass(frozen=True)
class Job:
    """What one person is to be asked in one process."""

    models: Path
    var: Path
    email: str
    corpus: tuple[Asked, ...] = ()
    generate: int = 0
    seed: int = 0


@contextmanager
def asking(
    project: Project, email: str, folder: Path, *, asked_of: Path | None = None
) -> Iterator[tuple[World, Judge]]:
    """Both worlds of one person, made under `folder`, and what judges one question at a time.

    `asked_of` lets a project of another policy answer: to see that the oracle notices.
    """
    world = make_world(project, email, folder)
    if asked_of is not None:
        world = replace(world, models=asked_of)
    copies = Copies(world)
    try:
        with opened(world) as poisoned:
            yield world, lambda asked: judge(poisoned, copies, asked)
    finally:
        copies.close()


def run(job: Job) -> Tally:
    """Ask one person's questions, then search what is left behind."""
    tally, asked = Tally(), list(job.corpus)
    with tempfile.TemporaryDirectory(prefix="oracle-") as name, standard_error() as printed:
        folder = Path(name) / "world"
        project = open_project(job.models, var=job.var)
        schema = schema_of(project)
        with asking(project, job.email, folder) as (world, one):
            project.close()
            schema = {mart: columns for mart, columns in schema.items() if mart in world.sights}
            tally.add(map(one, job.corpus))
            for index in range(job.generate):
                choices = seeded(job.seed * 1_000_003 + index)
                asked.append(question(choices, schema))
                verdict = one(asked[-1])
                if verdict.kind in BAD and len(tally.bad) < SHRUNK:
                    verdict = _smaller(choices.made, schema, one)
                tally.add([verdict])
        known = " ".join(map(str, asked))
        tally.left = left_behind(folder / "var", known)
    tally.left += [f"standard error: {marker}" for marker in markers(printed[0]) if marker not in known]
    return tally


def run_all(jobs: Iterable[Job], processes: int) -> Iterator[tuple[Job, Tally]]:
    """Run them all, in their order; fresh processes, so that no thread of the caller is copied."""
    listed = list(jobs)
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        yield from zip(listed, pool.map(run, listed), strict=True)


def _smaller(made: list[int], schema: Schema, one: Judge) -> Verdict:
    """The smallest question found that the two worlds still answer differently."""

    def fails(recorded: Sequence[int]) -> bool:
        return one(question(replayed(recorded), schema)).kind in BAD

    return one(question(replayed(shrunk(made, fails)), schema))
