"""The questions that were answered, from the audit: who asked what, how often."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from serving.audit import Asked, Audit

MOST = 1_000_000  # newest questions that are looked at
SURFACES = ("explain", "suggest", "sync")  # of questions that nobody waited for


@dataclass(frozen=True)
class Asking:
    """One question of one person, and how often it was answered."""

    user: str
    text: str
    params: str  # JSON, or empty
    times: int


def askings(audit: Audit, since: datetime, user: str | None = None) -> tuple[Asking, ...]:
    """What was answered from then on (to `user` only), the most frequent first; raises AuditBroken."""
    return counted(audit.recent(MOST, user, outcome="answered", since=since))


def counted(found: Iterable[Asked]) -> tuple[Asking, ...]:
    """The same question of the same person, once."""
    times = Counter((one.user, one.sql, one.params) for one in found if one.surface not in SURFACES)
    return tuple(Asking(*key, count) for key, count in times.most_common())
