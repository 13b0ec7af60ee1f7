"""A question and who asks it -> a plan: the text that runs, and what each mart's name means in it.

screen -> DuckDB's own tree -> sqlglot's -> marts -> governed views
"""

import threading
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeVar

from serving.built_in import BUILT_IN
from serving.content.model import Content, Mart
from serving.content.validate import near
from serving.engine.failure import EngineFailure
from serving.engine.pool import Pool
from serving.engine.process import Parameters, Run, Snapshot
from serving.engine.wire import Message
from serving.errors import QueryRefused, QueryStopped
from serving.governance.access import View, governed_view, visible_marts
from serving.governance.aggregate_only import aggregate_only
from serving.governance.entitlements import LOOKUP_LIMIT, Built
from serving.governance.names import parse_question, table_names
from serving.governance.refusal import NotAllowed, Reason
from serving.governance.row_rules import asks_for_address
from serving.governance.screen import screen
from serving.governance.tree import Reading, read_tree
from serving.identity import User
from serving.log_files import LogFile
from serving.marts.artifact import MartFile
from serving.marts.publish import Version
from serving.spoken import spoken
from serving.sync_log_mart import SYNC_LOG

PARSE_SECONDS = 5.0
QUEUE_SECONDS = 30.0
CACHED = 2_000  # readings of texts, views of rights, and plans, kept at most
V = TypeVar("V")


@dataclass(frozen=True)
class Pinned:
    """A version, and its files under aliases that nobody can guess."""

    version: Version
    snapshot: Snapshot
    log: Mapping[str, LogFile] = field(default_factory=dict)  # the sync log, where the question reads it

    def rows(self, mart: str) -> int:
        """How many rows the mart's file has; 0 for rows that come with the question."""
        known: Mapping[str, MartFile | LogFile] = self.log if mart in self.log else self.version.marts
        return known[mart].rows if mart in known else 0

    def with_log(self, files: Mapping[str, LogFile]) -> "Pinned":
        """The same version, and the sync log as those files have it; marts without one are empty."""
        paths = {name: file.path for name, file in files.items()}
        return replace(self, snapshot=self.snapshot.joined(paths, SYNC_LOG.keys() - paths.keys()), log=files)


@dataclass(frozen=True, eq=False)
class Plan:
    """A question that may run: its text, and what each mart name in it means, over which files."""

    sql: str
    views: tuple[View, ...]
    pinned: Pinned
    columns: tuple[str, ...] = ()  # mart.column of everything that the text can mean

    @property
    def bodies(self) -> tuple[tuple[str, str], ...]:
        """Each mart's name, and the body of its view over the files of the version."""
        return tuple((view.mart, view.over(self.pinned.snapshot.aliases)) for view in self.views)

    @property
    def guests(self) -> tuple[tuple[str, str], ...]:
        """(alias, mart) of what it reads and no file holds: those rows come with the question."""
        snapshot = self.pinned.snapshot
        read = dict.fromkeys(mart for view in self.views for mart in view.reads)
        return tuple((snapshot.aliases[mart], mart) for mart in read if mart not in snapshot.paths)

    @property
    def secure(self) -> bool:
        """Whether only SECURE VIEWs keep the rules safe."""
        return any(view.secure for view in self.views)


class Planner:
    """Makes plans, and remembers them for everybody with the same rights."""

    def __init__(self, pool: Pool, mask_key: str, log: Callable[[], Mapping[str, LogFile]] = dict) -> None:
        self.pool, self.mask_key, self.log = pool, mask_key, log
        self._logged: dict[int, Pinned] = {}
        self._lock = threading.Lock()
        self._readings: dict[str, Reading] = {}
        self._views: dict[Hashable, tuple[Content, View]] = {}
        self._plans: dict[Hashable, tuple[Content, Plan]] = {}
        self._content: Content | None = None

    def plan(self, sql: str, user: User, content: Content, pinned: Pinned, parameters: Parameters) -> Plan:
        """Check the text and bind its names; raises QueryRefused."""
        self._see(content)
        key = (sql, rights(user, content), _names_of(parameters))
        known = self._plans.get(key)
        if known is not None and known[0] is content and self._holds(known[1], pinned):
            return known[1]
        plan = self._plan(sql, user, content, pinned, parameters)
        _keep(self._plans, key, (content, plan))
        return plan

    def view(self, mart: str, user: User, content: Content, pinned: Pinned) -> View:
        """The user's view of a mart; raises QueryRefused where the policy does not fit the mart."""
        self._see(content)
        key = (pinned.version.number, mart, rights(user, content))
        known = self._views.get(key)
        if known is None or known[0] is not content:
            lookup = _Lookup(self.pool, pinned.snapshot)
            built = built_columns(pinned.version)
            known = (content, governed_view(content, mart, built, user, self.mask_key, lookup))
            _keep(self._views, key, known)
        return known[1]

    def _see(self, content: Content) -> None:
        """Forget what was made for content that was replaced."""
        if content is not self._content:
            self._views, self._plans, self._content = {}, {}, content

    def _plan(self, sql: str, user: User, content: Content, pinned: Pinned, parameters: Parameters) -> Plan:
        text = screen(sql)
        reading = self._reading(text)  # first: it bounds what the slower parser has to read
        if _names(text) != reading.tables:  # the two parsers see different tables: trust neither
            hint = "write it more plainly, names without quotes"
            raise NotAllowed(Reason.TWO_READINGS, "the query can be read in two ways", hint=hint)
        _check_parameters(reading, parameters)
        marts = _marts(reading, content, pinned.version, user)
        views = tuple(self.view(mart, user, content, pinned) for mart in marts)
        pinned = self._logging(pinned, views)
        if any(view.aggregate for view in views):
            text = self._in_aggregates(text, views, content, pinned, parameters)
        return Plan(text, views, pinned, tuple(_columns(reading, views)))

    def _holds(self, plan: Plan, pinned: Pinned) -> bool:
        return plan.pinned is self._logging(pinned, plan.views)

    def _logging(self, pinned: Pinned, views: Collection[View]) -> Pinned:
        """What was pinned, with the sync log of this moment where the views read it."""
        if all(SYNC_LOG.keys().isdisjoint(view.reads) for view in views):
            return pinned
        files = self.log()
        with self._lock:
            known = self._logged.get(pinned.version.number)
            if known is None or known.snapshot.base is not pinned.snapshot or known.log != files:
                known = pinned.with_log(files)
                _keep(self._logged, pinned.version.number, known)
            return known

    def _in_aggregates(
        self, text: str, views: tuple[View, ...], content: Content, pinned: Pinned, parameters: Parameters
    ) -> str:
        """The text as it may run over marts that answer in aggregates only."""

        def parsed(given: str) -> Message:
            return self.pool.parse(given, PARSE_SECONDS, QUEUE_SECONDS)

        def printed(tree: Mapping[str, Any]) -> str:
            return self.pool.print(dict(tree), PARSE_SECONDS, QUEUE_SECONDS)

        try:
            plan = Plan(text, views, pinned)
            nothing = {guest: BUILT_IN[guest[1]].schema.empty_table() for guest in plan.guests}
            run = Run(text, plan.bodies, None, None, parameters=parameters, tables=nothing)
            self._bind(run, pinned)
            return aggregate_only(
                parsed(text),
                {view.mart: view.aggregate for view in views if view.aggregate is not None},
                {view.mart: view.columns for view in views},
                parsed,
                printed,
                {view.mart: _measured(content.marts[view.mart]) for view in views},
            )
        except EngineFailure as failure:
            secrets = (self.mask_key, *pinned.snapshot.aliases.values())
            raise spoken(failure, PARSE_SECONDS, secrets=secrets, cancelled=False) from failure

    def _bind(self, run: Run, pinned: Pinned) -> None:
        """Let the engine look at the text as it was written, so that its errors point into that."""
        try:
            self.pool.plan(pinned.snapshot, run, PARSE_SECONDS, QUEUE_SECONDS)
        except EngineFailure as failure:
            if failure.kind == "bind":
                raise

    def _reading(self, text: str) -> Reading:
        if (known := self._readings.get(text)) is not None:
            return known
        try:
            tree = self.pool.parse(text, PARSE_SECONDS, QUEUE_SECONDS)
        except EngineFailure as failure:
            raise spoken(failure, PARSE_SECONDS, secrets=(), cancelled=False) from failure
        reading = read_tree(tree)
        _keep(self._readings, text, reading)
        return reading


def built_columns(version: Version) -> Built:
    """Mart -> column -> type of everything that can be asked in a version."""
    return {name: dict(file.columns) for name, file in version.marts.items()} | {
        name: live.types for name, live in BUILT_IN.items()
    }


def rights(user: User, content: Content) -> Hashable:
    """What decides a person's views: two people with the same rights see the same."""
    personal = any(asks_for_address(rule.where) for rule in content.policy.rows)
    attributes = tuple(sorted(user.attributes.items()))
    return (user.roles, attributes, user.email if personal else None)


def _keep(kept: dict[Hashable, V] | dict[str, V] | dict[int, V], key: Any, value: V) -> None:
    if len(kept) >= CACHED:
        kept.clear()
    kept[key] = value


@lru_cache(maxsize=CACHED)
def _names(text: str) -> frozenset[str]:
    return table_names(parse_question(text))


def _names_of(parameters: Parameters) -> tuple[str, ...]:
    if isinstance(parameters, Mapping):
        return tuple(sorted(parameters))
    return tuple(str(position + 1) for position in range(len(parameters or ())))


def _check_parameters(reading: Reading, parameters: Parameters) -> None:
    given = set(_names_of(parameters))
    if missing := sorted(reading.parameters - given):
        raise QueryRefused(
            f"the parameter ${missing[0]} has no value", hint="give one for each ? or $name of the query"
        )
    if unknown := sorted(given - reading.parameters):
        raise QueryRefused(
            f"the query has no parameter ${unknown[0]}", hint=near(unknown[0], reading.parameters)
        )


def _marts(reading: Reading, content: Content, version: Version, user: User) -> tuple[str, ...]:
    """The marts the query may mean; a name that is neither mart nor CTE is refused."""
    visible = visible_marts(content, user)
    found = sorted(name for name in reading.tables if name in visible)
    for name in sorted(reading.tables - reading.ctes - set(found)):
        hint = near(name, visible) or "the catalog lists the marts you may see"
        raise NotAllowed(Reason.NAME, f"there is no mart '{name}' for you", hint=hint)
    built = built_columns(version)
    for name in found:
        if name not in built:
            raise QueryRefused(
                f"the mart '{name}' is not built in version {version.number}", hint="build first"
            )
    if reading.shows_tables:
        return tuple(sorted(set(visible) & built.keys()))
    return tuple(found)


def _measured(mart: Mart) -> list[str]:
    return [measure.expr for measure in mart.measures.values() if measure.agg and measure.expr]


def _columns(reading: Reading, views: tuple[View, ...]) -> list[str]:
    return [
        f"{view.mart}.{name}"
        for view in views
        for name in view.columns
        if reading.every_column or name.lower() in reading.columns
    ]


@dataclass(frozen=True)
class _Lookup:
    """Reads an entitlement mart as it is, before the question: rules are never asked through views."""

    pool: Pool
    snapshot: Snapshot

    def __call__(self, mart: str, column: str, predicate: str) -> tuple[object, ...]:
        """The distinct values of the column where the predicate holds, one more than rules may list."""
        table = f'"{self.snapshot.aliases[mart]}"."{mart}"'
        kept = f'({predicate}) AND "{column}" IS NOT NULL'
        sql = f'SELECT DISTINCT "{column}" FROM {table} WHERE {kept} ORDER BY 1'
        run = Run(sql, (), LOOKUP_LIMIT + 1, None)
        try:
            found = self.pool.look_up(self.snapshot, run, PARSE_SECONDS, QUEUE_SECONDS)
        except EngineFailure as failure:
            hint = "try again in a moment"
            raise QueryStopped(f"the entitlements in '{mart}' could not be read", hint=hint) from failure
        return tuple(found.column(0).to_pylist())
