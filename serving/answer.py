"""What a question costs at most, and what comes back."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from serving.semantic.routing.routes import Route


@dataclass(frozen=True)
class Limits:
    """What one question, and one person, may use at most; None: no limit of that kind."""

    rows: int | None = 100_000  # of the answer; more are cut off
    seconds: float = 30.0  # of running
    bytes: int | None = 500_000_000  # of the answer, as Arrow; a larger one is refused
    concurrent: int = 4  # questions of one person that run at once
    queued: int = 32  # and that wait for their turn


@dataclass(frozen=True)
class Receipt:
    """How an answer came to be."""

    question_id: int  # its line in the audit
    sql: str  # the text that ran
    views: Mapping[str, str]  # mart -> what its name meant for this person, as SQL
    version: int
    policies: tuple[str, ...]  # the rules that shaped the views, one sentence each
    masked: Mapping[str, str]  # mart.column -> mask
    rows: int
    truncated: bool  # the answer was cut at the row limit
    seconds: float
    routes: tuple[Route, ...] = ()  # what each block of aggregation read: a rollup, or why none
    approximate: tuple[str, ...] = ()  # columns that are estimates (≈)
    cached: bool = False  # kept from an earlier run of the same question


@dataclass(frozen=True)
class Answer:
    """A governed answer and its receipt."""

    table: pa.Table
    receipt: Receipt
