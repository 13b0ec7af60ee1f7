"""What delivery costs: a plan on disk through sender and journal, beside a bare httpx loop, in one run.

`python -m benchmarks.delivery [--rows N] [--rounds N] [--slow MS…] [--concurrent N…] [--memory ROWS…]`
prints one JSON line per figure. Both sides call the same sandbox CRM, a process of its own, with the
same batches and as many calls at a time, in turns. The bare loop is what anybody would write: it reads
the same Parquet file, and within the clock encodes each batch with json.dumps, posts it, checks the
status and reads the answer with .json(). `share` is the median of each round's bare seconds / our
seconds, `cpu_ms` the processor time of this process a batch. Mind the load: sandbox and client want a
core each.
"""

import argparse
import asyncio
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.budget import Limits, open_budget
from connectors.catalog.sandbox_crm import SandboxObject
from connectors.http import Sender
from connectors.protocol import Outcome
from connectors.sandbox.faults import Faults
from connectors.sandbox_client import SandboxClient
from reverse_etl.deliver import Courier, deliver
from reverse_etl.journal import Journal, Order, open_run
from reverse_etl.lease import hold
from reverse_etl.tables import prepare
from serving.store import Store, utc_now

TOKEN = "benchmark"
BATCH = 100
PART = 5_000  # rows that the bare loop reads at a time


@contextmanager
def sandbox(folder: Path, slow_ms: int) -> Iterator[str]:
    """The CRM in a process of its own; its address."""
    environ = {**os.environ, "BENCH_TOKEN": TOKEN}
    command = [sys.executable, "-m", "connectors.sandbox", "--port", "0", "--var", str(folder)]
    process = subprocess.Popen(
        [*command, "--token-env", "BENCH_TOKEN"], env=environ, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split(" on ")[1].split()[0]
        with SandboxClient(url, TOKEN) as client:
            client.set_faults(Faults(rate_limit=None, slow_ms=slow_ms))
        yield url
    finally:
        process.terminate()
        process.wait()


def fields_of(number: int) -> dict[str, object]:
    """Eight fields of mixed kinds."""
    return {
        "name": f"Customer {number}",
        "email": f"c{number}@example.com",
        "city": ("Oslo", "Bergen", "Tromsø")[number % 3],
        "tier": "gold" if number % 7 == 0 else "bronze",
        "orders": number % 50,
        "revenue": round(number * 1.37, 2),
        "since": "2026-01-01",
        "active": number % 2 == 0,
    }


def write_plan(file: Path, rows: int) -> None:
    """A plan of upserts, a part at a time."""
    schema = pa.schema(
        [("seq", pa.int64()), ("op", pa.string()), ("key", pa.string()), ("fields", pa.string())]
    )
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for start in range(0, rows, 100_000):
            numbers = range(start, min(start + 100_000, rows))
            columns = {
                "seq": [n + 1 for n in numbers],
                "op": ["upsert"] * len(numbers),
                "key": [json.dumps({"id": f"C-{n:08}"}, separators=(",", ":")) for n in numbers],
                "fields": [json.dumps(fields_of(n), separators=(",", ":")) for n in numbers],
            }
            writer.write_table(pa.table(columns, schema=schema))


def records_of(plan: Path) -> Iterator[list[object]]:
    """The plan's rows as the CRM wants them, a batch at a time."""
    with pq.ParquetFile(plan) as file:
        for part in file.iter_batches(PART, columns=["key", "fields"]):
            rows: list[object] = [
                {"id": json.loads(key)["id"], "properties": json.loads(fields)}
                for key, fields in zip(*(column.to_pylist() for column in part.columns), strict=True)
            ]
            for start in range(0, len(rows), BATCH):
                yield rows[start : start + BATCH]


def bare(url: str, plan: Path, concurrent: int) -> None:
    """Post all rows, so many calls at a time."""
    address = f"{url}/v1/contacts/batch/upsert"
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}

    async def go() -> None:
        waiting = records_of(plan)
        async with httpx.AsyncClient(trust_env=False, headers=headers) as client:

            async def post() -> None:
                for records in waiting:
                    answer = await client.post(address, content=json.dumps({"records": records}))
                    answer.raise_for_status()
                    assert not answer.json()["errors"]

            async with asyncio.TaskGroup() as group:
                for _ in range(concurrent):
                    group.create_task(post())

    asyncio.run(go())


def ours(url: str, plan: Path, var: Path, concurrent: int) -> None:
    """A delivery, from the open run to the last journalled answer."""
    store = Store(var / "store.sqlite")
    prepare(store)
    accepted = 0

    def count(outcomes: Sequence[Outcome]) -> None:
        nonlocal accepted
        accepted += sum(outcome.verdict == "accepted" for outcome in outcomes)

    async def go(journal: Journal) -> None:
        auth = {"Authorization": f"Bearer {TOKEN}"}
        budget = open_budget(var / "budget", f"bench{concurrent}", Limits(concurrent=concurrent))
        contacts = SandboxObject("contacts")
        contacts.capabilities = replace(contacts.capabilities, concurrent=concurrent)
        async with Sender(url, auth=auth, budget=budget) as sender:
            sent = await deliver(plan, Courier(sender, contacts, journal, utc_now, count))
            assert sent.complete, sent

    number = open_run(store, "bench", "crm/contacts", Order("benchmark"), None, utc_now())
    with hold(store, "bench") as lease:
        asyncio.run(go(Journal(store, number, lease)))
    assert accepted == pq.read_metadata(plan).num_rows, accepted
    store.close()


@dataclass(frozen=True)
class Took:
    """What something took."""

    seconds: float
    cpu: float


def took(work: Callable[[], None]) -> Took:
    """Do it, by the clocks."""
    seconds, cpu = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - seconds, time.process_time() - cpu)


def throughput(rows: int, rounds: int, slow_ms: int, concurrent: int) -> dict[str, object]:
    """Medians over rounds in which both go one after the other."""
    plain, governed = list[Took](), list[Took]()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        plan = home / "plan.parquet"
        write_plan(plan, rows)
        with sandbox(home, slow_ms) as url:
            bare(url, plan, concurrent)  # afterwards every record is there
            for turn in range(rounds):
                for mine in (True, False) if turn % 2 else (False, True):
                    if mine:
                        governed.append(took(lambda: ours(url, plan, home, concurrent)))
                    else:
                        plain.append(took(lambda: bare(url, plan, concurrent)))
    batches = rows / BATCH
    return {
        "benchmark": "delivery",
        "concurrent": concurrent,
        "slow_ms": slow_ms,
        "rows": rows,
        "bare_rows_per_s": round(rows / statistics.median(one.seconds for one in plain)),
        "rows_per_s": round(rows / statistics.median(one.seconds for one in governed)),
        "share": round(
            statistics.median(
                one.seconds / other.seconds for one, other in zip(plain, governed, strict=True)
            ),
            3,
        ),
        "bare_cpu_ms": round(statistics.median(one.cpu for one in plain) / batches * 1e3, 2),
        "cpu_ms": round(statistics.median(one.cpu for one in governed) / batches * 1e3, 2),
        "load": round(os.getloadavg()[0], 1),
    }


def memory(rows: int) -> dict[str, object]:
    """Peak memory of a delivery in a process of its own."""
    folder = Path(tempfile.mkdtemp())
    try:
        write_plan(folder / "plan.parquet", rows)
        with sandbox(folder, 0) as url:
            command = [sys.executable, "-m", "benchmarks.delivery", "--only", url, str(folder)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
    finally:
        shutil.rmtree(folder)
    return {"benchmark": "delivery memory", "rows": rows, **json.loads(done.stdout)}


def only(url: str, folder: Path) -> dict[str, object]:
    """Deliver in this process, and say what it took."""
    before = peak_mb()
    done = took(lambda: ours(url, folder / "plan.parquet", folder, 4))
    return {"seconds": round(done.seconds, 1), "before_mb": before, "peak_mb": peak_mb()}


def peak_mb() -> int:
    """The most memory this process had so far."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the parent's memory at the fork, too
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**20


def main() -> None:
    """Print shares of the bare loop's speed, then peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow", type=int, nargs="*", default=[0, 20])
    parser.add_argument("--concurrent", type=int, nargs="*", default=[4, 8])
    parser.add_argument("--memory", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--only", nargs=2, metavar=("URL", "DIR"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(only(options.only[0], Path(options.only[1]))))
        return
    for concurrent in options.concurrent:
        for slow_ms in options.slow:
            print(json.dumps(throughput(options.rows, options.rounds, slow_ms, concurrent)), flush=True)
    for rows in options.memory:
        print(json.dumps(memory(rows)), flush=True)


if __name__ == "__main__":
    main()
