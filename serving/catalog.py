"""What there is to read: marts, columns, tests, freshness, lineage, as one person may see it."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

from sqlalchemy import select

from serving.content.model import Column
from serving.errors import QueryRefused
from serving.governance.access import View
from serving.identity import User
from serving.marts.data_tests import DataTest, data_tests, question_key
from serving.marts.publish import Version, tested
from serving.planning import built_columns
from serving.project import Project
from serving.semantic.checks.meaning import Hidden, Meaning, meaning, says

TestState = Literal["green", "red", "not run"]


@dataclass(frozen=True)
class ColumnEntry:
    """A column as its readers see it; `mask` is what they get instead of its values."""

    name: str
    kind: str
    label: str
    description: str
    synonyms: tuple[str, ...]
    tags: tuple[str, ...]
    mask: str


@dataclass(frozen=True)
class TestEntry:
    """A data test and how it ended on the files that serve."""

    __test__ = False  # not for pytest
    name: str
    state: TestState
    at: datetime | None


@dataclass(frozen=True)
class CatalogEntry:
    """One mart."""

    mart: str
    label: str
    description: str
    synonyms: tuple[str, ...]
    owner: str
    grain: tuple[str, ...]
    columns: tuple[ColumnEntry, ...]
    meaning: Meaning  # measures, computed dimensions, joins, hierarchies, rollups
    rows: int | None  # of the whole mart; None where the reader sees a part of it, or nothing is built
    built_at: datetime | None
    live: bool  # its rows are those of the moment it is asked, and are never built
    tests: tuple[TestEntry, ...]
    upstream: tuple[str, ...]
    downstream: tuple[str, ...]
    policies: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        found = asdict(self)
        parts: dict[str, Any] = found.pop("meaning")
        return found | parts


@dataclass(frozen=True)
class _Seen:
    """A mart's columns as the reader sees them."""

    types: Mapping[str, str]
    hidden: frozenset[str]
    view: View | None = None  # None: as it is, or not at all
    refused: str = ""  # why nothing of it can be read

    @property
    def policies(self) -> tuple[str, ...]:
        """What shapes it for this reader, in words."""
        return (self.refused,) if self.refused else self.view.policies if self.view else ()

    @property
    def filtered(self) -> bool:
        """Whether the reader sees a part of the rows."""
        return not self.types or any(text.startswith("rows of") for text in self.policies)

    @property
    def whole(self) -> bool:
        """Whether the reader sees every value of every row."""
        return not (self.filtered or self.hidden or self.policies)


@dataclass
class _Shelf:
    """What all entries of one look at the catalog have in common."""

    project: Project
    user: User | None
    names: tuple[str, ...]
    version: Version | None
    arrows: list[tuple[str, str]]
    tests: list[DataTest]
    results: Mapping[str, tuple[int, datetime]]  # question -> failures, when

    @cached_property
    def seen(self) -> dict[str, _Seen]:
        """Every mart that the reader may read."""
        return {name: _seen(self, name) for name in self.names}

    @cached_property
    def hidden(self) -> Hidden:
        """Mart -> columns that do not exist for the reader; without marts of which they can read nothing."""
        return {name: seen.hidden for name, seen in self.seen.items() if not seen.refused}


def describe(project: Project, user: User | None = None) -> list[CatalogEntry]:
    """The visible marts; for a user only what the policy shows them, else all of it."""
    every = tuple(mart.name for mart in project.content.marts.values() if mart.visible)
    names = project.visible_marts(user) if user else every
    with project.store.read() as connection:
        results = {row.question: (row.failures, row.at) for row in connection.execute(select(tested))}
    arrows, tests = lineage(project, user), data_tests(project.content)
    shelf = _Shelf(project, user, names, project.current_version(), arrows, tests, results)
    return [_entry(shelf, name) for name in names]


def readable_columns(project: Project, user: User) -> dict[str, tuple[str, ...]]:
    """Mart -> the columns that exist for this user, of every mart they may read."""
    version = project.current_version()
    found: dict[str, tuple[str, ...]] = {}
    for name in project.visible_marts(user):
        if version is not None and name in built_columns(version):
            with suppress(QueryRefused):  # the policy does not fit the mart: nothing of it can be read
                found[name] = project.view(name, user).columns
    return found


def lineage(project: Project, user: User | None = None) -> list[tuple[str, str]]:
    """The arrows (from, to) between sources, marts and syncs; building blocks are stepped over for a user."""
    content, graph = project.content, project.graph
    shown = set(project.visible_marts(user)) if user else set(content.marts)
    arrows: set[tuple[str, str]] = set()
    for mart in shown:
        todo = list(graph.reads[mart].inputs) if mart in graph.reads else []
        seen: set[str] = set()
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in content.sources or name in shown:
                arrows.add((name, mart))
            elif name in graph.reads and not (content.marts[name].visible and user):
                todo += graph.reads[
                    name
                ].inputs  # an unseen building block; other people's marts stay unnamed
    return sorted(arrows)


def _seen(shelf: _Shelf, name: str) -> _Seen:
    built = built_columns(shelf.version).get(name) if shelf.version else None
    everything: Mapping[str, str] = built or dict.fromkeys(shelf.project.content.marts[name].columns, "")
    if shelf.user is None or built is None:
        return _Seen(everything, frozenset())
    try:
        view = shelf.project.view(name, shelf.user)
    except QueryRefused as refusal:
        return _Seen({}, frozenset(everything), None, refusal.problem)
    types = {column: everything[column] for column in view.columns}
    return _Seen(types, frozenset(everything.keys() - types.keys()), view)


def _entry(shelf: _Shelf, name: str) -> CatalogEntry:
    mart, version, seen = shelf.project.content.marts[name], shelf.version, shelf.seen[name]
    file = version.marts.get(name) if version else None
    masks = seen.view.masked if seen.view else {}
    return CatalogEntry(
        mart=name,
        label=mart.label or name.replace("_", " ").capitalize(),
        description=mart.description,
        synonyms=mart.synonyms,
        owner=mart.owner,
        grain=tuple(column for column in mart.grain if column not in seen.hidden),
        columns=tuple(
            _column(mart.columns.get(column, Column()), column, kind, masks.get(column, ""))
            for column, kind in seen.types.items()
        ),
        meaning=meaning(
            shelf.project.content, name, shelf.hidden, file.rollups if file else (), whole=seen.whole
        ),
        rows=file.rows if file and not seen.filtered else None,
        built_at=version.built_at[name] if version and file else None,
        live=mart.built_in,
        tests=tuple(_tests(shelf, name)),
        upstream=tuple(start for start, end in shelf.arrows if end == name),
        downstream=tuple(end for start, end in shelf.arrows if start == name),
        policies=seen.policies,
    )


def _column(spec: Column, name: str, kind: str, mask: str) -> ColumnEntry:
    return ColumnEntry(name, kind, spec.title(name), spec.description, spec.synonyms, spec.tags, mask)


def _tests(shelf: _Shelf, name: str) -> Iterator[TestEntry]:
    files = shelf.version.marts if shelf.version else {}
    marts = shelf.project.content.marts
    there = files.keys() | shelf.project.content.sources.keys()
    for test in shelf.tests:
        others = [other for other in test.reads if other in marts and marts[other].visible]
        if test.mart != name or any(other not in shelf.names for other in others):
            continue  # what other people's marts are called is theirs
        if any(says(f"{test.name} {test.sql}", shelf.seen[other].hidden) for other in others):
            continue
        result = shelf.results.get(question_key(test, files)) if there >= set(test.reads) else None
        if result is None:
            yield TestEntry(test.name, "not run", None)
        else:
            yield TestEntry(test.name, "red" if result[0] else "green", result[1])
