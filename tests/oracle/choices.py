"""Where a generated question's choices come from: a seed, a recording, or hypothesis.

The first option of every choice is the plainest one, so that smaller numbers make plainer questions.
"""

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
Below = Callable[[int], int]  # a whole number below n, 0 included


class Choices:
    """Makes choices and remembers them as numbers."""

    def __init__(self, below: Below) -> None:
        self._below = below
        self.made: list[int] = []

    def below(self, n: int) -> int:
        """A whole number below n."""
        number = self._below(n) if n > 1 else 0
        self.made.append(number)
        return number

    def pick(self, options: Sequence[T]) -> T:
        """One of them; the first is the plainest."""
        return options[self.below(len(options))]

    def chance(self, percent: int) -> bool:
        """True that often; False is plainer."""
        return self.below(100) >= 100 - percent

    def some(self, options: Sequence[T], least: int, most: int) -> list[T]:
        """A few of them, in any order, without repeats."""
        left = list(options)
        wanted = min(len(left), least + self.below(most - least + 1))
        return [left.pop(self.below(len(left))) for _ in range(wanted)]


def seeded(seed: int) -> Choices:
    """Choices that are the same for the same seed."""
    generator = random.Random(seed)
    # much faster than randrange, and the bias does not matter here
    return Choices(lambda n: int(generator.random() * n))


def replayed(recorded: Sequence[int]) -> Choices:
    """The recorded choices again; the plainest ones where the recording ends."""
    numbers = iter(recorded)
    return Choices(lambda n: next(numbers, 0) % n)


def shrunk(recorded: Sequence[int], fails: Callable[[Sequence[int]], bool], tries: int = 400) -> list[int]:
    """A shorter and plainer recording that still fails: drop blocks, then choose plainer options."""
    best, left = list(recorded), tries

    def better(candidate: list[int]) -> bool:
        nonlocal best, left
        left -= 1
        if left < 0 or candidate == best or not fails(candidate):
            return False
        best = candidate
        return True

    size = max(1, len(best) // 2)
    while left > 0:
        start = 0
        while start < len(best) and left > 0:
            block = best[start : start + size]
            if better(best[:start] + best[start + size :]):
                continue
            if any(block):
                better(best[:start] + [0] * len(block) + best[start + size :])
            start += size
        if size == 1:
            break
        size = size // 2
    return best
