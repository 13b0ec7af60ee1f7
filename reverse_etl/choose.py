"""Which plan a run delivers, and whether it may without asking a person again."""

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Row, desc, select

from reverse_etl.accounts import Account
from reverse_etl.errors import SyncError, UnknownSync
from reverse_etl.guard import Trip, trips_from_json, worse
from reverse_etl.journal import Order
from reverse_etl.plans import SavedPlan, find_plan, moved, open_plan
from reverse_etl.propose import propose
from reverse_etl.source import Door
from reverse_etl.tables import runs
from serving.content.sync import Sync

BY_ITSELF = ("schedule", "build", "sync")  # triggers that nobody looks at


def choose_plan(
    project: Door, sync: Sync, account: Account, order: Order, now: datetime
) -> tuple[SavedPlan, str]:
    """The plan that a person looked at, while it holds; else a new one, and the sentence why."""
    seen = None
    if order.plan is not None:
        seen = _named(project, sync, order.plan)
        order = replace(order, full=seen.basis.full, adopt=seen.basis.adopt, retry_of=seen.basis.retry_of)
    elif order.trigger not in BY_ITSELF:
        seen = open_plan(project, sync.name)
        if seen is not None and not _same_wish(seen, order):
            seen = None
    if seen is None or order.undo_of is not None:  # what an undo finds may change at any moment
        return propose(project, sync, account, order, now), ""
    if not (why := moved(project, seen)):
        return seen, ""
    plan = propose(project, sync, account, order, now)
    return plan, f"plan {seen.id} does not hold any more: {why}; planned again as plan {plan.id}"


def may_pass(project: Door, plan: SavedPlan, order: Order, run: int) -> bool:
    """Whether the guard has nothing against the plan, or a person let just this pass.

    An approval is for what the person saw: a plan that goes beyond it waits again.
    """
    if not plan.trips:
        return True
    if order.approval is None:
        return False
    seen = _seen(project, plan.sync, order, run)
    return seen is None or not worse(plan.trips, seen)


def still_held(project: Door, sync: Sync) -> tuple[Row[tuple[object, ...]], tuple[Trip, ...]] | None:
    """The newest run, if a person has still to decide about just what would be planned again."""
    last = _last_run(project, sync.name)
    if last is None or last.state != "guarded" or last.plan is None:
        return None
    if moved(project, find_plan(project, last.plan)):
        return None
    return last, trips_from_json(last.trips)


def _named(project: Door, sync: Sync, number: int) -> SavedPlan:
    plan = find_plan(project, number)
    if plan.sync != sync.name:
        raise UnknownSync(
            f"plan {number} is one of sync {plan.sync!r}", hint=f"run {plan.sync}, or plan anew"
        )
    if plan.basis.undo_of is not None:
        run = plan.basis.undo_of
        raise SyncError(f"plan {number} is the undo of run {run}", hint=f"`undo {run}` delivers it")
    return plan


def _seen(project: Door, sync: str, order: Order, run: int) -> tuple[Trip, ...] | None:
    """What the guard said of the plan that the person looked at; None: of none."""
    if order.plan is not None:
        return find_plan(project, order.plan).trips
    last = _last_run(project, sync, before=run)
    return trips_from_json(last.trips) if last is not None and last.state == "guarded" else None


def _same_wish(plan: SavedPlan, order: Order) -> bool:
    basis = plan.basis
    planned = (basis.full, basis.adopt, basis.retry_of, basis.undo_of)
    return planned == (order.full, order.adopt, order.retry_of, order.undo_of)


def _last_run(project: Door, sync: str, *, before: int | None = None) -> Row[tuple[object, ...]] | None:
    query = select(runs).where(runs.c.sync == sync).order_by(desc(runs.c.id)).limit(1)
    if before is not None:
        query = query.where(runs.c.id < before)
    with project.store.read() as connection:
        return connection.execute(query).one_or_none()
