"""What rollups save, and what deciding about them costs, in one run over a generated mart.

`python -m benchmarks.rollups [--rows 20000000] [--rounds 7] [--folder DIR]` builds a project in a temporary
folder (about 1 GB) with the answers' cache off, and prints one JSON line per figure, with the machine's load
beside it. "base" is the same request with rollups=False, by turns with the routed one; answers are compared.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.orders_mart import ANA, EMIL, built
from serving import Project
from serving.marts.declared import declared_rollups
from serving.marts.reconcile import reconcile
from serving.marts.trial import trial
from serving.semantic.asking.words import read_request

BY = {"by": ["ordered_at.month", "region"]}
WITHIN, RAGGED = "ordered_at: 2025-01-01..2025-12-31", "ordered_at: 2024-03-15..2025-10-10"
TILES: dict[str, dict[str, Any] | str] = {
    "sum": {"metrics": ["orders.revenue"], **BY},
    "count": {"metrics": ["orders.orders"], **BY},
    "ratio": {"metrics": ["orders.aov"], **BY},
    "sum, count and ratio": {"metrics": ["orders.revenue", "orders.orders", "orders.margin"], **BY},
    "number": {"metrics": ["orders.revenue"]},
    "comparison": {"metrics": ["orders.revenue"], **BY, "where": [WITHIN], "compare": "previous year"},
    "top and other": {
        "metrics": ["orders.revenue"],
        "by": ["country"],
        "top": "5 country by orders.revenue, other",
    },
    "totals": {"metrics": ["orders.aov"], **BY, "totals": [["region"], []]},
    "filtered": {"metrics": ["orders.revenue"], **BY, "where": ["channel = 'web'", WITHIN]},
    "ragged range": {"metrics": ["orders.aov"], "by": ["country"], "where": [RAGGED]},
    "distinct ~": {"metrics": ["~orders.buyers"], **BY},
    "median ~": {"metrics": ["~orders.typical"], **BY},
    "SQL": (
        "select date_trunc('month', ordered_at) as m, region, sum(amount) as revenue from orders "
        "group by all order by all"
    ),
    "MEASURE": "select region, measure(revenue), measure(aov) from orders group by all order by all",
}
WANTED = dict.fromkeys(
    ("sum", "count", "ratio", "sum, count and ratio"), 50
)  # times faster, by month x region
EXACT = {"distinct ~": "orders.buyers", "median ~": "orders.typical"}  # what people ask without ~


def say(figure: str, **values: object) -> None:
    """One line of the result."""
    load = round(os.getloadavg()[0], 1)
    print(json.dumps({"benchmark": "rollups", "figure": figure, **values, "load": load}), flush=True)


def milliseconds(work: Callable[[], object]) -> float:
    """The time of one call."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def asking(project: Project, request: dict[str, Any] | str, user: str, rollups: bool) -> Callable[[], Any]:
    """A call that asks it through the door."""
    if isinstance(request, str):
        return lambda: project.ask(request, user=user, surface="benchmark", rollups=rollups)
    read = read_request(request)
    return lambda: project.ask(metrics=read, user=user, surface="benchmark", rollups=rollups)


def tiles(project: Project, rounds: int) -> None:
    """Each tile by turns over its rollup and over the mart."""
    for name, request in TILES.items():
        for user in (ANA, EMIL):
            routed, base = (asking(project, request, user, rollups) for rollups in (True, False))
            answer, plain = routed(), base()
            same = "estimates" if name in EXACT else answer.table.equals(plain.table)
            sides: dict[str, list[float]] = {"routed": [], "base": []}
            for _ in range(rounds):
                sides["routed"].append(milliseconds(routed))
                sides["base"].append(milliseconds(base))
            fast, slow = (statistics.median(sides[side]) for side in ("routed", "base"))
            say(
                f"tile: {name}",
                user=user,
                rollups=[
                    f"{route.rollup}{' + edges' if route.split else ''}" for route in answer.receipt.routes
                ],
                equal=same,
                routed_ms=round(fast, 2),
                base_ms=round(slow, 1),
                ratio=round(slow / fast, 1),
                wanted=WANTED.get(name) if user == ANA else None,
            )
    for name, metric in EXACT.items():
        exact = asking(project, {"metrics": [metric], **BY}, ANA, True)
        estimate = asking(project, TILES[name], ANA, True)
        slow, fast = (
            statistics.median(milliseconds(work) for _ in range(rounds)) for work in (exact, estimate)
        )
        say(f"{name} instead of the exact one", exact_ms=round(slow, 1), ratio=round(slow / fast, 1))


def requests(much: int) -> Iterator[dict[str, Any]]:
    """Different tiles of a dashboard, as people slice it."""
    metrics = (["revenue"], ["orders"], ["aov"], ["revenue", "orders", "margin"], ["pieces", "largest"])
    by = (
        ["ordered_at.month"],
        ["region"],
        ["ordered_at.month", "region"],
        ["segment", "channel"],
        ["country"],
    )
    compare = (None, None, "previous year")
    for number, (names, axes, compared) in enumerate(product(metrics * 20, by, compare)):
        if number >= much:
            return
        where = [f"ordered_at: 202{3 + number % 3}-0{number % 9 + 1}-01..2025-12-31", f"amount != {number}"]
        found = {
            "metrics": [f"orders.{name}" for name in names],
            "by": axes,
            "where": where[: 1 + number % 2],
        }
        yield found if compared is None else {**found, "compare": compared}


def deciding(project: Project, much: int) -> None:
    """Compile, govern and route, without running; a request that is new, and the same again."""
    kinds: dict[str, list[list[float]]] = {}
    for request in requests(much):
        read = read_request(request)
        kind = "comparison" if "compare" in request else "tile"
        times = kinds.setdefault(kind, [[], []])
        for side in times:
            side.append(milliseconds(lambda read=read: project.explain(metrics=read, user=ANA)))
    for kind, (fresh, again) in kinds.items():
        say(f"plan of a new {kind}", median_ms=round(statistics.median(fresh), 2), wanted=3)
        say(f"plan of the {kind} again", median_ms=round(statistics.median(again), 3), wanted=0.3)
    sliced = (
        {"metrics": ["orders.aov"], **BY, "where": [f"segment in ('x{n}', 'pro')"]} for n in range(much)
    )
    found = [
        milliseconds(lambda one=one: project.explain(metrics=one, user=ANA))
        for one in map(read_request, sliced)
    ]
    say("plan of a tile of a new shape", median_ms=round(statistics.median(found), 2), wanted=3)
    texts = [
        f"select region, sum(amount) as s{n} from orders where segment = 'x{n}' group by all"
        for n in range(much)
    ]
    for words, wanted in (("plan of a new SQL text", 3.0), ("plan of the SQL text again", 0.3)):
        found = [milliseconds(lambda text=text: project.explain(text, user=ANA)) for text in texts]
        say(words, median_ms=round(statistics.median(found), 3), wanted=wanted)


def building(project: Project, seconds: float | None, added: float | None) -> None:
    """What rollups add to a build: all of them, then each by itself with its reconciliation."""
    if seconds is not None and added is not None:
        say("build of the mart", seconds=round(seconds, 1))
        say("its rollups added later", seconds=round(added, 1), ratio=round(added / seconds, 2))
    version, mart = project.current_version(), project.content.marts["orders"]
    assert version is not None
    for rollup in declared_rollups(mart, project.content.project.week_starts):
        with trial(project.content, version.marts["orders"]) as made_in:
            started = time.perf_counter()
            kept = made_in.make(rollup)
            both = time.perf_counter() - started
            started = time.perf_counter()
            reconcile(made_in.connection, rollup)
            again = time.perf_counter() - started
        say(
            f"rollup {rollup.name}",
            rows=kept.rows,
            megabytes=round(kept.bytes / 1e6, 2),
            build_seconds=round(both - again, 2),
            reconcile_seconds=round(again, 2),
            of_the_mart=None if seconds is None else round(both / seconds, 3),
        )


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--folder", type=Path, help="keeps the project there for the next run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        project, seconds = built(folder, options.rows, rollups=False)
        project.close()
        project, added = built(folder, options.rows)
        try:
            building(project, seconds, added)
            deciding(project, options.requests)
            tiles(project, options.rounds)
        finally:
            project.close()


if __name__ == "__main__":
    main()
