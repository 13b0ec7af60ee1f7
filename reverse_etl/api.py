"""REST routes of syncs. Who may call them is decided by whoever mounts them."""

import json
from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reverse_etl import history, overview, show
from reverse_etl.errors import SyncBusy, SyncError, SyncPaused, UnknownSync
from reverse_etl.requests import request_run
from reverse_etl.run import plan_sync
from reverse_etl.source import Door
from serving.errors import SluiceError
from serving.store import utc_now

MOST_ROWS = 1000

Answer = Callable[[Request], object]


def routes(project: Door) -> list[Route]:
    """Syncs, their plans and runs; all answers are JSON, failures as {"error", "hint"}."""

    def syncs(request: Request) -> object:
        return list(overview.list_syncs(project, utc_now()))

    def plan(request: Request) -> object:
        made = plan_sync(project, request.path_params["name"], now=utc_now())
        limit, offset = _page(request)
        return {
            "counts": made.counts,
            "rows": history.planned_rows(made.folder, limit=limit, offset=offset),
            "rejected": history.source_rejects(made.folder, limit=limit, offset=offset),
        }

    def runs(request: Request) -> object:
        limit, _ = _page(request)
        before = request.query_params.get("before")
        return list(
            history.list_runs(
                project,
                request.query_params.get("sync"),
                limit=limit,
                before=_number(before) if before else None,
            )
        )

    def run(request: Request) -> object:
        number = request.path_params["id"]
        limit, offset = _page(request)
        return {
            "run": history.find_run(project, number),
            "reasons": history.reasons(project, number),
            "rows": history.row_outcomes(project, number, limit=limit, offset=offset),
        }

    return [
        Route("/api/v1/syncs", _get(syncs)),
        Route("/api/v1/syncs/{name}/plan", _get(plan)),
        Route("/api/v1/syncs/{name}/run", _post(project), methods=["POST"]),
        Route("/api/v1/runs", _get(runs)),
        Route("/api/v1/runs/{id:int}", _get(run)),
    ]


def _get(answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(_answered, answer, request, 200)

    return endpoint


def _post(project: Door) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        body = await request.body()

        def ask(request: Request) -> object:
            approval = _order(body)
            number = request_run(project, request.path_params["name"], _caller(request), approval)
            return {"request": number, "state": "waiting"}

        return await run_in_threadpool(_answered, ask, request, 202)

    return endpoint


def _answered(answer: Answer, request: Request, status: int) -> Response:
    try:
        return Response(show.as_json(answer(request)), status, media_type="application/json")
    except UnknownSync as error:
        return _refused(error, 404)
    except (SyncBusy, SyncPaused) as error:
        return _refused(error, 409)
    except SluiceError as error:
        return _refused(error, 400)


def _refused(error: SluiceError, status: int) -> Response:
    told = json.dumps({"error": error.problem, "hint": error.hint}, ensure_ascii=False)
    return Response(told, status, media_type="application/json")


def _order(body: bytes) -> str | None:
    """`{"approve": "why"}` or nothing; anything else is refused."""
    hint = 'send {"approve": "why the guard may pass"} or an empty body'
    try:
        given = json.loads(body) if body.strip() else {}
    except ValueError:
        raise SyncError("the body is no JSON", hint=hint) from None
    if not isinstance(given, dict) or given.keys() - {"approve"}:
        raise SyncError("the body has unknown keys", hint=hint)
    approval = given.get("approve")
    if approval is not None and (not isinstance(approval, str) or not approval.strip()):
        raise SyncError("'approve' is no text", hint=hint)
    return approval


def _caller(request: Request) -> str:
    """Who the authentication in front of these routes says is calling."""
    user = request.scope.get("user")
    return str(getattr(user, "email", None) or getattr(user, "display_name", None) or "api")


def _page(request: Request) -> tuple[int, int]:
    limit = _number(request.query_params.get("limit", "100"))
    return min(limit, MOST_ROWS), _number(request.query_params.get("offset", "0"))


def _number(text: str) -> int:
    if not text.isdigit():
        raise SyncError(f"{text!r} is no whole number")
    return int(text)
