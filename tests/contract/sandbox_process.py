"""A real sandbox server in a process of its own, on a free port."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from connectors.sandbox_client import SandboxClient

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class SandboxProcess:
    """Where the server answers, and the process it is."""

    url: str
    var: Path
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def token(self) -> str:
        return (self.var / "sandbox" / "token").read_text(encoding="utf-8").strip()

    def client(self) -> SandboxClient:
        return SandboxClient(self.url, self.token)

    def kill(self) -> None:
        """As a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=10)
        if self.process.stdout is not None:
            self.process.stdout.close()


def start(var: Path, port: int = 0) -> SandboxProcess:
    """Start it and wait until it is healthy; the caller stops it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "connectors.sandbox", "--port", str(port), "--var", str(var)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
    if found is None:
        process.kill()
        raise RuntimeError(f"the sandbox did not start (exit {process.wait()})")
    server = SandboxProcess(found[0], var, process)
    deadline = time.monotonic() + 10
    with server.client() as client:
        while not client.healthy():
            if time.monotonic() > deadline or process.poll() is not None:
                server.stop()
                raise RuntimeError("the sandbox is not healthy")
    return server


@contextlib.contextmanager
def spawn(var: Path, port: int = 0) -> Iterator[SandboxProcess]:
    """A running sandbox for the time of a `with` block."""
    server = start(var, port)
    try:
        yield server
    finally:
        server.stop()
