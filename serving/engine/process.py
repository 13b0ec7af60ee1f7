"""One worker process, seen from the parent: start, ask, cancel, kill."""

import json
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa

from serving.engine.wire import Message, receive, send

GRACE = 2.0  # seconds between an interrupt and the kill
ROOT = Path(__file__).resolve().parent.parent.parent


class EngineFailure(Exception):
    """A query did not come through: `kind` is bind, data, memory, stopped or crashed."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind, self.text = kind, text


class SnapshotGone(Exception):
    """The snapshot's files were deleted before a worker opened them: pin the version that serves now."""


@dataclass(frozen=True)
class Snapshot:
    """The files of one version, each under an alias that nobody can guess."""

    version: int
    paths: Mapping[str, Path]
    aliases: Mapping[str, str]
    timezone: str

    @classmethod
    def of(cls, version: int, paths: Mapping[str, Path], timezone: str) -> "Snapshot":
        """A snapshot with fresh aliases."""
        return cls(version, paths, {mart: f"x{secrets.token_hex(8)}" for mart in paths}, timezone)


@dataclass(frozen=True)
class Size:
    """What one worker may use. Address space is more than memory: DuckDB reserves ahead."""

    memory_mb: int = 2_000
    address_space_mb: int = 6_000
    threads: int = 2


@dataclass
class Cancel:
    """Ends one query from another thread; safe to set before, during and after it."""

    event: threading.Event = field(default_factory=threading.Event)

    def set(self) -> None:
        """Ask the query to end."""
        self.event.set()


class WorkerProcess:
    """A running worker; not shared between threads: one query at a time."""

    def __init__(self, snapshot: Snapshot, size: Size) -> None:
        self.snapshot = snapshot
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "serving.engine.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                env={},  # tokens of destinations live in the environment; workers need none of it
            )
        self.pipe: Connection[Any, Any] = Connection(ours.detach())
        opening: Message = {
            "op": "open",
            "files": [[str(path.resolve()), snapshot.aliases[mart]] for mart, path in snapshot.paths.items()],
            "memory_mb": size.memory_mb,
            "address_space_mb": size.address_space_mb,
            "threads": size.threads,
            "timezone": snapshot.timezone,
        }
        try:
            send(self.pipe, opening)
            answer = receive(self.pipe)
        except (EOFError, OSError) as error:
            self.kill()
            raise EngineFailure("crashed", "the worker did not start") from error
        if not answer["ok"]:
            self.kill()
            if not all(path.exists() for path in snapshot.paths.values()):
                raise SnapshotGone
            raise EngineFailure("crashed", f"the worker refused to start: {answer['text']}")

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def parse(self, sql: str, seconds: float) -> Message:
        """DuckDB's own syntax tree of the text."""
        answer = self._exchange({"op": "parse", "sql": sql}, time.monotonic() + seconds, Cancel())
        tree: Message = json.loads(answer["tree"])
        return tree

    def run(
        self,
        sql: str,
        views: Sequence[tuple[str, str]],
        *,
        rows: int | None,
        seconds: float,
        secure: bool,
        cancel: Cancel,
    ) -> pa.Table:
        """The answer, one row longer than `rows` where it was cut; raises EngineFailure."""
        deadline = time.monotonic() + seconds
        message: Message = {"op": "run", "sql": sql, "views": list(views), "rows": rows, "secure": secure}
        answer = self._exchange(message, deadline, cancel)
        frames = []
        while frame := self._wait(deadline, cancel):
            frames.append(frame)
        self._checked(json.loads(self._wait(deadline, cancel)))
        table = pa.ipc.open_stream(pa.BufferReader(b"".join(frames))).read_all()
        return table.rename_columns(answer["names"])

    def _exchange(self, message: Message, deadline: float, cancel: Cancel) -> Message:
        try:
            send(self.pipe, message)
        except OSError as error:
            self.kill()
            raise EngineFailure("crashed", "the worker is gone") from error
        return self._checked(json.loads(self._wait(deadline, cancel)))

    def _checked(self, answer: Message) -> Message:
        if not answer["ok"]:
            raise EngineFailure(answer["kind"], answer["text"])
        return answer

    def _wait(self, deadline: float, cancel: Cancel) -> bytes:
        """The next frame; interrupts the query at the deadline, kills the worker after the grace."""
        interrupted = 0.0
        try:
            while not self.pipe.poll(0.02 if cancel.event.is_set() is False else GRACE / 20):
                now = time.monotonic()
                if not interrupted and (now > deadline or cancel.event.is_set()):
                    send(self.pipe, {"op": "cancel"})
                    interrupted = now
                elif interrupted and now > interrupted + GRACE:
                    self.kill()
                    raise EngineFailure("stopped", "killed")
            return self.pipe.recv_bytes()
        except (EOFError, OSError) as error:
            self.kill()
            raise EngineFailure("crashed", "the worker died") from error

    def kill(self) -> None:
        """End the process now."""
        self.process.kill()
        self.process.wait()
        self.pipe.close()
