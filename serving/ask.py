"""THE door: every query of every surface comes through `Door.ask`.

screen -> parse -> check with both parsers -> bind names to governed views -> run
-> (on a data error) run again on the secure twins -> audit
"""

import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa

from serving.answer import Answer, Limits, Receipt
from serving.audit import Audit, Outcome
from serving.content.model import Content
from serving.content.validate import near
from serving.engine.pool import Pool
from serving.engine.process import Cancel, EngineFailure, Snapshot, SnapshotGone, WorkerProcess
from serving.errors import QueryFailed, QueryRefused, QueryStopped, SluiceError
from serving.governance.access import View, governed_view, visible_marts
from serving.governance.names import parse_question, table_names
from serving.governance.screen import screen
from serving.governance.tree import Reading, read_tree
from serving.identity import User
from serving.marts.publish import Version

PARSE_SECONDS = 5.0
QUEUE_SECONDS = 30.0
CACHED = 2_000  # readings of texts, and views of users, kept at most
PINS = 5  # versions tried where files vanish between pinning and opening

Facts = dict[str, str | int | float | None]  # columns of the audit


@dataclass(frozen=True)
class Question:
    """What somebody asks, through which surface, and how much it may cost."""

    sql: str
    user: User
    surface: str
    limits: Limits


@dataclass(frozen=True)
class Pinned:
    """A version, and its files under aliases that nobody can guess."""

    version: Version
    snapshot: Snapshot


@dataclass(frozen=True)
class Plan:
    """A question that may run: its text, and what each mart name in it means, over which files."""

    sql: str
    views: tuple[View, ...]
    pinned: Pinned


class Door:
    """Answers questions over the published marts; safe to share between threads."""

    def __init__(self, pool: Pool, audit: Audit, mask_key: str) -> None:
        self.pool, self.audit, self.mask_key = pool, audit, mask_key
        self._readings: dict[str, Reading] = {}
        self._views: dict[tuple[object, ...], tuple[Content, View]] = {}

    def ask(
        self, question: Question, content: Content, pin: Callable[[], Pinned], cancel: Cancel | None = None
    ) -> Answer:
        """The governed answer; raises QueryRefused (or QueryFailed, QueryStopped) with the reason.

        `pin` gives the version to ask; it is called again where that version's files vanish
        before a worker has opened them.
        """
        started = time.monotonic()
        number = self.audit.begin(question.user.email, question.surface, question.sql)
        facts: Facts = {}
        try:
            for _ in range(PINS):
                pinned = pin()
                facts = {"version": pinned.version.number}
                with suppress(SnapshotGone):
                    plan = self.plan(question.sql, question.user, content, pinned)
                    facts |= _facts(plan)
                    table = self._run(plan, question.limits, cancel or Cancel())
                    break
            else:
                raise QueryStopped("the marts changed too often meanwhile", hint="ask again")
        except BaseException as error:
            facts["seconds"] = round(time.monotonic() - started, 4)
            facts["reason"] = error.problem if isinstance(error, SluiceError) else type(error).__name__
            self.audit.end(number, _outcome(error), **facts)
            raise
        answer = _answer(plan, question.limits, table, number, time.monotonic() - started)
        facts |= {"rows": answer.receipt.rows, "seconds": answer.receipt.seconds}
        self.audit.end(number, "answered", **facts)
        return answer

    def plan(self, sql: str, user: User, content: Content, pinned: Pinned) -> Plan:
        """Check the text and bind its names; raises QueryRefused."""
        text = screen(sql).strip().rstrip(";")
        names = _names(text)
        reading = self._reading(text, pinned.snapshot)
        if names != reading.tables:  # the two parsers see different tables: trust neither
            hint = "write it more plainly, names without quotes"
            raise QueryRefused("the query can be read in two ways", hint=hint)
        marts = _marts(reading, content, pinned.version, user)
        return Plan(text, tuple(self._view(mart, user, content, pinned.version) for mart in marts), pinned)

    def _view(self, mart: str, user: User, content: Content, version: Version) -> View:
        """The user's view of a mart; kept while content, version and rights stay the same."""
        key = (version.number, mart, user.email, user.roles, tuple(sorted(user.attributes.items())))
        known = self._views.get(key)
        if known is None or known[0] is not content:
            if len(self._views) > CACHED:
                self._views.clear()
            types = dict(version.marts[mart].columns)
            known = (content, governed_view(content, mart, types, user, self.mask_key))
            self._views[key] = known
        return known[1]

    def _reading(self, text: str, snapshot: Snapshot) -> Reading:
        if (known := self._readings.get(text)) is not None:
            return known
        try:
            tree = self.pool.call(snapshot, QUEUE_SECONDS, lambda worker: worker.parse(text, PARSE_SECONDS))
        except EngineFailure as failure:
            raise self._said(failure, snapshot, PARSE_SECONDS) from failure
        reading = read_tree(tree)
        if len(self._readings) > CACHED:
            self._readings.clear()
        self._readings[text] = reading
        return reading

    def _run(self, plan: Plan, limits: Limits, cancel: Cancel) -> pa.Table:
        """Run a checked question; the table has one row more than the limit where it was cut."""
        snapshot = plan.pinned.snapshot
        views = [(view.mart, view.over(snapshot.aliases[view.mart])) for view in plan.views]

        def run(*, secure: bool) -> pa.Table:
            def work(worker: WorkerProcess) -> pa.Table:
                return worker.run(
                    plan.sql, views, rows=limits.rows, seconds=limits.seconds, secure=secure, cancel=cancel
                )

            return self.pool.call(snapshot, QUEUE_SECONDS, work)

        try:
            try:
                return run(secure=False)
            except EngineFailure as failure:
                if failure.kind != "data":
                    raise
                # the optimistic run may have stumbled over a hidden row; the secure twins cannot
                return run(secure=True)
        except EngineFailure as failure:
            raise self._said(failure, snapshot, limits.seconds, cancelled=cancel.event.is_set()) from failure

    def _said(
        self, failure: EngineFailure, snapshot: Snapshot, seconds: float, *, cancelled: bool = False
    ) -> QueryRefused:
        """An engine's failure as the person may read it, without what they must not know."""
        hidden = (self.mask_key, *snapshot.aliases.values())
        if any(secret in failure.text for secret in hidden):
            failure = EngineFailure(failure.kind, "the query does not fit the marts it reads")
        return _said(failure, seconds, cancelled=cancelled)


def _facts(plan: Plan) -> Facts:
    return {
        "marts": ", ".join(view.mart for view in plan.views),
        "policies": "; ".join(text for view in plan.views for text in (*view.policies, *view.unsaid)),
    }


def _answer(plan: Plan, limits: Limits, table: pa.Table, number: int, seconds: float) -> Answer:
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
        seconds=round(seconds, 4),
    )
    return Answer(table, receipt)


@lru_cache(maxsize=1_000)
def _names(text: str) -> frozenset[str]:
    return table_names(parse_question(text))


def _marts(reading: Reading, content: Content, version: Version, user: User) -> tuple[str, ...]:
    """The marts the query may mean; a name that is neither mart nor CTE is refused."""
    visible = visible_marts(content, user)
    found = sorted(name for name in reading.tables if name in visible)
    for name in sorted(reading.tables - reading.ctes - set(found)):
        hint = near(name, visible) or "the catalog lists the marts you may see"
        raise QueryRefused(f"there is no mart '{name}' for you", hint=hint)
    for name in found:
        if name not in version.marts:
            raise QueryRefused(
                f"the mart '{name}' is not built in version {version.number}", hint="build first"
            )
    return tuple(found)


def _said(failure: EngineFailure, seconds: float, *, cancelled: bool) -> QueryRefused:
    match failure.kind:
        case "stopped" if cancelled:
            return QueryStopped("the query was cancelled")
        case "stopped":
            return QueryStopped(
                f"the query ran longer than {seconds:g} s", hint="filter it, or aggregate earlier"
            )
        case "memory":
            return QueryStopped(
                "the query needs more memory than it may use", hint="filter it, or aggregate earlier"
            )
        case "busy":
            return QueryStopped("all workers are busy", hint="try again in a moment")
        case "crashed":
            return QueryStopped(
                "the query broke its worker, twice", hint="it asks for too much memory or depth"
            )
    words = failure.text.split("\n\nLINE ")[0]
    kind = QueryRefused if failure.kind == "bind" else QueryFailed
    return kind(_plain(_CLASS.sub("", words)), hint=_place(failure.text))


_CLASS = re.compile(r"^(Binder|Catalog|Parser|Syntax|Conversion|Invalid Input|Out of Range) Error: ")


def _plain(words: str) -> str:
    return " ".join(words.replace("\x1b", " ").split())


def _place(text: str) -> str:
    """Where in the person's own text the engine pointed, as `line 2: …`."""
    _, found, context = text.partition("\n\nLINE ")
    return f"line {_plain(context.splitlines()[0])}" if found else ""


def _outcome(error: BaseException) -> Outcome:
    if isinstance(error, QueryStopped):
        return "stopped"
    return "refused" if isinstance(error, QueryRefused) and not isinstance(error, QueryFailed) else "failed"
