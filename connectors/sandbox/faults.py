"""Faults that a person or a test can switch on, and the CRM's rate limit."""

import math
import random
import re
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

DEFAULT_PER_SECOND = 50.0
Trouble = Literal["", "limit", "fail", "unavailable", "drop", "hang", "cut", "garble"]
Hint = Literal["seconds", "date", "reset", "none"]
Share = Annotated[float, Field(ge=0, le=1)]


class Faults(BaseModel):
    """What goes wrong; all off by default.

    `every: n` strikes the n-th, 2n-th, … write call, a share strikes that part of them by
    chance: the same ones for the same `seed`. Where several would strike, the first of
    limited, unavailable, drop, fail, hang (timeout), cut (reset), garble does.

    Nothing is written by limited (429), fail (500), unavailable (503) and drop (the
    connection is reset). timeout_after_write never answers, reset_after_write closes the
    connection, garble answers 200 with half a JSON text: these three have written.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    slow_ms: int = Field(default=0, ge=0, le=60_000)
    slow_share: Share = 1.0  # of the calls that `slow_ms` concerns

    fail_500_every: int | None = Field(default=None, ge=1)
    drop_every: int | None = Field(default=None, ge=1)
    timeout_after_write_every: int | None = Field(default=None, ge=1)

    fail_500_share: Share = 0.0
    unavailable_503_share: Share = 0.0
    drop_share: Share = 0.0
    timeout_after_write_share: Share = 0.0
    reset_after_write_share: Share = 0.0
    garble_share: Share = 0.0

    rate_limit: float | None = Field(default=DEFAULT_PER_SECOND, gt=0)  # calls per second; None: no limit
    limited_share: Share = 0.0  # answered 429 whatever the rate
    limited_seconds: int = Field(default=1, ge=0, le=3_600)  # what such a 429 asks to wait
    hint: Hint = "seconds"  # Retry-After in seconds | as a date | X-RateLimit-Reset as epoch | nothing

    reject_emails_matching: str | None = None
    reject_ids_matching: str | None = None  # whatever is done to them
    reject_share: Share = 0.0  # of the records, by chance
    # 207 | 409: one bad record refuses its batch | 200: named in the body | ok:false: 200, batch refused
    bad_records: Literal["207", "409", "200", "ok:false"] = "207"

    token_calls: int | None = Field(default=None, ge=1)  # batch calls until the token expires …
    token_seconds: float | None = Field(default=None, gt=0)  # … or seconds; the next one is in the file
    reads: bool = False  # batch reads are struck, too

    @field_validator("reject_emails_matching", "reject_ids_matching")
    @classmethod
    def _a_pattern(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        return pattern

    def trouble(self, nth: int) -> Trouble:
        """What strikes the n-th call since the faults were set, counting from 1."""
        chances = self._chances("call", nth)
        kinds: tuple[tuple[Trouble, int | None, float], ...] = (
            ("limit", None, self.limited_share),
            ("unavailable", None, self.unavailable_503_share),
            ("drop", self.drop_every, self.drop_share),
            ("fail", self.fail_500_every, self.fail_500_share),
            ("hang", self.timeout_after_write_every, self.timeout_after_write_share),
            ("cut", None, self.reset_after_write_share),
            ("garble", None, self.garble_share),
        )
        for kind, every, share in kinds:
            struck = share > 0 and chances.random() < share
            if struck or (every and nth % every == 0):
                return kind
        return ""

    def slow_seconds(self, nth: int) -> float:
        """How much longer the n-th call takes."""
        if not self.slow_ms or (
            self.slow_share < 1 and self._chances("slow", nth).random() >= self.slow_share
        ):
            return 0.0
        return self.slow_ms / 1000

    def unlucky(self, nth: int, record_id: str) -> bool:
        """Whether `reject_share` strikes this record of the n-th call."""
        return self.reject_share > 0 and self._chances(record_id, nth).random() < self.reject_share

    def _chances(self, what: str, nth: int) -> random.Random:
        return random.Random(f"{self.seed}/{nth}/{what}")  # noqa: S311 (dice, to be thrown again)


def told_to_wait(hint: Hint, seconds: int, now: datetime) -> dict[str, str]:
    """The headers of a 429; `now` in UTC."""
    if hint == "seconds":
        return {"Retry-After": str(seconds)}
    moment = now + timedelta(seconds=seconds)
    if hint == "date":
        return {"Retry-After": format_datetime(moment, usegmt=True)}
    if hint == "reset":
        return {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(math.ceil(moment.timestamp()))}
    return {}


class Allowance:
    """A token bucket that holds one second's worth of calls."""

    def __init__(self, per_second: float | None, now: float) -> None:
        self._per_second = per_second
        self._tokens = max(1.0, per_second or 1.0)
        self._at = now

    def take(self, now: float) -> int:
        """0 when the call may pass, else whole seconds to wait."""
        if self._per_second is None:
            return 0
        full = max(1.0, self._per_second)
        self._tokens = min(full, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0
        return max(1, math.ceil((1.0 - self._tokens) / self._per_second))
