"""One worker process, seen from the parent: start, ask, cancel, kill."""

import json
import os
import secrets
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa

from serving.engine.estimate import Estimate, estimate
from serving.engine.failure import EngineFailure, SnapshotGone
from serving.engine.wire import Message, packed, receive, send

GRACE = 2.0  # seconds between an interrupt and the kill
SLOW = 0.5  # seconds after which a light question counts as heavy
NICE = {"check": 5, "light": 5, "heavy": 15}
_LOOK = 0.02  # seconds between looks at the clock while a worker is silent
Parameters = list[Any] | dict[str, Any] | None
ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Snapshot:
    """The files of one version, each under an alias that nobody can guess."""

    version: int
    paths: Mapping[str, Path]
    aliases: Mapping[str, str]
    timezone: str
    base: "Snapshot | None" = None  # that it has more files than; workers of both wait side by side

    @classmethod
    def of(
        cls, version: int, paths: Mapping[str, Path], timezone: str, guests: Iterable[str] = ()
    ) -> "Snapshot":
        """A snapshot with fresh aliases; the rows of `guests` come with each question."""
        return cls(version, paths, _aliases((*paths, *guests)), timezone)

    def joined(self, paths: Mapping[str, Path], guests: Iterable[str] = ()) -> "Snapshot":
        """This one, and more files and guests beside its own."""
        aliases = {**self.aliases, **_aliases((*paths, *guests))}
        return replace(self, paths={**self.paths, **paths}, aliases=aliases, base=self)


@dataclass(frozen=True)
class Size:
    """What one worker may use. Address space is more than memory: DuckDB reserves ahead."""

    memory_mb: int = 2_000
    address_space_mb: int = 6_000
    threads: int = 2


@dataclass
class Cancel:
    """Ends one question from another thread; safe to set before, during and after it."""

    event: threading.Event = field(default_factory=threading.Event)

    def set(self) -> None:
        """Ask the question to end."""
        self.event.set()


class Watch:
    """Looks after one run: when it must end, and when it has turned out to be slow.

    `slow` is called once it has, again and again until it says True.
    """

    def __init__(
        self, seconds: float, cancel: Cancel | None = None, slow: Callable[[], bool] | None = None
    ) -> None:
        now = time.monotonic()
        self.deadline, self.slow_at = now + seconds, now + SLOW
        self.cancel, self.slow = cancel or Cancel(), slow
        self.interrupted: float | None = None
        self.gives_way = False  # it ends now, to run again later

    def over(self) -> bool:
        """Whether the run must end now."""
        return self.gives_way or self.cancel.event.is_set() or time.monotonic() > self.deadline

    def look(self) -> None:
        """Say that the run is slow."""
        if self.slow is not None and time.monotonic() > self.slow_at and self.slow():
            self.slow = None


@dataclass(frozen=True)
class Run:
    """A checked text, and everything that decides its answer."""

    sql: str
    views: tuple[tuple[str, str], ...]  # mart name -> body over the mart's own table
    rows: int | None  # of the answer; one more is fetched to see a cut
    bytes: int | None  # of the answer, as Arrow
    secure: bool = False  # the views are SECURE: the engine looks behind none of them
    parameters: Parameters = None
    tables: Mapping[tuple[str, str], pa.Table] = field(default_factory=dict)  # (alias, mart) -> its rows

    def message(self) -> Message:
        """As the worker reads it; the tables follow as frames."""
        given: Any = self.parameters
        if isinstance(given, Mapping):
            given = {name: packed(value) for name, value in given.items()}
        elif given is not None:
            given = [packed(value) for value in given]
        return {**vars(self), "op": "run", "tables": list(self.tables), "parameters": given}


class WorkerProcess:
    """A running worker; not shared between threads: one question at a time."""

    def __init__(self, snapshot: Snapshot, size: Size, nice: int = NICE["light"]) -> None:
        self.snapshot = snapshot
        self._number = 0
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
        self._ready = select.poll()  # kept: Connection.poll makes a new one each time
        self._ready.register(self.pipe.fileno(), select.POLLIN)
        opening: Message = {
            "op": "open",
            "files": [[str(path.resolve()), snapshot.aliases[mart]] for mart, path in snapshot.paths.items()],
            "empty": [alias for mart, alias in snapshot.aliases.items() if mart not in snapshot.paths],
            "memory_mb": size.memory_mb,
            "address_space_mb": size.address_space_mb,
            "threads": size.threads,
            "timezone": snapshot.timezone,
            "nice": nice,
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
        _, body = self._exchange({"op": "parse", "text": sql}, Watch(seconds))
        return _tree(body)

    def print(self, tree: Message, seconds: float) -> str:
        """DuckDB's own text of the tree."""
        _, body = self._exchange({"op": "print", "text": json.dumps(tree)}, Watch(seconds))
        return body.decode()

    def reprint(self, tree: Message, seconds: float) -> tuple[str, Message]:
        """DuckDB's own text of the tree, and the tree that it reads there."""
        _, body = self._exchange({"op": "reprint", "text": json.dumps(tree)}, Watch(seconds))
        again, _, text = body.partition(b"\n")
        return text.decode(), _tree(again)

    def plan(self, run: Run, seconds: float) -> Estimate:
        """What the engine guesses about a run."""
        answer, _ = self._exchange({**run.message(), "op": "plan"}, Watch(seconds), run.tables)
        return estimate(json.loads(answer["plan"]))

    def run(self, run: Run, watch: Watch) -> pa.Table:
        """The answer, one row longer than `rows` where it was cut; raises EngineFailure."""
        answer, body = self._exchange(run.message(), watch, run.tables)
        if answer["streams"]:
            frames = []
            while frame := self._wait(watch):
                frames.append(frame)
            self._checked(self._wait(watch))
            body = b"".join(frames)
        return pa.ipc.open_stream(pa.BufferReader(body)).read_all().rename_columns(answer["names"])

    def renice(self) -> None:
        """Give way to everybody else from now on."""
        with suppress(OSError):  # it ended meanwhile, or the system has no /proc: then nothing is gained
            for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
                os.setpriority(os.PRIO_PROCESS, int(thread.name), NICE["heavy"])

    def _exchange(
        self, message: Message, watch: Watch, tables: Mapping[tuple[str, str], pa.Table] | None = None
    ) -> tuple[Message, bytes]:
        self._number += 1
        try:
            send(self.pipe, {**message, "number": self._number})
            for table in (tables or {}).values():
                self.pipe.send_bytes(_stream(table))
        except OSError as error:
            self.kill()
            raise EngineFailure("crashed", "the worker is gone") from error
        return self._checked(self._wait(watch))

    def _checked(self, said: bytes) -> tuple[Message, bytes]:
        line, _, body = said.partition(b"\n")
        answer: Message = json.loads(line)
        if not answer["ok"]:
            raise EngineFailure(answer["kind"], answer["text"])
        return answer, body

    def _wait(self, watch: Watch) -> bytes:
        """The next frame; interrupts the question when its time is up, kills the worker after the grace."""
        try:
            while True:
                ready = self._ready.poll(_LOOK * 1000)
                if watch.over():  # said again and again: what is not running yet hears no interrupt
                    watch.interrupted = watch.interrupted or time.monotonic()
                    send(self.pipe, {"op": "cancel", "number": self._number})
                if ready:
                    return self.pipe.recv_bytes()
                if watch.interrupted is not None and time.monotonic() > watch.interrupted + GRACE:
                    self.kill()
                    raise EngineFailure("stopped", "killed")
                watch.look()
        except (EOFError, OSError) as error:
            self.kill()
            if watch.interrupted is not None:  # it was to end anyhow
                raise EngineFailure("stopped", "the worker died") from error
            raise EngineFailure("crashed", "the worker died") from error

    def kill(self) -> None:
        """End the process now."""
        self.process.kill()
        self.process.wait()
        self.pipe.close()


def _tree(text: bytes) -> Message:
    try:
        tree: Message = json.loads(text)
    except RecursionError as error:
        raise EngineFailure("bind", "the query is nested too deeply") from error
    return tree


def _aliases(marts: Iterable[str]) -> dict[str, str]:
    return {mart: f"x{secrets.token_hex(8)}" for mart in marts}


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
