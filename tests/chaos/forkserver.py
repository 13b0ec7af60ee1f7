"""Starts real commands of Sluice in milliseconds: a process that has imported everything and forks.

`python -m tests.chaos.forkserver` reads one JSON line per command from its standard input and
answers with one: the new process, or how one ended. Each command runs in a process group of its
own, so that it can be struck together with everything it started.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
_NEEDED = (
    "duckdb",
    "httpx",
    "pyarrow.parquet",
    "sqlalchemy.dialects.sqlite",
    "apscheduler.schedulers.background",
    "reverse_etl.__main__",
    "reverse_etl.worker",
    "serving.project",
    "connectors.catalog.sandbox_crm",
    "connectors.catalog.webhook",
)


class ForkServer:
    """The tests' side of it; a context manager. Not for several threads."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self._living: set[int] = set()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.forkserver"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in list(self._living):  # a test that failed leaves its worker behind
            self.strike(pid)
        self._process.communicate(timeout=20)

    def start(self, arguments: Sequence[str], environ: Mapping[str, str] | None = None) -> int:
        """`python -m reverse_etl …` as a new process; its number, which is that of its group."""
        asked = {"arguments": [*arguments], "log": str(self.log), "environ": {**(environ or {})}}
        pid = int(self._ask(asked))
        self._living.add(pid)
        return pid

    def ended(self, pid: int, *, wait: bool = False) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        code = self._ask({"reap": pid, "wait": wait})
        if code is None:
            return None
        self._living.discard(pid)
        return int(code)

    def strike(self, pid: int) -> None:
        """Kill it and whatever it started, at once."""
        os.killpg(pid, signal.SIGKILL)
        self.ended(pid, wait=True)

    def kill(self, pid: int) -> None:
        """Kill it alone: what it started has to notice."""
        os.kill(pid, signal.SIGKILL)
        self.ended(pid, wait=True)

    def term(self, pid: int) -> None:
        """Ask it to end, as a service manager does."""
        os.kill(pid, signal.SIGTERM)

    def _ask(self, question: Mapping[str, object]) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def group_of(pgid: int) -> list[str]:
    """The command lines of the living processes of a group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
                if int(group) == pgid and state not in "ZX":
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
    return found


def main() -> None:
    for name in _NEEDED:
        importlib.import_module(name)
    assert threading.active_count() == 1, "a process with threads must not fork"
    for line in sys.stdin:
        question = json.loads(line)
        answer = _reap(**question) if "reap" in question else _fork(**question)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _reap(reap: int, wait: bool) -> int | None:
    pid, status = os.waitpid(reap, 0 if wait else os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if pid else None


def _fork(arguments: Sequence[str], log: str, environ: Mapping[str, str]) -> int:
    pid = os.fork()
    if pid:
        with suppress(OSError):  # both sides set it, so that a strike can come at any instant
            os.setpgid(pid, pid)
        return pid
    code = 70
    try:
        os.setpgid(0, 0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        written = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        for source, target in ((nothing, 0), (written, 1), (written, 2)):
            os.dup2(source, target)
        os.environ.update(environ)
        sys.argv = ["reverse_etl", *arguments]
        code = importlib.import_module("reverse_etl.__main__").main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return 0


if __name__ == "__main__":
    main()
