"""The other side of benchmarks/semantic_peers.py: runs in the environment that has the named peer.

`python semantic_peer.py PEER FILE < requests.json > answers.json`; imports nothing of this project. A request
is {"metrics", "by", "where"}, where each condition is [column, operator, literal].
"""

import json
import operator
import sys
import time
from collections.abc import Callable
from typing import Any

Request = dict[str, Any]
Sides = tuple[Callable[[Request], object], Callable[[Request], list[tuple[Any, ...]]]]  # compile; ask
DIMENSIONS = ("region", "country", "segment", "channel")


def sidemantic(file: str) -> Sides:
    """Over sidemantic; `table` is read through an attached file, as it opens files for writing."""
    from sidemantic import Dimension, Metric, Model, SemanticLayer

    layer = SemanticLayer("duckdb:///:memory:", init_sql=[f"ATTACH '{file}' AS marts (READ_ONLY)"])
    dimensions = [Dimension(name=name, type="categorical") for name in DIMENSIONS]
    dimensions.append(Dimension(name="ordered_at", type="time", granularity="day", sql="ordered_at"))
    metrics = [
        Metric(name="revenue", agg="sum", sql="amount"),
        Metric(name="orders", agg="count"),
        Metric(name="aov", type="ratio", numerator="revenue", denominator="orders"),
    ]
    layer.add_model(
        Model(name="orders", table="marts.orders", primary_key="id", dimensions=dimensions, metrics=metrics)
    )

    def words(request: Request) -> dict[str, list[str]]:
        return {
            "metrics": [f"orders.{name}" for name in request["metrics"]],
            "dimensions": [f"orders.{key.replace('.', '__')}" for key in request["by"]],
            "filters": [f"orders.{name} {op} '{value}'" for name, op, value in request["where"]],
        }

    return (
        lambda request: layer.compile(**words(request)),
        lambda request: layer.query(**words(request)).to_arrow_table().to_pylist(),
    )


def boring(file: str) -> Sides:
    """Over boring-semantic-layer."""
    import ibis
    from boring_semantic_layer import to_semantic_table

    table = ibis.duckdb.connect(file, read_only=True).table("orders")
    model = (
        to_semantic_table(table, name="orders")
        .with_dimensions(**{name: operator.attrgetter(name) for name in (*DIMENSIONS, "ordered_at")})
        .with_dimensions(ordered_at_month=lambda t: t.ordered_at.truncate("M"))
        .with_measures(revenue=lambda t: t.amount.sum(), orders=lambda t: t.count())
        .with_measures(aov=lambda t: t.revenue / t.orders)
    )
    compares = {"!=": operator.ne, ">=": operator.ge, "=": operator.eq}

    def made(request: Request) -> Any:
        found = model
        for name, op, value in request["where"]:
            given = ibis.timestamp(value) if name == "ordered_at" else value
            found = found.filter(lambda t, n=name, o=op, v=given: compares[o](t[n], v))
        grouped = (
            found.group_by(*(key.replace(".", "_") for key in request["by"])) if request["by"] else found
        )
        return grouped.aggregate(*request["metrics"])

    return (
        lambda request: made(request).sql(),
        lambda request: made(request).to_pyarrow().to_pylist(),
    )


def milliseconds(work: Callable[[Request], Any], request: Request) -> float:
    """The time of one call."""
    started = time.perf_counter()
    work(request)
    return (time.perf_counter() - started) * 1000


def main() -> None:
    """Compile all, then ask all."""
    peer, file = sys.argv[1:]
    compile_it, ask = {"sidemantic": sidemantic, "boring-semantic-layer": boring}[peer](file)
    requests = json.load(sys.stdin)
    for request in requests["warm"]:
        compile_it(request)
        ask(request)
    answer = {
        "compile": [milliseconds(compile_it, request) for request in requests["compile"]],
        "total": [milliseconds(ask, request) for request in requests["total"]],
        "rows": [[[str(v) for v in row.values()] for row in ask(one)] for one in requests["check"]],
    }
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
