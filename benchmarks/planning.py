"""What planning costs beside a bare hash-and-full-join of the same data in DuckDB, in one run.

`python -m benchmarks.planning [--rows N] [--folder DIR]`: a source of 8 fields with a text key, 1 % of its
rows changed since the ledger was written; before that the first plan, where every row is new. Prints one
JSON line per figure, with the machine's load beside it: other work on it costs the plan and the bare query
unequally. `--everything` adds a plan in which every row changed. Needs about 5 GB of disk.
"""

import argparse
import json
import multiprocessing
import os
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
import pyarrow.compute as pc
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
    line = {"benchmark": "planning", "figure": figure, "value": round(value, 3), "unit": unit}
    print(json.dumps(line | {"load": round(os.getloadavg()[0], 1)}), flush=True)


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
        db.execute("set enable_progress_bar = false")
        db.register("source", source)
        db.execute(_BARE.format(ledger=folder / "hashes.parquet")).fetchall()


def plan(folder: Path, source: pa.Table, number: int) -> None:
    """One plan, against the ledger of the run before."""
    ledger = folder / f"ledger-{number - 1}.parquet" if number > 1 else None
    make_plan(SYNC, source, ledger, folder / str(number), Intent(NOW))


def close(folder: Path, number: int, rows: int) -> None:
    """Settle a run in which everything was accepted."""
    old = folder / f"ledger-{number - 1}.parquet" if number > 1 else None
    answers = [Answered(first, min(first + 99, rows), "accepted", "") for first in range(1, rows + 1, 100)]
    settle(folder / str(number), old, folder / f"ledger-{number}.parquet", answers, None, number, NOW)


def copy(file: Path) -> float:
    """Seconds of one plain copy of a file, as ledgers are written."""
    with duckdb.connect() as db:
        db.execute("set enable_progress_bar = false; set preserve_insertion_order = false")
        to = file.with_name("copy.parquet")
        query = f"copy (from '{file}') to '{to}' (compression lz4_raw, parquet_version v2)"
        return seconds(lambda: db.execute(query))


def first(folder: Path) -> tuple[float, float, float]:
    """Seconds of the first plan, its settling, and one plain copy of it."""
    source = source_of(folder, "before")
    planned = seconds(lambda: plan(folder, source, 1))
    closed = seconds(lambda: close(folder, 1, source.num_rows))
    return planned, closed, copy(folder / "1" / "plan.parquet")


def second(folder: Path) -> list[tuple[float, float]]:
    """Seconds of the bare query and of the plan, one after the other."""
    source = source_of(folder, "after")
    bare(folder, source)  # once unmeasured: both read files that are in memory
    return [
        (seconds(lambda: bare(folder, source)), seconds(lambda: plan(folder, source, 2)))
        for _ in range(ROUNDS)
    ]


def peak(folder: Path) -> tuple[float, float]:
    """MB that a process needs at most which holds the source and plans, and which holds the source only."""
    source = source_of(folder, "after")
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    plan(folder, source, 2)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, held


def settled(folder: Path, changed: int) -> tuple[float, float]:
    """Seconds of settling the second plan, and of one plain copy of its ledger."""
    return seconds(lambda: close(folder, 2, changed)), copy(folder / "ledger-1.parquet")


def everything(folder: Path) -> tuple[float, float, float]:
    """Seconds of a plan in which every row changed, and of its settling; MB at most."""
    source = source_of(folder, "before")
    at = source.column_names.index("orders")
    source = source.set_column(at, "orders", pc.add(source.column(at), 1))
    planned = seconds(lambda: plan(folder, source, 2))
    closed = seconds(lambda: close(folder, 2, source.num_rows))
    return planned, closed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


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
    parser.add_argument("--everything", action="store_true", help="also plan with every row changed")
    options = parser.parse_args()
    millions = options.rows / 1e6
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        apart(prepare, folder, options.rows)
        planned, closed, copied = apart(first, folder)
        say("first plan", planned, "s")
        say("first plan, per million rows", planned / millions, "s")
        say("first settle", closed, "s")
        say("first settle to one copy of the plan", closed / copied, "x")
        rounds = apart(second, folder)
        ratios = [plan / bare for bare, plan in rounds]
        say("bare", statistics.median(bare for bare, _ in rounds), "s")
        say("plan", statistics.median(plan for _, plan in rounds), "s")
        say("plan to bare", statistics.median(ratios), "x")
        say("plan to bare, worst", max(ratios), "x")
        most, held = apart(peak, folder)
        say("peak memory of planning", most, "MB")
        say("of which the source alone", held, "MB")
        took, copied = apart(settled, folder, options.rows // 100)
        say("settle", took, "s")
        say("settle to one copy of the ledger", took / copied, "x")
        if options.everything:
            planned, closed, most = apart(everything, folder)
            say("plan of updates only, per million rows", planned / millions, "s")
            say("its settle, per million rows", closed / millions, "s")
            say("its peak memory", most, "MB")


if __name__ == "__main__":
    main()
