"""What governance costs on TPC-H: the door beside the same text in plain DuckDB, in one run.

`python -m benchmarks.tpch [--scale 1] [--rounds 7]` makes the data once (tpchgen-cli), builds the
project of tests/projects/tpch and prints one JSON line per figure. Plain is one DuckDB in this
process with as many threads as a worker, over the same files; answers are fetched whole on both
sides. For people under row rules plain runs over hand-made views with the same predicates.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from serving import Project, open_project
from serving.engine.process import Run, Size, Snapshot, Watch, WorkerProcess

CACHE = Path("var/benchmarks")
TPCH = Path(__file__).parent.parent / "tests" / "projects" / "tpch"


def opened(scale: float) -> Project:
    """The project of that scale factor, built; its data is made the first time."""
    make = [sys.executable, str(TPCH / "make.py"), str(CACHE), f"{scale:g}"]
    made = subprocess.run(make, check=True, capture_output=True, text=True)
    os.environ["TPCH_DATA"] = made.stdout.strip()
    project = open_project(TPCH / "models", var=CACHE / f"var-{scale:g}")
    project.build()
    return project


def queries() -> dict[str, str]:
    """The 22 queries by name."""
    return {path.stem: path.read_text() for path in sorted((TPCH / "queries").glob("q*.sql"))}


def say(**figure: object) -> None:
    """One JSON line."""
    print(json.dumps({"benchmark": "tpch", **figure}), flush=True)


def timed(work: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def plain(project: Project, user: str) -> duckdb.DuckDBPyConnection:
    """The same files under the same names; views with the person's own predicates."""
    version = project.current_version()
    assert version is not None
    connection = duckdb.connect(":memory:", config={"threads": Size().threads})
    aliases = {mart: f"{mart} file" for mart in version.marts}
    for mart, file in version.marts.items():
        connection.execute(f"attach '{file.path}' as \"{aliases[mart]}\" (read_only)").fetchall()
    for mart in project.visible_marts(project.user(user)):
        body = project.view(mart, project.user(user)).over(aliases)
        connection.execute(f'create view "{mart}" as {body}').fetchall()
    return connection


def compare(project: Project, user: str, rounds: int) -> None:
    """Each query by turns on both sides, so that a busy moment hits both."""
    raw, ratios = plain(project, user), []
    for name, sql in queries().items():
        sides = {
            "plain": lambda sql=sql: raw.sql(sql).to_arrow_table(),
            "governed": lambda sql=sql: project.ask(sql, user=user, surface="benchmark").table,
        }
        for work in sides.values():
            work()
        times: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(rounds):
            for side, work in sides.items():
                times[side].append(timed(work))
        base, governed = (statistics.median(times[side]) for side in ("plain", "governed"))
        ratios.append(governed / base)
        within = governed <= 1.25 * base + 5
        say(
            figure="query",
            user=user,
            query=name,
            plain_ms=round(base, 1),
            governed_ms=round(governed, 1),
            ratio=round(governed / base, 3),
            within=within,
        )
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    say(figure="geometric mean", user=user, ratio=round(mean, 3), wanted=1.05)


def checks(project: Project, user: str, rounds: int) -> None:
    """What checking and binding cost for a new text, and for one that comes again."""
    fresh, again = [], []
    for number in range(rounds):
        for sql in queries().values():
            text = f"{sql.rstrip().rstrip(';')}\n-- {number}"
            fresh.append(timed(lambda text=text: project.explain(text, user=user)))
            again.append(timed(lambda text=text: project.explain(text, user=user)))
    say(figure="checks of a new text", median_ms=round(statistics.median(fresh), 2), wanted=3)
    say(figure="checks of a known text", median_ms=round(statistics.median(again), 3), wanted=0.3)


def first_answer(project: Project, rounds: int) -> None:
    """From nothing to the first answer of a new worker process."""
    version = project.current_version()
    assert version is not None
    snapshot = Snapshot.of(1, {name: file.path for name, file in version.marts.items()}, "UTC")
    times = []
    for _ in range(rounds):

        def start() -> None:
            worker = WorkerProcess(snapshot, Size())
            worker.run(Run("select count(*) from range(10)", (), 10, None), Watch(10))
            worker.kill()

        times.append(timed(start))
    say(figure="first answer of a fresh worker", median_ms=round(statistics.median(times)), wanted=500)


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--users", default="steward@example.com,germany@example.com")
    options = parser.parse_args()
    project = opened(options.scale)
    first_answer(project, options.rounds)
    for user in options.users.split(","):
        checks(project, user, options.rounds)
        compare(project, user, options.rounds)
    project.close()


if __name__ == "__main__":
    main()
