"""The process that runs people's SQL: locked, limited, expendable.

`python -m serving.engine.worker FD` talks over the inherited socket FD (see wire.py) and
runs one question at a time. It dies with its parent.
"""

import json
import os
import queue
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from serving.engine.lockdown import open_locked
from serving.engine.session import CUT, Session, Sessions
from serving.engine.wire import Message, receive, send, unpacked

BATCH_ROWS = 50_000
FRAME_BYTES = 1_000_000
_SYNTAX = {  # a text as DuckDB's own tree, and back
    "parse": "SELECT json_serialize_sql(?::VARCHAR)",
    "print": "SELECT json_deserialize_sql(?::JSON)",
    "reprint": (  # the text, and the tree that it is read as
        "SELECT json_serialize_sql(text), text FROM (SELECT json_deserialize_sql(?::JSON) AS text)"
    ),
}
_BIND = (
    duckdb.ParserException,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.SyntaxException,
    duckdb.NotImplementedException,
)
_MEMORY = (duckdb.OutOfMemoryException, MemoryError)
_BROKEN = (duckdb.InternalException, duckdb.FatalException)
_SAID = {
    "INTERRUPT Error": duckdb.InterruptException,
    "Out of Memory Error": duckdb.OutOfMemoryException,
    "INTERNAL Error": duckdb.InternalException,
    "FATAL Error": duckdb.FatalException,
}


class AnswerTooLarge(Exception):
    """The answer grew beyond the bytes that it may have."""


def main() -> None:
    """Serve the parent on the socket whose number is the first argument."""
    pipe: Connection[Any, Any] = Connection(int(sys.argv[1]))
    opening = receive(pipe)
    _limit(opening["address_space_mb"], opening["nice"])
    try:
        database = open_locked(
            [(path, alias) for path, alias in opening["files"]],
            opening["empty"],
            memory_mb=opening["memory_mb"],
            threads=opening["threads"],
            timezone=opening["timezone"],
        )
    except (duckdb.Error, RuntimeError, OSError) as error:
        send(pipe, {"ok": False, "text": str(error)})
        return
    send(pipe, {"ok": True})
    _Worker(pipe, database).serve()


def _limit(address_space_mb: int, nice: int) -> None:
    size = address_space_mb * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(nice)  # pages and the parent come first
    with suppress(OSError):  # and if the machine runs out of memory, a worker is what it can spare
        Path("/proc/self/oom_score_adj").write_text("1000")


class _Worker:
    def __init__(self, pipe: "Connection[Any, Any]", database: duckdb.DuckDBPyConnection) -> None:
        self.pipe = pipe
        self.inbox: queue.Queue[Message] = queue.Queue()
        self.sessions = Sessions(database)
        self.plain = database.cursor()
        self.running: tuple[int, duckdb.DuckDBPyConnection] | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                message = receive(self.pipe)
            except (EOFError, OSError):
                os._exit(0)  # the parent is gone; nobody reads the answer
            if message["op"] != "cancel":
                message["tables"] = [(*name, _table(self.pipe)) for name in message.get("tables", ())]
                message["parameters"] = _parameters(message.get("parameters"))
                self.inbox.put(message)
            elif self.running is not None and self.running[0] == message["number"]:
                self.running[1].interrupt()  # a cancel that came late must not hit the next question

    def serve(self) -> None:
        while True:
            message = self.inbox.get()
            session = None
            try:
                if message["op"] in _SYNTAX:
                    self.running = (message["number"], self.plain)
                    found = self.plain.execute(_SYNTAX[message["op"]], [message["text"]]).fetchall()
                    self.pipe.send_bytes("\n".join(('{"ok": true}', *found[0])).encode())
                else:
                    session = self.sessions.get(message)
                    self.running = (message["number"], session.cursor)
                    if message["op"] == "plan":
                        plan = session.plan(message["sql"], message["parameters"])
                        send(self.pipe, {"ok": True, "plan": plan})
                    else:
                        self._run(session, message)
            except _BROKEN:
                os._exit(1)  # the engine no longer vouches for itself
            except (duckdb.Error, MemoryError, pa.ArrowException) as error:
                self.running = None
                if session is not None and not isinstance(error, _BIND):
                    self.sessions.drop(session)
                send(self.pipe, _failed(error))
            finally:
                self.running = None

    def _run(self, session: Session, message: Message) -> None:
        names, relation = session.bind(message["sql"], message["rows"], message["parameters"])
        reader = relation.to_arrow_reader(BATCH_ROWS)
        sink = _Answer(self.pipe, names, message["bytes"])
        try:
            with pa.ipc.new_stream(sink, reader.schema) as writer:
                for batch in _batches(reader):
                    writer.write_batch(batch)
        except (duckdb.Error, MemoryError, pa.ArrowException, AnswerTooLarge) as error:
            if isinstance(error, _BROKEN):
                raise
            self.running = None
            self.sessions.drop(session)
            sink.fail(_failed(error))
            return
        sink.end()


class _Answer:
    """A file that only writes: an Arrow stream becomes one message, or frames where it is large."""

    closed = False

    def __init__(self, pipe: "Connection[Any, Any]", names: list[str], most: int | None) -> None:
        self.pipe, self.names, self.left = pipe, names, most
        self.buffer, self.streams = bytearray(), False

    def write(self, data: Any) -> int:
        piece = memoryview(data)
        if self.left is not None:
            self.left -= piece.nbytes
            if self.left < 0:
                raise AnswerTooLarge
        self.buffer += piece
        if len(self.buffer) > FRAME_BYTES:
            if not self.streams:
                send(self.pipe, {"ok": True, "names": self.names, "streams": True})
                self.streams = True
            self.pipe.send_bytes(self.buffer)
            self.buffer.clear()
        return piece.nbytes

    def end(self) -> None:
        """Say the rest, and that it was all."""
        if not self.streams:
            header = {"ok": True, "names": self.names, "streams": False}
            self.pipe.send_bytes(json.dumps(header).encode() + b"\n" + self.buffer)
            return
        if self.buffer:
            self.pipe.send_bytes(self.buffer)
        self.pipe.send_bytes(b"")
        send(self.pipe, {"ok": True})

    def fail(self, failure: Message) -> None:
        """Say why there is no (whole) answer."""
        if self.streams:
            self.pipe.send_bytes(b"")
        send(self.pipe, failure)

    def flush(self) -> None:
        """Frames leave when they are large enough."""

    def close(self) -> None:
        """The pipe stays open for the next question."""


def _batches(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """What the reader reads; in the middle of an answer Arrow tells the engine's failures as OSErrors."""
    try:
        yield from reader
    except OSError as error:
        text = str(error)
        kinds = (kind for said, kind in _SAID.items() if text.startswith(said))
        raise next(kinds, duckdb.DataError)(text) from error


def _table(pipe: "Connection[Any, Any]") -> pa.Table:
    return pa.ipc.open_stream(pipe.recv_bytes()).read_all()


def _parameters(given: Any) -> Any:
    if isinstance(given, dict):
        return {name: unpacked(value) for name, value in given.items()}
    return None if given is None else [unpacked(value) for value in given]


def _failed(error: BaseException) -> Message:
    """The answer to a question that failed; the text shows the person's own query only."""
    words, place, context = str(error).partition("\n\nLINE 1: ")
    shown, line_end, caret = context.partition("\n")
    if CUT in shown:  # the caret stands under the text that was wrapped
        shown, caret = shown.replace(CUT, "", 1), caret[len(CUT) :]
    return {"ok": False, "kind": _kind(error), "text": words + place + shown + line_end + caret}


def _kind(error: BaseException) -> str:
    if isinstance(error, _BIND):
        return "bind"
    if isinstance(error, duckdb.InterruptException):
        return "stopped"
    if isinstance(error, AnswerTooLarge):
        return "size"
    return "memory" if isinstance(error, _MEMORY) else "data"


if __name__ == "__main__":
    main()
