"""A project: content, built marts and the door, held together for its callers."""

import os
import secrets
import threading
from collections.abc import Collection, Hashable, Mapping
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from serving import audit_mart, log_files
from serving.answer import Answer, Limits
from serving.ask import Door, Question
from serving.audit import Audit
from serving.built_in import BUILT_IN
from serving.content.load import read_content
from serving.content.model import Content
from serving.content.policy import Policy
from serving.engine.pool import Pool
from serving.engine.process import Cancel, Parameters, Run, Snapshot
from serving.errors import ContentInvalid, NotPublished, Problem
from serving.governance.access import View, limits_for, visible_marts
from serving.governance.rule_check import policy_problems
from serving.governance.type_check import type_problems
from serving.identity import User, find_user, people
from serving.log_files import LogFile, RefreshLog
from serving.marts import publish
from serving.marts.artifact import MartFile
from serving.marts.build import BuildResult, Report, build, silent
from serving.marts.data_tests import data_tests, question_key, test_problems
from serving.marts.graph import Graph, mart_graph
from serving.marts.publish import Version
from serving.plan import Asked, Pinned, Plan
from serving.planning import Planner, built_columns, rights
from serving.reader import Heard
from serving.rights import published
from serving.rights.grants import everybody
from serving.rights.table import access_table
from serving.semantic.asking.request import MetricRequest, Span
from serving.semantic.asking.spans import newest_columns, newest_sql, span_ranges
from serving.semantic.asking.time import TimeRange
from serving.semantic.checks.content import semantic_problems
from serving.semantic.checks.types import built_problems
from serving.semantic.model import Claim, Model
from serving.store import Store, utc_now

KNOWN = 10_000  # people remembered at most


def check_project(root: Path) -> tuple[Content, Graph, list[Problem]]:
    """Everything under `root` with every problem of every file, sorted."""
    content, problems = read_content(root, built_in={name: live.mart for name, live in BUILT_IN.items()})
    graph, graph_problems = mart_graph(content)
    problems += [
        *graph_problems,
        *test_problems(content),
        *policy_problems(content),
        *semantic_problems(content),
    ]
    return content, graph, sorted(set(problems))


class Project:
    """Safe to share between threads. Content is read again when its files change."""

    def __init__(self, root: Path, var: Path, refresh_log: RefreshLog | None = None) -> None:
        self.root, self.var = root, var
        self._refresh_log = refresh_log
        self.content, self.graph, problems = check_project(root)
        if problems:
            raise ContentInvalid(problems)
        self.problems: tuple[
            Problem, ...
        ] = ()  # of the files as they are now; `content` is the last good reading
        self._read_at = _fingerprint(root)
        self.store = Store(var / "control.sqlite")
        self.store.create(publish.metadata)
        self.store.create(published.metadata)
        self.audit = Audit(var / "audit.sqlite")
        self.marts_folder = var / "marts"
        self._pool = Pool()
        most = self.content.project.cache_megabytes * 1_000_000
        self._door = Door(self._pool, self.audit, _mask_key(var), self._log, self._proven, most)
        self._proof: tuple[int, Content, tuple[frozenset[Claim], bool]] = (
            0,
            self.content,
            (frozenset(), False),
        )
        self._newest_of = self.content
        self._newest_days: dict[Hashable, date | None] = {}
        self._pinned: dict[int, Pinned] = {}
        self._known: tuple[Policy, dict[str, User]] = (self.content.policy, {})  # people found so far
        self._lock, self._reading = threading.Lock(), threading.Lock()

    def refresh(self) -> None:
        """Read the content again if a file changed; broken files leave the last good reading in force."""
        with self._reading:
            now = _fingerprint(self.root)
            if now == self._read_at:
                return
            content, graph, problems = check_project(self.root)
            if _fingerprint(self.root) != now:
                return  # somebody still writes: half a policy may be valid, without its row rules
            self._read_at = now
            self.problems = tuple(problems)
            if not problems:
                self.content, self.graph = content, graph

    def build(
        self, only: Collection[str] = (), *, full: bool = False, report: Report = silent
    ) -> BuildResult:
        """Build what changed, test and publish it.

        Raises BuildFailed when red, and ContentInvalid where the policy does not fit the new columns;
        nothing is published then.
        """
        result = build(
            self.content,
            self.graph,
            self.store,
            self.marts_folder,
            only=only,
            full=full,
            report=report,
            check=self._check_types,
        )
        self._record_access(result.version)
        return result

    def current_version(self) -> Version | None:
        """The version that serves, or None before the first build."""
        return publish.current_version(self.store, self.marts_folder)

    def versions(self) -> list[Version]:
        """The kept versions, newest first."""
        return publish.all_versions(self.store, self.marts_folder)

    def rollback(self, number: int) -> Version:
        """Let an older version serve again."""
        return publish.rollback(self.store, self.marts_folder, number)

    def people(self) -> tuple[User, ...]:
        """Everybody the policy assigns by e-mail."""
        return people(self.content.policy)

    def user(self, email: str) -> User:
        """The person of that e-mail; raises UnknownUser."""
        policy, known = self._known
        if policy is not self.content.policy or len(known) > KNOWN:
            self._known = policy, known = self.content.policy, {}
        if email not in known:
            known[email] = find_user(policy, email)
        return known[email]

    def visible_marts(self, user: User) -> tuple[str, ...]:
        """The names of the marts that the user may read."""
        return visible_marts(self.content, user)

    def ask(
        self,
        sql: str | None = None,
        *,
        metrics: MetricRequest | None = None,
        user: User | str,
        surface: str = "python",
        limits: Limits | None = None,
        as_of: int | None = None,
        cancel: Cancel | None = None,
        parameters: Parameters = None,
        rollups: bool = True,
    ) -> Answer:
        """The governed answer to `sql`, or to a request for `metrics`, for `user` (or their e-mail).

        `limits` default to the policy's for the user; `as_of` asks a kept version instead of
        the current one; `parameters` are the values of `?` (a list) or of `$name` (a mapping);
        `rollups=False` reads the marts themselves, which gives the same values.
        Raises QueryRefused, QueryFailed, QueryStopped, UnknownUser, NotPublished.
        """
        who = self.user(user) if isinstance(user, str) else user
        asked = self._asked(sql, metrics, who, surface, as_of, rollups)
        question = Question(asked, who, surface, limits or limits_for(self.content, who), parameters)
        return self._door.ask(question, self.content, lambda: self._pin(as_of), cancel)

    def explain(
        self,
        sql: str | None = None,
        *,
        metrics: MetricRequest | None = None,
        user: User | str,
        as_of: int | None = None,
        parameters: Parameters = None,
        rollups: bool = True,
    ) -> Plan:
        """What the question means for the user, without running it; raises QueryRefused."""
        who = self.user(user) if isinstance(user, str) else user
        asked = self._asked(sql, metrics, who, "explain", as_of, rollups)
        return self._door.planner.plan(asked, who, self.content, self._pin(as_of), parameters)

    def planner(self) -> Planner:
        """A planner with nothing in mind, for `rehearse`."""
        return self._door.planner.aside()

    def rehearse(
        self,
        sql: str | None = None,
        *,
        metrics: MetricRequest | None = None,
        user: User | str,
        content: Content,
        heard: Heard,
        planner: Planner,
        parameters: Parameters = None,
    ) -> Plan:
        """As `explain`, by other content over what is built; `heard` is told of each block of aggregation."""
        who = self.user(user) if isinstance(user, str) else user
        asked = self._asked(sql, metrics, who, "suggest", None, True)
        return planner.plan(asked, who, content, self._pin(None), parameters, heard)

    def model(self, user: User) -> Model:
        """The definitions, over what the user may read of the version that serves."""
        return self._door.planner.reader(user, self.content, self._pin(None)).model

    def ranges(
        self, metrics: MetricRequest, user: User, surface: str = "python", as_of: int | None = None
    ) -> tuple[tuple[Span, TimeRange], ...]:
        """The days that each span of the request means for the user; raises QueryRefused."""
        if not metrics.spans:
            return ()
        pinned = self._pin(as_of)
        model = self._door.planner.reader(user, self.content, pinned).model
        newest = {
            column: self._newest(pinned.version.number, *column, user, surface, as_of)
            for column in newest_columns(model, metrics)
        }
        return span_ranges(model, metrics, newest, self._today())

    def weigh(self, plan: Plan, parameters: Parameters = None) -> str:
        """`light` or `heavy`: the lane that a question would run in, by a coarse guess."""
        return self._door.lane(plan, Run(plan.sql, plan.bodies, None, None, plan.secure, parameters))

    def forget_answers(self) -> None:
        """Drop every kept answer, so that the next questions run."""
        self._door.cache.clear()

    def view(self, mart: str, user: User) -> View:
        """What the mart's name means for the user; raises QueryRefused where the policy does not fit it."""
        return self._door.planner.reader(user, self.content, self._pin(None)).view(mart)

    def warm(self) -> None:
        """Start workers in the background for the questions to come."""
        with suppress(NotPublished):
            self._pool.warm(self._pin(None).snapshot)

    def close(self) -> None:
        """End the workers and let the stores go."""
        self._pool.close()
        self.store.close()
        self.audit.close()

    def _check_types(self, files: Mapping[str, MartFile]) -> list[Problem]:
        columns = {name: dict(file.columns) for name, file in files.items()}
        return [*type_problems(self.content, columns), *built_problems(self.content, columns)]

    def _record_access(self, version: Version) -> None:
        """Who sees what from now on; the policy may have changed where no mart did."""
        table = access_table(self.content, built_columns(version), everybody(self.content))
        published.record(self.store, version.number, table, utc_now())

    def _asked(
        self,
        sql: str | None,
        metrics: MetricRequest | None,
        user: User,
        surface: str,
        as_of: int | None,
        rollups: bool,
    ) -> Asked:
        if (sql is None) == (metrics is None):
            raise TypeError("ask either sql or metrics")
        if metrics is None:
            return Asked(sql=sql or "", rollups=rollups)
        return Asked(request=metrics, ranges=self.ranges(metrics, user, surface, as_of), rollups=rollups)

    def _newest(
        self, version: int, mart: str, column: str, user: User, surface: str, as_of: int | None
    ) -> date | None:
        """The last day with data that the user may see: ranges in words end there, not today."""
        key = (version, rights(user, self.content), mart, column)
        if self._newest_of is not self.content or len(self._newest_days) > KNOWN:
            self._newest_of, self._newest_days = self.content, {}
        if key not in self._newest_days:
            table = self.ask(newest_sql(mart, column), user=user, surface=surface, as_of=as_of).table
            self._newest_days[key] = next(iter(table.column(0).to_pylist()), None)
        return self._newest_days[key]

    def _proven(self, version: Version, content: Content) -> tuple[frozenset[Claim], bool]:
        """What green tests say of the version's rows, and whether that is all that the files claim.

        A key that was declared since the last build proves nothing yet.
        """
        number, known, found = self._proof
        if number == version.number and known is content and found[1]:
            return found  # nothing can be added to it
        tests = {question_key(test, version.marts): test.claim for test in data_tests(content) if test.claim}
        green = publish.tests_passed(self.store, tests)
        found = frozenset(claim for key, claim in tests.items() if key in green), len(green) == len(tests)
        self._proof = version.number, content, found
        return found

    def _today(self) -> date:
        """The day in the project's time zone."""
        return datetime.now(ZoneInfo(self.content.project.timezone)).date()

    def _log(self) -> Mapping[str, LogFile]:
        """The sync log's files as of now."""
        if self._refresh_log is not None:
            self._refresh_log(self.store, self.var)
        return log_files.current_files(self.store, self.var)

    def _pin(self, as_of: int | None) -> Pinned:
        """The version that serves now (or the kept one asked for), and its files under secret aliases."""
        number = publish.current_number(self.store) if as_of is None else as_of
        if number is None:
            raise NotPublished("nothing is published yet", hint="run `python -m serving build`")
        with self._lock:
            if number not in self._pinned or as_of is not None:
                kept = {version.number: version for version in self.versions()}
                self._pinned = {n: pinned for n, pinned in self._pinned.items() if n in kept}
                if as_of is None:  # another may serve meanwhile, and the one that did be gone
                    number = next(n for n, version in kept.items() if version.current)
            if number not in self._pinned:
                version = publish.version(self.store, self.marts_folder, number)
                paths = {name: file.path for name, file in version.marts.items()}
                snapshot = Snapshot.of(number, paths, self.content.project.timezone, [audit_mart.NAME])
                if self._pinned and as_of is None:  # a new version serves: let its workers start
                    self._pool.warm(snapshot)
                self._pinned[number] = Pinned(version, snapshot)
            return self._pinned[number]


def open_project(
    path: str | Path = "models", *, var: str | Path = "var", refresh_log: RefreshLog | None = None
) -> Project:
    """The project whose content stands under `path` and whose state lives under `var`.

    `refresh_log` brings the sync log up to date before a question that reads it; without it the
    log is as whoever ran the syncs left it. Raises ContentInvalid with every problem of every file.
    """
    return Project(Path(path), Path(var), refresh_log)


def _fingerprint(root: Path) -> tuple[tuple[str, int, int], ...]:
    found = []
    for path in sorted(root.rglob("*")):
        with suppress(FileNotFoundError):  # an editor's draft, gone again
            if path.is_file():
                stat = path.stat()
                found.append((str(path), stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def _mask_key(var: Path) -> str:
    """The secret behind the `hash` mask: from the environment, or made once and kept."""
    if given := os.environ.get("SLUICE_MASK_KEY"):
        return given
    path = var / "secrets" / "mask.key"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        draft = path.with_name(f".{secrets.token_hex(8)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        with suppress(FileExistsError):  # another process was first: its key is the key
            os.link(draft, path)
        draft.unlink()
    return path.read_text(encoding="utf-8").strip()
