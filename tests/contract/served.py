"""Real HTTP servers on free ports, in a thread: a webhook's far end, and a gate with faults."""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connectors.sandbox.__main__ import Connection, listen


@contextlib.contextmanager
def serve(app: Starlette) -> Iterator[str]:
    """The app on 127.0.0.1 for the time of a `with` block; gives its address."""
    listener = listen(0)
    config = uvicorn.Config(
        app,
        http=Connection,
        log_level="error",
        lifespan="off",
        date_header=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=5)
        listener.close()


@dataclass(frozen=True)
class Answer:
    """The gate answers by itself; nothing reaches the tool."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


Fault = Answer | Literal["pass", "drop", "deliver, then drop", "deliver, then hang"]


class Gate:
    """Stands before a tool: plays the scripted faults, one a call, then lets everything through."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.script: deque[Fault] = deque()
        self.calls = 0
        self.headers: list[Mapping[str, str]] = []

    def reset(self) -> None:
        self.script.clear()
        self.calls = 0
        self.headers.clear()

    def app(self) -> Starlette:
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        return Starlette(routes=[Route("/{path:path}", self._take, methods=methods)])

    async def _take(self, request: Request) -> Response:
        self.calls += 1
        self.headers.append(dict(request.headers))
        fault: Fault = self.script.popleft() if self.script else "pass"
        if isinstance(fault, Answer):
            return Response(fault.body, fault.status, dict(fault.headers))
        if fault == "drop":
            request.state.hang_up()
            return Response()
        answer = await self._forward(request)
        if fault == "deliver, then drop":
            request.state.hang_up()
        if fault == "deliver, then hang":
            while not await request.is_disconnected():
                await asyncio.sleep(0.01)
        return answer

    async def _forward(self, request: Request) -> Response:
        headers = {k: v for k, v in request.headers.items() if k not in ("host", "connection")}
        query = request.scope["query_string"].decode()
        path = request.scope["raw_path"].decode() + (f"?{query}" if query else "")
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            found = await client.request(
                request.method, self.target + path, content=await request.body(), headers=headers
            )
        return Response(found.content, found.status_code, {"Content-Type": "application/json"})


class FarEnd:
    """A small JSON API with a bearer token: per-row verdicts, or all or nothing.

    A call whose idempotency key it has answered before is answered from memory.
    """

    def __init__(self, token: str) -> None:
        self._token = token
        self.whole_batches = False  # one bad row refuses its whole batch with 422
        self.rows: dict[str, dict[str, Any]] = {}
        self.bodies: list[Any] = []
        self.answered: dict[str, Response] = {}

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/hook/{object}", self._write, methods=["POST"]),
                Route("/hook/{object}/insert", self._write, methods=["POST"]),
                Route("/hook/{object}/update", self._write, methods=["POST"]),
                Route("/hook/{object}/remove", self._remove, methods=["POST"]),
            ]
        )

    def _refused(self, request: Request) -> Response | None:
        if request.headers.get("authorization") == f"Bearer {self._token}":
            return None
        return JSONResponse({"error": "who are you?"}, 401)

    async def _write(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        key = request.headers.get("idempotency-key", "")
        if key in self.answered:
            return self.answered[key]
        body = await request.json()
        self.bodies.append(body)
        wanted = {"insert": False, "update": True}.get(request.url.path.rpartition("/")[2])
        results = [self._verdict(row, wanted) for row in body["records"]]
        if self.whole_batches and (bad := [r["error"] for r in results if not r["ok"]]):
            return JSONResponse({"error": bad[0]}, 422)
        for row, result in zip(body["records"], results, strict=True):
            if result["ok"]:
                self.rows[row["id"]] = {**self.rows.get(row["id"], {}), **row}
        answer = JSONResponse({"results": results})
        if key:
            self.answered[key] = answer
        return answer

    def _verdict(self, row: Mapping[str, Any], wanted: bool | None) -> dict[str, Any]:
        email = row.get("email")
        if email is not None and "@" not in email:
            return {"ok": False, "error": f"{email!r} is no valid e-mail address"}
        if wanted is not None and (row["id"] in self.rows) != wanted:
            return {"ok": False, "error": "there is no such row" if wanted else "there is such a row"}
        return {"ok": True}

    async def _remove(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        results = []
        for row in (await request.json())["records"]:
            self.rows.pop(row["id"], None)
            results.append({"ok": True})
        return JSONResponse({"results": results})
