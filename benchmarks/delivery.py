"""What delivery costs: a plan on disk through sender and journal, beside a bare httpx loop, in one run.

`python -m benchmarks.delivery [--rows N] [--rounds N] [--slow MS…] [--memory ROWS…]` prints one JSON
line per figure. Both sides call the same sandbox CRM, a process of its own, with the same batches
and as many calls at a time; the bare loop has its bodies ready before the clock starts.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.budget import Limits, open_budget
from connectors.catalog.sandbox_crm import SandboxObject
from connectors.http import Sender
from connectors.protocol import Change, Outcome
from connectors.sandbox.faults import Faults
from connectors.sandbox_client import SandboxClient
from reverse_etl.deliver import Courier, deliver
from reverse_etl.journal import Journal, Order, open_run
from reverse_etl.lease import hold
from reverse_etl.tables import prepare
from serving.store import Store, utc_now

TOKEN = "benchmark"
CONCURRENT = 4
BATCH = 100


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


def bodies(rows: int) -> list[bytes]:
    """What the plan's batches look like on the wire."""
    crm = SandboxObject("contacts")
    found = []
    for start in range(0, rows, BATCH):
        numbers = range(start, min(start + BATCH, rows))
        changes = [Change(n + 1, "upsert", {"id": f"C-{n:08}"}, fields_of(n)) for n in numbers]  # type: ignore[arg-type]
        found.append(crm.request(changes).body)
    return found


async def bare(url: str, ready: Sequence[bytes]) -> float:
    """Seconds that as many tasks need to post all bodies, reading nothing of the answers but their status."""
    waiting = iter(ready)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    address = f"{url}/v1/contacts/batch/upsert"
    async with httpx.AsyncClient(trust_env=False) as client:

        async def post() -> None:
            for body in waiting:
                (await client.post(address, content=body, headers=headers)).raise_for_status()

        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENT):
                group.create_task(post())
        return time.perf_counter() - started


def ours(url: str, plan: Path, var: Path) -> float:
    """Seconds of a delivery, from the open run to the last journalled answer."""
    store = Store(var / "store.sqlite")
    prepare(store)
    accepted = 0

    def count(outcomes: Sequence[Outcome]) -> None:
        nonlocal accepted
        accepted += sum(outcome.verdict == "accepted" for outcome in outcomes)

    async def go(journal: Journal) -> None:
        auth = {"Authorization": f"Bearer {TOKEN}"}
        budget = open_budget(var / "budget", "bench", Limits(concurrent=CONCURRENT))
        async with Sender(url, auth=auth, budget=budget) as sender:
            courier = Courier(sender, SandboxObject("contacts"), journal, utc_now, count)
            sent = await deliver(plan, courier)
            assert sent.complete, sent

    number = open_run(store, "bench", "crm/contacts", Order("benchmark"), None, utc_now())
    with hold(store, "bench") as lease:
        started = time.perf_counter()
        asyncio.run(go(Journal(store, number, lease)))
        seconds = time.perf_counter() - started
    assert accepted == pq.read_metadata(plan).num_rows, accepted
    store.close()
    return seconds


def throughput(rows: int, rounds: int, slow_ms: int) -> dict[str, object]:
    """Medians over rounds in which both go one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        write_plan(home / "plan.parquet", rows)
        ready = bodies(rows)
        with sandbox(home, slow_ms) as url:
            asyncio.run(bare(url, ready))  # afterwards every record is there
            plain, governed = [], []
            for _ in range(rounds):
                plain.append(asyncio.run(bare(url, ready)))
                governed.append(ours(url, home / "plan.parquet", home))
    base, mine = statistics.median(plain), statistics.median(governed)
    return {
        "benchmark": "delivery",
        "slow_ms": slow_ms,
        "rows": rows,
        "bare_rows_per_s": round(rows / base),
        "rows_per_s": round(rows / mine),
        "share": round(base / mine, 3),
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
    """Deliver, and say what it took."""
    before = peak_mb()
    seconds = ours(url, folder / "plan.parquet", folder)
    return {"seconds": round(seconds, 1), "before_mb": before, "peak_mb": peak_mb()}


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
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slow", type=int, nargs="*", default=[0, 20])
    parser.add_argument("--memory", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--only", nargs=2, metavar=("URL", "DIR"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(only(options.only[0], Path(options.only[1]))))
        return
    for slow_ms in options.slow:
        print(json.dumps(throughput(options.rows, options.rounds, slow_ms)), flush=True)
    for rows in options.memory:
        print(json.dumps(memory(rows)), flush=True)


if __name__ == "__main__":
    main()
