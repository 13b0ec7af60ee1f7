"""Metric requests here and in two other semantic layers, in one run over one DuckDB file.

`python -m benchmarks.semantic_peers [--rows 20000000] [--rounds 20] [--folder DIR]` installs sidemantic and
boring-semantic-layer into a virtual environment of the folder (never into this project) and runs them there.
Prints one JSON line per request and peer: medians of milliseconds to compile a request and to have its
answer as rows. No request comes twice, so no side answers from memory; ours remembers what texts of the
same shape name, which benchmarks/rollups.py shows apart ("of a new shape").

Ours is the whole door: policy, audit, both processes, and once without rollups, which is the same work for
the engine as the others do. They have neither policies nor audit, and run in the process that measures. The
rollups of sidemantic (pre-aggregations) are not built here: that ratio is "without rollups".
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import venv
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks.orders_mart import ANA, built
from benchmarks.rollups import milliseconds
from serving import Project
from serving.semantic.asking.words import read_request

PACKAGES = {
    "sidemantic": ["sidemantic", "pyarrow", "pandas", "rich"],
    "boring-semantic-layer": ["boring-semantic-layer", "ibis-framework[duckdb]", "pyarrow", "pandas", "rich"],
}
SCRIPT = Path(__file__).with_name("semantic_peer.py")
Request = dict[str, Any]
REQUESTS: dict[str, Request] = {
    "number": {"metrics": ["revenue"], "by": []},
    "month x region": {"metrics": ["revenue"], "by": ["ordered_at.month", "region"]},
    "three by month x region": {
        "metrics": ["revenue", "orders", "aov"],
        "by": ["ordered_at.month", "region"],
    },
    "ratio by segment x channel": {"metrics": ["aov"], "by": ["segment", "channel"]},
    "since a month": {
        "metrics": ["revenue", "orders"],
        "by": ["ordered_at.month"],
        "where": [["ordered_at", ">=", "2025-01-01"]],
    },
}


def variants(request: Request, start: int, count: int) -> list[Request]:
    """The same request with a condition that no other one has, and that every row of the data meets."""
    return [
        {**request, "where": [*request.get("where", []), ["segment", "!=", f"none {number}"]]}
        for number in range(start, start + count)
    ]


def sets(request: Request, rounds: int) -> dict[str, list[Request]]:
    """What each side is to do with a request."""
    return {
        "warm": variants(request, 0, 3),
        "compile": variants(request, 100, rounds),
        "total": variants(request, 10_000, rounds),
        "check": [request | {"where": request.get("where", [])}],
    }


def python_of(folder: Path, peer: str) -> Path:
    """The interpreter of an environment with the peer in it."""
    home = folder / f"peer-{peer}"
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PACKAGES[peer]], check=True)
    return python


def theirs(python: Path, peer: str, file: Path, asked: dict[str, list[Request]]) -> dict[str, Any]:
    """What the peer needed, and what it answered."""
    command = [str(python), str(SCRIPT), peer, str(file)]
    found = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False)
    if found.returncode:
        raise SystemExit(f"{peer} failed:\n{found.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return answer


def ours(project: Project, asked: dict[str, list[Request]], *, rollups: bool) -> dict[str, Any]:
    """The same through the door."""

    def read(request: Request) -> Any:
        where = [
            f"{name}: since {value}" if name == "ordered_at" else f"{name} {op} '{value}'"
            for name, op, value in request["where"]
        ]
        metrics = [f"orders.{name}" for name in request["metrics"]]
        return read_request({"metrics": metrics, "by": request["by"], "where": where})

    def plan(request: Request) -> object:
        return project.explain(metrics=read(request), user=ANA, rollups=rollups)

    def ask(request: Request) -> list[dict[str, Any]]:
        answer = project.ask(metrics=read(request), user=ANA, surface="benchmark", rollups=rollups)
        rows: list[dict[str, Any]] = answer.table.to_pylist()
        return rows

    for request in asked["warm"]:
        plan(request)
        ask(request)
    return {
        "compile": [milliseconds(lambda request=request: plan(request)) for request in asked["compile"]],
        "total": [milliseconds(lambda request=request: ask(request)) for request in asked["total"]],
        "rows": [[[str(value) for value in row.values()] for row in ask(one)] for one in asked["check"]],
    }


def alike(rows: list[list[str]]) -> list[tuple[str, ...]]:
    """Rows in any order; numbers as far as eight digits, days without their time."""
    return sorted(tuple(map(_alike, row)) for row in rows)


def _alike(value: str) -> str:
    if value.removesuffix(" 00:00:00") != value:
        return value.removesuffix(" 00:00:00")
    try:
        return f"{Decimal(value):.8g}"
    except ArithmeticError:
        return "None" if value in ("nan", "NaT") else value


def figures(project: Project, file: Path, folder: Path, rounds: int) -> Iterator[dict[str, object]]:
    """One for each request and peer."""
    pythons = {peer: python_of(folder, peer) for peer in PACKAGES}
    for name, request in REQUESTS.items():
        asked = sets(request, rounds)
        mine = {"": ours(project, asked, rollups=True), "_no_rollups": ours(project, asked, rollups=False)}
        for peer, python in pythons.items():
            other = theirs(python, peer, file, asked)
            found: dict[str, object] = {"request": name, "peer": peer}
            for kind in ("compile", "total"):
                found[f"{kind}_peer_ms"] = round(statistics.median(other[kind]), 2)
                for way, answer in mine.items():
                    milli = statistics.median(answer[kind])
                    found[f"{kind}_ms{way}"] = round(milli, 2)
                    found[f"{kind}_ratio{way}"] = round(statistics.median(other[kind]) / milli, 2)
            found["same_answer"] = alike(mine[""]["rows"][0]) == alike(other["rows"][0])
            yield found


def main() -> None:
    """Print every figure; ratios over 1: ours is faster."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="keeps the project and the environments for the next run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        project, _ = built(folder, options.rows)
        version = project.current_version()
        assert version is not None
        try:
            for figure in figures(project, version.marts["orders"].path, folder, options.rounds):
                load = round(os.getloadavg()[0], 1)
                print(json.dumps({"benchmark": "semantic peers", **figure, "load": load}), flush=True)
        finally:
            project.close()


if __name__ == "__main__":
    main()
