"""THE door: every query of every surface comes through `Door.ask`.

audit -> plan (screen, both parsers, governed views) -> run
-> (on a data error) run again on the secure twins -> audit
"""

import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import pyarrow as pa

from serving import audit_mart
from serving.answer import Answer, Limits, Receipt
from serving.audit import Audit, Facts, Outcome
from serving.built_in import BUILT_IN
from serving.content.model import Content
from serving.engine.failure import EngineFailure, SnapshotGone
from serving.engine.lanes import Lane, Share
from serving.engine.pool import Pool
from serving.engine.process import Cancel, Parameters, Run
from serving.engine.result_cache import ResultCache
from serving.entitled import PARSE_SECONDS, QUEUE_SECONDS
from serving.errors import QueryFailed, QueryRefused, QueryStopped, SluiceError
from serving.identity import User
from serving.log_files import LogFile
from serving.marts.publish import Version
from serving.plan import Asked, Pinned, Plan
from serving.planning import Planner
from serving.semantic.model import Claim
from serving.spoken import spoken

PINS = 5  # versions tried where files vanish between pinning and opening
SMALL = 300_000  # rows of all marts of a question below which nobody need guess how heavy it is


@dataclass(frozen=True)
class Question:
    """What somebody asks, through which surface, and how much it may cost."""

    asked: Asked
    user: User
    surface: str
    limits: Limits
    parameters: Parameters = None  # values for `?` by position, or for `$name` by name


class Door:
    """Answers questions over the published marts; safe to share between threads."""

    def __init__(
        self,
        pool: Pool,
        audit: Audit,
        mask_key: str,
        log: Callable[[], Mapping[str, LogFile]],
        proven: Callable[[Version, Content], tuple[frozenset[Claim], bool]],
        cache_bytes: int,
    ) -> None:
        self.pool, self.audit, self.mask_key = pool, audit, mask_key
        self.cache = ResultCache(cache_bytes)
        self.planner = Planner(pool, mask_key, log, proven)
        self._audited = audit_mart.AuditRows(audit)
        self._lanes: WeakKeyDictionary[Plan, Lane] = WeakKeyDictionary()

    def ask(
        self, question: Question, content: Content, pin: Callable[[], Pinned], cancel: Cancel | None = None
    ) -> Answer:
        """The governed answer; raises QueryRefused (or QueryFailed, QueryStopped) with the reason.

        `pin` gives the version to ask; it is called again where that version's files vanish
        before a worker has opened them.
        """
        started = time.monotonic()
        number = self.audit.begin(
            question.user.email, question.surface, question.asked.text, question.parameters
        )
        facts = Facts()
        try:
            for _ in range(PINS):
                pinned = pin()
                facts = Facts(version=pinned.version.number)
                with suppress(SnapshotGone):
                    plan = self.planner.plan(
                        question.asked, question.user, content, pinned, question.parameters
                    )
                    facts = _facts(plan)
                    table, cached = self._answer(plan, question, cancel or Cancel())
                    break
            else:
                raise QueryStopped("the marts changed too often meanwhile", hint="ask again")
        except BaseException as error:
            reason = error.problem if isinstance(error, SluiceError) else type(error).__name__
            self.audit.end(
                number, _outcome(error), replace(facts, reason=reason, milliseconds=_since(started))
            )
            raise
        milliseconds = _since(started)
        answer = _answer(plan, question.limits, table, cached, number, milliseconds)
        facts = replace(facts, rows=answer.receipt.rows, milliseconds=milliseconds)
        self.audit.end(number, "answered", facts)
        return answer

    def _answer(self, plan: Plan, question: Question, cancel: Cancel) -> tuple[pa.Table, bool]:
        """The answer, and whether it was kept from an earlier run."""
        key = _key(plan, question)
        if key is None:
            return self._run(plan, question, cancel), False
        seconds = question.limits.seconds
        return self.cache.answer(key, lambda: self._run(plan, question, cancel), seconds, cancel.event.is_set)

    def _run(self, plan: Plan, question: Question, cancel: Cancel) -> pa.Table:
        """Run a checked question; the table has one row more than the limit where it was cut."""
        limits, aliases = question.limits, plan.pinned.snapshot.aliases
        run = Run(
            plan.sql,
            plan.bodies,
            limits.rows,
            limits.bytes,
            secure=plan.secure,
            parameters=question.parameters,
            tables=self._tables(plan),
        )
        try:
            try:
                return self._turn(plan, run, question, cancel)
            except EngineFailure as failure:
                if failure.kind != "data" or run.secure:
                    raise
                # the optimistic run may have stumbled over a hidden row; the secure twins cannot
                return self._turn(plan, replace(run, secure=True), question, cancel)
        except EngineFailure as failure:
            secrets = (self.mask_key, *aliases.values())
            cancelled = cancel.event.is_set()
            raise spoken(failure, limits.seconds, secrets=secrets, cancelled=cancelled) from failure

    def _tables(self, plan: Plan) -> Mapping[tuple[str, str], pa.Table]:
        """What comes with the question because no file holds it: the audit, as of now."""
        return {
            (alias, mart): self._audited.table()
            if mart == audit_mart.NAME
            else BUILT_IN[mart].schema.empty_table()  # no sync ever ran
            for alias, mart in plan.guests
        }

    def _turn(self, plan: Plan, run: Run, question: Question, cancel: Cancel) -> pa.Table:
        limits = question.limits
        share = Share(question.user.email, limits.concurrent, limits.queued)

        def learn(lane: Lane) -> None:
            self._lanes[plan] = lane  # what it did counts more than what was guessed

        return self.pool.run(
            plan.pinned.snapshot,
            run,
            self.lane(plan, run),
            share,
            seconds=limits.seconds,
            wait=QUEUE_SECONDS,
            cancel=cancel,
            learn=learn,
        )

    def lane(self, plan: Plan, run: Run) -> Lane:
        """A coarse guess, made once for a plan; a light question that proves slow changes lanes."""
        if (known := self._lanes.get(plan)) is not None:
            return known
        lane: Lane = "light"
        if sum(plan.pinned.rows(view.mart) for view in plan.views) > SMALL:
            with suppress(EngineFailure):  # what is wrong with the question shows when it runs
                lane = self.pool.plan(plan.pinned.snapshot, run, PARSE_SECONDS, QUEUE_SECONDS).weight
        self._lanes[plan] = lane
        return lane


def _since(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 1)


def _facts(plan: Plan) -> Facts:
    return Facts(
        version=plan.pinned.version.number,
        marts=plan.marts,
        columns=plan.columns,
        policies=tuple(text for view in plan.views for text in (*view.policies, *view.unsaid)),
    )


def _key(plan: Plan, question: Question) -> Hashable | None:
    """What decides an answer, or None where it may be another the next time.

    The files' names stand for what is in them; the pool's process stands for the engine's version.
    """
    if plan.volatile or plan.guests:
        return None
    limits, snapshot = question.limits, plan.pinned.snapshot
    marts = {name.partition(":")[0] for view in plan.views for name in view.reads}
    files = tuple(sorted(str(snapshot.paths[mart]) for mart in marts))
    views = tuple((view.mart, view.body) for view in plan.views)
    given = repr(question.parameters)  # texts in quotes, dates by name: equal only where the values are
    return (plan.sql, views, files, snapshot.timezone, limits.rows, limits.bytes, given)


def _answer(
    plan: Plan, limits: Limits, table: pa.Table, cached: bool, number: int, milliseconds: float
) -> Answer:
    truncated = limits.rows is not None and table.num_rows > limits.rows
    if truncated:
        table = table.slice(0, limits.rows)
    receipt = Receipt(
        question_id=number,
        sql=plan.sql,
        views={view.mart: view.shown for view in plan.views},
        version=plan.pinned.version.number,
        policies=tuple(text for view in plan.views for text in view.policies),
        masked={f"{view.mart}.{name}": mask for view in plan.views for name, mask in view.masked.items()},
        rows=table.num_rows,
        truncated=truncated,
        seconds=milliseconds / 1000,
        routes=plan.routes,
        approximate=plan.approximate,
        cached=cached,
    )
    return Answer(table, receipt)


def _outcome(error: BaseException) -> Outcome:
    if isinstance(error, QueryStopped):
        return "stopped"
    return "refused" if isinstance(error, QueryRefused) and not isinstance(error, QueryFailed) else "failed"
