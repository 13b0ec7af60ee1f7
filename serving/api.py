"""REST beside the pages: the same door, the same rules.

While people are picked and not logged in, the header `X-Sluice-User` says who asks.
"""

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.answer import Answer
from serving.audit_log import AuditUnwritable
from serving.catalog import describe
from serving.errors import NotPublished, QueryStopped, SluiceError, TooBusy, UnknownUser
from serving.export import json_value, json_values, marked, to_bytes
from serving.identity import User
from serving.project import Project
from serving.receipts import route_facts
from serving.semantic.asking.words import read_request
from serving.semantic.compile.askable import askable_marts

HEADER = "x-sluice-user"
MEDIA = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}
BODY_LIMIT = 1_000_000  # bytes of a question


Parameter = bool | int | float | str | None


class QueryBody(BaseModel):
    """What POST /api/v1/query takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sql: str
    format: str = "json"
    parameters: dict[str, Parameter] | list[Parameter] | None = None  # of $name, or of ? in order


def routes(project: Project, others: Iterable[Route] = ()) -> list[Route]:
    """All REST routes; `others` come behind the same authentication."""

    def marts(user: User) -> object:
        return [entry.facts() for entry in describe(project, user)]

    def dashboards(user: User) -> object:
        return [
            {"name": name, "title": board.title, "description": board.description, "tiles": len(board.tiles)}
            for name, board in project.content.dashboards.items()
        ]

    def metrics(user: User) -> object:
        return [asdict(mart) for mart in askable_marts(project.model(user))]

    async def mart(request: Request) -> Response:
        name = request.path_params["name"]
        entries = await run_in_threadpool(describe, project, request.scope["user"])
        for entry in entries:
            if entry.mart == name:
                return _json(entry.facts())
        return _refused(404, f"there is no mart '{name}' for you", "GET /api/v1/marts lists them")

    own = [
        Route("/api/v1/query", _query(project), methods=["POST"]),
        Route("/api/v1/metrics", _metrics(project), methods=["POST"]),
        Route("/api/v1/metrics", _listed(metrics)),
        Route("/api/v1/marts", _listed(marts)),
        Route("/api/v1/marts/{name}", mart),
        Route("/api/v1/dashboards", _listed(dashboards)),
    ]
    for route in (*own, *others):
        route.app = _Known(project, route.app)
    return [Route("/healthz", _health(project)), *own, *others, Route("/api/{rest:path}", _nowhere)]


def status_of(failure: SluiceError) -> int:
    """400 refused or failed, 403 unknown person, 404 nothing there, 408 out of time, 429 out of turn,
    503 nothing can be written down.
    """
    match failure:
        case TooBusy():
            return 429
        case QueryStopped():
            return 408
        case AuditUnwritable():
            return 503
        case UnknownUser():
            return 403
        case NotPublished():
            return 404
    return 400


class _Known:
    """Finds out who asks before anything else happens; other sites' pages are refused."""

    def __init__(self, project: Project, app: ASGIApp) -> None:
        self._project, self._app = project, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        refusal = self._refusal(request)
        await (self._app if refusal is None else refusal)(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            return _refused(403, "requests from pages of another origin are refused", "call from a program")
        email = request.headers.get(HEADER)
        if not email:
            return _refused(401, "nobody is named", "send the header X-Sluice-User: EMAIL")
        try:
            self._project.refresh()
            request.scope["user"] = self._project.user(email)
        except UnknownUser as failure:
            return _refused(403, failure.problem, failure.hint)
        return None


def _query(project: Project) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        raw = await _body(request)
        if raw is None:
            return _too_long()
        try:
            body = QueryBody.model_validate_json(raw)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "body"
            return _refused(400, f"{where}: {first['msg']}", 'send {"sql": "select …", "format": "json"}')
        user = request.scope["user"]

        def ask() -> Answer:
            return project.ask(body.sql, user=user, surface="rest", parameters=body.parameters)

        return await run_in_threadpool(_answered, ask, body.format)

    return answer


def _metrics(project: Project) -> Callable[[Request], Any]:
    """POST: the words of a metric request, with `format` and `rollups` beside them."""

    async def answer(request: Request) -> Response:
        raw = await _body(request)
        if raw is None:
            return _too_long()
        try:
            words = json.loads(raw)
        except (ValueError, RecursionError):
            words = None
        if not isinstance(words, dict):
            return _refused(400, "the body is no JSON object", 'send {"metrics": ["orders.revenue"]}')
        form, rollups = words.pop("format", "json"), words.pop("rollups", True)
        if not isinstance(rollups, bool):
            return _refused(400, f"rollups: {rollups!r} is neither true nor false", "leave it out for true")
        user = request.scope["user"]

        def ask() -> Answer:
            return project.ask(metrics=read_request(words), user=user, surface="rest", rollups=rollups)

        return await run_in_threadpool(_answered, ask, form)

    return answer


async def _body(request: Request) -> bytes | None:
    """What was sent; None where it is longer than any question."""
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > BODY_LIMIT:
            return None
    return bytes(raw)


def _answered(ask: Callable[[], Answer], form: object) -> Response:
    """The answer in the form asked for, or the refusal."""
    if not isinstance(form, str) or form not in MEDIA:
        return _refused(400, f"format: {form!r} is none of {', '.join(MEDIA)}", "leave it out for json")
    try:
        answer = ask()
    except SluiceError as failure:
        return _refused(status_of(failure), failure.problem, failure.hint)
    if form == "json":
        return _json(_plain(answer))
    headers = {"X-Sluice-Question": str(answer.receipt.question_id)}
    table = marked(answer.table, answer.receipt.approximate)
    return Response(to_bytes(table, form), 200, headers, MEDIA[form])


def _too_long() -> Response:
    return _refused(400, f"the question is longer than {BODY_LIMIT:,} bytes", "shorten it")


def _plain(answer: Answer) -> dict[str, Any]:
    table, receipt = answer.table, answer.receipt
    columns = [json_values(column) for column in table.columns]
    return {
        "columns": [
            {
                "name": field.name,
                "type": _type(field.type),
                **({"approximate": True} if field.name in receipt.approximate else {}),
            }
            for field in table.schema
        ],
        "rows": [list(row) for row in zip(*columns, strict=True)],
        "receipt": {
            "question": receipt.question_id,
            "version": receipt.version,
            "rows": receipt.rows,
            "truncated": receipt.truncated,
            "seconds": receipt.seconds,
            "cached": receipt.cached,
            "approximate": list(receipt.approximate),
            "policies": list(receipt.policies),
            "masked": dict(receipt.masked),
            "routes": route_facts(receipt.routes),
            "sql": receipt.sql,
            "views": dict(receipt.views),
        },
    }


def _type(kind: pa.DataType) -> str:
    return str(kind)


def _listed(found: Callable[[User], object]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        return _json(await run_in_threadpool(found, request.scope["user"]))

    return endpoint


async def _nowhere(request: Request) -> Response:
    return _refused(404, f"there is nothing at {request.url.path} for {request.method}", "see docs/")


def _health(project: Project) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        version = await run_in_threadpool(project.current_version)
        number = version.number if version else None
        return JSONResponse({"status": "ok" if version else "nothing published", "version": number})

    return endpoint


def _json(value: object) -> Response:
    out = io.StringIO()
    json.dump(value, out, default=json_value, ensure_ascii=False)
    return Response(out.getvalue(), media_type="application/json")


def _refused(status: int, error: str, hint: str) -> Response:
    return JSONResponse({"error": error, "hint": hint}, status)
