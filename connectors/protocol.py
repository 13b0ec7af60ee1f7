"""What Sluice and an operational tool say to each other, without any I/O.

A `Destination` turns a batch of changes into one HTTP request and the tool's answer
into one outcome per change. Sockets, credentials, pace and retries are the sender's
(`connectors/http.py`), so that a connector stays a pure translation and can be tested
with values alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Op = Literal["insert", "update", "upsert", "clear", "archive", "delete"]
Verdict = Literal["accepted", "rejected", "deferred", "unknown"]
CREATED = "created"  # there was no such record before
RESTORED = "restored"  # it was in the archive


@dataclass(frozen=True, slots=True)
class Change:
    """One row on its way out; `seq` is its place in the run's plan.

    `key` and `fields` are destination field -> value. `insert` writes a record only where
    there is none, `update` only where there is one. A removal (`archive`, `delete`) has no
    fields; `clear` carries every mapped field with the destination's `cleared`.

    `version` names the intent behind it: the same whenever the same run sends the same row
    again, another one in another run. A tool that answers repeated calls from memory then
    takes A, B, A as three changes.
    """

    seq: int
    op: Op
    key: Mapping[str, Json]
    fields: Mapping[str, Json] = field(default_factory=dict)
    version: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One call: `path` is relative to the account's base URL unless it is absolute."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """What came back; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one row ended, in the destination's own words where it gave any.

    accepted: the tool confirmed it. rejected: the tool refused this row; resending the
    same row cannot help. deferred: not delivered, and a later run may. unknown: it was
    sent and no answer came, so nobody can say. An accepted row's reason is `CREATED` or
    `RESTORED` where the tool said so, and an accepted removal has one where there was
    nothing to remove any more: undoing needs to know.
    """

    seq: int
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a destination object can do, and how much at once."""

    ops: frozenset[Op]
    batch_rows: int = 1
    batch_bytes: int = 1_000_000
    concurrent: int = 4
    per_second: float | None = None
    resend: frozenset[Op] = frozenset()  # sending these twice leaves the tool as once
    splits: bool = True  # a wholly rejected batch may be halved to find the bad row
    partial: bool = False  # a field that is left out of an update keeps its value
    cleared: Json = None  # what a field is set to so that it becomes empty


class Destination(Protocol):
    """One object (contacts, companies, …) of one account."""

    capabilities: Capabilities

    def request(self, changes: Sequence[Change]) -> Request:
        """The call that delivers a batch; all changes carry the same `op`."""
        ...

    def outcomes(self, changes: Sequence[Change], response: Response) -> list[Outcome]:
        """One outcome per change, in order, from a status below 500 that is no 401/403/408/429.

        An answer that speaks of the whole batch rejects every change of it.
        """
        ...


@runtime_checkable
class ReadsBack(Protocol):
    """A destination that can say what it holds under given keys."""

    def lookup(self, keys: Sequence[Mapping[str, Json]], fields: Sequence[str]) -> Request:
        """The call that reads at most `batch_rows` records."""
        ...

    def looked_up(
        self, keys: Sequence[Mapping[str, Json]], fields: Sequence[str], response: Response
    ) -> list[Mapping[str, Json] | None]:
        """For each key, in order, the record's value of every one of `fields`; None: no live record.

        Raises `DestinationStopped` where the answer cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class Page:
    """Some live records of an object, as (key, fields); `after` leads on, None at the end."""

    records: Sequence[tuple[Mapping[str, Json], Mapping[str, Json]]]
    after: str | None


@runtime_checkable
class ListsRecords(Protocol):
    """A destination that can give all its records, page by page."""

    def page(self, fields: Sequence[str], after: str | None) -> Request:
        """The call for the first page, or for the one that `after` leads to."""
        ...

    def paged(self, key_fields: Sequence[str], fields: Sequence[str], response: Response) -> Page:
        """The records of that answer; raises `DestinationStopped` where it cannot be read."""
        ...


class DestinationStopped(Exception):
    """Retrying cannot help until a person acts: credentials, address or mapping."""

    def __init__(self, problem: str, *, hint: str = "") -> None:
        super().__init__(f"{problem}\n  hint: {hint}" if hint else problem)
        self.problem = problem
        self.hint = hint
