"""What goes on beside the questions: publishes, rollbacks, edits, kills."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from serving import Project
from tests.load import world
from tests.load.tally import Kills, Tally


class Seasons:
    """Which season each version holds."""

    def __init__(self) -> None:
        self._of: dict[int, int] = {}
        self._kept: tuple[int, ...] = ()
        self._change = threading.Condition()

    def learn(self, version: int, season: int) -> None:
        """A version was published."""
        with self._change:
            self._of[version] = season
            self._change.notify_all()

    def keep(self, versions: Iterable[int]) -> None:
        """These versions can be asked now."""
        with self._change:
            self._kept = tuple(versions)

    def of(self, version: int) -> int:
        """The season of a version; waits for the publisher to say it."""
        with self._change:
            assert self._change.wait_for(lambda: version in self._of, 30), f"nobody published {version}"
            return self._of[version]

    def versions(self) -> tuple[int, ...]:
        """The kept versions."""
        with self._change:
            return self._kept


class Chaos:
    """Each method is one event; a thread of the run calls it at random moments."""

    def __init__(self, project: Project, seasons: Seasons, tally: Tally, kills: Kills) -> None:
        self.project, self.seasons, self.tally, self.kills = project, seasons, tally, kills
        self.season = self.edition = 0

    def publish(self, dice: random.Random) -> None:
        """Build with other numbers, or let an older version serve again."""
        started = time.monotonic()
        if self.season and dice.random() < 0.3:
            number = dice.choice(self.seasons.versions())
            self.project.rollback(number)
            self.tally.count("rollbacks")
        else:
            self.season += 1
            world.write_season(self.project.root, self.season)
            number = self.project.build().version.number
            self.tally.count("publishes")
            self.tally.time("build", time.monotonic() - started)
            self.seasons.learn(number, self.season)
        self.seasons.keep(version.number for version in self.project.versions())

    def edit(self, dice: random.Random) -> None:
        """Write the policy in other words, or break it for a moment."""
        self.edition += 1
        broken = dice.random() < 0.2
        text = "roles: {steward: {mart: '*'}}\n" if broken else world.policy(self.edition)
        self._write(text)
        if broken and not self.project.problems:
            self.tally.fail("a broken policy was accepted")
        self.tally.count("edits")

    def kill(self, dice: random.Random) -> None:
        """Kill a worker of this process or of its server."""
        workers = [pid for pid in descendants(os.getpid()) if is_worker(pid)]
        if workers and self.kills.allowed():
            with suppress(ProcessLookupError):
                os.kill(dice.choice(workers), signal.SIGKILL)

    def mend(self) -> None:
        """Leave a sound policy behind."""
        self._write(world.policy(0))

    def _write(self, text: str) -> None:
        path = self.project.root / "policies" / "access.yml"
        draft = path.with_suffix(".draft")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)  # whole at every moment: half a policy may be a sound, and another, one
        self.project.refresh()


def descendants(pid: int) -> list[int]:
    """All processes below the process, ended ones that nobody waited for included."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            text = stat.read_text()
            fields = text[text.rindex(")") + 2 :].split()
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def is_worker(pid: int) -> bool:
    """Whether the process is a query worker."""
    try:
        return b"serving.engine.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
