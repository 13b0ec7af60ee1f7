"""When an account may be called next: pure decisions over what all its callers know together.

Three things make a caller wait: the limits that were declared, what the destination asked
for, and what we learnt from its refusals. Times are seconds on one monotonic clock; `wall`
is epoch seconds and decides only which day it is.
"""

import math
from dataclasses import dataclass, field
from typing import Literal, TypeVar

Number = TypeVar("Number", int, float)
Priority = Literal["high", "normal", "low"]
Why = Literal["pace", "slowed", "hold", "day", "turn", "slot"]

DAY = 86_400
SLOWEST = 1 / 30  # calls a second: a destination that never says how long is asked that often
PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")

_SHARES = (16.0, 4.0, 1.0)  # of the turns, where all three compete
_MARGIN = 1.015  # two calls must not come closer than declared though one of them travels faster
_SLACK = 0.009  # seconds a call may be late and be made up for: less than the margin of a second
_STRICT = 0.01  # of the time between two calls: the same where no two may come nearer than declared
_MEMORY = 2.0  # for so long a refusal may come from making up for lost time
_FEW = 3  # so many refusals of late, and …
_RARE = 0.05  # … this share of the calls do not mean that a declared rate is wrong:
_A_LITTLE = 0.95  # what is left of it
_GRACE = 0.005  # how late somebody who waits may come and still have the turn kept for him
_POLL = 0.002  # between two looks for a free slot; other processes do not tell when they free one
_TEMPO_SECONDS = 5.0  # over which the present rate is observed
_GUESS = 2.0  # calls a second that are assumed where too few were made to know
_REGAIN = 0.5 / 60  # of the former rate, for each second of calling after a slow-down
_SAME = 1e-6  # times nearer than this are the same


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one account takes; None is no limit of that kind. A day starts at midnight UTC."""

    per_second: float | None = None
    per_minute: int | None = None
    per_day: int | None = None
    concurrent: int | None = None

    def tightened(self, other: "Limits") -> "Limits":
        """The stricter of both in every respect."""
        return Limits(
            _lower(self.per_second, other.per_second),
            _lower(self.per_minute, other.per_minute),
            _lower(self.per_day, other.per_day),
            _lower(self.concurrent, other.concurrent),
        )

    def calls_per_second(self) -> float | None:
        """The rate that a long run reaches, apart from the day's quota; None: unlimited."""
        return _lower(self.per_second, None if self.per_minute is None else self.per_minute / 60)


def _lower(one: Number | None, other: Number | None) -> Number | None:
    given = [limit for limit in (one, other) if limit is not None]
    return min(given, default=None)


@dataclass(slots=True)
class State:
    """What the callers of an account know together; `cap` 0: not slowed down."""

    next_at: float = 0.0  # by the rate
    hurried_at: float = 0.0  # when time lost was last made up for
    strict: bool = False  # the destination does not allow that
    held_until: float = 0.0  # by the destination
    cap: float = 0.0  # calls a second that refusals have taught us
    ceiling: float = 0.0  # the rate at which it was refused
    slowed_at: float = 0.0
    last_at: float = 0.0  # when the last call started
    left_at: float = 0.0  # when the last one that was late left
    tempo: float = 0.0  # calls of late, older ones counting less
    since: float = 0.0  # when calling began, after a pause
    refusals: float = 0.0  # at the declared rate, of late, older ones counting less
    refused_at: float = 0.0  # the last one of them
    day: int = 0  # days since 1970
    today: int = 0  # calls of that day
    minute: list[list[int]] = field(default_factory=list)  # [second, calls], at most 61
    served: float = 0.0  # how the turns were shared: see `_is_next`
    shares: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    coming: list[float] = field(
        default_factory=lambda: [0.0, 0.0, 0.0]
    )  # until when each class is waited for


@dataclass(frozen=True, slots=True)
class Wait:
    """Nobody may call yet; ask again after so many seconds."""

    seconds: float
    why: Why


def ask(state: State, limits: Limits, now: float, wall: float, priority: Priority) -> Wait | None:
    """None: the caller may `start`, if it has a slot. Else it is noted as somebody who waits."""
    place = PRIORITIES.index(priority)
    wait = _by_limits(state, limits, now, wall)
    if wait is not None:
        if wait.why != "day":
            _expect(state, place, now, now + wait.seconds)
        return wait
    if _is_next(state, place, now):
        return None
    _expect(state, place, now, now + _GRACE)
    return Wait(_GRACE / 4, "turn")


def no_slot(state: State, now: float, priority: Priority) -> Wait:
    """Note that the caller waits for another one to finish."""
    _expect(state, PRIORITIES.index(priority), now, now + _POLL)
    return Wait(_POLL, "slot")


def start(state: State, limits: Limits, now: float, wall: float, priority: Priority) -> None:
    """Book a call that starts now."""
    place = PRIORITIES.index(priority)
    _join(state, place, now)
    state.served = state.shares[place]
    state.shares[place] += 1 / _SHARES[place]
    _regain(state, now)
    idle = max(0.0, now - state.last_at)
    if not state.tempo or idle > _TEMPO_SECONDS:
        state.tempo, state.since = 0.0, now
    state.tempo = state.tempo * math.exp(-idle / _TEMPO_SECONDS) + 1
    state.last_at = now
    rate = _lower(limits.per_second, state.cap or None)
    state.next_at = _after(state, now, _MARGIN / rate) if rate else now
    _on_day(state, wall)
    state.today += 1
    if limits.per_minute is not None:
        second = math.floor(now)
        if state.minute and state.minute[-1][0] == second:
            state.minute[-1][1] += 1
        else:
            state.minute = [*_last_minute(state, now), [second, 1]]


def leave(state: State, limits: Limits, now: float, started: float) -> float:
    """A call that started then comes to leave only now, mostly as it had to connect: 0 books it.

    Else the seconds after which it may ask again. Connecting takes its time: calls that connect
    together would leave together, and one that others have overtaken takes a new place in the line.
    """
    rate = _lower(limits.per_second, state.cap or None)
    if not rate:
        return 0.0
    overtaken = state.last_at > started
    wait = max(state.left_at + _MARGIN / rate, state.next_at if overtaken else now) - now
    if wait > _SAME:
        return wait
    state.left_at = now
    state.next_at = max(state.next_at, now + _MARGIN / rate)
    return 0.0


def hold(state: State, now: float, seconds: float) -> None:
    """The destination wants no call for that long (a day at most: then it is asked again)."""
    state.held_until = max(state.held_until, now + min(seconds, DAY))


def refused(state: State, now: float) -> None:
    """A call was refused for being too fast: time lost is not made up for any more, if it just was."""
    state.strict = state.strict or _hurried(state, now)


def slow_down(state: State, limits: Limits, now: float, started: float) -> float:
    """A call that started then was refused for being too fast, without a word on how long to wait.

    Lowers a declared rate a little while that happens rarely, else halves the rate, at most to
    `SLOWEST`; calls that had started before the last slow-down say nothing new. Gives the calls
    a second from now on.
    """
    if state.slowed_at and started <= state.slowed_at:
        return _lower(state.cap or None, limits.per_second) or _GUESS
    watched = max(now - state.since, 1 / _GUESS / 10)
    tempo = state.tempo / (_TEMPO_SECONDS * -math.expm1(-watched / _TEMPO_SECONDS))
    observed = max(tempo, _GUESS)
    rate = _lower(state.cap or None, limits.per_second) or observed
    rare = limits.per_second is not None and _is_rare(state, now)
    state.strict = state.strict or (rare and _hurried(state, now))
    state.ceiling = max(state.ceiling, rate)
    state.cap = max(SLOWEST, rate * (_A_LITTLE if rare else 0.5))
    state.slowed_at = now
    state.next_at = max(state.next_at, now + 1 / min(state.cap, rate))
    return min(state.cap, rate)


def careful(limits: Limits, now: float) -> State:
    """A start for when what was known is lost: at half the rate, after a second."""
    state = State(held_until=now + 1.0, last_at=now)
    if limits.per_second is not None:
        state.ceiling, state.cap = limits.per_second, limits.per_second / 2
    if limits.per_minute is not None:
        state.minute = [[math.floor(now), limits.per_minute // 2]]
    return state


def rebased(state: State, old: tuple[float, float], now: float, wall: float) -> State:
    """The state after the monotonic clock began anew; `old` is (monotonic, wall) of its last change."""
    passed = max(0.0, wall - old[1])
    held = min(max(0.0, state.held_until - old[0] - passed), DAY)
    calls = sum(calls for _, calls in state.minute) if passed < 61 else 0
    state.held_until = now + held
    state.next_at = now + min(max(0.0, state.next_at - old[0]), 1 / SLOWEST)
    state.slowed_at = state.last_at = now
    state.hurried_at = state.left_at = state.since = state.refused_at = 0.0
    state.minute = [[math.floor(now), calls]] if calls else []
    state.coming = [0.0, 0.0, 0.0]
    return state


def until_midnight(wall: float) -> float:
    """Seconds until the next day begins, UTC."""
    return DAY - wall % DAY


def _is_rare(state: State, now: float) -> bool:
    """Note a refusal; whether the calls of late had so few that chance explains them.

    Two calls of which one travels faster may arrive nearer to each other than they left.
    """
    passed = max(0.0, now - state.refused_at)
    state.refusals = state.refusals * math.exp(-passed / _TEMPO_SECONDS) + 1
    state.refused_at = now
    return state.refusals <= _FEW + _RARE * state.tempo


def _hurried(state: State, now: float) -> bool:
    return not state.strict and 0.0 < state.hurried_at > now - _MEMORY


def _by_limits(state: State, limits: Limits, now: float, wall: float) -> Wait | None:
    _on_day(state, wall)
    if limits.per_day is not None and state.today >= limits.per_day:
        return Wait(until_midnight(wall), "day")
    slowed: Why = "slowed" if state.cap else "pace"
    waits = (
        Wait(state.held_until - now, "hold"),
        Wait(state.next_at - now, slowed),
        Wait(_minute_free(state, limits, now) - now, "pace"),
    )
    longest = max(waits, key=lambda wait: wait.seconds)
    return longest if longest.seconds > _SAME else None


def _on_day(state: State, wall: float) -> None:
    """A new day starts at nought; a clock that was set back gives no new quota."""
    day = int(wall // DAY)
    if day > state.day:
        state.today = 0
    state.day = day


def _last_minute(state: State, now: float) -> list[list[int]]:
    """The seconds that a window of a minute which ends now may still touch."""
    return [entry for entry in state.minute if entry[0] > now - 61]


def _minute_free(state: State, limits: Limits, now: float) -> float:
    """When fewer calls than allowed lie in the minute before."""
    if limits.per_minute is None:
        return now
    state.minute = _last_minute(state, now)
    surplus = sum(calls for _, calls in state.minute) - limits.per_minute
    for second, calls in state.minute:
        if surplus < 0:
            break
        surplus -= calls
        if surplus < 0:
            return second + 61.0
    return now


def _after(state: State, now: float, interval: float) -> float:
    """When the next call may start. A call that came late lets the next one come that much earlier.

    Only so little that the margin outweighs it in every window of a second, and on strict
    terms between every two calls.
    """
    warm = now - state.since >= 1.0  # before, calls connect and go at unlike speeds
    slack = min(_SLACK, interval / 2) if warm and not state.strict else _STRICT * interval
    late = min(now - state.next_at, slack)
    if late > _STRICT * interval:
        state.hurried_at = now
    return now + interval - late


def _regain(state: State, now: float) -> None:
    """Grow back slowly, for the time in which calls are made only."""
    if state.cap:
        busy = min(max(0.0, now - state.last_at), 2 / state.cap)
        state.cap = min(state.cap + state.ceiling * _REGAIN * busy, state.cap * 1.1)
        if state.cap >= state.ceiling:
            state.cap = state.ceiling = 0.0


def _join(state: State, place: int, now: float) -> None:
    """Who was away saves up no turns."""
    if state.coming[place] < now - _SAME:
        state.shares[place] = max(state.shares[place], state.served)


def _expect(state: State, place: int, now: float, until: float) -> None:
    _join(state, place, now)
    state.coming[place] = max(state.coming[place], until + _GRACE)


def _is_next(state: State, place: int, now: float) -> bool:
    """Whether no other class that waits is due before this one.

    Every turn moves its class on by the inverse of its weight, and the class that is
    furthest behind is next: the high one mostly, the low one now and then.
    """
    _join(state, place, now)
    due = [other for other in range(3) if other == place or state.coming[other] > now]
    return min(due, key=lambda other: (state.shares[other], other)) == place
