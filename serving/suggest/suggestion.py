"""What is suggested, and what cannot be helped: values that say what they found."""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from serving.semantic.dimension import split_grain
from serving.semantic.routing.routes import Reason

_PLAIN = re.compile(r"[A-Za-z_][\w.]*")
_LONG = 40  # letters of a name


@dataclass(frozen=True)
class Suggestion:
    """A rollup that would have answered questions of the log; made and timed once, for this."""

    mart: str
    file: str  # of the mart's YAML
    name: str
    dimensions: tuple[str, ...]
    measures: tuple[str, ...]
    rows: int
    bytes: int
    mart_rows: int
    build_seconds: float  # with its reconciliation
    questions: int
    share: float  # of all questions that were replayed
    people: int
    seconds_a_day: float  # that its questions would have taken less
    times_faster: float  # those questions' blocks, by time

    @property
    def ratio(self) -> float:
        """Its rows as a part of the mart's."""
        return self.rows / self.mart_rows

    @property
    def yaml(self) -> str:
        """What belongs into the mart's file, under `rollups:`."""
        return (
            f"  {self.name}:\n    dimensions: {_listed(self.dimensions)}\n"
            f"    measures: {_listed(self.measures)}\n"
        )


@dataclass(frozen=True)
class Beyond:
    """Questions that no rollup helps, and what would."""

    mart: str
    reason: Reason
    words: str
    questions: int


@dataclass(frozen=True)
class Report:
    """What the log of some days comes to."""

    days: int
    questions: int  # that were answered
    people: int
    refused: int  # of them, which could not be asked today
    suggestions: tuple[Suggestion, ...]
    beyond: tuple[Beyond, ...]
    unused: tuple[str, ...]  # mart.rollup, that no question was answered by


def rollup_name(dimensions: Sequence[str], taken: Collection[str]) -> str:
    """`by_month_region`; another one where that is taken or too long."""
    parts = [split_grain(key)[1] or split_grain(key)[0] for key in dimensions]
    name = re.sub(r"\W+", "_", f"by_{'_'.join(parts)}" if parts else "whole")
    name = name if len(name) <= _LONG else "suggested"
    number = 2
    found = name
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    return found


def _listed(names: Sequence[str]) -> str:
    return "[" + ", ".join(name if _PLAIN.fullmatch(name) else json.dumps(name) for name in names) + "]"
