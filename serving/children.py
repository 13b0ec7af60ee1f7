"""Processes that live and die with the explorer: started, watched, restarted, ended."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0)  # before each restart in a row
PATIENCE, LOOK = 10.0, 0.1  # seconds to wait for what comes before, between two looks
HEALTHY = 60.0  # seconds after which a process counts as started well
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class ChildState:
    """One process as pages show it; `exit_code` is that of its last end."""

    name: str
    alive: bool
    restarts: int
    exit_code: int | None
    log: Path

    @property
    def last_words(self) -> str:
        """The last lines of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])


class Child:
    """`python -m MODULE …` on a leash; starts again with growing pauses when it ends by itself.

    Its first start waits until `after` says yes, but no longer than a few seconds.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        log: Path,
        after: Callable[[], bool] = lambda: True,
    ) -> None:
        self.name, self._log, self._after = name, log, after
        self._command = [sys.executable, "-m", "serving.leash", module, *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        self._ending = threading.Event()
        self._restarts = 0
        self._exit_code: int | None = None
        self._thread = threading.Thread(target=self._watch, name=f"watch-{name}", daemon=True)

    def start(self) -> None:
        """Start the process and the thread that watches it."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._thread.start()

    def end(self, seconds: float = 10.0) -> None:
        """End it in order, or by force after `seconds`."""
        self._ending.set()
        if (process := self._process) is not None:
            process.terminate()
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def state(self) -> ChildState:
        """How it is doing."""
        process = self._process
        alive = process is not None and process.poll() is None
        return ChildState(self.name, alive, self._restarts, self._exit_code, self._log)

    def _watch(self, clock: Callable[[], float] = time.monotonic) -> None:
        in_a_row = 0
        for _ in range(int(PATIENCE / LOOK)):
            if self._after() or self._ending.wait(LOOK):
                break
        while not self._ending.is_set():
            started = clock()
            self._run_once()
            in_a_row = 0 if clock() - started > HEALTHY else in_a_row + 1
            if self._ending.wait(PAUSES[min(in_a_row, len(PAUSES)) - 1] if in_a_row else 0.0):
                return
            self._restarts += 1

    def _run_once(self) -> None:
        with self._log.open("ab") as out:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                cwd=Path.cwd(),
                env=_environment(),
            )
            self._process = process
            if self._ending.is_set():  # told to end between two lives
                process.terminate()
            self._exit_code = process.wait()
            if process.stdin is not None:
                process.stdin.close()


def _environment() -> dict[str, str]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
