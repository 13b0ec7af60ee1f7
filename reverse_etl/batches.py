"""The journal of a delivery: what is about to leave, and what was answered.

A batch's intent is on disk before its request leaves, its answer soon after it came. Ten
million rows are a hundred thousand rows here: a batch is a range of `seq` with one verdict,
and a list of the rows that ended otherwise.

intent       about to leave, or gone, without an answer
answered     its rows have their verdicts
lost         it left before a crash and is sent again
withdrawn    it did not leave after all, or is known not to have arrived
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select, text

from connectors.protocol import Outcome, Verdict
from reverse_etl.errors import LeaseLost
from reverse_etl.lease import Lease
from reverse_etl.ledger import Answered
from reverse_etl.silence import with_silence
from reverse_etl.tables import batches, runs
from reverse_etl.unwritable import reading, writing
from serving.store import Store


@dataclass(frozen=True, slots=True)
class Leaving:
    """The rows of a batch are about to leave."""

    number: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Answer:
    """How the rows of a batch ended."""

    number: int
    outcomes: Sequence[Outcome]
    calls: int


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """No row of the batch has left after all."""

    number: int
    calls: int  # that were refused before the destination read a row


Entry = Leaving | Answer | Withdrawn


class Journal:
    """The batches of one run, written under its lease."""

    def __init__(self, store: Store, run: int, lease: Lease) -> None:
        self._store = store
        self.run = run
        self.lease = lease
        with reading(store) as connection:
            newest = connection.execute(select(func.max(batches.c.no)).where(batches.c.run == run)).scalar()
            found = connection.execute(select(runs.c.sync, runs.c.started_at).where(runs.c.id == run)).one()
        self._next = (newest or 0) + 1
        self.mark = f"{found.sync}/{run}/{found.started_at:%Y%m%dT%H%M%S.%f}"  # no other run has it

    def number(self) -> int:
        """The number of the next batch."""
        number, self._next = self._next, self._next + 1
        return number

    def write(self, entries: Sequence[Entry], now: datetime, *, check: bool = False) -> None:
        """All of it in one transaction, on disk when it returns; `check`: the lease, in any case.

        LeaseLost: the rows of `Leaving` must not leave; answers are written down all the same.
        """
        leaving = [self._leaving(entry, now) for entry in entries if isinstance(entry, Leaving)]
        answers = [self._answer(entry, now) for entry in entries if isinstance(entry, Answer)]
        withdrawn = [self._withdrawn(entry) for entry in entries if isinstance(entry, Withdrawn)]
        lost: LeaseLost | None = None
        with writing(self._store) as connection:
            if leaving or check:
                try:
                    self.lease.renew(connection, now)
                except LeaseLost as error:
                    lost, leaving = error, []
            for statement, rows in ((_LEAVE, leaving), (_ANSWER, answers), (_WITHDRAW, withdrawn)):
                if rows:
                    connection.execute(statement, rows)
        if lost is not None:
            raise lost

    def open_batches(self) -> tuple[Leaving, ...]:
        """Batches that left, or were about to, and have no answer; in the order of the plan."""
        query = select(batches.c.no, batches.c.first_seq, batches.c.last_seq).where(
            batches.c.run == self.run, batches.c.state == "intent"
        )
        with reading(self._store) as connection:
            found = connection.execute(query.order_by(batches.c.first_seq)).all()
        return tuple(Leaving(number, first, last) for number, first, last in found)

    def last_sent(self) -> datetime | None:
        """When the newest batch without an answer was about to leave."""
        query = select(func.max(batches.c.sent_at)).where(
            batches.c.run == self.run, batches.c.state == "intent"
        )
        with reading(self._store) as connection:
            return connection.execute(query).scalar()

    def send_again(self, batch: Leaving, now: datetime) -> None:
        """The rows of an open batch leave once more."""
        with writing(self._store) as connection:
            self.lease.renew(connection, now)
            connection.execute(_SEND_AGAIN, [{"run": self.run, "no": batch.number}])

    def found_out(self, batch: Leaving, outcomes: Sequence[Outcome], now: datetime) -> None:
        """How rows of an open batch ended, found by other means than its answer; the others go again."""
        with writing(self._store) as connection:
            self.lease.renew(connection, now)
            connection.execute(_WITHDRAW, [self._withdrawn(Withdrawn(batch.number, 0))])
            for part in _neighbours(outcomes):
                added = Leaving(self.number(), part[0].seq, part[-1].seq)
                connection.execute(_LEAVE, [self._leaving(added, now)])
                connection.execute(_ANSWER, [self._answer(Answer(added.number, part, 0), now)])

    def answered_ranges(self) -> list[tuple[int, int]]:
        """First and last `seq` of what has its answer, in the order of the plan; neighbours are one."""
        query = select(batches.c.first_seq, batches.c.last_seq).where(
            batches.c.run == self.run, batches.c.state == "answered"
        )
        found: list[tuple[int, int]] = []
        with reading(self._store) as connection:
            streamed = query.order_by(batches.c.first_seq).execution_options(yield_per=10_000)
            for first, last in connection.execute(streamed):
                if found and found[-1][1] + 1 >= first:
                    found[-1] = (found[-1][0], max(found[-1][1], last))
                else:
                    found.append((first, last))
        return found

    def answered(self) -> Iterator[Answered]:
        """How every row that left ended, in the order of the plan; see `answers_of`."""
        yield from answers_of(self._store, self.run)

    def _leaving(self, entry: Leaving, now: datetime) -> dict[str, object]:
        place = {"run": self.run, "no": entry.number, "first_seq": entry.first, "last_seq": entry.last}
        return place | {"sent_at": _text(now)}

    def _answer(self, entry: Answer, now: datetime) -> dict[str, object]:
        outcomes = entry.outcomes
        common = Counter((o.verdict, o.reason) for o in outcomes).most_common(1)[0][0]
        others = [[o.seq, o.verdict, o.reason] for o in outcomes if (o.verdict, o.reason) != common]
        return {
            "run": self.run,
            "no": entry.number,
            "verdict": common[0],
            "reason": common[1],
            "exceptions": json.dumps(others, ensure_ascii=False) if others else None,
            "calls": entry.calls,
            "answered_at": _text(now),
        }

    def _withdrawn(self, entry: Withdrawn) -> dict[str, object]:
        return {"run": self.run, "no": entry.number, "calls": entry.calls}


# As text: a batch must cost little, and building these statements anew would double its price.
_LEAVE = text(
    "insert into sync_batches (run, no, first_seq, last_seq, state, sent_at)"
    " values (:run, :no, :first_seq, :last_seq, 'intent', :sent_at)"
)
# The state in the condition: another process may have sent the rows again meanwhile.
_OPEN = "where run = :run and no = :no and state = 'intent'"
_ANSWER = text(
    "update sync_batches set state = 'answered', verdict = :verdict, reason = :reason,"
    f" exceptions = :exceptions, calls = :calls, answered_at = :answered_at {_OPEN}"
)
_SEND_AGAIN = text(f"update sync_batches set state = 'lost' {_OPEN}")
_WITHDRAW = text(f"update sync_batches set state = 'withdrawn', calls = :calls {_OPEN}")


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")  # as store.UtcTime writes it


def _neighbours(outcomes: Sequence[Outcome]) -> list[list[Outcome]]:
    parts: list[list[Outcome]] = []
    for outcome in sorted(outcomes, key=lambda outcome: outcome.seq):
        if parts and parts[-1][-1].seq + 1 == outcome.seq:
            parts[-1].append(outcome)
        else:
            parts.append([outcome])
    return parts


def answers_of(store: Store, run: int) -> Iterator[Answered]:
    """How every row of a run that left ended, in the order of the plan.

    A row that left without an answer, and got none later that settles it, is unknown.
    """
    query = (
        select(batches)
        .where(batches.c.run == run, batches.c.state == "answered")
        .order_by(batches.c.first_seq)
        .execution_options(yield_per=10_000)
    )
    silent = select(batches.c.first_seq, batches.c.last_seq).where(
        batches.c.run == run, batches.c.state.in_(("intent", "lost"))
    )
    with reading(store) as connection:
        unanswered = [(first, last) for first, last in connection.execute(silent)]
        yield from with_silence(map(_answered, connection.execute(query)), unanswered)


def _answered(row: Row[Any]) -> Answered:
    listed: list[tuple[int, Verdict, str]] = json.loads(row.exceptions) if row.exceptions else []
    exceptions = tuple((seq, verdict, reason) for seq, verdict, reason in listed)
    return Answered(row.first_seq, row.last_seq, row.verdict, row.reason or "", exceptions)


def calls_of(connection: Connection, run: int) -> int:
    """How many requests the run made, as far as they were answered."""
    return int(
        connection.execute(select(func.sum(batches.c.calls)).where(batches.c.run == run)).scalar() or 0
    )
