"""How near calls come to a declared rate, against a server that enforces exactly that rate.

`python -m benchmarks.pace [--seconds 5]` starts a server in a process of its own, which counts in
three ways: the sandbox CRM's (a bucket of a second's calls), a sliding window of a second, and a
bucket that holds a single call. The last one refuses any two calls that arrive nearer than they left,
be it by microseconds: on a busy machine it cannot be met, and shows what refusals cost. Its 429s say
nothing of how long to wait. Prints one JSON line per figure, with one process and with two that share
the account's budget; then the cost of a turn that nobody else wants.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from connectors.budget import Limits, open_budget
from connectors.http import Sender
from connectors.outcomes import same
from connectors.protocol import Capabilities, Change, Outcome, Request, Response
from connectors.sandbox.faults import Allowance

RATES = (10.0, 50.0, 100.0)
TURNS = 3_000


class Rows:
    """A destination of one row a call."""

    capabilities = Capabilities(frozenset({"upsert"}), resend=frozenset({"upsert"}))

    def request(self, changes: Sequence[Change]) -> Request:
        return Request("POST", "/", b"{}")

    def outcomes(self, changes: Sequence[Change], response: Response) -> list[Outcome]:
        return same(changes, "accepted")


def bucket(rate: float) -> Callable[[float], bool]:
    """Whether a call at that time is within the rate, with no burst."""
    tokens, before = 1.0, 0.0

    def within(now: float) -> bool:
        nonlocal tokens, before
        tokens = min(1.0, tokens + (now - before) * rate)
        before = now
        if tokens < 1.0:
            return False
        tokens -= 1.0
        return True

    return within


def window(rate: float) -> Callable[[float], bool]:
    """Whether the second before that time holds fewer calls than the rate."""
    times: deque[float] = deque()

    def within(now: float) -> bool:
        while times and times[0] <= now - 1.0:
            times.popleft()
        if len(times) >= rate:
            return False
        times.append(now)
        return True

    return within


def allowance(rate: float) -> Callable[[float], bool]:
    """Whether the sandbox CRM would take a call at that time: a bucket of a second's calls, full at first."""
    kept: list[Allowance] = []

    def within(now: float) -> bool:
        if not kept:
            kept.append(Allowance(rate, now))
        return kept[0].take(now) == 0

    return within


COUNTS = {"sandbox": allowance, "sliding window": window, "bucket of one": bucket}


class Door(asyncio.Protocol):
    """As much of HTTP as is needed to be fast: one small call, one small answer."""

    def __init__(self, within: Callable[[float], bool], taken: list[float], refused: list[float]) -> None:
        self._within = within
        self._taken = taken
        self._refused = refused

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if b"POST /" not in data:
            return  # a body by itself
        now = time.monotonic()
        good = self._within(now)
        (self._taken if good else self._refused).append(now)
        status = b"200 OK" if good else b"429 Too Many Requests"
        self._transport.write(b"HTTP/1.1 %s\r\nContent-Length: 2\r\n\r\n{}" % status)  # type: ignore[attr-defined]


def serve(kind: str, rate: float, line: Connection) -> None:
    """Answer until a word comes, then tell the times of the calls that were taken and refused."""
    taken, refused = list[float](), list[float]()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        within = COUNTS[kind](rate)
        server = await loop.create_server(lambda: Door(within, taken, refused), "127.0.0.1", 0)
        line.send(server.sockets[0].getsockname()[1])
        await loop.run_in_executor(None, line.recv)
        server.close()

    asyncio.run(run())
    line.send((taken, refused))


def call(url: str, folder: Path, rate: float, seconds: float) -> None:
    """Call as often as the budget allows."""

    async def run() -> None:
        end = time.monotonic() + seconds
        async with Sender(
            url, budget=open_budget(folder, "bench", Limits(per_second=rate, concurrent=8))
        ) as sender:

            async def caller() -> None:
                while time.monotonic() < end:
                    await sender.send(Rows(), [Change(0, "upsert", {"id": 1})])

            await asyncio.gather(*(caller() for _ in range(8)))

    asyncio.run(run())


def measured(kind: str, rate: float, processes: int, seconds: float) -> dict[str, object]:
    """What the server saw."""
    start = multiprocessing.get_context("spawn")
    line, far = start.Pipe()
    server = start.Process(target=serve, args=(kind, rate, far))
    server.start()
    url = f"http://127.0.0.1:{line.recv()}"
    with tempfile.TemporaryDirectory() as folder:
        callers = [
            start.Process(target=call, args=(url, Path(folder), rate, seconds)) for _ in range(processes)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    line.send("enough")
    taken, refused = line.recv()
    server.join()
    share = (len(taken) - 1) / (taken[-1] - taken[0]) / rate
    return {
        "benchmark": "pace",
        "server": kind,
        "per_second": rate,
        "processes": processes,
        "share": round(share, 4),
        "refused": len(refused),
        "load": round(os.getloadavg()[0], 1),
    }


def turn_cost(folder: Path | None) -> float:
    """The median microseconds of a turn that nobody else wants."""

    async def run() -> float:
        budget = open_budget(folder, "bench", Limits(per_day=10_000_000))
        times = []
        for _ in range(TURNS):
            started = time.perf_counter()
            async with budget.turn():
                pass
            times.append((time.perf_counter() - started) * 1e6)
        budget.close()
        return statistics.median(times)

    return asyncio.run(run())


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (default: 5)")
    options = parser.parse_args()
    for kind in COUNTS:
        for rate in RATES:
            for processes in (1, 2):
                print(json.dumps(measured(kind, rate, processes, options.seconds)), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, place in (("shared", Path(folder)), ("own", None)):
            figure = {"benchmark": "pace", "budget": name, "turn_us": round(turn_cost(place), 1)}
            print(json.dumps(figure))


if __name__ == "__main__":
    main()
