"""A project: content, built marts and the door, held together for its callers."""

import os
import secrets
import threading
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from serving.answer import Answer, Limits
from serving.ask import Door, Pinned, Plan, Question
from serving.audit import Audit
from serving.content.load import read_content
from serving.content.model import Content
from serving.engine.pool import Pool
from serving.engine.process import Cancel, Snapshot
from serving.errors import ContentInvalid, NotPublished, Problem
from serving.governance.access import limits_for, policy_problems, visible_marts
from serving.identity import User, find_user, people
from serving.marts import publish
from serving.marts.build import BuildResult, Report, build, silent
from serving.marts.data_tests import test_problems
from serving.marts.graph import Graph, mart_graph
from serving.marts.publish import Version
from serving.semantic.check import semantic_problems
from serving.store import Store


def check_project(root: Path) -> tuple[Content, Graph, list[Problem]]:
    """Everything under `root` with every problem of every file, sorted."""
    content, problems = read_content(root)
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

    def __init__(self, root: Path, var: Path) -> None:
        self.root, self.var = root, var
        self.content, self.graph, problems = check_project(root)
        if problems:
            raise ContentInvalid(problems)
        self.problems: tuple[
            Problem, ...
        ] = ()  # of the files as they are now; `content` is the last good reading
        self._read_at = _fingerprint(root)
        self.store = Store(var / "control.sqlite")
        self.store.create(publish.metadata)
        self.audit = Audit(Store(var / "audit.sqlite", durable=False))
        self.marts_folder = var / "marts"
        self._pool = Pool()
        self._door = Door(self._pool, self.audit, _mask_key(var))
        self._pinned: dict[int, Pinned] = {}
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Read the content again if a file changed; broken files leave the last good reading in force."""
        with self._lock:
            now = _fingerprint(self.root)
            if now == self._read_at:
                return
            self._read_at = now
            content, graph, problems = check_project(self.root)
            self.problems = tuple(problems)
            if not problems:
                self.content, self.graph = content, graph

    def build(
        self, only: Collection[str] = (), *, full: bool = False, report: Report = silent
    ) -> BuildResult:
        """Build what changed, test and publish it; raises BuildFailed and publishes nothing when red."""
        return build(
            self.content, self.graph, self.store, self.marts_folder, only=only, full=full, report=report
        )

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
        return find_user(self.content.policy, email)

    def visible_marts(self, user: User) -> tuple[str, ...]:
        """The names of the marts that the user may read."""
        return visible_marts(self.content, user)

    def ask(
        self,
        sql: str,
        *,
        user: User | str,
        surface: str = "python",
        limits: Limits | None = None,
        as_of: int | None = None,
        cancel: Cancel | None = None,
    ) -> Answer:
        """The governed answer to `sql` for `user` (or their e-mail).

        `limits` default to the policy's for the user; `as_of` asks a kept version instead of
        the current one. Raises QueryRefused, QueryFailed, QueryStopped, UnknownUser, NotPublished.
        """
        who = self.user(user) if isinstance(user, str) else user
        question = Question(sql, who, surface, limits or limits_for(self.content, who))
        return self._door.ask(question, self.content, lambda: self._pin(as_of), cancel)

    def explain(self, sql: str, *, user: User | str, as_of: int | None = None) -> Plan:
        """What the question means for the user, without running it; raises QueryRefused."""
        who = self.user(user) if isinstance(user, str) else user
        return self._door.plan(sql, who, self.content, self._pin(as_of))

    def close(self) -> None:
        """End the workers and let the stores go."""
        self._pool.close()
        self.store.close()
        self.audit.store.close()

    def _pin(self, as_of: int | None) -> Pinned:
        """The version that serves now (or the kept one asked for), and its files under secret aliases."""
        number = publish.current_number(self.store) if as_of is None else as_of
        if number is None:
            raise NotPublished("nothing is published yet", hint="run `python -m serving build`")
        with self._lock:
            if number not in self._pinned:
                version = publish.version(self.store, self.marts_folder, number)
                paths = {name: file.path for name, file in version.marts.items()}
                snapshot = Snapshot.of(number, paths, self.content.project.timezone)
                self._pinned[number] = Pinned(version, snapshot)
            return self._pinned[number]


def open_project(path: str | Path = "models", *, var: str | Path = "var") -> Project:
    """The project whose content stands under `path` and whose state lives under `var`.

    Raises ContentInvalid with every problem of every file.
    """
    return Project(Path(path), Path(var))


def _fingerprint(root: Path) -> tuple[tuple[str, int, int], ...]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return tuple((str(path), (stat := path.stat()).st_mtime_ns, stat.st_size) for path in files)


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
