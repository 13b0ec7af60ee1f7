"""The CRM's HTTP API."""

import asyncio
import contextlib
import hmac
import json
import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connectors.protocol import Json
from connectors.sandbox.faults import Allowance, Faults, Trouble
from connectors.sandbox.records import OBJECTS, Archived, Records
from connectors.sandbox.rules import Incoming, Malformed, Refusal, read_batch, sorted_out
from connectors.secrets import Secret

_HANG_SECONDS = 60.0
_ARCHIVED: dict[str, Archived] = {"false": "no", "true": "only", "all": "all"}
Endpoint = Callable[[Request], Awaitable[Response]]


class Crm:
    """The API over one file of records.

    `request.state.hang_up()` must close the connection without an answer. Only calls that
    write are paced and in the log (and any call with a wrong token): looking on disturbs nothing.
    """

    def __init__(self, records: Records, token: Secret, clock: Callable[[], float] = time.monotonic) -> None:
        self._records = records
        self._expected = f"Bearer {token.reveal()}".encode()
        self._clock = clock
        self._set(Faults())

    def _set(self, faults: Faults) -> None:
        self._faults = faults
        self._reject_emails = (
            re.compile(faults.reject_emails_matching) if faults.reject_emails_matching else None
        )
        self._allowance = Allowance(faults.rate_limit, self._clock())
        self._writes = 0

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/healthz", self._health),
                Route("/v1/stats", self._guarded(self._stats)),
                Route("/v1/calls", self._guarded(self._calls)),
                Route("/v1/faults", self._guarded(self._show_faults), methods=["GET"]),
                Route("/v1/faults", self._guarded(self._set_faults), methods=["PUT"]),
                Route(
                    "/v1/{object}/batch/{action}", self._guarded(self._batch, paced=True), methods=["POST"]
                ),
                Route("/v1/{object}", self._guarded(self._page)),
                Route("/v1/{object}/{id:path}", self._guarded(self._one)),
            ]
        )

    def _guarded(self, endpoint: Endpoint, *, paced: bool = False) -> Endpoint:
        async def guarded(request: Request) -> Response:
            given = request.headers.get("authorization", "").encode()
            if not hmac.compare_digest(given, self._expected):
                self._log_refused(request, 401)
                return _error(401, "unauthorized", "the bearer token is missing or wrong")
            if "object" in request.path_params and request.path_params["object"] not in OBJECTS:
                return _error(404, "no_such_object", f"objects here: {', '.join(OBJECTS)}")
            if paced and (seconds := self._allowance.take(self._clock())):
                self._log_refused(request, 429)
                return _error(429, "rate_limited", f"wait {seconds} s", {"Retry-After": str(seconds)})
            if paced and self._faults.slow_ms:
                await asyncio.sleep(self._faults.slow_ms / 1000)
            return await endpoint(request)

        return guarded

    def _log_refused(self, request: Request, status: int) -> None:
        self._records.log(_now(), request.method, request.url.path, status, 0, [])

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _stats(self, request: Request) -> Response:
        return JSONResponse(self._records.stats())

    async def _calls(self, request: Request) -> Response:
        newest = request.query_params.get("newest") == "true"
        try:
            limit, after = _number(request, "limit", 100, 1_000), _number(request, "after", 0, 2**62)
        except Malformed as error:
            return _error(error.status, error.code, error.message)
        return JSONResponse({"results": self._records.calls(limit, after, newest)})

    async def _show_faults(self, request: Request) -> Response:
        return JSONResponse(self._faults.model_dump())

    async def _set_faults(self, request: Request) -> Response:
        try:
            self._set(Faults.model_validate_json(await request.body()))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            return _error(400, "malformed", f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        return await self._show_faults(request)

    async def _page(self, request: Request) -> Response:
        name = request.path_params["object"]
        archived = _ARCHIVED.get(request.query_params.get("archived", "false"))
        if archived is None:
            return _error(400, "malformed", "archived is one of false, true, all")
        after, q = request.query_params.get("after", ""), request.query_params.get("q", "")
        try:
            limit = _number(request, "limit", 50, 1_000)
        except Malformed as error:
            return _error(error.status, error.code, error.message)
        found = self._records.page(name, limit + 1, after, q, archived)
        more = len(found) > limit
        return JSONResponse({"results": found[:limit], "after": found[limit - 1]["id"] if more else None})

    async def _one(self, request: Request) -> Response:
        found = self._records.one(request.path_params["object"], request.path_params["id"])
        return JSONResponse(found) if found else _error(404, "not_found", "there is no such record")

    async def _batch(self, request: Request) -> Response:
        body = await request.body()
        self._writes += 1
        trouble = self._faults.trouble(self._writes)
        try:
            incoming = read_batch(_json(body), request.path_params["action"] == "upsert")
        except Malformed as error:
            self._log_refused(request, error.status)
            return _error(error.status, error.code, error.message)
        if trouble in ("drop", "fail"):
            status = 500 if trouble == "fail" else 0
            self._records.log(_now(), request.method, request.url.path, status, len(incoming), [])
            if trouble == "drop":
                request.state.hang_up()
            return _error(500, "internal", "something went wrong here, nothing was written")
        response = self._write(request, incoming, trouble)
        if trouble == "hang":
            await _hang(request)
        return response

    def _write(self, request: Request, incoming: list[Incoming], trouble: Trouble) -> Response:
        name, action, at = request.path_params["object"], request.path_params["action"], _now()
        if action not in ("upsert", "archive", "delete"):
            return _error(404, "no_such_action", "actions here: upsert, archive, delete")
        good, refused = sorted_out(incoming, self._reject_emails) if action == "upsert" else (incoming, [])
        self._records.begin()
        try:
            if action == "upsert":
                results = self._records.upsert(name, good, at)
            else:
                done = (
                    self._records.archive(name, good, at)
                    if action == "archive"
                    else self._records.delete(name, good)
                )
                results, refused = done.results, done.refused
            status = 207 if refused else 200
            logged = 0 if trouble == "hang" else status
            left_out = {refusal.index for refusal in refused}
            ids = [record.id for record in incoming if record.index not in left_out]
            self._records.log(at, request.method, request.url.path, logged, len(incoming), ids)
        except BaseException:
            self._records.rollback()
            raise
        self._records.commit()
        return JSONResponse({"results": results, "errors": [_shown(r) for r in refused]}, status)


def _shown(refusal: Refusal) -> Json:
    return {"index": refusal.index, "id": refusal.id, "code": refusal.code, "message": refusal.message}


async def _hang(request: Request) -> None:
    """Keep the caller waiting until it gives up."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_HANG_SECONDS):
            while not await request.is_disconnected():
                await asyncio.sleep(0.02)
    request.state.hang_up()


def _json(body: bytes) -> Json:
    try:
        found: Json = json.loads(body)
    except (ValueError, RecursionError):
        raise Malformed(400, "malformed", "the body is no JSON") from None
    return found


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise Malformed(400, "malformed", f"{name} is a whole number")
    return min(max(int(text), 0 if name == "after" else 1), most)


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


def _now() -> datetime:
    return datetime.now(UTC)
