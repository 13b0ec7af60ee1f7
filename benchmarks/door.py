"""What the door costs: governed questions beside the same SQL in plain DuckDB, in one run.

`python -m benchmarks.door [--project DIR] [--var DIR]` over a built project; prints one JSON line per figure.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import duckdb

from serving import Project, open_project
from serving.identity import User

QUESTIONS = {
    "total": "select count(*) as n, sum(revenue) as revenue from orders",
    "by month": "from orders select date_trunc('month', ordered_at) as m, sum(revenue) group by 1 order by 1",
    "join": "from orders o join customers c using (customer_id) select c.segment, sum(revenue) group by 1",
    "top": "from orders select customer_id, sum(revenue) as spent group by 1 order by 2 desc, 1 limit 20",
    "window": "select region, sum(sum(revenue)) over (order by region) from orders group by 1 order by 1",
    "rows": "select order_id, ordered_at, revenue from orders order by order_id limit 50000",
}
ROUNDS = 15


def milliseconds(work: Callable[[], object]) -> float:
    """The median time of a call, after one that warms up."""
    work()
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def plain(project: Project) -> duckdb.DuckDBPyConnection:
    """The same files under the same names, with nothing in between."""
    version = project.current_version()
    if version is None:
        raise SystemExit("build the project first: python -m serving build")
    connection = duckdb.connect(":memory:", config={"threads": 2})
    for mart, file in version.marts.items():
        connection.execute(f"attach '{file.path}' as \"{mart} file\" (read_only)")
        connection.execute(f'create view "{mart}" as from "{mart} file"."{mart}"')
    return connection


def main() -> None:
    """Print median milliseconds and the ratio for each question and person."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", default="models")
    parser.add_argument("--var", default="var")
    options = parser.parse_args()
    project = open_project(options.project, var=options.var)
    raw = plain(project)
    for name, sql in QUESTIONS.items():
        base = milliseconds(lambda sql=sql: raw.sql(sql).to_arrow_table())
        for user in project.people():
            if not {"orders", "customers"} <= set(project.visible_marts(user)):
                continue

            def ask(sql: str = sql, user: User = user) -> None:
                project.forget_answers()  # else it would be asked once
                project.ask(sql, user=user, surface="benchmark")

            governed = milliseconds(ask)
            figure = {
                "benchmark": "door",
                "question": name,
                "user": user.email,
                "plain_ms": round(base, 2),
                "governed_ms": round(governed, 2),
                "ratio": round(governed / base, 2),
                "added_ms": round(governed - base, 2),
            }
            print(json.dumps(figure))
    project.close()


if __name__ == "__main__":
    main()
