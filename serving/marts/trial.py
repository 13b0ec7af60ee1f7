"""A rollup on trial: made from a mart's file into a temporary one, and timed; nothing is published."""

import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from serving.content.model import Content
from serving.errors import BuildFailed
from serving.marts.artifact import MartFile, quoted, show_mart, writing
from serving.marts.declared import DeclaredRollup
from serving.marts.rollups import make_rollups, read_rollups
from serving.semantic.routing.routes import Kept

ROUNDS = 3


@dataclass(frozen=True)
class Trial:
    """A built mart and its rollups, read only, under their own names."""

    connection: duckdb.DuckDBPyConnection
    file: MartFile
    timezone: str

    def types(self, texts: Mapping[str, str]) -> dict[str, str]:
        """The type of each text, by its name; the texts are expressions over rows, or all are aggregates."""
        if not texts:
            return {}
        shown = ", ".join(f"{text} AS {quoted(name)}" for name, text in texts.items())
        described = self._all(f"DESCRIBE SELECT {shown} FROM {quoted(self.file.mart)}")
        return {str(name): str(kind) for name, kind, *_ in described}

    def groups(self, sets: Sequence[Sequence[str]]) -> list[int]:
        """About how many groups each set of expressions has, in one pass over the mart."""
        if not sets:
            return []
        counts = [f"approx_count_distinct(hash({', '.join(texts)}))" if texts else "1" for texts in sets]
        ((*found,),) = self._all(f"SELECT {', '.join(counts)} FROM {quoted(self.file.mart)}")
        return [int(str(count)) for count in found]

    def make(self, rollup: DeclaredRollup) -> Kept:
        """Build and reconcile it, once; raises BuildFailed where a build would fail with it."""
        make_rollups(self.connection, [rollup], self.timezone)
        (kept,) = read_rollups(self.connection, self.file.mart)
        return kept

    def seconds(self, sql: str) -> float:
        """The median time of a question, after one run that warms up; raises BuildFailed where it fails."""
        times = []
        for _ in range(ROUNDS + 1):
            started = time.perf_counter()
            self._all(sql)
            times.append(time.perf_counter() - started)
        return statistics.median(times[1:])

    def _all(self, sql: str) -> list[tuple[object, ...]]:
        try:
            return self.connection.execute(sql).fetchall()
        except duckdb.Error as error:
            raise BuildFailed(f"a trial over {self.file.mart} failed: {error}") from error


@contextmanager
def trial(content: Content, file: MartFile) -> Iterator[Trial]:
    """A trial over a mart; what it makes is gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="sluice-trial-") as folder,
        writing(content, Path(folder) / "trial.duckdb") as connection,
    ):
        show_mart(connection, file)
        for kept in file.rollups:
            source = f"{quoted(f'mart {file.mart}')}.{quoted(kept.table)}"
            connection.execute(f"CREATE TEMP VIEW {quoted(kept.table)} AS FROM {source}")
        yield Trial(connection, file, content.project.timezone)
