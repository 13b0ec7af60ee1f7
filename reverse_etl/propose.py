"""From a sync and its source to a plan that somebody can look at: ask, compare, guard, price."""

import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq
from sqlalchemy import desc, select

from connectors.budget import used_today
from connectors.protocol import Op
from reverse_etl.accounts import Account, budget_folder, open_account
from reverse_etl.adopt import adopt
from reverse_etl.counts import Profile, profile_from_json
from reverse_etl.errors import MappingInvalid, UnknownSync
from reverse_etl.guard import Trip, trips
from reverse_etl.journal import Order
from reverse_etl.judge import removal_of, writes
from reverse_etl.plan import Intent, Plan, make_plan
from reverse_etl.plans import Basis, SavedPlan, content_digest, current_ledger, home, policy_digest, save
from reverse_etl.price import Price, price
from reverse_etl.red import red_tests
from reverse_etl.source import Door, ask_source, find_sync, target_of, version_of
from reverse_etl.tables import prepare, runs
from reverse_etl.undo import UndoPlan, undo_plan
from reverse_etl.unwritable import files
from serving.content.sync import Sync

Opens = Callable[[Door, Sync], Account]


def plan_sync(
    project: Door, name: str, order: Order, *, opens: Opens = open_account, now: datetime
) -> SavedPlan:
    """What a run would do now; it is kept, and `run` delivers it. Nothing is sent."""
    prepare(project.store)
    sync = find_sync(project.content, name)
    return propose(project, sync, opens(project, sync), order, now)


def plan_undo(
    project: Door, number: int, *, by: str, opens: Opens = open_account, now: datetime
) -> SavedPlan:
    """What the undo of a run would send, and `left.parquet`: what it would leave as it is, and why."""
    prepare(project.store)
    with project.store.read() as connection:
        name = connection.execute(select(runs.c.sync).where(runs.c.id == number)).scalar()
    if name is None:
        raise UnknownSync(f"there is no run {number}", hint="`runs` lists them")
    return plan_sync(project, name, Order(by, "undo", undo_of=number), opens=opens, now=now)


def propose(project: Door, sync: Sync, account: Account, order: Order, now: datetime) -> SavedPlan:
    """Make and keep a plan; MappingInvalid where the destination cannot do what the sync wants."""
    check_abilities(sync, account)
    target = target_of(sync)
    ledger = current_ledger(project, sync.name, target)
    # Before the source is asked: a policy that changes meanwhile makes the plan stale, not valid.
    content, policy = content_digest(project, sync), policy_digest(project)
    folder = home(project) / sync.name / "plans" / uuid.uuid4().hex
    with files(f"the plan of {sync.name}"):
        folder.mkdir(parents=True)
        made, version = _made(project, sync, account, order, ledger, folder, now)
    basis = Basis(
        version,
        ledger,
        content,
        policy,
        order.full,
        order.adopt,
        order.retry_of,
        order.undo_of,
    )
    saved = SavedPlan(
        id=0,
        sync=sync.name,
        target=target,
        folder=folder,
        basis=basis,
        counts=made.counts,
        profile=made.profile,
        trips=_trips(project, sync, target, made, order),
        price=_price(project, account, made),
        made_by=order.requested_by,
        made_at=now,
    )
    return save(project, saved)


def check_abilities(sync: Sync, account: Account) -> None:
    """Refuse, at file:line, what the destination cannot do."""
    capabilities = account.destination.capabilities
    wanted: dict[Op, str] = {writes(sync): "mode"}
    if (removal := removal_of(sync)) is not None:
        wanted[removal] = "on_removed"
    for op, key in wanted.items():
        if op not in capabilities.ops:
            raise MappingInvalid(
                f"{sync.at(key)}: {sync.destination}/{sync.object} cannot {op}",
                hint=f"it can {', '.join(sorted(capabilities.ops))}",
            )


def run_folder(project: Door, sync: str, number: int) -> Path:
    """Where the files of a run are."""
    return home(project) / sync / str(number)


def _made(
    project: Door, sync: Sync, account: Account, order: Order, ledger: str | None, folder: Path, now: datetime
) -> tuple[Plan | UndoPlan, int]:
    """The files of the plan, and the version of the marts that they speak of."""
    if order.undo_of is not None:
        return undo_plan(project, sync, order.undo_of, account, folder, now), version_of(project) or 0
    capabilities = account.destination.capabilities
    forced = () if order.retry_of is None else _not_accepted(project, sync, order.retry_of)
    table, version = ask_source(project, sync)
    adopted = adopt(sync, account, folder, table.schema) if order.adopt else None
    intent = Intent(
        now,
        capabilities.resend,
        order.full,
        forced,
        capabilities.partial,
        capabilities.cleared,
        adopted,
    )
    return make_plan(sync, table, home(project) / ledger if ledger else None, folder, intent), version


def _not_accepted(project: Door, sync: Sync, run: int) -> tuple[str, ...]:
    outcomes = run_folder(project, sync.name, run) / "outcomes.parquet"
    if not outcomes.exists():
        raise UnknownSync(f"run {run} of {sync.name!r} has no outcomes to retry", hint="see `runs`")
    wanted = ["rejected", "deferred", "unknown"]
    table = pq.read_table(outcomes, columns=["key"], filters=[("verdict", "in", wanted)])
    return tuple(key for key in table.column("key").to_pylist() if key is not None)


def let_pass(project: Door, sync: str, target: str) -> Profile | None:
    """What the source looked like when a run of it was last let pass."""
    query = (
        select(runs.c.profile)
        .where(runs.c.sync == sync, runs.c.target == target)
        .where(runs.c.undo_of.is_(None), runs.c.profile.is_not(None), runs.c.state != "guarded")
        .order_by(desc(runs.c.id))
        .limit(1)
    )
    with project.store.read() as connection:
        return profile_from_json(connection.execute(query).scalar())


def _trips(project: Door, sync: Sync, target: str, made: Plan | UndoPlan, order: Order) -> tuple[Trip, ...]:
    if order.undo_of is not None:  # it reads no source: only what it changes can be too much
        return trips(made.counts, sync.guard.model_copy(update={"min_rows": 0}))
    red = red_tests(project, sync) if sync.guard.red_tests == "hold" else ()
    return trips(made.counts, sync.guard, made.profile, let_pass(project, sync.name, target), red)


def _price(project: Door, account: Account, made: Plan | UndoPlan) -> Price:
    limits = account.limits
    return price(
        made.sizes,
        account.destination.capabilities,
        per_second=limits.per_second,
        per_minute=limits.per_minute,
        per_day=limits.per_day,
        used_today=used_today(budget_folder(project.var), account.name),
    )
