"""The audit as a chain: each entry carries the hash of the one before it.

Whoever changes, removes, adds or swaps an entry breaks the chain at that place. Whoever
rewrites everything after it, or cuts the end off, has another head: only a head that is
remembered elsewhere tells.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from serving.errors import SluiceError

Event = Literal["asked", "ended"]
Outcome = Literal["answered", "refused", "failed", "stopped"]
GENESIS = "0" * 64  # what the first entry follows


class AuditBroken(SluiceError):
    """The chain does not hold; `entry` is the first one that does not fit (0: none in particular)."""

    def __init__(self, entry: int, problem: str, *, hint: str = "") -> None:
        super().__init__(problem, hint=hint)
        self.entry = entry


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened to a question. Texts are empty and numbers None where they say nothing."""

    id: int  # 1, 2, 3, … without a gap
    at: str  # ISO 8601 with microseconds, UTC
    question: int
    event: Event
    user: str = ""
    surface: str = ""
    text: str = ""
    params: str = ""  # JSON
    marts: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()  # mart.column
    policies: tuple[str, ...] = ()
    version: int | None = None
    rows: int | None = None
    milliseconds: float | None = None
    outcome: Outcome | Literal[""] = ""
    reason: str = ""
    previous: str = ""  # the hash of the entry before
    hash: str = ""


FIELDS = tuple(field.name for field in fields(Entry))
LISTS = ("marts", "columns", "policies")
_NUMBERS: Mapping[str, tuple[type, ...]] = {
    "id": (int,),
    "question": (int,),
    "version": (int, type(None)),
    "rows": (int, type(None)),
    "milliseconds": (float, type(None)),
}


@dataclass(frozen=True)
class Chain:
    """What a verified stretch of the audit is: its length, its ends, and the hash to remember."""

    entries: int
    first: int  # id of the first entry; 0: there is none
    last: int
    before: str  # the hash that the first entry follows
    head: str  # the hash of the last entry


def digest(entry: Entry) -> str:
    """sha256 over the JSON array of the previous hash and all fields in their order."""
    content = [
        entry.previous,
        entry.id,
        entry.at,
        entry.question,
        entry.event,
        entry.user,
        entry.surface,
        entry.text,
        entry.params,
        entry.marts,
        entry.columns,
        entry.policies,
        entry.version,
        entry.rows,
        entry.milliseconds,
        entry.outcome,
        entry.reason,
    ]
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def sealed(entry: Entry) -> Entry:
    """The entry with its hash."""
    return replace(entry, hash=digest(entry))


def entry_of(values: Mapping[str, Any]) -> Entry:
    """The entry of a stored row; raises AuditBroken for what cannot be one."""
    where = values.get("id") if isinstance(values.get("id"), int) else 0
    if values.keys() != set(FIELDS):
        odd = sorted(values.keys() ^ set(FIELDS))
        raise AuditBroken(where or 0, f"entry {where}: has other fields than an entry ({', '.join(odd)})")
    for name in FIELDS:
        value = values[name]
        kinds = _NUMBERS.get(name, (tuple,) if name in LISTS else (str,))
        fits = isinstance(value, kinds) and not isinstance(value, bool)
        if not fits or (name in LISTS and not all(isinstance(item, str) for item in value)):
            raise AuditBroken(where or 0, f"entry {where}: its {name} is no value of that kind")
    return Entry(**values)


def linked(entries: Iterable[Entry], *, whole: bool) -> Iterator[Entry]:
    """The same entries, as far as each follows the one before; raises AuditBroken at the first that does not.

    `whole`: the first one must be the beginning of the audit.
    """
    last: Entry | None = None
    for entry in entries:
        if last is None and whole and entry.id != 1:
            raise AuditBroken(entry.id, f"entry 1 is missing: the audit begins with entry {entry.id}")
        expected = entry.id if last is None else last.id + 1
        if entry.id > expected:
            raise AuditBroken(expected, f"entry {expected} is missing: entry {entry.id} comes next")
        if entry.id < expected:
            raise AuditBroken(
                entry.id, f"entry {entry.id} is out of order: it comes after entry {expected - 1}"
            )
        follows = last.hash if last is not None else GENESIS if entry.id == 1 else entry.previous
        if entry.previous != follows:
            before = f"entry {entry.id - 1}" if entry.id > 1 else "the beginning"
            raise AuditBroken(
                entry.id,
                f"entry {entry.id} does not follow {before}: its previous hash is another one",
                hint=f"{before}, this entry or everything before it was replaced" if entry.id > 1 else "",
            )
        if entry.hash != digest(entry):
            raise AuditBroken(
                entry.id, f"entry {entry.id} was changed: its hash does not fit what it says ({_said(entry)})"
            )
        last = entry
        yield entry


def verify(entries: Iterable[Entry], *, whole: bool = True, head: str | None = None) -> Chain:
    """Walk the chain; raises AuditBroken at the first entry that does not fit.

    `head` is a hash remembered from before: it must be met on the way, or the end was cut
    off, or everything was written anew.
    """
    count, first, last = 0, None, None
    met = head is None or head == GENESIS
    for entry in linked(entries, whole=whole):
        first, last, count = first or entry, entry, count + 1
        met = met or head in (entry.hash, entry.previous)
    chain = Chain(
        count,
        first.id if first else 0,
        last.id if last else 0,
        first.previous if first else GENESIS,
        last.hash if last else GENESIS,
    )
    if not met:
        raise AuditBroken(
            chain.last + 1,
            f"the remembered head {head} is not in the audit, which ends with entry {chain.last}",
            hint="entries were cut off the end, or all were written anew; or the head is of another audit",
        )
    return chain


def _said(entry: Entry) -> str:
    who = f" by {entry.user}" if entry.user else ""
    return f"question {entry.question} {entry.event}{who} at {entry.at}"
