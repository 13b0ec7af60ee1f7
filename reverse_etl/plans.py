"""Plans that people looked at: kept until they are delivered, or no longer hold.

A plan holds as long as what it was made from does: the version of the marts, the ledger,
the files of the sync, its destination and the policy.
"""

import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Row, desc, insert, select, update

from reverse_etl import approvals
from reverse_etl.counts import Counts, Profile, counts_from_json, profile_from_json
from reverse_etl.errors import UnknownSync
from reverse_etl.guard import Trip, trips_from_json, trips_to_json
from reverse_etl.journal import Order
from reverse_etl.price import Price, price_from_json
from reverse_etl.source import Door, find_destination, find_sync, version_of
from reverse_etl.tables import ledgers, plans, prepare, runs
from reverse_etl.unwritable import writing
from serving.content.policy import Policy
from serving.content.sync import Sync

_POLICY = TypeAdapter(Policy)
KEPT = 3  # plans of a sync whose files stay, the newest


@dataclass(frozen=True)
class Basis:
    """What a plan was made from, and what was asked for."""

    version: int  # of the marts
    ledger: str | None  # its file; None: nothing was delivered yet
    content: str  # digest of the files that decide what is sent
    policy: str  # digest of the policy alone
    full: bool = False
    adopt: bool = False
    retry_of: int | None = None
    undo_of: int | None = None


@dataclass(frozen=True)
class SavedPlan:
    """A plan with its files, its numbers, what its guard said and what it costs."""

    id: int
    sync: str
    target: str
    folder: Path
    basis: Basis
    counts: Counts
    profile: Profile
    trips: tuple[Trip, ...]
    price: Price
    made_by: str
    made_at: datetime

    @property
    def version(self) -> int:
        """The version of the marts it was made from."""
        return self.basis.version

    def link_into(self, folder: Path) -> None:
        """The plan's files, also under `folder`: whoever forgets the one leaves the other."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file in self.folder.glob("*.parquet"):
            try:
                os.link(file, folder / file.name)
            except OSError:  # a filesystem without hard links
                shutil.copy2(file, folder / file.name)


def content_digest(project: Door, sync: Sync) -> str:
    """Changes when the sync, its destination or the policy does."""
    destination = find_destination(project.content, sync)
    texts = (sync.model_dump_json(), destination.model_dump_json(), policy_digest(project))
    return sha256("\n".join(texts).encode()).hexdigest()


def policy_digest(project: Door) -> str:
    """Changes when the policy does."""
    return sha256(_POLICY.dump_json(project.content.policy)).hexdigest()


def current_ledger(project: Door, sync: str, target: str) -> str | None:
    """The ledger's file, relative to var/syncs/; None before the first delivery."""
    query = select(ledgers.c.file).where(ledgers.c.sync == sync, ledgers.c.target == target)
    with project.store.read() as connection:
        return connection.execute(query).scalar()


def save(project: Door, plan: SavedPlan) -> SavedPlan:
    """Record a plan as open; older ones stay on record, their files go."""
    row = {
        "sync": plan.sync,
        "target": plan.target,
        "state": "open",
        "basis": json.dumps(asdict(plan.basis)),
        "folder": str(plan.folder.relative_to(home(project))),
        "counts": plan.counts.to_json(),
        "profile": plan.profile.to_json(),
        "trips": trips_to_json(plan.trips),
        "price": plan.price.to_json(),
        "made_by": plan.made_by,
        "made_at": plan.made_at,
    }
    with writing(project.store) as connection:
        added = connection.execute(insert(plans).values(row))
    _forget(project, plan.sync)
    return replace(plan, id=int(added.inserted_primary_key[0]))  # type: ignore[index]


def open_plan(project: Door, sync: str) -> SavedPlan | None:
    """The newest plan of the sync that was not delivered and has its files; it may have moved.

    Plans of an undo or a retry are none of the sync's own.
    """
    prepare(project.store)
    query = select(plans).where(plans.c.sync == sync, plans.c.state == "open").order_by(desc(plans.c.id))
    with project.store.read() as connection:
        rows = connection.execute(query.limit(KEPT)).all()
    found = (_plan(project, row) for row in rows)
    own = (p for p in found if p.basis.undo_of is None and p.basis.retry_of is None and _whole(p))
    return next(own, None)


def find_plan(project: Door, number: int) -> SavedPlan:
    """A plan by its number; UnknownSync if there is none."""
    prepare(project.store)
    with project.store.read() as connection:
        row = connection.execute(select(plans).where(plans.c.id == number)).one_or_none()
    if row is None:
        raise UnknownSync(f"there is no plan {number}", hint="`plan SYNC` makes one")
    return _plan(project, row)


def moved(project: Door, plan: SavedPlan) -> str:
    """Empty while the plan holds, else the sentence that says why it does not."""
    sync, version = find_sync(project.content, plan.sync), version_of(project)
    if version != plan.version:
        return f"the marts moved from version {plan.version} to {version}"
    if current_ledger(project, plan.sync, plan.target) != plan.basis.ledger:
        return "a run was delivered"
    if content_digest(project, sync) != plan.basis.content:
        return "the sync, its destination or the policy changed"
    if not _whole(plan):
        return "its files were removed"
    with project.store.read() as connection:
        state = connection.execute(select(plans.c.state).where(plans.c.id == plan.id)).scalar_one()
    return "" if state == "open" else "it was delivered"


def take(
    project: Door, plan: SavedPlan, run: int, order: Order, note: str, *, held: bool, now: datetime
) -> None:
    """The run is about this plan: it waits for a person, or delivers it and nobody else does.

    An approval that was needed is recorded with the run it was good for.
    """
    values = {
        "counts": plan.counts.to_json(),
        "profile": plan.profile.to_json(),
        "version": plan.version,
        "state": "guarded" if held else "delivering",
        "trips": trips_to_json(plan.trips),
        "plan": plan.id,
        "replanned": note or None,
        "ledger_before": plan.basis.ledger,
        "ended_at": now if held else None,
    }
    with writing(project.store) as connection:
        connection.execute(update(runs).where(runs.c.id == run).values(values))
        if not held:
            connection.execute(update(plans).where(plans.c.id == plan.id).values(state="taken"))
        if plan.trips and not held:
            by, reason = order.requested_by, order.approval or ""
            approvals.record(connection, run, by, reason, plan.trips, now)


def home(project: Door) -> Path:
    """Where all files of syncs are."""
    return project.var / "syncs"


def _whole(plan: SavedPlan) -> bool:
    return (plan.folder / "plan.parquet").exists()


def _forget(project: Door, sync: str) -> None:
    query = select(plans.c.folder).where(plans.c.sync == sync).order_by(desc(plans.c.id)).offset(KEPT)
    with project.store.read() as connection:
        old = connection.execute(query.limit(100)).scalars().all()
    for folder in old:
        shutil.rmtree(home(project) / folder, ignore_errors=True)


def _plan(project: Door, row: Row[Any]) -> SavedPlan:
    profile = profile_from_json(row.profile)
    assert profile is not None
    return SavedPlan(
        id=row.id,
        sync=row.sync,
        target=row.target,
        folder=home(project) / row.folder,
        basis=Basis(**json.loads(row.basis)),
        counts=counts_from_json(row.counts),
        profile=profile,
        trips=trips_from_json(row.trips),
        price=price_from_json(row.price),
        made_by=row.made_by,
        made_at=row.made_at,
    )
