"""Write, audit, publish: marts are made beside the ones that serve, tested, then take over."""

import fcntl
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from serving.content.model import Content, Mart
from serving.content.validate import near
from serving.errors import BuildFailed, ContentInvalid, Problem
from serving.marts.artifact import (
    DRAFT,
    MartFile,
    make_mart,
    mart_fingerprint,
    mart_path,
    open_mart,
    same_rows,
    source_fingerprint,
)
from serving.marts.data_tests import Tested, data_tests, explain, question_key, run_tests
from serving.marts.graph import Graph
from serving.marts.publish import (
    Version,
    current_version,
    failures,
    publish,
    record_failures,
    record_tests,
    tests_passed,
)
from serving.store import Store

WORTHWHILE = 1_000  # rows of a mart; over fewer, no rollup is worth a word
Status = Literal["building", "built", "unchanged", "testing", "tested"]
Report = Callable[[str, Status, int], None]  # mart, what happened, rows
Check = Callable[[Mapping[str, MartFile]], list[Problem]]  # what does not fit the files to be published


def silent(mart: str, status: Status, rows: int) -> None:
    """Report progress to nobody."""


def fitting(files: Mapping[str, MartFile]) -> list[Problem]:
    """Nothing is asked of the files."""
    return []


@dataclass(frozen=True)
class BuildResult:
    """What a green build did; `published` is False where the version already served."""

    version: Version
    published: bool
    built: tuple[str, ...]
    unchanged: tuple[str, ...]
    tests: int  # data tests that ran
    known_green: int  # data tests skipped: same question over the same files was green before
    warnings: tuple[str, ...] = ()  # what tests that only warn found; rollups that save little


def build(
    content: Content,
    graph: Graph,
    store: Store,
    folder: Path,
    *,
    only: Collection[str] = (),
    full: bool = False,
    report: Report = silent,
    check: Check = fitting,
) -> BuildResult:
    """Build what changed, test it, publish it; raises BuildFailed and changes nothing otherwise.

    Raises ContentInvalid, and publishes nothing, where `check` finds problems with the new files.
    """
    for name in only:
        if name not in content.marts:
            raise BuildFailed(f"there is no mart {name!r}", hint=near(name, content.marts))
    with _alone(folder):
        before = current_version(store, folder)
        chosen = graph.upstream(only) if only else set(graph.order)
        files: dict[str, MartFile] = {}
        if before is not None:
            files = {n: f for n, f in before.marts.items() if n in content.marts and n not in chosen}
        judged = chosen | {name for name in failures(store) if name not in content.marts}
        try:
            built = _make(
                content, graph, folder, [n for n in graph.order if n in chosen], files, full, report
            )
            if problems := check(files):
                raise ContentInvalid(problems)
            ran, green, warnings = _audit(content, store, files, report)
        except _Red as red:
            record_failures(store, judged if red.tested else (), red.marts)
            raise BuildFailed(red.problem, hint=red.hint) from red.__cause__
        record_failures(store, judged, {})
        version = publish(store, folder, files, content.project.keep_versions)
    warnings += tuple(words for name in sorted(chosen) for words in _large(content.marts[name], files[name]))
    unchanged = tuple(sorted(chosen - set(built)))
    published = before is None or before.number != version.number
    return BuildResult(version, published, tuple(built), unchanged, ran, green, warnings)


class _Red(BuildFailed):
    """A failed build that knows which marts it is about; `tested` when all marts were judged."""

    def __init__(self, problem: str, *, hint: str, marts: Mapping[str, str], tested: bool = False) -> None:
        super().__init__(problem, hint=hint)
        self.marts = marts
        self.tested = tested


def _make(
    content: Content,
    graph: Graph,
    folder: Path,
    names: list[str],
    files: dict[str, MartFile],
    full: bool,
    report: Report,
) -> list[str]:
    """Add the files of `names` to `files`; returns the names that had to be made."""
    inputs = {name: file.fingerprint for name, file in files.items()}
    wanted = {i for name in names for i in graph.reads[name].inputs if i in content.sources}
    inputs |= {name: source_fingerprint(content.sources[name]) for name in sorted(wanted)}
    built: list[str] = []
    for name in names:
        mart = content.marts[name]
        fingerprint = mart_fingerprint(mart, content, graph, inputs)
        try:
            path = mart_path(folder, mart, fingerprint, content.project.week_starts)
            if path.exists() and not full:
                files[name] = open_mart(name, fingerprint, path)
                report(name, "unchanged", files[name].rows)
            else:
                fingerprint = _unused(folder, name, fingerprint) if full else fingerprint
                report(name, "building", 0)
                files[name] = make_mart(content, graph, mart, files, fingerprint, folder)
                built.append(name)
                report(name, "built", files[name].rows)
        except BuildFailed as error:
            # The engine's own words may hold a row's values.
            raise _Red(error.problem, hint=error.hint, marts={name: "cannot be built"}) from error
        inputs[name] = fingerprint
    return built


def _unused(folder: Path, name: str, fingerprint: str) -> str:
    """Rows that are there are neither written over nor copied: a forced build gets a name of its own."""
    found, number = fingerprint, 2
    while same_rows(folder, name, found) is not None:
        found, number = f"{fingerprint}-{number}", number + 1
    return found


def _large(mart: Mart, file: MartFile) -> Iterator[str]:
    """Rollups that save little."""
    for kept in file.rollups:
        if file.rows >= WORTHWHILE and kept.rows > file.rows / 2:
            at = mart.at("rollups", kept.name)
            yield (
                f"{at}: the rollup '{kept.name}' has {kept.rows:,} rows, '{mart.name}' itself {file.rows:,}: "
                "it saves little; keep fewer dimensions, or a coarser grain"
            )


def _audit(
    content: Content, store: Store, files: Mapping[str, MartFile], report: Report
) -> tuple[int, int, tuple[str, ...]]:
    """Run the tests not known to be green; raises BuildFailed with every red one.

    A test of a mart that a partial build leaves out waits for the build that makes it.
    """
    there = files.keys() | content.sources.keys()
    tests = [test for test in data_tests(content) if all(name in there for name in test.reads)]
    keys = {test: question_key(test, files) for test in tests}
    green = tests_passed(store, keys.values())
    todo = [test for test in tests if not (test.timeless and keys[test] in green)]
    results = []
    for result in run_tests(todo, files, content):
        results.append((keys[result.test], result, "" if result.passed else explain(result)))
        report(result.test.mart, "tested", result.failures)
    record_tests(store, results)
    failed = [(result, words) for _, result, words in results if not result.passed]
    if red := [words for result, words in failed if result.error or not result.test.warns]:
        count = "a data test is" if len(red) == 1 else f"{len(red)} data tests are"
        hint = "nothing was published; the last version serves on"
        marts = _in_short([result for result, _ in failed if result.error or not result.test.warns])
        raise _Red("\n".join([f"{count} red:", *red]), hint=hint, marts=marts, tested=True)
    return len(todo), len(tests) - len(todo), tuple(words for _, words in failed)


def _in_short(red: list[Tested]) -> dict[str, str]:
    """Mart -> its red tests and how many rows fail them, without what the rows hold."""
    found: dict[str, list[str]] = {}
    for result in red:
        number = "cannot run" if result.error else f"{result.failures:,} failing"
        found.setdefault(result.test.mart, []).append(f"{result.test.name}: {number}")
    return {mart: "; ".join(words) for mart, words in found.items()}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One build at a time; the lock dies with its process, and the next one clears what it left half-done."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".build.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BuildFailed(
                "another build is running", hint="wait for it to end, then build again"
            ) from error
        for left in folder.glob(f"{DRAFT}*"):
            left.unlink(missing_ok=True)
        yield
