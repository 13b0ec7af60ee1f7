"""What an answer's headers say about waiting, in the spellings that are in use."""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_RESETS = (
    "ratelimit-reset",
    "x-ratelimit-reset",
    "x-rate-limit-reset",
    "x-ratelimit-reset-after",
    "x-hubspot-ratelimit-reset",
)
_LEFT = (
    "ratelimit-remaining",
    "x-ratelimit-remaining",
    "x-rate-limit-remaining",
    "x-hubspot-ratelimit-remaining",
)
_WINDOW_MS = "x-hubspot-ratelimit-interval-milliseconds"
_EPOCH = 1_000_000_000.0  # larger numbers are a date, smaller ones a number of seconds
_EPOCH_MS = 1_000_000_000_000.0
_PARAMETER = re.compile(r"\b(r|t|remaining|reset)\s*=\s*(\d+(?:\.\d+)?)")


def asked_wait(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that an answer asks us to wait, or None where it does not say.

    Reads Retry-After (seconds or HTTP date) and the reset headers in use (seconds, epoch
    seconds, epoch milliseconds, dates). Dates are compared with the answer's own Date header
    where there is one, so that a clock that is wrong here does no harm; else with `now`
    (epoch seconds).
    """
    reference = _date(headers.get("date", "")) or now
    told = _seconds(headers.get("retry-after", ""), reference)
    return told if told is not None else _reset(headers, reference)


def used_up(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds until calls are allowed again, where the answer says that it was the last one.

    None where calls are left, or where the answer does not say until when. Also reads the
    structured form, `RateLimit: "default";r=0;t=5`.
    """
    if any(_nothing(headers[name]) for name in _LEFT if name in headers):
        reference = _date(headers.get("date", "")) or now
        return _reset(headers, reference)
    spent = [reset for left, reset in _policies(headers.get("ratelimit", "")) if left == 0]
    return max(spent, default=None)


def _reset(headers: Mapping[str, str], reference: float) -> float | None:
    resets = [_seconds(headers[name], reference) for name in _RESETS if name in headers]
    resets += [reset for left, reset in _policies(headers.get("ratelimit", "")) if left == 0]
    if not resets and (window := _seconds(headers.get(_WINDOW_MS, ""), 0.0)) is not None:
        return window / 1000
    return max((reset for reset in resets if reset is not None), default=None)


def _nothing(text: str) -> bool:
    try:
        return float(text) <= 0
    except ValueError:
        return False


def _policies(text: str) -> Iterator[tuple[float, float]]:
    """(calls left, seconds until more) of each policy of a RateLimit header, old form and new.

    The new form separates policies by commas and their parameters by semicolons; the old
    one, `limit=9, remaining=0, reset=5`, has one policy.
    """
    for part in text.split(",") if ";" in text else [text]:
        found = {name: float(value) for name, value in _PARAMETER.findall(part)}
        left, reset = found.get("r", found.get("remaining")), found.get("t", found.get("reset"))
        if left is not None and reset is not None:
            yield left, reset


def _seconds(text: str, now: float) -> float | None:
    try:
        number = float(text)
    except ValueError:
        date = _date(text)
        return None if date is None else max(0.0, date - now)
    if not math.isfinite(number) or number < 0:
        return None
    if number >= _EPOCH_MS:
        return max(0.0, number / 1000 - now)
    return max(0.0, number - now) if number >= _EPOCH else number


def _date(text: str) -> float | None:
    """Epoch seconds of an HTTP date, or of an ISO 8601 one."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        try:
            date = datetime.fromisoformat(text)
        except ValueError:
            return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
