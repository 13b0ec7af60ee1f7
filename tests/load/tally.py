"""What was seen under load; safe to share between threads."""

import statistics
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf

from serving.engine.lanes import Lane, Lanes, Share, Turn


@dataclass
class Tally:
    """Outcomes by name, times by name (seconds), and everything that should not have happened."""

    outcomes: Counter[str] = field(default_factory=Counter)
    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failures: list[str] = field(default_factory=list)
    peak: float = 0.0  # megabytes of all processes below this one
    asked: int = 0  # of this process's project, and so in its audit
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self) -> None:
        """A question is about to reach the door."""
        with self.lock:
            self.asked += 1

    def count(self, outcome: str) -> None:
        """Something went as it should."""
        with self.lock:
            self.outcomes[outcome] += 1

    def time(self, name: str, seconds: float) -> None:
        """How long something took."""
        with self.lock:
            self.times[name].append(seconds)

    def fail(self, words: str) -> None:
        """Something did not go as it should."""
        with self.lock:
            self.outcomes["wrong"] += 1
            self.failures.append(words[:500])

    def figures(self) -> dict[str, float]:
        """The percentiles of all times, in milliseconds."""
        with self.lock:
            return {
                f"{name}_{word}_ms": round(percentile(times, share) * 1000, 1)
                for name, times in sorted(self.times.items())
                for word, share in (("p50", 0.5), ("p95", 0.95), ("max", 1.0))
            }


def percentile(values: Sequence[float], part: float) -> float:
    """The value that `part` of all values do not exceed."""
    if part == 0.5:
        return statistics.median(values)
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


class Kills:
    """Who was under way at how many kills: a question is rerun after two, and given up after three."""

    MOST = 2

    def __init__(self) -> None:
        self.total = 0
        self._under_way: dict[int, int] = {}
        self._lock = threading.Lock()

    @contextmanager
    def survivor(self) -> Iterator[None]:
        """A question that must come through."""
        me = threading.get_ident()
        with self._lock:
            self._under_way[me] = 0
        try:
            yield
        finally:
            with self._lock:
                del self._under_way[me]

    def allowed(self) -> bool:
        """Whether one more kill leaves everybody an attempt; counts it if so."""
        with self._lock:
            if any(seen >= self.MOST for seen in self._under_way.values()):
                return False
            for one in self._under_way:
                self._under_way[one] += 1
            self.total += 1
            return True


class TimedLanes(Lanes):
    """Lanes that remember when a thread's turn began: limits count from there."""

    def __init__(self, slots: Mapping[Lane, int]) -> None:
        super().__init__(slots)
        self._began: dict[int, float] = {}

    @contextmanager
    def turn(
        self, lane: Lane, share: Share, wait: float, cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[Turn]:
        """As ever."""
        with super().turn(lane, share, wait, cancelled) as turn:
            if share.who:  # a question of a person, not one of Sluice's own about it
                self._began[threading.get_ident()] = time.monotonic()
            yield turn

    def defer(self, turn: Turn, wait: float, cancelled: Callable[[], bool] = lambda: False) -> None:
        """As ever."""
        super().defer(turn, wait, cancelled)
        self._began[threading.get_ident()] = time.monotonic()

    def forget(self) -> None:
        """The thread is about to ask."""
        self._began.pop(threading.get_ident(), None)

    def began(self, thread: int) -> float:
        """When the first turn of the thread's question began; infinity where none did."""
        return self._began.get(thread, inf)


class Heard(threading.Event):
    """An event that remembers when somebody last looked at it."""

    looked = 0.0

    def is_set(self) -> bool:
        """As ever."""
        self.looked = time.monotonic()
        return super().is_set()
