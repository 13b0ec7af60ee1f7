"""Every question, refused ones too: who asked what, and how it ended.

`begin` writes an entry before anything is done with a question, `end` another one before its
answer leaves. Entries are never changed and are chained by hashes (`audit_chain`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Literal

from serving.audit_chain import AuditBroken, Entry, Outcome
from serving.audit_log import ASKED, AuditUnwritable, Clock, Log, list_of, newest, reading, stamp
from serving.store import utc_now

__all__ = ["Asked", "Audit", "AuditBroken", "AuditUnwritable", "Facts", "Outcome"]

TEXT_LIMIT = 100_000  # characters of a text that are kept; longer ones are refused anyway
REASON_LIMIT = 4_000


@dataclass(frozen=True)
class Facts:
    """What is known of a question when it ends."""

    marts: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()  # mart.column, those the text reads
    policies: tuple[str, ...] = ()
    version: int | None = None
    rows: int | None = None  # of the answer
    milliseconds: float | None = None
    reason: str = ""  # why it was not answered


@dataclass(frozen=True)
class Asked:
    """A question and how it ended; `unfinished` while it runs, and for ever where its process died."""

    id: int
    at: datetime
    user: str
    surface: str
    sql: str
    params: str  # JSON, or empty
    outcome: Outcome | Literal["unfinished"]
    reason: str
    marts: tuple[str, ...]
    columns: tuple[str, ...]
    policies: tuple[str, ...]
    version: int | None
    rows: int | None
    milliseconds: float | None


class Audit:
    """The audit of a project; safe to share between threads, and between processes by its file."""

    def __init__(self, path: Path, clock: Clock = utc_now, patience: float = 30.0) -> None:
        """Open or create it; `patience` is how many seconds to wait for another process's write.

        Raises AuditUnwritable.
        """
        self.path = path
        self._log = Log(path, clock, patience)

    def begin(
        self,
        user: str,
        surface: str,
        sql: str,
        params: Mapping[str, object] | Sequence[object] | None = None,
    ) -> int:
        """Commit the question before anything is done with it; its number. Raises AuditUnwritable."""
        bound = "" if params is None else json.dumps(params, ensure_ascii=False, default=str)
        draft = Entry(
            id=0,
            at="",
            question=0,
            event="asked",
            user=_text(user),
            surface=_text(surface),
            text=_text(sql),
            params=_text(bound),
        )
        return self._log.append(draft).question

    def end(self, question: int, outcome: Outcome, facts: Facts | None = None) -> None:
        """Commit how it ended, once; raises AuditUnwritable, and then no answer may leave."""
        facts = facts or Facts()
        ms = facts.milliseconds
        draft = Entry(
            id=0,
            at="",
            question=question,
            event="ended",
            marts=tuple(map(_text, facts.marts)),
            columns=tuple(map(_text, facts.columns)),
            policies=tuple(map(_text, facts.policies)),
            version=facts.version,
            rows=facts.rows,
            milliseconds=None if ms is None else round(float(ms), 1),
            outcome=outcome,
            reason=_text(facts.reason, REASON_LIMIT),
        )
        self._log.append(draft)

    def recent(
        self,
        limit: int,
        user: str | None = None,
        surface: str | None = None,
        *,
        mart: str | None = None,
        outcome: str | None = None,
        since: datetime | None = None,
    ) -> list[Asked]:
        """The newest questions, newest first; `mart`: those that read it, `since`: from then on."""
        return recent(self.path, limit, user=user, surface=surface, mart=mart, outcome=outcome, since=since)

    def close(self) -> None:
        """Let the file go."""
        self._log.close()


def recent(
    path: Path,
    limit: int,
    *,
    user: str | None = None,
    surface: str | None = None,
    mart: str | None = None,
    outcome: str | None = None,
    since: datetime | None = None,
) -> list[Asked]:
    """The newest questions of an audit's file, newest first; it is only read. Raises AuditBroken."""
    given = {
        "a.user = ?": user,
        "a.surface = ?": surface,
        "EXISTS (SELECT 1 FROM json_each(e.marts) WHERE value = ?)": mart,
        "coalesce(e.outcome, 'unfinished') = ?": outcome,
        "a.at >= ?": None if since is None else stamp(since.astimezone(UTC)),
    }
    conditions = [(condition, value) for condition, value in given.items() if value is not None]
    with reading(path) as connection:
        return [_asked(row) for row in newest(connection, limit, conditions)]


def _asked(row: tuple[object, ...]) -> Asked:
    values = dict(zip(ASKED, row, strict=True))
    values["at"] = datetime.fromisoformat(str(values["at"]))
    for name in ("marts", "columns", "policies"):
        values[name] = list_of(values[name], values["id"])
    return Asked(**values)  # type: ignore[arg-type]


def _text(text: str, limit: int = TEXT_LIMIT) -> str:
    r"""A text as it is kept: cut where it is too long, half characters written out as `\ud800`."""
    if len(text) > limit:
        told = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        text = f"{text[:limit]}… (cut; {len(text)} characters, sha256 {told})"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
