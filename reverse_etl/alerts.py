"""Who is told when a sync changes its state: failed, guarded, recovered, too many rejects.

Told once per change, not per run: what was told last is a row of the control store, so a
restart tells nobody twice. An alert that cannot be delivered harms no run; it is tried
again, later and later. A crash between sending and writing that down may tell twice.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection, Row, func, insert, select, update

from reverse_etl.alert_post import Post, post
from reverse_etl.alert_words import Event, message
from reverse_etl.history import RunRow, find_run, reasons
from reverse_etl.source import Door
from reverse_etl.tables import alerts, prepare, runs
from serving.content.sync import Notify
from serving.store import Store, utc_now

if TYPE_CHECKING:
    from reverse_etl.run import RunReport

CLAIM = timedelta(minutes=2)  # whoever tries to deliver has this long before another may
FIRST_WAIT = timedelta(minutes=1)  # doubles with each try
LONGEST_WAIT = timedelta(hours=1)
MOST_TRIES = 30  # about a day

Topic = Literal["state", "rejects"]


@dataclass(frozen=True)
class Undelivered:
    """An alert that somebody should have got and has not."""

    sync: str
    topic: Topic
    to: str
    tries: int
    problem: str
    next_try: datetime | None  # None: given up

    def __str__(self) -> str:
        more = "given up" if self.next_try is None else f"tried {self.tries} times"
        return f"the alert of {self.sync!r} did not reach {self.to} ({more}): {self.problem}"


def after_run(project: Door, report: "RunReport") -> None:
    """Tell who wants to hear of it that the run changed the sync's state; nobody else, and only once."""
    _judge(project, find_run(project, report.run))


def look(project: Door, sync: str) -> None:
    """The same for the newest run of the sync that has ended, however it ended."""
    prepare(project.store)
    query = select(func.max(runs.c.id)).where(runs.c.sync == sync, runs.c.ended_at.is_not(None))
    with project.store.read() as connection:
        number = connection.execute(query).scalar()
    if number is not None:
        _judge(project, find_run(project, number))


def catch_up(project: Door) -> None:
    """Tell of runs whose process died before it could, and deliver again what did not arrive."""
    prepare(project.store)
    for sync in project.content.syncs.values():
        if sync.notify is not None:
            look(project, sync.name)
    with project.store.read() as connection:
        rows = connection.execute(select(alerts).where(alerts.c.told_at.is_(None))).all()
    for row in rows:
        if row.sync in project.content.syncs:
            _deliver(project, row.sync, row.topic)


def undelivered(store: Store, sync: str | None = None) -> tuple[Undelivered, ...]:
    """Every alert that was tried and did not arrive."""
    query = select(alerts).where(alerts.c.problem.is_not(None)).order_by(alerts.c.sync, alerts.c.topic)
    if sync is not None:
        query = query.where(alerts.c.sync == sync)
    with store.read() as connection:
        rows = connection.execute(query).all()
    return tuple(
        Undelivered(row.sync, row.topic, to, try_.tries, try_.problem, try_.next_try)
        for row in rows
        for to, try_ in _tries(row.problem).items()
        if try_.tries
    )


@dataclass(frozen=True)
class _Try:
    """How far one recipient's copy is."""

    tries: int
    problem: str
    next_try: datetime | None


def _judge(project: Door, run: RunRow) -> None:
    sync = project.content.syncs.get(run.sync)
    if sync is None or sync.notify is None or run.ended_at is None:
        return
    notify = sync.notify
    if run.state in ("done", "failed", "guarded"):
        good = "ok" if run.state == "done" else run.state
        _change(project, run, "state", good, notify)
    share = reject_share(run)
    if share is not None:
        _change(project, run, "rejects", "high" if share >= notify.rejects else "ok", notify)


def reject_share(run: RunRow) -> float | None:
    """Which part of a run's rows was rejected; None where the run says nothing about that.

    Of the source's rows, those that cannot be sent; of the fresh rows that were sent, those that
    the destination refused. Rows tried again are no news: they count when they are first refused.
    """
    if run.state not in ("done", "failed"):
        return None
    fresh = run.counts.to_send - run.counts.retry
    refused = max(0, run.verdicts.rejected - run.counts.rejected - run.counts.retry)
    rows = run.counts.wanted + run.counts.rejected
    shares = [run.counts.rejected / rows] if run.counts.rejected else []
    shares += [refused / fresh] if fresh else []
    return max(shares, default=None)


def _change(project: Door, run: RunRow, topic: Topic, state: str, notify: Notify) -> None:
    """Remember the new state; whoever does so first delivers it."""
    now = utc_now()
    with project.store.write() as connection:
        row = _row(connection, run.sync, topic)
        before = "ok" if row is None else row.state
        if before == state or (row is not None and run.id < row.run):
            return
        event = _event(topic, state)
        wanted = event in notify.on
        claim = {to: _Try(0, "", now + CLAIM) for to in notify.to} if wanted else {}
        values = {"state": state, "run": run.id, "told_at": None if wanted else now, "problem": _json(claim)}
        _write(connection, run.sync, topic, values)
    if wanted:
        _send(project, run, topic, state, tuple(claim), claim)


def _event(topic: Topic, state: str) -> Event | None:
    if topic == "rejects":
        return "rejects" if state == "high" else None
    return {"failed": "failed", "guarded": "guarded", "ok": "recovered"}[state]  # type: ignore[return-value]


def _deliver(project: Door, sync: str, topic: Topic) -> None:
    """Try again what is due of one alert."""
    now = utc_now()
    notify = project.content.syncs[sync].notify
    with project.store.write() as connection:
        row = _row(connection, sync, topic)
        if row is None or row.told_at is not None:
            return
        tries = {to: t for to, t in _tries(row.problem).items() if notify is not None and to in notify.to}
        due = tuple(to for to, t in tries.items() if t.next_try is not None and t.next_try <= now)
        if tries and not due:
            return
        claimed = {**tries, **{to: _Try(tries[to].tries, tries[to].problem, now + CLAIM) for to in due}}
        told = None if claimed else now  # nobody is left who wants to hear it
        _write(connection, sync, topic, {"told_at": told, "problem": _json(claimed)})
    if due:
        _send(project, find_run(project, row.run), topic, row.state, due, claimed)


def _send(
    project: Door, run: RunRow, topic: Topic, state: str, due: tuple[str, ...], tries: Mapping[str, _Try]
) -> None:
    """Deliver to each of `due`, and write down who has it and who has not."""
    event = _event(topic, state)
    assert event is not None, "only what somebody wants to hear is delivered"
    told = message(event, run, reasons(project, run.id))
    left = dict(tries)
    for to in due:
        problem = post(project, to, Post(run.sync, event, run.id, told.subject, told.text))
        if not problem:
            del left[to]
            continue
        number = left[to].tries + 1
        wait = min(FIRST_WAIT * 2 ** (number - 1), LONGEST_WAIT)
        left[to] = _Try(number, problem, None if number >= MOST_TRIES else utc_now() + wait)
    over = all(try_.next_try is None for try_ in left.values())
    with project.store.write() as connection:
        ours = _row(connection, run.sync, topic)
        if ours is not None and (ours.run, ours.state) == (run.id, state):
            told_at = utc_now() if over else None
            _write(connection, run.sync, topic, {"told_at": told_at, "problem": _json(left)})


def _row(connection: Connection, sync: str, topic: Topic) -> Row[Any] | None:
    query = select(alerts).where(alerts.c.sync == sync, alerts.c.topic == topic)
    return connection.execute(query).one_or_none()


def _write(connection: Connection, sync: str, topic: Topic, values: Mapping[str, object]) -> None:
    ours = (alerts.c.sync == sync) & (alerts.c.topic == topic)
    if connection.execute(update(alerts).where(ours).values(dict(values))).rowcount == 0:
        connection.execute(insert(alerts).values(sync=sync, topic=topic, **values))


def _json(tries: Mapping[str, _Try]) -> str | None:
    """For the control store; a person can read it there."""
    if not tries:
        return None
    return json.dumps({to: asdict(try_) for to, try_ in tries.items()}, default=datetime.isoformat)


def _tries(text: str | None) -> dict[str, _Try]:
    found = json.loads(text) if text else {}
    return {
        to: _Try(t["tries"], t["problem"], datetime.fromisoformat(t["next_try"]) if t["next_try"] else None)
        for to, t in found.items()
    }
