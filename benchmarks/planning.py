"""What planning costs beside a bare hash-and-full-join of the same data in DuckDB, in one run.

`python -m benchmarks.planning [--rows N] [--folder DIR]`: a source of 8 fields with a text key, 1 % of its
rows changed since the ledger was written. Prints one JSON line per figure. Needs about 3 GB of disk.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from reverse_etl.ledger import Answered, settle
from reverse_etl.plan import Intent, make_plan
from serving.content.sync import Sync

ROUNDS = 3
NOW = datetime(2026, 1, 1, tzinfo=UTC)
FIELDS = "spent, orders, score, balance, segment, city, born, seen"
SYNC = Sync.model_validate(
    {"name": "planning", "source": "customers", "run_as": "r", "destination": "crm", "object": "contacts"}
    | {"key": {"customer": "customer"}, "fields": {name: name for name in FIELDS.split(", ")}}
    | {"mode": "mirror", "on_removed": "archive"}
)

_SOURCE = """
select 'C-' || lpad(i::varchar, 8, '0') as customer,
       (i * 7919 % 1000)::int + ({changed} and i % 100 = 7)::int as spent, (i * 13 % 5000)::bigint as orders,
       (i % 100003) / 7.0::double as score, (i * 31 % 100000 / 100)::decimal(12, 2) as balance,
       'segment ' || (i % 17) as segment, 'city ' || (i * 37 % 9973) as city,
       date '2020-01-01' + (i % 1500)::int as born,
       timestamp '2020-01-01' + interval (i % 31536000) second as seen
from range({rows}) t(i)
"""

_BARE = f"""
select count(*) filter (source.h is null), count(*) filter (accepted.h is null), count(*)
from (select customer, hash({FIELDS}) as h from source) source
full outer join (from read_parquet('{{ledger}}')) accepted using (customer)
where source.h is distinct from accepted.h
"""


def say(figure: str, value: float, unit: str) -> None:
    """One line of the result."""
    print(
        json.dumps({"benchmark": "planning", "figure": figure, "value": round(value, 3), "unit": unit}),
        flush=True,
    )


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def prepare(folder: Path, rows: int) -> None:
    """The source before and after the change, and the slim ledger of the bare query."""
    with duckdb.connect() as db:
        db.execute("set enable_progress_bar = false")
        for name, changed in (("before", "false"), ("after", "true")):
            query = _SOURCE.format(changed=changed, rows=rows)
            db.execute(f"copy ({query}) to '{folder / name}.parquet'")
        hashes = f"select customer, hash({FIELDS}) as h from '{folder / 'before'}.parquet'"
        db.execute(f"copy ({hashes}) to '{folder / 'hashes'}.parquet'")


def source_of(folder: Path, name: str) -> pa.Table:
    """The source as a sync gets it."""
    return pq.read_table(folder / f"{name}.parquet")


def bare(folder: Path, source: pa.Table) -> None:
    """The query, with a connection of its own as a plan has it."""
    with duckdb.connect() as db:
        db.register("source", source)
        db.execute(_BARE.format(ledger=folder / "hashes.parquet")).fetchall()


def bare_against_nothing(source: pa.Table) -> None:
    """The query of a first plan: every row is new."""
    with duckdb.connect() as db:
        db.register("source", source)
        nothing = "(select null::varchar as customer, null::ubigint as h limit 0)"
        db.execute(_BARE.replace("read_parquet('{ledger}')", nothing)).fetchall()


def first(folder: Path) -> tuple[float, float, float]:
    """Seconds of the bare query, the first plan and its settling."""
    source = source_of(folder, "before")
    alone = seconds(lambda: bare_against_nothing(source))
    planned = seconds(lambda: make_plan(SYNC, source, None, folder / "1", Intent(NOW)))
    answers = [Answered(1, source.num_rows, "accepted", "")]
    ledger = folder / "ledger-1.parquet"
    return alone, planned, seconds(lambda: settle(folder / "1", None, ledger, answers, None, 1, NOW))


def second(folder: Path) -> list[tuple[float, float]]:
    """Seconds of the bare query and of the plan, one after the other."""
    source = source_of(folder, "after")
    ledger = folder / "ledger-1.parquet"
    return [
        (
            seconds(lambda: bare(folder, source)),
            seconds(lambda: make_plan(SYNC, source, ledger, folder / "2", Intent(NOW))),
        )
        for _ in range(ROUNDS)
    ]


def peak(folder: Path) -> float:
    """MB that a process needs at most which holds the source and plans."""
    make_plan(SYNC, source_of(folder, "after"), folder / "ledger-1.parquet", folder / "2", Intent(NOW))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def settled(folder: Path, changed: int) -> tuple[float, float]:
    """Seconds of settling the second plan, and of one plain copy of its ledger."""
    old, new, copy = (folder / f"{name}.parquet" for name in ("ledger-1", "ledger-2", "copy"))
    answers = [Answered(1, changed, "accepted", "")]
    took = seconds(lambda: settle(folder / "2", old, new, answers, None, 2, NOW))
    with duckdb.connect() as db:
        db.execute("set enable_progress_bar = false")
        query = f"copy (from '{old}') to '{copy}' (compression lz4_raw, parquet_version v2)"
        return took, seconds(lambda: db.execute(query))


def apart(work: Callable[..., Any], *arguments: object) -> Any:
    """The result of a call in a process of its own, so that peaks do not mix."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work, *arguments).result()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, help="default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        apart(prepare, folder, options.rows)
        alone, planned, closed = apart(first, folder)
        say("first plan", planned, "s")
        say("first plan to bare", planned / alone, "x")
        say("first settle", closed, "s")
        rounds = apart(second, folder)
        say("bare", statistics.median(b for b, _ in rounds), "s")
        say("plan", statistics.median(p for _, p in rounds), "s")
        say("plan to bare", statistics.median(p / b for b, p in rounds), "x")
        say("peak memory of planning", apart(peak, folder), "MB")
        took, copied = apart(settled, folder, options.rows // 100)
        say("settle", took, "s")
        say("settle to one copy of the ledger", took / copied, "x")


if __name__ == "__main__":
    main()
