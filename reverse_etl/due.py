"""What is due by the control store alone, so that a worker that was killed forgets nothing."""

from sqlalchemy import desc, exists, select

from reverse_etl.journal import UNFINISHED
from reverse_etl.source import Door, version_of
from reverse_etl.tables import runs, syncs
from serving.content.sync import Sync
from serving.store import Store


def interrupted(store: Store) -> frozenset[str]:
    """Syncs with a run that neither ended nor waits for a person."""
    query = select(runs.c.sync).where(runs.c.state.in_(UNFINISHED)).distinct()
    with store.read() as connection:
        return frozenset(connection.execute(query).scalars())


def unseen_version(project: Door, sync: Sync) -> int | None:
    """The version that serves, unless the newest run of the sync was made for it."""
    query = (
        select(runs.c.version)
        .where(runs.c.sync == sync.name, runs.c.version.is_not(None))
        .order_by(desc(runs.c.id))
        .limit(1)
    )
    with project.store.read() as connection:
        seen = connection.execute(query).scalar()
    current = version_of(project)
    return None if current == seen else current


def unfollowed_run(store: Store, sync: Sync, parent: str) -> int | None:
    """The newest run of `parent` that ended `done`, unless a run of the sync has begun since.

    Runs that ended before the sync was first seen do not count.
    """
    done = (
        select(runs.c.id, runs.c.ended_at)
        .where(runs.c.sync == parent, runs.c.state == "done", runs.c.undo_of.is_(None))
        .order_by(desc(runs.c.ended_at))
        .limit(1)
    )
    with store.read() as connection:
        newest = connection.execute(done).one_or_none()
        since = connection.execute(select(syncs.c.last_fire).where(syncs.c.sync == sync.name)).scalar()
        if newest is None or since is None or newest.ended_at <= since:
            return None
        followed = exists().where(runs.c.sync == sync.name, runs.c.started_at >= newest.ended_at)
        return None if connection.execute(select(followed)).scalar() else int(newest.id)
