"""What there is to read: marts, columns, tests, freshness, lineage, as one person may see it."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import select

from serving.errors import QueryRefused
from serving.identity import User
from serving.marts.data_tests import DataTest, data_tests, question_key
from serving.marts.publish import Version, tested
from serving.planning import built_columns
from serving.project import Project
from serving.semantic.leaves import measure_sql

TestState = Literal["green", "red", "not run"]


@dataclass(frozen=True)
class ColumnEntry:
    """A column as its readers see it; `mask` is what they get instead of its values."""

    name: str
    kind: str
    description: str
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
    description: str
    owner: str
    grain: tuple[str, ...]
    columns: tuple[ColumnEntry, ...]
    measures: dict[str, str]  # name -> description or definition
    rows: int | None  # of the whole mart; None where the reader sees a part of it, or nothing is built
    built_at: datetime | None
    live: bool  # its rows are those of the moment it is asked, and are never built
    tests: tuple[TestEntry, ...]
    upstream: tuple[str, ...]
    downstream: tuple[str, ...]
    policies: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Shelf:
    """What all entries of one look at the catalog have in common."""

    project: Project
    user: User | None
    version: Version | None
    arrows: list[tuple[str, str]]
    tests: list[DataTest]
    results: Mapping[str, tuple[int, datetime]]  # question -> failures, when


def describe(project: Project, user: User | None = None) -> list[CatalogEntry]:
    """The visible marts; for a user only what the policy shows them, else all of it."""
    names = (
        project.visible_marts(user) if user else [m.name for m in project.content.marts.values() if m.visible]
    )
    with project.store.read() as connection:
        results = {row.question: (row.failures, row.at) for row in connection.execute(select(tested))}
    arrows, tests = lineage(project, user), data_tests(project.content)
    shelf = _Shelf(project, user, project.current_version(), arrows, tests, results)
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


def _entry(shelf: _Shelf, name: str) -> CatalogEntry:
    mart, version = shelf.project.content.marts[name], shelf.version
    file = version.marts.get(name) if version else None
    built = built_columns(version).get(name) if version else None
    everything: Mapping[str, str] = built or dict.fromkeys(mart.columns, "")
    types = dict(everything)
    masks: dict[str, str] = {}
    policies: tuple[str, ...] = ()
    if shelf.user is not None and built is not None:
        try:
            view = shelf.project.view(name, shelf.user)
        except QueryRefused as refusal:
            types, policies = {}, (refusal.problem,)
        else:
            masks = dict(view.masked)
            types = {column: types[column] for column in view.columns}
            policies = view.policies
    filtered = any(text.startswith("rows of") for text in policies) or not types
    hidden = everything.keys() - types.keys()
    return CatalogEntry(
        mart=name,
        description=mart.description,
        owner=mart.owner,
        grain=tuple(column for column in mart.grain if column not in hidden),
        columns=tuple(
            _column(mart.columns.get(column), column, kind, masks.get(column, ""))
            for column, kind in types.items()
        ),
        measures={
            key: mart.measures[key].description or _definition(mart.measures[key])
            for key in mart.measures
            if not _names(measure_sql(mart, key), hidden)
        },
        rows=file.rows if file and not filtered else None,
        built_at=version.built_at[name] if version and file else None,
        live=mart.built_in,
        tests=tuple(_tests(shelf, name, hidden)),
        upstream=tuple(start for start, end in shelf.arrows if end == name),
        downstream=tuple(end for start, end in shelf.arrows if start == name),
        policies=policies,
    )


def _column(spec: Any, name: str, kind: str, mask: str) -> ColumnEntry:
    if spec is None:
        return ColumnEntry(name, kind, "", (), mask)
    return ColumnEntry(name, kind, spec.description, spec.tags, mask)


def _definition(spec: Any) -> str:
    return f"{spec.agg}({spec.expr or '*'})" if spec.agg else str(spec.expr)


def _names(text: str, hidden: set[str]) -> bool:
    """Whether a text speaks of a hidden column, which does not exist for its reader."""
    return not hidden.isdisjoint(re.findall(r"\w+", text))


def _tests(shelf: _Shelf, name: str, hidden: set[str]) -> Iterator[TestEntry]:
    files = shelf.version.marts if shelf.version else {}
    there = files.keys() | shelf.project.content.sources.keys()
    for test in shelf.tests:
        if test.mart == name and not _names(test.sql, hidden):
            result = shelf.results.get(question_key(test, files)) if there >= set(test.reads) else None
            if result is None:
                yield TestEntry(test.name, "not run", None)
            else:
                yield TestEntry(test.name, "red" if result[0] else "green", result[1])
