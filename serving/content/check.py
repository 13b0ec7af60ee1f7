"""Rules across files: every name that one file uses must be defined by another.

What needs parsing of SQL (mart graph, row rules, measures) is checked by the packages
that own those languages.
"""

from collections.abc import Iterator, Mapping

from connectors.registry import (
    check_key,
    check_object,
    connector_names,
    open_destination,
    options_model,
)
from serving.content.capable import incapable
from serving.content.model import Content, Relationship
from serving.content.policy import PolicyFile
from serving.content.policy_check import check_policy, unknown
from serving.content.sync import Destination, Sync
from serving.content.sync_check import check_sync_references
from serving.content.validate import typed
from serving.errors import Problem


def cross_check(content: Content, policies: Mapping[str, PolicyFile]) -> list[Problem]:
    """All problems of references between files."""
    return [
        *_marts(content),
        *check_policy(content, policies),
        *_dashboards(content),
        *_destinations(content),
        *_syncs(content),
        *check_sync_references(content),
    ]


def _marts(content: Content) -> Iterator[Problem]:
    for name in sorted(content.marts.keys() & content.sources.keys()):
        where = content.marts[name]._where
        yield Problem(where.file, 1, f"a source is called '{name}' too", "rename one of the two")
    for mart in content.marts.values():
        for column, spec in mart.columns.items():
            for index, test in enumerate(spec.tests):
                if isinstance(test, Relationship):
                    path = ("columns", column, "tests", index)
                    yield from unknown(mart, path, "mart", [test.to.split(".")[0]], content.marts)
        for name in sorted(mart.dimensions.keys() & mart.columns.keys()):
            line = mart._where.line("dimensions", name)
            yield Problem(
                mart._where.file, line, f"'{name}' is a column and a computed dimension", "rename one"
            )


def _dashboards(content: Content) -> Iterator[Problem]:
    shown = {name: mart for name, mart in content.marts.items() if mart.visible}
    for board in content.dashboards.values():
        for index, tile in enumerate(board.tiles):
            path = ("tiles", index, "metrics")
            for metric in tile.metrics:
                mart, _, measure = metric.removeprefix("~").partition(".")
                yield from unknown(board, path, "visible mart", [mart], shown)
                if mart in shown:
                    yield from unknown(board, path, f"measure of {mart}", [measure], shown[mart].measures)


def _destinations(content: Content) -> Iterator[Problem]:
    for destination in content.destinations.values():
        if destination.connector not in connector_names():
            yield from unknown(
                destination, ("connector",), "connector", [destination.connector], connector_names()
            )
            continue
        kind = options_model(destination.connector)
        yield from typed(kind, destination.options, destination._where)[1]


def _syncs(content: Content) -> Iterator[Problem]:
    shown = [name for name, mart in content.marts.items() if mart.visible]
    for sync in content.syncs.values():
        if sync.source is not None:
            yield from unknown(sync, ("source",), "visible mart", [sync.source], shown)
        yield from unknown(sync, ("run_as",), "role", sync.run_as, content.policy.roles)
        yield from unknown(sync, ("destination",), "destination", [sync.destination], content.destinations)
        if sync.destination in content.destinations:
            yield from _target(sync, content.destinations[sync.destination])


def _target(sync: Sync, destination: Destination) -> Iterator[Problem]:
    """Whether the account has that object, and matches rows by that key."""
    name = destination.connector
    if name not in connector_names():
        return
    options, _ = typed(options_model(name), destination.options, destination._where)
    if options is None:
        return
    where = sync._where
    if (wrong := check_object(name, options, sync.object)) is not None:
        yield Problem(where.file, where.line("object"), wrong)
    elif (wrong := check_key(name, options, sync.object, tuple(sync.key))) is not None:
        yield Problem(where.file, where.line("key"), wrong)
    else:
        yield from incapable(sync, open_destination(name, options, sync.object).capabilities)
