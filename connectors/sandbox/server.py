"""The CRM's HTTP API."""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connectors.protocol import Json
from connectors.sandbox.batches import ACTIONS, REMOVALS, Batches
from connectors.sandbox.faults import Allowance, Faults, Trouble, told_to_wait
from connectors.sandbox.records import OBJECTS, Archived, Call, Records
from connectors.sandbox.rules import Malformed, digest, read_batch, read_ids
from connectors.sandbox.tokens import Renew, Tokens
from connectors.secrets import Secret

_HANG_SECONDS = 60.0
_ARCHIVED: dict[str, Archived] = {"false": "no", "true": "only", "all": "all"}
Endpoint = Callable[[Request], Awaitable[Response]]


class Crm:
    """The API over one file of records.

    `request.state.hang_up()` must close the connection without an answer. Only calls that
    write are paced and count as written; batch reads stand in the log under the method READ.
    Looking on (GET) disturbs nothing, leaves no trace and is granted to expired tokens, too;
    any call with a wrong token is in the log. Without `renew` the token cannot expire.
    """

    def __init__(
        self,
        records: Records,
        token: Secret,
        clock: Callable[[], float] = time.monotonic,
        renew: Renew | None = None,
    ) -> None:
        self._records = records
        self._clock = clock
        self._tokens = Tokens(token, renew, clock())
        self._set(Faults())

    def _set(self, faults: Faults) -> None:
        self._faults = faults
        self._batches = Batches(self._records, faults)
        self._allowance = Allowance(faults.rate_limit, self._clock())
        self._tokens.restart(self._clock())
        self._nth = 0

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/healthz", self._health),
                Route("/v1/stats", self._guarded(self._stats)),
                Route("/v1/calls", self._guarded(self._calls)),
                Route("/v1/faults", self._guarded(self._show_faults), methods=["GET"]),
                Route("/v1/faults", self._guarded(self._set_faults), methods=["PUT"]),
                Route("/v1/{object}/batch/read", self._guarded(self._read, batch=True), methods=["POST"]),
                Route(
                    "/v1/{object}/batch/{action}", self._guarded(self._write, batch=True), methods=["POST"]
                ),
                Route("/v1/{object}", self._guarded(self._page)),
                Route("/v1/{object}/{id:path}", self._guarded(self._one)),
            ]
        )

    def _guarded(self, endpoint: Endpoint, *, batch: bool = False) -> Endpoint:
        async def guarded(request: Request) -> Response:
            given = request.headers.get("authorization", "")
            if batch:
                self._tokens.count(self._faults.token_calls, self._faults.token_seconds, self._clock())
            if not (self._tokens.accepts(given) if batch else self._tokens.knows(given)):
                self._records.log(_now(), _call(request, {}), 401, [])
                return _error(401, "unauthorized", "the bearer token is missing, wrong or expired")
            if "object" in request.path_params and request.path_params["object"] not in OBJECTS:
                return _error(404, "no_such_object", f"objects here: {', '.join(OBJECTS)}")
            try:
                return await endpoint(request)
            except ClientDisconnect:  # it died while it was talking: nobody hears an answer
                return Response(status_code=400)

        return guarded

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
            faults = Faults.model_validate_json(await request.body())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            return _error(400, "malformed", f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        if (faults.token_calls or faults.token_seconds) and not self._tokens.renewable:
            return _error(400, "malformed", "this sandbox's token comes from outside and cannot expire")
        self._set(faults)
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

    async def _read(self, request: Request) -> Response:
        self._nth += self._faults.reads
        nth, call = self._nth, _call(request, {})
        try:
            ids = read_ids(_json(await request.body()))
        except Malformed as error:
            return self._refused(call, error)
        call = _call(request, dict.fromkeys(ids, ""))
        trouble = self._faults.trouble(nth) if self._faults.reads else ""
        if self._faults.reads and (struck := await self._struck(request, call, trouble, nth)):
            return struck
        self._records.log(_now(), call, 200, [])
        found: list[Json] = [*self._records.read(request.path_params["object"], ids)]
        return await _answered(request, JSONResponse({"results": found}), trouble)

    async def _write(self, request: Request) -> Response:
        if wait := self._allowance.take(self._clock()):
            return self._limited(_call(request, {}), wait)
        self._nth += 1
        nth, call = self._nth, _call(request, {})
        name, action = request.path_params["object"], request.path_params["action"]
        try:
            if action not in ACTIONS:
                words = f"actions here: {', '.join(ACTIONS)}, read"
                raise Malformed(404, "no_such_action", words)
            incoming = read_batch(_json(await request.body()), action not in REMOVALS)
        except Malformed as error:
            return self._refused(call, error)
        call = _call(request, {record.id: digest(record.properties) for record in incoming})
        trouble = self._faults.trouble(nth)
        if struck := await self._struck(request, call, trouble, nth):
            return struck
        silent = trouble in ("hang", "cut")
        done = self._batches.write(name, action, incoming, call, nth, _now(), silent=silent)
        return await _answered(request, JSONResponse(done.body, done.status), trouble)

    async def _struck(self, request: Request, call: Call, trouble: Trouble, nth: int) -> Response | None:
        """The end of a call that does nothing; None where it goes on."""
        if slow := self._faults.slow_seconds(nth):
            await asyncio.sleep(slow)
        if trouble == "limit":
            return self._limited(call, self._faults.limited_seconds)
        if trouble == "drop":
            self._records.log(_now(), call, 0, [])
            request.state.hang_up()
            return Response()
        if trouble in ("fail", "unavailable"):
            status = 500 if trouble == "fail" else 503
            code = "internal" if trouble == "fail" else "unavailable"
            return self._refused(call, Malformed(status, code, "something went wrong, nothing was done"))
        return None

    def _limited(self, call: Call, seconds: int) -> Response:
        now = _now()
        self._records.log(now, call, 429, [])
        headers = told_to_wait(self._faults.hint, seconds, now)
        return _error(429, "rate_limited", "too many calls", headers)

    def _refused(self, call: Call, error: Malformed) -> Response:
        self._records.log(_now(), call, error.status, [])
        return _error(error.status, error.code, error.message)


def _call(request: Request, received: dict[str, str]) -> Call:
    path = request.url.path
    method = "READ" if path.endswith("/batch/read") else request.method
    return Call(method, path, received, request.headers.get("idempotency-key"))


async def _answered(request: Request, response: Response, trouble: Trouble) -> Response:
    """The answer to a call that did its work, or what stands in for it."""
    if trouble == "cut":
        request.state.hang_up()
    if trouble == "hang":
        await _hang(request)
    if trouble == "garble":
        return Response(bytes(response.body)[: len(response.body) // 2], media_type="application/json")
    return response


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
