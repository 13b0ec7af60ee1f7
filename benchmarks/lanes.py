"""What light questions feel of heavy ones: p50 and p95 alone and beside others, in one run.

`python -m benchmarks.lanes [--seconds 6] [--rounds 3]` makes a project of its own; one JSON line
per figure. Alone and beside take turns, so that whatever else the machine does hits both; each
`beside` line carries its ratio to `alone`.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from serving import Project, open_project
from serving.engine.process import Cancel
from serving.errors import QueryStopped

ROWS = 2_000_000
FILES = {
    "project.yml": "name: lanes\ncache_megabytes: 0\n",
    "marts/orders.sql": (
        f"select i as order_id, i % 5000 as customer_id, i % 4 as region, i * 7919 % 1000 as amount"
        f" from range({ROWS}) t(i)\n"
    ),
    "marts/orders.yml": (
        "description: One row per order\ngrain: order_id\n"
        "columns: {order_id: {}, customer_id: {}, region: {}, amount: {}}\n"
    ),
    "marts/regions.sql": "select region, count(*) as orders, sum(amount) as amount from orders group by 1\n",
    "marts/regions.yml": (
        "description: One row per region\ngrain: region\ncolumns: {region: {}, orders: {}, amount: {}}\n"
    ),
    "policies/access.yml": """\
roles: {analyst: {marts: "*"}}
assign:
  - {email: ana@example.com, roles: [analyst]}
  - {email: ben@example.com, roles: [analyst]}
  - {email: cem@example.com, roles: [analyst]}
limits: [{role: analyst, seconds: 600, concurrent: 8, queued: 100}]
""",
}
LIGHT = (
    "from regions order by region",
    "select count(*), sum(amount) from orders where customer_id = 77",
    "select region, sum(amount) from orders group by 1 order by 1",
)
HEAVY = (  # one that keeps the processors busy, one that keeps the memory busy; both hear an interrupt
    "select count(*) from orders a, range(10000000) b where a.order_id * b.range % 7 = 3",
    "select max(n) from (select a.order_id, count(*) as n from orders a, range(1000) b group by all)",
)
STRANGER = "select count(*) from range(9000000) a, range(9000000) b where a.range * b.range % 7 = {}"


def milliseconds(project: Project, seconds: float) -> list[float]:
    """How long each of Ana's questions takes, one after the other, with a short thought between."""
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        for sql in LIGHT:
            started = time.perf_counter()
            project.ask(sql, user="ana@example.com", surface="benchmark")
            times.append((time.perf_counter() - started) * 1000)
            time.sleep(0.01)
    return times


@contextmanager
def heavy(project: Project, count: int) -> Iterator[None]:
    """So many heavy questions of Ben's run all the time."""
    cancels, stop = [Cancel() for _ in range(count)], threading.Event()

    def ask(sql: str, cancel: Cancel) -> None:
        while not stop.is_set():
            try:
                project.ask(sql, user="ben@example.com", surface="benchmark", cancel=cancel)
            except QueryStopped:
                time.sleep(0.01)

    threads = [threading.Thread(target=ask, args=(HEAVY[n % len(HEAVY)], cancels[n])) for n in range(count)]
    with _running(threads):
        while project._pool.lanes.counts()["heavy"] < min(count, project._pool.lanes.slots["heavy"]):
            time.sleep(0.02)
        yield
        stop.set()
        for cancel in cancels:
            cancel.set()


@contextmanager
def strangers(project: Project) -> Iterator[None]:
    """Ben asks heavy questions that look light and were never seen; each is cancelled after a second."""
    stop = threading.Event()

    def ask() -> None:
        number = 0
        while not stop.is_set():
            number, cancel = number + 1, Cancel()
            timer = threading.Timer(1, cancel.set)
            timer.start()
            with suppress(QueryStopped):
                project.ask(
                    STRANGER.format(number), user="ben@example.com", surface="benchmark", cancel=cancel
                )
            timer.join()

    with _running([threading.Thread(target=ask)]):
        yield
        stop.set()


@contextmanager
def crowd(project: Project, count: int) -> Iterator[None]:
    """So many light questions of Cem's are always asked at once."""
    stop = threading.Event()

    def ask(sql: str) -> None:
        while not stop.is_set():
            project.ask(sql, user="cem@example.com", surface="benchmark")

    threads = [threading.Thread(target=ask, args=(LIGHT[n % len(LIGHT)],)) for n in range(count)]
    with _running(threads):
        yield
        stop.set()


@contextmanager
def _running(threads: list[threading.Thread]) -> Iterator[None]:
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()


def p95(times: list[float]) -> float:
    """The time that 95 % do not exceed."""
    return sorted(times)[int(len(times) * 0.95)]


def measure(project: Project, seconds: float, rounds: int) -> None:
    """Print every figure."""
    besides: dict[str, Callable[[], AbstractContextManager[None]]] = {
        "one heavy": lambda: heavy(project, 1),
        "two heavy": lambda: heavy(project, 2),
        "heavy ones never seen before": lambda: strangers(project),
        "30 light of another person": lambda: crowd(project, 30),
    }
    milliseconds(project, 1)
    for name, beside in besides.items():
        alone: list[float] = []
        crowded: list[float] = []
        for _ in range(rounds):
            alone += milliseconds(project, seconds)
            with beside():
                milliseconds(project, 1)
                crowded += milliseconds(project, seconds)
        figure = {
            "benchmark": "lanes",
            "beside": name,
            "questions": len(crowded),
            "alone_p50_ms": round(statistics.median(alone), 2),
            "alone_p95_ms": round(p95(alone), 2),
            "p50_ms": round(statistics.median(crowded), 2),
            "p95_ms": round(p95(crowded), 2),
            "p50_ratio": round(statistics.median(crowded) / statistics.median(alone), 2),
            "p95_ratio": round(p95(crowded) / p95(alone), 2),
        }
        print(json.dumps(figure), flush=True)


def main() -> None:
    """Build, measure, tidy up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6, help="of each stretch")
    parser.add_argument("--rounds", type=int, default=3, help="alone and beside, so many times")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, text in FILES.items():
            path = Path(folder) / "models" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        project = open_project(Path(folder) / "models", var=Path(folder) / "var")
        project.build()
        measure(project, options.seconds, options.rounds)
        project.close()


if __name__ == "__main__":
    main()
