"""One run: start everything, let it be, stop it, and look at what is left."""

import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving import Project, open_project
from serving.audit_chain import verify
from serving.audit_log import entries, reading
from serving.engine.pool import OLDER, slots
from tests.conftest import ROOT
from tests.load import world
from tests.load.chaos import Chaos, Seasons, descendants
from tests.load.clients import Clients
from tests.load.questions import Truth
from tests.load.state import Holdings, holdings, rss, stray_files
from tests.load.tally import Kills, Tally, TimedLanes, percentile

ENOUGH = 30  # failures after which a run ends early
MOST = 2 * (sum(slots().values()) + OLDER) + 1  # idle workers of two processes, and one of these
RSS_GROWTH = 150.0  # megabytes between a third of the run and its end
Act = Callable[[random.Random], None]


@dataclass(frozen=True)
class Figures:
    """What a run found: `wrong` must be empty."""

    wrong: tuple[str, ...]
    numbers: dict[str, Any]


def run(folder: Path, *, seconds: float, clients: int, seed: int, slack: float = 3.0) -> Figures:
    """The mixed load over a fresh project in `folder`."""
    before = holdings()
    models = world.write_world(folder)
    project = open_project(models, var=folder / "var")
    project._pool.lanes = TimedLanes(slots())
    tally, kills, seasons = Tally(), Kills(), Seasons()
    chaos = Chaos(project, seasons, tally, kills)
    truth = Truth([world.STEWARD, world.SMALL, *world.SALES.values()])
    chaos.publish(random.Random(seed))
    with _server(models, folder / "var") as (server, address):
        shared = Clients(project, project._pool.lanes, truth, seasons, tally, kills, slack)
        shared.innocent(random.Random(seed))
        memory = _storm(shared, chaos, address, seconds, clients, seed)
        quiet = _quiet(project, server.pid)
    wrong = tally.failures + _left_behind(project, quiet, memory)
    chaos.mend()
    project.close()
    numbers = _numbers(project, tally, kills, memory, seconds, clients, seed)
    wrong += _audit_problems(folder / "var", tally, numbers) + _after_close(before)
    numbers["wrong"] = len(wrong)
    return Figures(tuple(wrong), numbers)


def _storm(
    shared: Clients, chaos: Chaos, address: str, seconds: float, clients: int, seed: int
) -> list[float]:
    """Everything at once; the parent's memory over time."""
    stop, tally, acts = threading.Event(), shared.tally, shared.acts(address)

    def again(act: Act, dice: random.Random, pauses: tuple[float, float]) -> None:
        while not stop.wait(dice.uniform(*pauses)):
            try:
                act(dice)
            except Exception as bug:
                tally.fail(f"{act.__qualname__}: {type(bug).__name__}: {bug}")

    jobs = [(acts[number % len(acts)], (0.0, 0.1)) for number in range(clients)]
    jobs += [(chaos.publish, (2.0, 5.0)), (chaos.edit, (1.0, 3.0)), (chaos.kill, (0.5, 2.5))]
    threads = [
        threading.Thread(target=again, args=(act, random.Random(f"{seed} {number}"), pauses))
        for number, (act, pauses) in enumerate(jobs)
    ]
    for thread in threads:
        thread.start()
    memory, workers, end = [], [0.0], time.monotonic() + seconds
    while time.monotonic() < end and len(tally.failures) < ENOUGH:
        memory.append(rss())
        workers.append(sum(map(rss, descendants(os.getpid()))))
        stop.wait(0.5)
    stop.set()
    for thread in threads:
        thread.join(120)
        if thread.is_alive():
            tally.fail("a client never came back")
    tally.peak = max(workers)
    return [*memory, rss()]


@contextmanager
def _server(models: Path, var: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The REST routes in a process of their own, and their address."""
    command = [sys.executable, "-m", "tests.load.server", str(models), str(var)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None and server.stdin is not None
        yield server, server.stdout.readline().strip()
        server.stdin.close()
        server.wait(30)


def _quiet(project: Project, server: int) -> Holdings:
    """What is held once nobody asks any more: idle workers only, as many as the lanes have slots."""
    deadline = time.monotonic() + 20
    while len(descendants(os.getpid())) > MOST and time.monotonic() < deadline:
        time.sleep(0.2)
    assert rss(server), "the server ended"
    return holdings()


def _left_behind(project: Project, quiet: Holdings, memory: list[float]) -> list[str]:
    found = []
    if quiet.processes > MOST:
        found.append(f"{quiet.processes} processes are left")
    if running := sum(project._pool.lanes.counts().values()):
        found.append(f"{running} turns were never given back")
    if stray := stray_files(project):
        found.append(f"files are left: {stray}")
    warm = percentile(memory[len(memory) // 3 : len(memory) // 2] or memory, 0.5)
    if memory[-1] - warm > RSS_GROWTH:
        found.append(f"memory grew from {warm} to {memory[-1]} MB")
    return found


def _after_close(before: Holdings) -> list[str]:
    """What a closed project must not hold."""
    deadline = time.monotonic() + 10
    while (now := holdings()).processes > before.processes and time.monotonic() < deadline:
        time.sleep(0.1)
    found = []
    if now.processes > before.processes:
        found.append(f"{now.processes - before.processes} processes outlive the project")
    if now.files > before.files + 3:
        names = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.exists()]
        found.append(f"{now.files - before.files} files stay open: {names}")
    if now.threads > before.threads:
        found.append(f"threads stay: {[thread.name for thread in threading.enumerate()]}")
    return found


def _audit_problems(var: Path, tally: Tally, numbers: dict[str, Any]) -> list[str]:
    """The chain holds; each question that was asked is in it, and ended once."""
    path = var / "audit.sqlite"
    with reading(path) as connection:
        chain = verify(entries(connection))
    with closing(sqlite3.connect(path)) as connection:
        ends = (
            "SELECT a.surface, count(*), count(e.id), count(distinct a.question) FROM entries a"
            " LEFT JOIN entries e ON e.question = a.question AND e.event = 'ended'"
            " WHERE a.event = 'asked' GROUP BY a.surface"
        )
        found = {row[0]: row[1:] for row in connection.execute(ends)}
    numbers["audited"] = chain.entries
    problems = [
        f"{surface}: {asked} asked, {ended} ended, {questions} questions"
        for surface, (asked, ended, questions) in found.items()
        if not asked == ended == questions
    ]
    if found["load"][0] != tally.asked:
        problems.append(f"{tally.asked} questions were asked, the audit has {found['load'][0]}")
    return problems


def _numbers(
    project: Project, tally: Tally, kills: Kills, memory: list[float], seconds: float, clients: int, seed: int
) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "clients": clients,
        "seed": seed,
        "asked": tally.asked,
        "outcomes": dict(sorted(tally.outcomes.items())),
        "kills": kills.total,
        "workers_peak_mb": tally.peak,
        "rss_mb": [memory[round(part * (len(memory) - 1) / 10)] for part in range(11)],
        **tally.figures(),
    }
