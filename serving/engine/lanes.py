"""Who may run now: lanes of questions, and fair turns between people.

A light question should not wait behind a heavy one, and one person's hundred questions not
delay another's first. So each lane has slots, each person a share, and of those who wait the
one with the fewest questions running goes first.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from serving.engine.failure import EngineFailure

Lane = Literal["check", "light", "heavy"]
SPARE_HEAVY = 2  # questions beyond the heavy slots that may go on after they turned out to be heavy
_LOOK = 0.05  # seconds between looks at a cancel while waiting


@dataclass(frozen=True)
class Share:
    """What one person may take: questions that run at once, and that wait."""

    who: str
    concurrent: int
    queued: int


@dataclass(eq=False)
class Turn:
    """The right to run in a lane."""

    lane: Lane
    share: Share
    arrival: int
    lanes: "Lanes" = field(repr=False)

    def demote(self) -> bool:
        """Leave the light lane for the heavy one, where that still has room."""
        return self.lanes._demote(self)

    def wanted(self) -> bool:
        """Whether somebody who may run waits for a slot of this lane."""
        return self.lanes._wanted(self.lane)


class Lanes:
    """Hands out turns; safe to share between threads."""

    def __init__(self, slots: Mapping[Lane, int]) -> None:
        self.slots = dict(slots)
        self._running: list[Turn] = []
        self._waiting: list[Turn] = []
        self.arrived = 0  # questions that ever came
        self._change = threading.Condition()

    @contextmanager
    def turn(
        self, lane: Lane, share: Share, wait: float, cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[Turn]:
        """A turn in the lane; raises EngineFailure `queue` (too many of theirs wait), `busy`, `stopped`."""
        mine = self._arrive(lane, share)
        try:
            self._wait(mine, time.monotonic() + wait, cancelled)
            yield mine
        finally:
            with self._change:
                for turns in (self._waiting, self._running):
                    if mine in turns:
                        turns.remove(mine)
                self._change.notify_all()

    def defer(self, turn: Turn, wait: float, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Let the turn wait for the heavy lane, in the order in which it came; raises as `turn` does."""
        with self._change:
            self._running.remove(turn)
            turn.lane = "heavy"
            self._waiting.append(turn)
            self._change.notify_all()
        self._wait(turn, time.monotonic() + wait, cancelled)

    def counts(self) -> Mapping[Lane, int]:
        """How many questions run in each lane."""
        with self._change:
            return Counter(turn.lane for turn in self._running)

    def _arrive(self, lane: Lane, share: Share) -> Turn:
        with self._change:
            theirs = [turn for turn in (*self._waiting, *self._running) if turn.share.who == share.who]
            if lane != "check" and len(theirs) >= share.concurrent + share.queued:
                raise EngineFailure("queue", f"{len(theirs)}")
            self.arrived += 1
            mine = Turn(lane, share, self.arrived, self)
            self._waiting.append(mine)
            return mine

    def _wait(self, mine: Turn, deadline: float, cancelled: Callable[[], bool]) -> None:
        with self._change:
            while not self._is_next(mine):
                if cancelled():
                    raise EngineFailure("stopped", "cancelled")
                if time.monotonic() > deadline:
                    raise EngineFailure("busy", "all workers are busy")
                self._change.wait(_LOOK)
            self._waiting.remove(mine)
            self._running.append(mine)

    def _is_next(self, mine: Turn) -> bool:
        """Whether a slot is free and nobody who may go comes before."""
        free = self.slots[mine.lane] - sum(turn.lane == mine.lane for turn in self._running)
        return mine in self._able(mine.lane)[: max(0, free)]

    def _able(self, lane: Lane) -> list[Turn]:
        """Those who wait for the lane and may run, in the order in which they will."""
        busy = Counter(turn.share.who for turn in self._running if turn.lane != "check")
        able = [turn for turn in self._waiting if turn.lane == lane]
        if lane != "check":
            able = [turn for turn in able if busy[turn.share.who] < turn.share.concurrent]
        return sorted(able, key=lambda turn: (busy[turn.share.who], turn.arrival))

    def _wanted(self, lane: Lane) -> bool:
        with self._change:
            return bool(self._able(lane))

    def _demote(self, turn: Turn) -> bool:
        with self._change:
            heavy = sum(other.lane == "heavy" for other in self._running)
            spare = 0 if self._able("heavy") else SPARE_HEAVY  # who waits for the lane goes first
            if turn.lane != "light" or heavy >= self.slots["heavy"] + spare:
                return False
            turn.lane = "heavy"
            self._change.notify_all()
            return True
