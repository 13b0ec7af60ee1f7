"""How fast an account is called, and how an answer's wish to wait is read."""

import asyncio
from datetime import UTC, datetime

import pytest

from connectors.pace import HeldTooLong, Pace, asked_wait
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
        ({"retry-after": "3", "x-ratelimit-reset": "17"}, 3),
        ({"retry-after": "soon", "x-ratelimit-reset": "17"}, 17),
    ],
)
def test_a_wish_to_wait_is_read_in_every_spelling(headers: dict[str, str], seconds: float | None) -> None:
    assert asked_wait(headers, NOW) == seconds


def starts(pace: Pace, time: FakeTime, count: int, lasts: float = 0.0) -> list[float]:
    """When each of `count` calls that want to start at once may start."""
    found = list[float]()

    async def call() -> None:
        async with pace.turn():
            found.append(time.now)
            await time.sleep(lasts)

    async def all_calls() -> None:
        for _ in range(count):
            await call()

    asyncio.run(all_calls())
    return found


def test_calls_are_spread_over_the_second() -> None:
    time = FakeTime(0.0)
    pace = Pace(50, 4, clock=time.clock, sleep=time.sleep)

    found = starts(pace, time, 200)

    for start in found:
        assert sum(start <= other < start + 1 for other in found) <= 55
    assert found[-1] == pytest.approx(199 / 50, abs=0.11)


def test_without_a_limit_nobody_waits() -> None:
    time = FakeTime(0.0)

    starts(Pace(None, 4, clock=time.clock, sleep=time.sleep), time, 1_000)

    assert sum(time.naps) == 0


def test_no_more_calls_run_at_once_than_allowed() -> None:
    running, most = 0, 0

    async def call(pace: Pace) -> None:
        nonlocal running, most
        async with pace.turn():
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    async def run() -> None:
        pace = Pace(None, 3)
        await asyncio.gather(*(call(pace) for _ in range(20)))

    asyncio.run(run())

    assert most == 3


def test_a_hold_is_for_everybody_and_ends() -> None:
    time = FakeTime(0.0)
    pace = Pace(None, 4, clock=time.clock, sleep=time.sleep)
    pace.hold_for(20)
    pace.hold_for(5)

    assert starts(pace, time, 3) == [20, 20, 20]


def test_a_hold_beyond_patience_is_refused_without_waiting() -> None:
    time = FakeTime(0.0)
    pace = Pace(None, 4, clock=time.clock, sleep=time.sleep)
    pace.hold_for(60)

    async def call() -> None:
        async with pace.turn(patience=59):
            raise AssertionError("must not start")

    with pytest.raises(HeldTooLong) as held:
        asyncio.run(call())
    assert (held.value.seconds, time.naps) == (60, [])
