"""Faults that a person or a test can switch on, and the CRM's rate limit."""

import math
import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

DEFAULT_PER_SECOND = 50.0
Trouble = Literal["", "fail", "drop", "hang"]


class Faults(BaseModel):
    """What goes wrong; all off by default. `every: n` strikes the n-th, 2n-th, … write call.

    fail: answers 500, nothing is written. drop: the connection closes without an answer,
    nothing is written. timeout_after_write: writes, then never answers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    slow_ms: int = Field(default=0, ge=0, le=60_000)
    fail_500_every: int | None = Field(default=None, ge=1)
    drop_every: int | None = Field(default=None, ge=1)
    timeout_after_write_every: int | None = Field(default=None, ge=1)
    rate_limit: float | None = Field(default=DEFAULT_PER_SECOND, gt=0)  # calls per second; None: no limit
    reject_emails_matching: str | None = None

    @field_validator("reject_emails_matching")
    @classmethod
    def _a_pattern(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        return pattern

    def trouble(self, nth: int) -> Trouble:
        """What strikes the n-th write call since the faults were set, counting from 1."""
        kinds: tuple[tuple[Trouble, int | None], ...] = (
            ("drop", self.drop_every),
            ("fail", self.fail_500_every),
            ("hang", self.timeout_after_write_every),
        )
        return next((kind for kind, every in kinds if every and nth % every == 0), "")


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
