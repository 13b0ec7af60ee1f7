"""What is asked, over which files, and what was made of it: values that pass between planner and door."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from serving.engine.process import Snapshot
from serving.governance.access import View
from serving.log_files import LogFile
from serving.marts.artifact import MartFile
from serving.marts.publish import Version
from serving.semantic.asking.request import MetricRequest, Span
from serving.semantic.asking.time import TimeRange
from serving.semantic.asking.words import write_request
from serving.semantic.routing.routes import Kept, Route
from serving.sync_log_mart import SYNC_LOG

METRICS = "metrics "  # how the audit marks a request that is no SQL


@dataclass(frozen=True)
class Asked:
    """A text, or metrics with the days that their spans mean."""

    sql: str = ""
    request: MetricRequest | None = None
    ranges: tuple[tuple[Span, TimeRange], ...] = ()
    rollups: bool = True  # whether rollups may answer

    @property
    def text(self) -> str:
        """As the audit keeps it: the SQL, or `metrics {…}` (words.read_request reads that again)."""
        if self.request is None:
            return self.sql
        return METRICS + json.dumps(write_request(self.request), ensure_ascii=False)


@dataclass(frozen=True)
class Pinned:
    """A version, and its files under aliases that nobody can guess."""

    version: Version
    snapshot: Snapshot
    log: Mapping[str, LogFile] = field(default_factory=dict)  # the sync log, where the question reads it

    def rows(self, name: str) -> int:
        """Rows of the mart, or of the rollup `mart:name`; 0 where they come with the question."""
        mart, _, rollup = name.partition(":")
        if rollup:
            return next((kept.rows for kept in self.rollups(mart) if kept.name == rollup), 0)
        known: Mapping[str, MartFile | LogFile] = self.log if mart in self.log else self.version.marts
        return known[mart].rows if mart in known else 0

    def rollups(self, mart: str) -> tuple[Kept, ...]:
        """What the mart's file keeps beside its rows."""
        return self.version.marts[mart].rollups if mart in self.version.marts else ()

    def with_log(self, files: Mapping[str, LogFile]) -> "Pinned":
        """The same version, and the sync log as those files have it; marts without one are empty."""
        paths = {name: file.path for name, file in files.items()}
        return replace(self, snapshot=self.snapshot.joined(paths, SYNC_LOG.keys() - paths.keys()), log=files)


@dataclass(frozen=True, eq=False)
class Plan:
    """A question that may run: its text, and what each name in it means, over which files."""

    sql: str
    views: tuple[View, ...]
    pinned: Pinned
    columns: tuple[str, ...] = ()  # mart.column of everything that the text can mean
    routes: tuple[Route, ...] = ()  # where each block of aggregation reads from, and why
    approximate: tuple[str, ...] = ()  # columns of the answer that are estimates
    volatile: bool = False  # the same question over the same files may have another answer

    @property
    def bodies(self) -> tuple[tuple[str, str], ...]:
        """Each name, and the body of its view over the files of the version."""
        return tuple((view.mart, view.over(self.pinned.snapshot.aliases)) for view in self.views)

    @property
    def marts(self) -> tuple[str, ...]:
        """The marts that are read, themselves or through a rollup."""
        return tuple(dict.fromkeys(view.mart.partition(":")[0] for view in self.views))

    @property
    def guests(self) -> tuple[tuple[str, str], ...]:
        """(alias, mart) of what it reads and no file holds: those rows come with the question."""
        snapshot = self.pinned.snapshot
        read = dict.fromkeys(name.partition(":")[0] for view in self.views for name in view.reads)
        return tuple((snapshot.aliases[mart], mart) for mart in read if mart not in snapshot.paths)

    @property
    def secure(self) -> bool:
        """Whether only SECURE VIEWs keep the rules safe."""
        return any(view.secure for view in self.views)
