"""The process that runs people's SQL: locked, limited, expendable.

`python -m serving.engine.worker FD` talks over the inherited socket FD (see wire.py) and
runs one query at a time. It dies with its parent.
"""

import os
import queue
import resource
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

import duckdb
import pyarrow as pa

from serving.engine.lockdown import open_locked
from serving.engine.wire import Message, receive, send

BATCH_ROWS = 50_000
_CUT = "SELECT * FROM ("
_BIND = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException, duckdb.SyntaxException)
_MEMORY = (duckdb.OutOfMemoryException, MemoryError)


def main() -> None:
    """Serve the parent on the socket whose number is the first argument."""
    pipe: Connection[Any, Any] = Connection(int(sys.argv[1]))
    opening = receive(pipe)
    _limit(opening["address_space_mb"])
    try:
        database = open_locked(
            [(path, alias) for path, alias in opening["files"]],
            memory_mb=opening["memory_mb"],
            threads=opening["threads"],
            timezone=opening["timezone"],
        )
    except (duckdb.Error, RuntimeError, OSError) as error:
        send(pipe, {"ok": False, "text": str(error)})
        return
    send(pipe, {"ok": True})
    _Worker(pipe, database).serve()


def _limit(address_space_mb: int) -> None:
    size = address_space_mb * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(5)  # pages and the parent come first


class _Worker:
    def __init__(self, pipe: "Connection[Any, Any]", database: duckdb.DuckDBPyConnection) -> None:
        self.pipe, self.database = pipe, database
        self.inbox: queue.Queue[Message] = queue.Queue()
        self.running: duckdb.DuckDBPyConnection | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                message = receive(self.pipe)
            except (EOFError, OSError):
                os._exit(0)  # the parent is gone; nobody reads the answer
            if message["op"] == "cancel":
                if (cursor := self.running) is not None:
                    cursor.interrupt()
            else:
                self.inbox.put(message)

    def serve(self) -> None:
        while True:
            message = self.inbox.get()
            cursor = self.database.cursor()
            self.running = cursor
            try:
                if message["op"] == "parse":
                    self._parse(cursor, message["sql"])
                else:
                    self._run(cursor, message)
            except (duckdb.Error, MemoryError, pa.ArrowException) as error:
                send(self.pipe, _failed(error))
            finally:
                self.running = None
                cursor.close()  # temp views die with their cursor

    def _parse(self, cursor: duckdb.DuckDBPyConnection, sql: str) -> None:
        (tree,) = cursor.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchone() or ("",)
        send(self.pipe, {"ok": True, "tree": tree})

    def _run(self, cursor: duckdb.DuckDBPyConnection, message: Message) -> None:
        secure = "SECURE " if message["secure"] else ""
        for name, body in message["views"]:
            cursor.execute(f'CREATE TEMP {secure}VIEW "{name}" AS {body}')
        sql, rows = message["sql"], message["rows"]
        relation = cursor.sql(sql)  # binds the person's own text, so that errors point into it
        names = list(relation.columns)
        if (
            rows is not None
        ):  # no newline before: line numbers stay; one after: a comment must not eat the bracket
            relation = cursor.sql(f"{_CUT}{sql}\n) LIMIT {int(rows) + 1}")
        reader = relation.to_arrow_reader(BATCH_ROWS)
        first = next(reader, None)  # errors of the first batch still come as an answer
        send(self.pipe, {"ok": True, "stream": True, "names": names})
        sink = _Frames(self.pipe)
        try:
            with pa.ipc.new_stream(sink, reader.schema) as writer:
                while first is not None:
                    writer.write_batch(first)
                    first = next(reader, None)
        except (duckdb.Error, MemoryError, pa.ArrowException) as error:
            self.pipe.send_bytes(b"")
            send(self.pipe, _failed(error))
            return
        self.pipe.send_bytes(b"")
        send(self.pipe, {"ok": True})


class _Frames:
    """A file that only writes: each piece of the Arrow stream becomes one frame."""

    closed = False

    def __init__(self, pipe: "Connection[Any, Any]") -> None:
        self.pipe = pipe

    def write(self, data: Any) -> int:
        piece = memoryview(data)
        if piece.nbytes:
            self.pipe.send_bytes(piece)
        return piece.nbytes

    def flush(self) -> None:
        """Frames leave at once."""

    def close(self) -> None:
        """The pipe stays open for the next query."""


def _failed(error: BaseException) -> Message:
    """The answer to a query that failed; the text shows the person's own query only."""
    return {"ok": False, "kind": _kind(error), "text": str(error).replace(_CUT, "", 1)}


def _kind(error: BaseException) -> str:
    if isinstance(error, _BIND):
        return "bind"
    if isinstance(error, duckdb.InterruptException):
        return "stopped"
    return "memory" if isinstance(error, _MEMORY) else "data"


if __name__ == "__main__":
    main()
