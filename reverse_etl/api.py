"""REST routes of syncs. Who may call them is decided by whoever mounts them."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.protocol import DestinationStopped
from reverse_etl import history, overview, requests, row_files, show
from reverse_etl.errors import SyncBusy, SyncError, SyncPaused, UnknownSync
from reverse_etl.journal import Order
from reverse_etl.plans import SavedPlan, moved, open_plan
from reverse_etl.propose import plan_sync, plan_undo
from reverse_etl.source import Door
from serving.errors import SluiceError
from serving.store import utc_now

MOST_ROWS = 1000

Answer = Callable[[Request], object]


@dataclass(frozen=True)
class Wish:
    """What the body of a POST may ask for."""

    approve: str | None = None
    full: bool = False
    adopt: bool = False
    plan: int | None = None
    retry_of: int | None = None
    undo_of: int | None = None


Act = Callable[[Request, Wish], object]


def routes(project: Door) -> list[Route]:
    """Syncs, their plans and runs; all answers are JSON, failures as {"error", "hint"}."""

    def syncs(request: Request) -> object:
        return list(overview.list_syncs(project, utc_now()))

    def plan(request: Request) -> object:
        name = request.path_params["name"]
        made = open_plan(project, name)
        if made is None or moved(project, made):
            made = plan_sync(project, name, Order(_caller(request)), now=utc_now())
        return _page_of(made, request)

    def undo_plan(request: Request) -> object:
        number = request.path_params["id"]
        return _page_of(plan_undo(project, number, by=_caller(request), now=utc_now()), request)

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

    def retry(request: Request, wish: Wish) -> object:
        run = history.find_run(project, request.path_params["id"])
        return _queued(project, run.sync, request, replace(wish, retry_of=run.id))

    def undo(request: Request, wish: Wish) -> object:
        run = history.find_run(project, request.path_params["id"])
        return _queued(project, run.sync, request, replace(wish, undo_of=run.id))

    def order(request: Request, wish: Wish) -> object:
        return _queued(project, request.path_params["name"], request, wish)

    def pause(request: Request, _: Wish) -> object:
        requests.pause(project, request.path_params["name"], _caller(request))
        return {"paused_by": _caller(request)}

    def resume(request: Request, _: Wish) -> object:
        requests.resume(project, request.path_params["name"])
        return {"paused_by": None}

    return [
        Route("/api/v1/syncs", _get(syncs)),
        Route("/api/v1/syncs/{name}/plan", _get(plan)),
        Route(
            "/api/v1/syncs/{name}/run", _post(order, ("approve", "full", "adopt", "plan")), methods=["POST"]
        ),
        Route("/api/v1/syncs/{name}/pause", _post(pause, ()), methods=["POST"]),
        Route("/api/v1/syncs/{name}/resume", _post(resume, ()), methods=["POST"]),
        Route("/api/v1/runs", _get(runs)),
        Route("/api/v1/runs/{id:int}", _get(run)),
        Route("/api/v1/runs/{id:int}/retry", _post(retry, ("approve",)), methods=["POST"]),
        Route("/api/v1/runs/{id:int}/undo", _get(undo_plan), methods=["GET"]),
        Route("/api/v1/runs/{id:int}/undo", _post(undo, ("approve",)), methods=["POST"]),
    ]


def _queued(project: Door, sync: str, request: Request, wish: Wish) -> object:
    number = requests.request_run(
        project,
        sync,
        _caller(request),
        wish.approve,
        retry_of=wish.retry_of,
        undo_of=wish.undo_of,
        full=wish.full,
        adopt=wish.adopt,
        plan=wish.plan,
    )
    return {"request": number, "state": "waiting"}


def _page_of(made: SavedPlan, request: Request) -> object:
    limit, offset = _page(request)
    planned = row_files.planned_rows(made.folder, limit=limit, offset=offset)
    rejected = row_files.source_rejects(made.folder, limit=limit, offset=offset)
    return json.loads(show.plan_json(made, planned, rejected, row_files.left_out(made.folder)))


def _get(answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(_answered, answer, request, 200)

    return endpoint


def _post(act: Act, known: tuple[str, ...]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        body = await request.body()
        return await run_in_threadpool(_answered, lambda asked: act(asked, _wish(body, known)), request, 202)

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
    except DestinationStopped as error:
        return _refused(error, 502)


def _refused(error: SluiceError | DestinationStopped, status: int) -> Response:
    told = json.dumps({"error": error.problem, "hint": error.hint}, ensure_ascii=False)
    return Response(told, status, media_type="application/json")


def _wish(body: bytes, known: tuple[str, ...]) -> Wish:
    """A JSON object with some of the known keys, or nothing; anything else is refused."""
    hint = f"an empty body, or a JSON object with: {', '.join(known)}" if known else "send an empty body"
    try:
        given = json.loads(body) if body.strip() else {}
    except ValueError:
        raise SyncError("the body is no JSON", hint=hint) from None
    if not isinstance(given, dict) or given.keys() - set(known):
        raise SyncError("the body has unknown keys", hint=hint)
    for name, kind in (("approve", str), ("full", bool), ("adopt", bool), ("plan", int)):
        value = given.get(name)
        if value is not None and (type(value) is not kind or value == "" or not str(value).strip()):
            raise SyncError(f"{name!r} is no {'text' if kind is str else kind.__name__}", hint=hint)
    return Wish(**given)


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
