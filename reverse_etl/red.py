"""Data tests that are red in what a sync reads: its marts, what they are made from, and the sources."""

from typing import Protocol

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from serving.content.model import Content
from serving.content.sync import Sync
from serving.marts.graph import Graph
from serving.marts.publish import failures
from serving.store import Store


class Built(Protocol):
    """What this asks of a project; `serving.Project` is one."""

    @property
    def content(self) -> Content: ...
    @property
    def graph(self) -> Graph: ...
    @property
    def store(self) -> Store: ...


def red_tests(project: Built, sync: Sync) -> tuple[str, ...]:
    """A sentence for each mart or source behind the sync whose newest build is red; none: all is green.

    A red build publishes nothing, so the sync would go on sending the last green version.
    """
    marts = project.graph.upstream(source_marts(project.content, sync))
    behind = marts | {name for mart in marts for name in project.graph.reads[mart].inputs}
    red = {name: words for name, words in failures(project.store).items() if name in behind}
    kinds = {name: "mart" if name in project.content.marts else "source" for name in red}
    return tuple(f"{kinds[name]} {name!r} is red in the newest build: {red[name]}" for name in red)


def source_marts(content: Content, sync: Sync) -> tuple[str, ...]:
    """The marts that the sync reads directly; every mart where its query cannot be read."""
    if sync.source is not None:
        return (sync.source,)
    try:
        trees = sqlglot.parse(sync.sql or "", dialect="duckdb")
    except (SqlglotError, RecursionError):
        return tuple(sorted(content.marts))
    named = {table.name.lower() for tree in trees if tree is not None for table in tree.find_all(exp.Table)}
    return tuple(sorted(name for name in content.marts if name in named))
