"""All syncs at a glance: what they do, how their last run ended, when the next one is due."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, exists, select

from reverse_etl.alerts import undelivered
from reverse_etl.errors import MappingInvalid
from reverse_etl.history import RunRow, list_runs
from reverse_etl.lease import holder_of
from reverse_etl.requests import last_fire
from reverse_etl.schedule import described, next_fire
from reverse_etl.source import Door, find_sync
from reverse_etl.tables import prepare, requests, runs, syncs
from serving.content.sync import Sync

GIVEN_UP = timedelta(minutes=10)


@dataclass(frozen=True)
class SyncOverview:
    """One sync, as lists show it."""

    name: str
    description: str
    source: str  # a mart, or "a query"
    destination: str
    object: str
    mode: str
    on_removed: str
    schedule: str  # in words
    next_fire: datetime | None  # None: no clock, paused, or a schedule that cannot be read
    paused_by: str | None
    running_by: str | None  # which process
    queued: bool  # somebody asked for a run that has not begun
    last_run: RunRow | None
    problem: str  # why it does not run by itself although it should, or whom an alert did not reach
    next_run: str = "by hand"  # in words, for every kind of schedule


def list_syncs(project: Door, now: datetime) -> tuple[SyncOverview, ...]:
    """Every sync under models/syncs/, by name."""
    prepare(project.store)
    return tuple(_overview(project, sync, now) for _, sync in sorted(project.content.syncs.items()))


def sync_overview(project: Door, name: str, now: datetime) -> SyncOverview:
    """One sync; UnknownSync if there is none of that name."""
    prepare(project.store)
    return _overview(project, find_sync(project.content, name), now)


def _overview(project: Door, sync: Sync, now: datetime) -> SyncOverview:
    with project.store.read() as connection:
        paused = connection.execute(select(syncs.c.paused_by).where(syncs.c.sync == sync.name)).scalar()
        holder = holder_of(connection, sync.name, now)
        queued = connection.execute(select(requests.c.id).where(_not_begun(sync.name, now)).limit(1)).scalar()
    newest = list_runs(project, sync.name, limit=1)
    problems, due = [str(alert) for alert in undelivered(project.store, sync.name)], None
    try:
        due = next_fire(sync, project.content.project.timezone, last_fire(project.store, sync.name) or now)
    except MappingInvalid as error:
        problems.insert(0, str(error))
    return SyncOverview(
        name=sync.name,
        description=sync.description,
        source=sync.source or "a query",
        destination=sync.destination,
        object=sync.object,
        mode=sync.mode,
        on_removed=sync.on_removed,
        schedule=described(sync),
        next_fire=None if paused else due,
        paused_by=paused,
        running_by=str(holder) if holder else None,
        queued=queued is not None,
        last_run=newest[0] if newest else None,
        problem="\n".join(problems),
        next_run=_next_run(sync, due, paused),
    )


def _next_run(sync: Sync, due: datetime | None, paused_by: str | None) -> str:
    if paused_by is not None and sync.schedule is not None:
        return f"not before it is resumed: paused by {paused_by}"
    if due is not None:
        return f"{due:%Y-%m-%d %H:%M %Z}"
    if sync.schedule is not None and sync.schedule.after is None:
        return "never: its schedule cannot be read, or names no moment to come"
    return described(sync)


def _not_begun(sync: str, now: datetime) -> ColumnElement[bool]:
    """Requests that wait, or that the worker took and has not made a run of yet.

    One that was taken and came to nothing, because its worker died, stops counting after a while.
    """
    begun = exists().where(runs.c.sync == sync, runs.c.started_at >= requests.c.requested_at)
    taken = (requests.c.state == "taken") & requests.c.run.is_(None)
    fresh = requests.c.requested_at > now - GIVEN_UP
    return (requests.c.sync == sync) & ((requests.c.state == "waiting") | (taken & fresh & ~begun))
