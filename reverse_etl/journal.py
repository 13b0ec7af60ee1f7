"""What a run writes down before and after each thing it does, so that a crash loses nothing.

A batch's intent is committed before its request leaves, its answer after the answer came.
Ten million rows are a hundred thousand rows here: a batch is a range of `seq` with one
verdict, and a list of the rows that ended otherwise.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, Row, desc, func, insert, select, update

from connectors.protocol import Outcome, Verdict
from reverse_etl.counts import Counts, Verdicts
from reverse_etl.guard import Trip
from reverse_etl.lease import Lease
from reverse_etl.ledger import Answered
from reverse_etl.tables import batches, ledgers, runs
from serving.store import Store

State = Literal["planning", "guarded", "delivering", "settling", "done", "failed"]
Trigger = Literal["manual", "schedule", "build", "sync", "request", "retry", "undo"]
UNFINISHED = ("planning", "delivering", "settling")


@dataclass(frozen=True)
class Order:
    """Who wants a run, and how."""

    requested_by: str
    trigger: Trigger = "manual"
    approval: str | None = None  # lets the guard pass once, for this reason
    full: bool = False
    adopt: bool = False  # what the destination holds already counts as sent by this sync
    retry_of: int | None = None
    undo_of: int | None = None
    plan: int | None = None  # the saved plan to deliver; None: the open one, if it still holds


def open_run(store: Store, sync: str, target: str, order: Order, version: int | None, now: datetime) -> int:
    """A new run, in planning; its number."""
    with store.write() as connection:
        before = connection.execute(
            select(ledgers.c.file).where(ledgers.c.sync == sync, ledgers.c.target == target)
        ).scalar()
        added = connection.execute(
            insert(runs).values(
                sync=sync,
                target=target,
                state="planning",
                trigger=order.trigger,
                requested_by=order.requested_by,
                approval=order.approval,
                full_resend=order.full,
                retry_of=order.retry_of,
                version=version,
                started_at=now,
                ledger_before=before,
            )
        )
        return int(added.inserted_primary_key[0])  # type: ignore[index]


def unfinished_run(store: Store, sync: str) -> Row[tuple[object, ...]] | None:
    """The newest run of the sync that neither ended nor waits for a person."""
    query = (
        select(runs)
        .where(runs.c.sync == sync, runs.c.state.in_(UNFINISHED))
        .order_by(desc(runs.c.id))
        .limit(1)
    )
    with store.read() as connection:
        return connection.execute(query).one_or_none()


def planned(
    store: Store, run: int, counts: Counts, version: int, state: State, trips: Sequence[Trip]
) -> None:
    """The plan stands; the run goes on, or waits."""
    said = json.dumps([asdict(trip) for trip in trips])
    with store.write() as connection:
        connection.execute(
            update(runs)
            .where(runs.c.id == run)
            .values(counts=counts.to_json(), version=version, state=state, trips=said)
        )


def advance(store: Store, run: int, state: State, *, error: str | None = None) -> None:
    """The run is in another state now; an error stays with it."""
    values: dict[str, object] = {"state": state}
    if error is not None:
        values["error"] = error
    with store.write() as connection:
        connection.execute(update(runs).where(runs.c.id == run).values(values))


def close_run(
    store: Store,
    run: int,
    state: State,
    now: datetime,
    *,
    verdicts: Verdicts | None = None,
    error: str | None = None,
) -> None:
    """The run ended without a change of the ledger."""
    with store.write() as connection:
        _close(connection, run, state, now, verdicts, error)


def settle_run(
    store: Store,
    run: int,
    ledger: str | None,
    state: State,
    now: datetime,
    *,
    verdicts: Verdicts,
    error: str | None,
    lease: Lease,
) -> None:
    """The next ledger counts and the run is in `state`: both, or neither."""
    with store.write() as connection:
        lease.check(connection)
        if ledger is not None:
            found = connection.execute(select(runs.c.sync, runs.c.target).where(runs.c.id == run)).one()
            ours = (ledgers.c.sync == found.sync) & (ledgers.c.target == found.target)
            changed = connection.execute(update(ledgers).where(ours).values(file=ledger, run=run))
            if changed.rowcount == 0:
                connection.execute(
                    insert(ledgers).values(sync=found.sync, target=found.target, file=ledger, run=run)
                )
            connection.execute(update(runs).where(runs.c.id == run).values(ledger_after=ledger))
        _close(connection, run, state, now if state in ("done", "failed") else None, verdicts, error)


def _close(
    connection: Connection,
    run: int,
    state: State,
    ended: datetime | None,
    verdicts: Verdicts | None,
    error: str | None,
) -> None:
    values: dict[str, object] = {"state": state, "ended_at": ended, "error": error}
    if verdicts is not None:
        values |= asdict(verdicts)
    connection.execute(update(runs).where(runs.c.id == run).values(values))


class Journal:
    """The batches of one run, written under its lease."""

    def __init__(self, store: Store, run: int, lease: Lease) -> None:
        self._store = store
        self._run = run
        self._lease = lease
        with store.read() as connection:
            newest = connection.execute(select(func.max(batches.c.no)).where(batches.c.run == run)).scalar()
        self._next = (newest or 0) + 1

    def intend(self, first: int, last: int, now: datetime) -> int:
        """These rows are about to leave; the batch's number. LeaseLost: they must not."""
        number, self._next = self._next, self._next + 1
        with self._store.write() as connection:
            self._lease.check(connection)
            connection.execute(
                insert(batches).values(
                    run=self._run, no=number, first_seq=first, last_seq=last, state="intent", sent_at=now
                )
            )
        return number

    def answer(self, number: int, outcomes: Sequence[Outcome], calls: int, now: datetime) -> None:
        """How the rows of a batch ended; too late if another process has sent them again meanwhile."""
        common = Counter((outcome.verdict, outcome.reason) for outcome in outcomes).most_common(1)[0][0]
        others = [[o.seq, o.verdict, o.reason] for o in outcomes if (o.verdict, o.reason) != common]
        with self._store.write() as connection:
            connection.execute(
                update(batches)
                .where(batches.c.run == self._run, batches.c.no == number, batches.c.state == "intent")
                .values(
                    state="answered",
                    verdict=common[0],
                    reason=common[1],
                    exceptions=json.dumps(others, ensure_ascii=False) if others else None,
                    calls=calls,
                    answered_at=now,
                )
            )

    def recover(self, *, safe_to_resend: bool, now: datetime) -> None:
        """Decide about batches whose answer a crash swallowed: sent again, or unknown for ever."""
        lost: dict[str, object] = {"state": "lost"}
        if not safe_to_resend:
            reason = "the run was interrupted after this row may have left; sending it again could double it"
            lost = {"state": "answered", "verdict": "unknown", "reason": reason, "answered_at": now}
        open_ones = (batches.c.run == self._run) & (batches.c.state == "intent")
        with self._store.write() as connection:
            self._lease.check(connection)
            connection.execute(update(batches).where(open_ones).values(lost))

    def answered_ranges(self) -> list[tuple[int, int]]:
        """First and last `seq` of every batch that has its answer, in the order of the plan."""
        query = select(batches.c.first_seq, batches.c.last_seq).where(
            batches.c.run == self._run, batches.c.state == "answered"
        )
        with self._store.read() as connection:
            return [(first, last) for first, last in connection.execute(query.order_by(batches.c.first_seq))]

    def answered(self) -> Iterator[Answered]:
        """Every batch that has its answer, in the order of the plan."""
        yield from answers_of(self._store, self._run)


def answers_of(store: Store, run: int) -> Iterator[Answered]:
    """Every answered batch of a run, in the order of the plan."""
    query = (
        select(batches)
        .where(batches.c.run == run, batches.c.state == "answered")
        .order_by(batches.c.first_seq)
        .execution_options(yield_per=10_000)
    )
    with store.read() as connection:
        for row in connection.execute(query):
            listed: list[tuple[int, Verdict, str]] = json.loads(row.exceptions) if row.exceptions else []
            exceptions = tuple((seq, verdict, reason) for seq, verdict, reason in listed)
            yield Answered(row.first_seq, row.last_seq, row.verdict, row.reason or "", exceptions)


def calls_of(connection: Connection, run: int) -> int:
    """How many requests the run made, as far as they were answered."""
    return int(
        connection.execute(select(func.sum(batches.c.calls)).where(batches.c.run == run)).scalar() or 0
    )
