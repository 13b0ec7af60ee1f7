"""One budget per account: limits together, between processes, over restarts, and what refusals teach."""

import asyncio
import os
import subprocess
import sys
import time as real_time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response as StarletteResponse

from connectors.budget import (
    Budget,
    HeldTooLong,
    Limits,
    Priority,
    budget_used,
    open_budget,
    used_today,
)
from connectors.budget_state import state_file
from connectors.http import RETRIES, Delivery, DeliveryStopped, Retries, Sender
from connectors.outcomes import Transient, same
from connectors.pace import SLOWEST
from connectors.protocol import Capabilities, Change, DestinationStopped, Outcome, Response
from tests.contract.budget_caller import UPSERT, Rows
from tests.contract.served import Gate, serve
from tests.contract.tools import FakeTime

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC).timestamp()
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Wall:
    """A wall clock that goes with the monotonic one, unless somebody sets it."""

    time: FakeTime
    offset: float = NOON - 1_000.0

    def now(self) -> float:
        return self.time.now + self.offset


def opened(
    folder: Path | None,
    time: FakeTime,
    limits: Limits | None = None,
    priority: Priority = "normal",
    wall: Callable[[], float] | None = None,
) -> Budget:
    now = wall or Wall(time).now
    given = limits or Limits()
    return open_budget(folder, "crm", given, priority=priority, clock=time.clock, wall=now, sleep=time.sleep)


def turns(budget: Budget, count: int = 1, patience: float = 900.0) -> float:
    """Take so many turns, one after the other; gives the time at which the last one started."""

    async def run() -> float:
        for _ in range(count):
            async with budget.turn(patience) as turn:
                pass
        return turn.started

    return asyncio.run(run())


def send(
    handler: Callable[[httpx.Request], httpx.Response],
    count: int = 1,
    *,
    budget: Budget,
    rows: Rows | None = None,
    retries: Retries = RETRIES,
    renew: Callable[[], dict[str, str]] | None = None,
    auth: dict[str, str] | None = None,
) -> Delivery:
    changes = [Change(seq, "upsert", {"id": seq}) for seq in range(count)]

    async def run() -> Delivery:
        sender = Sender(
            "https://crm.test",
            budget=budget,
            retries=retries,
            random=lambda: 1.0,
            now=lambda: NOON,
            transport=httpx.MockTransport(handler),
            auth=auth,
            renew=renew,
        )
        async with sender:
            return await sender.send(rows or Rows(), changes)

    return asyncio.run(run())


def scripted(*answers: httpx.Response) -> Callable[[httpx.Request], httpx.Response]:
    todo = iter(answers)
    return lambda request: next(todo, httpx.Response(200))


# Limits


def test_limits_of_a_second_a_minute_a_day_and_of_parallel_calls_hold_together(tmp_path: Path) -> None:
    time = FakeTime()
    limits = Limits(per_second=5, per_minute=60, per_day=150, concurrent=3)
    budget = opened(tmp_path, time, limits)
    found, running, most = list[float](), 0, 0

    async def call() -> None:
        nonlocal running, most
        async with budget.turn(patience=900) as turn:
            found.append(turn.started)
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    async def run() -> list[BaseException | None]:
        return await asyncio.gather(*(call() for _ in range(160)), return_exceptions=True)

    refused = [error for error in asyncio.run(run()) if error is not None]

    assert len(found) == 150
    assert len(refused) == 10
    assert all(isinstance(error, HeldTooLong) and error.why == "day" for error in refused)
    assert most <= 3
    for start in found:
        assert sum(start <= other < start + 1 for other in found) <= 5
        assert sum(start <= other < start + 60 for other in found) <= 60


def test_slots_are_shared_by_all_that_open_the_account(tmp_path: Path) -> None:
    budgets = [open_budget(tmp_path, "crm", Limits(concurrent=3)) for _ in range(2)]
    running, most = 0, 0

    async def call(budget: Budget) -> None:
        nonlocal running, most
        async with budget.turn():
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.002)
            running -= 1

    async def run() -> None:
        await asyncio.gather(*(call(budget) for budget in budgets for _ in range(10)))

    asyncio.run(run())

    assert most == 3


def test_a_used_up_day_defers_the_rest_and_says_until_when(tmp_path: Path) -> None:
    time = FakeTime()

    delivery = send(scripted(), 5, budget=opened(tmp_path, time, Limits(per_day=3)))

    assert [outcome.verdict for outcome in delivery.outcomes] == ["accepted"] * 3 + ["deferred"] * 2
    reason = delivery.outcomes[4].reason
    assert reason == "the day's quota of 3 calls is used up; calls may go on at 2026-11-22 00:00 UTC"
    assert (delivery.calls, time.naps) == (3, [])


def test_the_quota_of_a_day_survives_a_restart_and_ends_at_midnight(tmp_path: Path) -> None:
    time = FakeTime()
    limits = Limits(per_day=3)
    turns(opened(tmp_path, time, limits), 2)
    again = opened(tmp_path, time, limits)
    turns(again)
    with pytest.raises(HeldTooLong):
        turns(again)

    assert budget_used(tmp_path, "crm", NOON).today == 3
    time.now += 12 * 3_600
    assert budget_used(tmp_path, "crm", NOON + 12 * 3_600).today == 0
    turns(again, 3)


def test_a_clock_that_is_set_back_gives_no_new_quota(tmp_path: Path) -> None:
    time = FakeTime()
    wall = Wall(time)
    budget = opened(tmp_path, time, Limits(per_day=3), wall=wall.now)
    turns(budget, 3)

    wall.offset -= 86_400
    with pytest.raises(HeldTooLong):
        turns(budget)
    wall.offset += 86_400
    turns(budget, 3)


def test_calls_of_today_can_be_asked_for(tmp_path: Path) -> None:
    assert used_today(tmp_path, "a/b") == 0
    turns(open_budget(tmp_path, "a/b", Limits()), 4)

    assert used_today(tmp_path, "a/b") == 4
    assert budget_used(tmp_path, "a/b", real_time.time() + 86_400).today == 0


# Waiting


@pytest.mark.parametrize(
    "headers",
    [{"Retry-After": "30"}, {"Retry-After": "Sat, 21 Nov 2026 12:00:30 GMT"}, {"X-RateLimit-Reset": "30"}],
)
def test_waiting_for_a_limit_is_no_error_and_uses_up_no_try(headers: dict[str, str]) -> None:
    time = FakeTime()
    limited = [httpx.Response(429, headers=headers) for _ in range(20)]

    delivery = send(scripted(*limited), budget=opened(None, time), retries=Retries(tries=1))

    assert delivery.outcomes == [Outcome(0, "accepted")]
    assert (delivery.calls, delivery.waited) == (21, pytest.approx(600))


def test_a_date_that_has_passed_is_no_invitation_to_hammer() -> None:
    time = FakeTime()
    past = httpx.Response(429, headers={"Retry-After": "Sat, 21 Nov 2026 09:00:00 GMT"})

    delivery = send(lambda request: past, budget=opened(None, time), retries=Retries(patience=60))

    assert delivery.outcomes[0].verdict == "deferred"
    assert delivery.calls < 15


def test_a_hold_that_one_is_told_holds_all_of_the_account(tmp_path: Path) -> None:
    time = FakeTime()
    one, other = opened(tmp_path, time), opened(tmp_path, time)
    delivery = send(
        scripted(httpx.Response(429, headers={"Retry-After": "3600"})),
        budget=one,
        retries=Retries(patience=60),
    )

    assert "it asks for 3600 s, more than we wait" in delivery.outcomes[0].reason
    assert "at 2026-11-21 13:00 UTC; before that POST https://crm.test/rows answered 429" in (
        delivery.outcomes[0].reason
    )
    with pytest.raises(HeldTooLong):
        turns(other, patience=60)
    assert turns(other, patience=3_600) == pytest.approx(4_600)


def test_the_last_call_of_a_window_makes_the_next_one_wait_before_any_refusal() -> None:
    time = FakeTime()
    spent = httpx.Response(200, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "25"})
    budget = opened(None, time)

    send(scripted(spent), budget=budget)

    assert turns(budget) == pytest.approx(1_025)


def test_a_rare_refusal_without_a_hint_costs_little_and_many_halve_the_rate_for_the_next_run_too(
    tmp_path: Path,
) -> None:
    time = FakeTime()
    limits = Limits(per_second=8)
    first = opened(tmp_path, time, limits)
    turns(first, 50)

    async def refused_in_twos() -> list[float]:
        rates = []
        for _ in range(8):
            async with first.turn() as one, first.turn() as other:
                await first.slow_down(one)
                rates.append(await first.slow_down(other))
        return rates

    rates = asyncio.run(refused_in_twos())
    first.close()
    assert rates[:2] == pytest.approx([8 * 0.95, 8 * 0.95**2], rel=0.02)
    halvings = [after / before < 0.6 for before, after in pairwise(rates)]
    assert True not in halvings[:2] and True in halvings

    time.now += 3_600
    before = turns(opened(tmp_path, time, limits))
    took = turns(opened(tmp_path, time, limits), 4) - before
    assert took == pytest.approx(4 / rates[-1], rel=0.25)
    turns(opened(tmp_path, time, limits), 2_000)
    assert budget_used(tmp_path, "crm", NOON).per_second is None


def test_the_rate_never_falls_below_a_call_in_thirty_seconds(tmp_path: Path) -> None:
    time = FakeTime()

    send(lambda request: httpx.Response(429), budget=opened(tmp_path, time))

    assert budget_used(tmp_path, "crm", NOON).per_second == pytest.approx(SLOWEST)


def test_a_process_that_is_told_to_end_waits_for_nothing() -> None:
    told = list[tuple[float, str]]()

    async def run() -> Delivery:
        budget = open_budget(None, "crm", Limits())
        sender = Sender(
            "https://crm.test",
            budget=budget,
            transport=httpx.MockTransport(
                lambda request: httpx.Response(429, headers={"Retry-After": "600"})
            ),
        )
        sender.tell_waits(lambda seconds, reason: told.append((seconds, reason)))
        async with sender:
            sending = asyncio.create_task(
                sender.send(Rows(), [Change(n, "upsert", {"id": n}) for n in (0, 1)])
            )
            while not told:
                await asyncio.sleep(0.001)
            sender.wind_down()
            return await sending

    started = real_time.monotonic()
    delivery = asyncio.run(run())

    assert real_time.monotonic() - started < 60
    assert [outcome.verdict for outcome in delivery.outcomes] == ["deferred"] * 2
    assert delivery.outcomes[0].reason.startswith("not sent: the process was told to end; before that POST")
    assert told == [(pytest.approx(600, abs=5), "as the destination asked")]


# Priorities


def served(tmp_path: Path, wanted: Sequence[Priority], count: int) -> list[Priority]:
    """Who got the turns, when each class always wants one."""
    found = list[Priority]()

    async def want(priority: Priority) -> None:
        budget = open_budget(tmp_path, "crm", Limits(per_second=400), priority=priority)
        while len(found) < count:
            async with budget.turn():
                found.append(priority)
        budget.close()

    async def run() -> None:
        await asyncio.gather(*(want(priority) for priority in wanted))

    asyncio.run(run())
    return found[:count]


def test_the_high_goes_before_the_low_and_the_low_still_gets_a_share(tmp_path: Path) -> None:
    found = served(tmp_path, ["low", "high", "normal"], 120)

    high, normal, low = (found.count(priority) for priority in ("high", "normal", "low"))
    assert high > 2 * normal > 2 * low
    assert low >= 2


# The state


@pytest.mark.parametrize("text", [b"", b"garbage", b"00000000 {}", b'99999999 {"mono":1}', bytes(2_048)])
def test_a_state_that_cannot_be_read_is_begun_anew_and_never_fails(tmp_path: Path, text: bytes) -> None:
    time = FakeTime()
    state_file(tmp_path, "crm").write_bytes(text)

    started = turns(opened(tmp_path, time, Limits(per_second=10, per_minute=100)))

    assert started == (1_000 if text == b"" else 1_001)
    assert budget_used(tmp_path, "crm", NOON).per_second == (
        None if text == b"" else pytest.approx(5, rel=0.1)
    )


def test_a_hold_survives_a_restart_of_the_machine(tmp_path: Path) -> None:
    before, after = FakeTime(50_000.0), FakeTime(10.0)
    asyncio.run(opened(tmp_path, before, wall=lambda: NOON).hold(600))

    assert turns(opened(tmp_path, after, wall=lambda: NOON + 100)) == pytest.approx(510, abs=1)


def test_a_state_file_that_somebody_deletes_is_no_harm(tmp_path: Path) -> None:
    time = FakeTime()
    one, other = opened(tmp_path, time), opened(tmp_path, time)
    turns(one)
    state_file(tmp_path, "crm").unlink()
    asyncio.run(other.hold(30))

    assert turns(one) == 1_030


def test_without_its_state_an_account_is_not_called(tmp_path: Path) -> None:
    place = tmp_path / "taken"
    place.write_text("a file where the folder should be")

    with pytest.raises(DestinationStopped, match="the budget of the account cannot be kept"):
        send(scripted(), budget=open_budget(place, "crm", Limits()))


# Processes


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.contract.budget_caller", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


class Counted(Gate):
    """Answers at once, and notes when calls came."""

    def __init__(self) -> None:
        super().__init__("")
        self.times: list[float] = []

    async def _take(self, request: StarletteRequest) -> StarletteResponse:
        self.times.append(real_time.monotonic())
        return StarletteResponse(b"{}")


def test_two_processes_with_one_account_stay_under_the_limit_together(tmp_path: Path) -> None:
    gate = Counted()
    with serve(gate.app()) as url:
        callers = [started("call", url, str(tmp_path), "1.5") for _ in range(2)]
        for caller in callers:
            caller.communicate(timeout=60)

    calls = gate.times
    assert [caller.returncode for caller in callers] == [0, 0]
    assert used_today(tmp_path, "crm") == len(calls)
    took = calls[-1] - calls[0]
    assert 20 <= len(calls) <= 40 * took + 8  # a loaded machine may be slower, and never faster


def test_a_killed_process_gives_its_slots_back(tmp_path: Path) -> None:
    holder = started("hold", str(tmp_path))
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"

    async def next_turn() -> bool:
        budget = open_budget(tmp_path, "crm", Limits(concurrent=2))
        waiting = asyncio.create_task(one_turn(budget))
        await asyncio.sleep(0.05)
        early = waiting.done()
        holder.kill()
        await asyncio.wait_for(waiting, 20)
        return early

    assert not asyncio.run(next_turn())
    holder.communicate()


async def one_turn(budget: Budget) -> None:
    async with budget.turn():
        pass
    budget.close()


# What answers mean


def test_a_token_that_expires_on_the_way_is_looked_up_again_once() -> None:
    tokens = iter(["old", "new"])
    seen = list[str]()

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(401 if request.headers["authorization"] == "old" else 200)

    def fresh() -> dict[str, str]:
        return {"Authorization": next(tokens)}

    delivery = send(handler, 2, budget=opened(None, FakeTime()), auth=fresh(), renew=fresh)

    assert [outcome.verdict for outcome in delivery.outcomes] == ["accepted"] * 2
    assert seen == ["old", "new", "new"]


@pytest.mark.parametrize(
    ("again", "words"), [("old", "looked up again, they are the same"), ("new", "the new ones too")]
)
def test_a_token_that_stays_refused_stops_the_delivery_and_says_what_was_tried(
    again: str, words: str
) -> None:
    with pytest.raises(DeliveryStopped, match=words) as stopped:
        send(
            lambda request: httpx.Response(401),
            budget=opened(None, FakeTime()),
            auth={"Authorization": "old"},
            renew=lambda: {"Authorization": again},
        )
    assert "old" not in str(stopped.value).split()


@dataclass
class Locking(Rows):
    """Answers 409 where a record is locked for a moment."""

    def outcomes(self, changes: Sequence[Change], response: Response) -> list[Outcome]:
        if response.status == 409:
            raise Transient("UNABLE_TO_LOCK_ROW")
        return same(changes, "accepted")


def test_a_transient_refusal_is_tried_again_where_that_is_safe_and_else_deferred() -> None:
    locked = httpx.Response(409)
    safe = send(scripted(locked, locked), budget=opened(None, FakeTime()), rows=Locking())
    risky = send(scripted(locked), budget=opened(None, FakeTime()), rows=Locking(Capabilities(UPSERT)))

    assert (safe.outcomes[0].verdict, safe.calls) == ("accepted", 3)
    assert (risky.outcomes[0].verdict, risky.calls) == ("deferred", 1)
    assert "UNABLE_TO_LOCK_ROW" in risky.outcomes[0].reason


@dataclass
class Limited(Rows):
    """Says "too fast" with status 403."""

    def limited(self, response: Response) -> float | None:
        return 40.0 if b"REQUEST_LIMIT_EXCEEDED" in response.body else None


def test_a_limit_in_other_words_is_no_credential_problem() -> None:
    time = FakeTime()

    delivery = send(
        scripted(httpx.Response(403, text="REQUEST_LIMIT_EXCEEDED")),
        budget=opened(None, time),
        rows=Limited(),
    )

    assert delivery.outcomes[0].verdict == "accepted"
    assert delivery.waited == pytest.approx(40)
    with pytest.raises(DeliveryStopped):
        send(scripted(httpx.Response(403, text="no")), budget=opened(None, time), rows=Limited())
