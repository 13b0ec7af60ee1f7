"""How fast an account is called, and how an answer's wish to wait is read."""

import asyncio
from datetime import UTC, datetime

import pytest

from connectors.budget import Budget, HeldTooLong, Limits, open_budget
from connectors.hints import asked_wait, used_up
from tests.contract.tools import FakeTime

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "120"}, 120),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "Sat, 21 Nov 2026 12:00:30 GMT"}, 30),
        ({"retry-after": "Sat, 21 Nov 2026 11:00:00 GMT"}, 0),
        (
            {
                "retry-after": "Sat, 21 Nov 2026 09:00:09 GMT",
                "date": "Sat, 21 Nov 2026 09:00:00 GMT",
            },
            9,
        ),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({"ratelimit-reset": "17"}, 17),
        ({"x-ratelimit-reset": "17"}, 17),
        ({"x-ratelimit-reset": str(int(NOW) + 45)}, 45),
        ({"x-ratelimit-reset": str((int(NOW) + 45) * 1000)}, 45),
        ({"x-rate-limit-reset": str(int(NOW) - 45)}, 0),
        ({"x-ratelimit-reset": "2026-11-21T12:00:45Z"}, 45),
        ({"x-hubspot-ratelimit-interval-milliseconds": "10000"}, 10),
        ({"ratelimit": '"default";r=0;t=5'}, 5),
        ({"retry-after": "3", "x-ratelimit-reset": "17"}, 3),
        ({"retry-after": "soon", "x-ratelimit-reset": "17"}, 17),
    ],
)
def test_a_wish_to_wait_is_read_in_every_spelling(headers: dict[str, str], seconds: float | None) -> None:
    assert asked_wait(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"x-ratelimit-remaining": "0"}, None),
        ({"x-ratelimit-remaining": "1", "x-ratelimit-reset": "17"}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "17"}, 17),
        ({"ratelimit-remaining": "0", "ratelimit-reset": str(int(NOW) + 17)}, 17),
        ({"x-rate-limit-remaining": "0", "x-rate-limit-reset": str((int(NOW) + 17) * 1000)}, 17),
        (
            {
                "x-hubspot-ratelimit-remaining": "0",
                "x-hubspot-ratelimit-interval-milliseconds": "10000",
            },
            10,
        ),
        ({"ratelimit": '"default";r=0;t=5'}, 5),
        ({"ratelimit": '"default";r=3;t=5'}, None),
        ({"ratelimit": '"burst";r=2;t=5, "daily";r=0;t=3600'}, 3_600),
        ({"ratelimit": "limit=100, remaining=0, reset=50"}, 50),
        ({"ratelimit": "nonsense"}, None),
        ({"x-ratelimit-remaining": "few", "x-ratelimit-reset": "17"}, None),
    ],
)
def test_the_last_call_of_a_window_is_seen_before_a_refusal(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert used_up(headers, NOW) == seconds


def budget(time: FakeTime, limits: Limits) -> Budget:
    return open_budget(None, "crm", limits, clock=time.clock, wall=lambda: NOW, sleep=time.sleep)


def starts(budget: Budget, time: FakeTime, count: int) -> list[float]:
    """When each of `count` calls that want to start at once may start."""
    found = list[float]()

    async def all_calls() -> None:
        for _ in range(count):
            async with budget.turn():
                found.append(time.now)

    asyncio.run(all_calls())
    return found


def test_calls_are_spread_over_the_second() -> None:
    time = FakeTime(0.0)

    found = starts(budget(time, Limits(per_second=50)), time, 200)

    for start in found:
        assert sum(start <= other < start + 1 for other in found) <= 50
    assert found[-1] <= 199 / (50 * 0.97)


def test_a_late_call_is_made_up_for_until_the_destination_refuses_that() -> None:
    time = FakeTime(0.0)
    account = budget(time, Limits(per_second=10))
    starts(account, time, 20)  # in the first second nothing is made up for

    def gap_after_a_late_call() -> float:
        (late,) = starts(account, time, 1)
        time.now = late + 0.15
        first, second = starts(account, time, 2)
        return second - first

    assert gap_after_a_late_call() == pytest.approx(0.1015 - 0.009)
    asyncio.run(account.refused(0.0))
    assert gap_after_a_late_call() == pytest.approx(0.1015 - 0.001, abs=1e-4)


def test_without_a_limit_nobody_waits() -> None:
    time = FakeTime(0.0)

    starts(budget(time, Limits()), time, 1_000)

    assert sum(time.naps) == 0


def test_no_more_calls_run_at_once_than_allowed() -> None:
    running, most = 0, 0

    async def call(account: Budget) -> None:
        nonlocal running, most
        async with account.turn():
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    async def run() -> None:
        account = budget(FakeTime(), Limits(concurrent=3))
        await asyncio.gather(*(call(account) for _ in range(20)))

    asyncio.run(run())

    assert most == 3


def test_a_hold_is_for_everybody_and_ends() -> None:
    time = FakeTime(0.0)
    account = budget(time, Limits())
    asyncio.run(account.hold(20))
    asyncio.run(account.hold(5))

    assert starts(account, time, 3) == [20, 20, 20]


def test_a_hold_beyond_patience_is_refused_without_waiting() -> None:
    time = FakeTime(0.0)
    account = budget(time, Limits())

    async def call() -> None:
        await account.hold(60)
        async with account.turn(patience=59):
            raise AssertionError("must not start")

    with pytest.raises(HeldTooLong) as held:
        asyncio.run(call())
    assert (held.value.seconds, held.value.until, time.naps) == (60, "2026-11-21 12:01 UTC", [])


def test_the_pace_of_a_minute_holds_in_every_minute() -> None:
    time = FakeTime(0.5)

    found = starts(budget(time, Limits(per_minute=30)), time, 100)

    assert all(sum(start <= other < start + 60 for other in found) <= 30 for start in found)
    assert found[-1] <= 3 * 62


def test_calls_that_took_long_to_connect_do_not_leave_together() -> None:
    time = FakeTime(0.0)
    account = budget(time, Limits(per_second=10))

    async def run() -> list[float]:
        left = []
        async with account.turn() as one, account.turn() as other:
            time.now = 0.5
            for turn in (one, other):
                assert account.is_late(turn)
                await account.leave(turn)
                left.append(time.now)
        async with account.turn():
            left.append(time.now)
        return left

    assert asyncio.run(run()) == pytest.approx([0.5, 0.6015, 0.703])
