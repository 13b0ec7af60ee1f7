"""A question and who asks it -> a plan: the text that runs, and what each name means in it.

screen -> DuckDB's own tree -> sqlglot's -> marts -> governed views -> measures -> rollups
"""

import threading
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeVar

from serving.built_in import BUILT_IN
from serving.content.model import Content, Mart
from serving.engine.failure import EngineFailure
from serving.engine.pool import Pool
from serving.engine.process import Parameters, Run
from serving.engine.wire import Message
from serving.entitled import PARSE_SECONDS, QUEUE_SECONDS, EntitlementLookup
from serving.errors import QueryRefused
from serving.governance.access import View
from serving.governance.aggregate_only import aggregate_only
from serving.governance.entitlements import Built
from serving.governance.names import parse_question, table_names
from serving.governance.refusal import NotAllowed, Reason
from serving.governance.row_rules import asks_for_address
from serving.governance.screen import screen
from serving.governance.shape import shape
from serving.governance.tree import Reading, read_tree
from serving.identity import User
from serving.log_files import LogFile
from serving.marts.publish import Version
from serving.meant import check_parameters, columns_meant, marts_meant, names_of
from serving.plan import Asked, Pinned, Plan
from serving.reader import Heard, Reader
from serving.semantic.asking.request import MetricRequest
from serving.semantic.compile.metrics import compile_metrics
from serving.semantic.measure.call import expand_measures
from serving.semantic.model import Claim
from serving.semantic.routing.query import Routed, route_query
from serving.semantic.routing.routes import Route
from serving.spoken import spoken
from serving.sync_log_mart import SYNC_LOG
from serving.syntax import Syntax

CACHED = 2_000  # readings of texts, and plans, kept at most
READERS = 200  # what people with the same rights read of a version
REMEMBERED = 20_000  # characters of a text whose reading is kept
V = TypeVar("V")


class Planner:
    """Makes plans, and remembers them for everybody with the same rights."""

    def __init__(
        self,
        pool: Pool,
        mask_key: str,
        log: Callable[[], Mapping[str, LogFile]],
        proven: Callable[[Version, Content], tuple[frozenset[Claim], bool]],
    ) -> None:
        self.pool, self.mask_key, self.log, self.proven = pool, mask_key, log, proven
        self._logged: dict[int, Pinned] = {}
        self._lock = threading.Lock()
        self.syntax = Syntax(self._parsed, self._print, self._reprint)
        self._readings: dict[str, tuple[Message, Reading]] = {}
        self._ours: dict[str, Reading] = {}  # of metrics, by the shape of their text
        self._readers: dict[Hashable, tuple[Content, Reader]] = {}
        self._plans: dict[Hashable, tuple[Content, Plan]] = {}
        self._content: Content | None = None

    def plan(
        self,
        asked: Asked,
        user: User,
        content: Content,
        pinned: Pinned,
        parameters: Parameters = None,
        heard: Heard | None = None,
    ) -> Plan:
        """Check what is asked and bind its names; raises QueryRefused.

        `heard` is told of each block of aggregation; such a plan is made anew each time.
        """
        self._see(content)
        key = (asked, rights(user, content), names_of(parameters))
        known = self._plans.get(key) if heard is None else None
        if known is not None and known[0] is content and self._holds(known[1], pinned):
            return known[1]
        reader = self.reader(user, content, pinned)
        if heard is not None:
            reader = replace(reader, heard=heard)
        if asked.request is None:
            plan = self._plan(asked, reader, parameters)
        else:
            plan = self._plan_metrics(asked.request, asked, reader)
        _keep(self._plans, key, (content, plan))
        return plan

    def aside(self) -> "Planner":
        """Another one with nothing in mind: for content that is not the one that serves."""
        return Planner(self.pool, self.mask_key, self.log, self.proven)

    def reader(self, user: User, content: Content, pinned: Pinned) -> Reader:
        """What the user, and everybody with the same rights, reads of the version."""
        self._see(content)
        key = (pinned.version.number, rights(user, content))
        known = self._readers.get(key)
        if known is None or known[0] is not content or not self._still(known[1], pinned):
            lookup, built = EntitlementLookup(self.pool, pinned.snapshot), built_columns(pinned.version)
            proven, whole = self.proven(pinned.version, content)
            made = Reader(content, pinned, built, user, self.mask_key, lookup, proven, whole)
            known = (content, made)
            _keep(self._readers, key, known, READERS)
        return known[1]

    def _still(self, reader: Reader, pinned: Pinned) -> bool:
        """Whether the reader is of these files, and no build has proven more of them since."""
        if reader.pinned is not pinned or reader.all_proven:
            return reader.pinned is pinned
        return self.proven(pinned.version, reader.content)[0] == reader.proven

    def _see(self, content: Content) -> None:
        """Forget what was made for content that was replaced."""
        if content is not self._content:
            self._readers, self._plans, self._content = {}, {}, content

    def _plan(self, asked: Asked, reader: Reader, parameters: Parameters) -> Plan:
        """A text: checked as written, then its measures spelled out, then over rollups where these do."""
        text = screen(asked.sql)
        tree, reading = self._read(text)  # first: it bounds what the slower parser has to read
        if _names(text) != reading.tables:  # the two parsers see different tables: trust neither
            hint = "write it more plainly, names without quotes"
            raise NotAllowed(Reason.TWO_READINGS, "the query can be read in two ways", hint=hint)
        check_parameters(reading, parameters)
        marts = marts_meant(reading, reader.content, reader.built, reader.pinned.version.number, reader.user)
        views = tuple(map(reader.view, marts))
        pinned = self._logging(reader.pinned, views)
        approximate: tuple[str, ...] = ()
        if "measure" in reading.functions:
            expanded = expand_measures(tree, reader.model, self.syntax)
            tree, approximate = dict(expanded.tree), expanded.approximate
            text = self._printed(tree)
            reading = read_tree(tree)
        columns = columns_meant(reading, views, pinned, reader.built)
        routed = self._routed(tree, asked, reader, marts)
        if any(view.aggregate for view in views):
            text = self._in_aggregates(text, views, reader.content, pinned, parameters)
        elif any(route.rollup for route in routed.routes):
            try:
                text = self._printed(routed.tree)
                views = self._bound(read_tree(routed.tree, ours=True), routed.routes, reader)
            except QueryRefused:  # no question is refused because a rollup would have been quicker
                routed = Routed(tree, ())
        return Plan(text, views, pinned, columns, routed.routes, approximate, reading.volatile)

    def _routed(self, tree: Message, asked: Asked, reader: Reader, marts: Collection[str]) -> Routed:
        if not any(reader.content.marts[mart].rollups for mart in marts):
            return Routed(tree, ())
        return route_query(tree, reader.model, reader.sourcer(asked.rollups), self.syntax)

    def _plan_metrics(self, request: MetricRequest, asked: Asked, reader: Reader) -> Plan:
        """Metrics: compiled, then the text is read again by the engine, which must see what was meant."""
        sourcer = reader.sourcer(asked.rollups)
        compiled = compile_metrics(reader.model, request, dict(asked.ranges), sourcer)
        text = screen(compiled.sql)
        reading = self._read_ours(text)
        if reading.tables - reading.ctes != compiled.reads:
            hint = "an expression in the mart's YAML reads another table: `python -m serving check`"
            raise NotAllowed(Reason.TWO_READINGS, "the metrics read more than they say", hint=hint)
        views = self._bound(reading, compiled.routes, reader)
        pinned = self._logging(reader.pinned, views)
        columns = columns_meant(reading, views, pinned, reader.built)
        if any(view.aggregate for view in views):
            text = self._in_aggregates(text, views, reader.content, pinned, None)
        return Plan(text, views, pinned, columns, compiled.routes, compiled.approximate, reading.volatile)

    def _bound(self, reading: Reading, routes: Collection[Route], reader: Reader) -> tuple[View, ...]:
        """The view behind every name that a text of ours reads."""
        rollups = {f"{route.mart}:{route.rollup}" for route in routes if route.rollup}
        names = sorted(reading.tables - reading.ctes)
        return tuple(reader.rollup(name) if name in rollups else reader.view(name) for name in names)

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

        try:
            plan = Plan(text, views, pinned)
            nothing = {guest: BUILT_IN[guest[1]].schema.empty_table() for guest in plan.guests}
            run = Run(text, plan.bodies, None, None, parameters=parameters, tables=nothing)
            self._bind(run, pinned)
            return aggregate_only(
                self._parsed(text),
                {view.mart: view.aggregate for view in views if view.aggregate is not None},
                {view.mart: view.columns for view in views},
                self._parsed,
                self._print,
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

    def _read(self, text: str) -> tuple[Message, Reading]:
        """DuckDB's tree of the text, and what it names; both may be known already."""
        if (known := self._readings.get(text)) is not None:
            return known
        tree = self._spoken_tree(text)
        found = (tree, read_tree(tree))
        if len(text) < REMEMBERED:
            _keep(self._readings, text, found)
        return found

    def _read_ours(self, text: str) -> Reading:
        """What a text of ours names; another value in it changes nothing of that."""
        key = shape(text)
        known = None if key is None else self._ours.get(key)
        if known is None:
            known = read_tree(self._spoken_tree(text), ours=True)
            if key is not None and len(key) < REMEMBERED:
                _keep(self._ours, key, known)
        return known

    def _spoken_tree(self, text: str) -> Message:
        try:
            return self._parsed(text)
        except EngineFailure as failure:
            raise spoken(failure, PARSE_SECONDS, secrets=(), cancelled=False) from failure

    def _parsed(self, text: str) -> Message:
        return self.pool.parse(text, PARSE_SECONDS, QUEUE_SECONDS)

    def _print(self, tree: Mapping[str, Any]) -> str:
        return self.pool.print(dict(tree), PARSE_SECONDS, QUEUE_SECONDS)

    def _reprint(self, tree: Mapping[str, Any]) -> tuple[str, Message]:
        return self.pool.reprint(dict(tree), PARSE_SECONDS, QUEUE_SECONDS)

    def _printed(self, tree: Mapping[str, Any]) -> str:
        try:
            return self.syntax.text(tree)
        except EngineFailure as failure:
            raise spoken(failure, PARSE_SECONDS, secrets=(), cancelled=False) from failure


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


def _keep(kept: dict[Any, V], key: Hashable, value: V, most: int = CACHED) -> None:
    if len(kept) >= most:
        kept.clear()
    kept[key] = value


@lru_cache(maxsize=CACHED)
def _names(text: str) -> frozenset[str]:
    return table_names(parse_question(text))


def _measured(mart: Mart) -> list[str]:
    return [measure.expr for measure in mart.measures.values() if measure.agg and measure.expr]
