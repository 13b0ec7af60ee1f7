"""Who may act on syncs. Looking at states and numbers is for everybody."""

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.content.policy import Policy
from serving.identity import User
from serving.project import Project


def run_problem(policy: Policy, user: User) -> str:
    """Why the person may not run, pause or approve syncs, nor read their rows; empty when they may.

    A sync's rows are what its own roles see, unmasked. Only holders of a role over all marts see as much.
    """
    if any("*" in policy.roles[role].marts for role in user.roles):
        return ""
    stewards = [name for name, role in policy.roles.items() if "*" in role.marts]
    needed = f"the role {' or '.join(stewards)}" if stewards else "a role over all marts"
    return f"Syncs carry rows of every mart: acting on them, and reading those rows, needs {needed}"


def only_stewards(project: Project, routes: Iterable[Route]) -> list[Route]:
    """The same routes; those that act, or show rows, are refused to everybody else with 403."""
    return [_kept(project, route) for route in routes]


_FOR_EVERYBODY = frozenset({"/api/v1/syncs", "/api/v1/runs"})  # names, states and numbers only


def _kept(project: Project, route: Route) -> Route:
    if route.path in _FOR_EVERYBODY:
        return route
    route.app = _Stewards(project, route.app)
    return route


class _Stewards:
    def __init__(self, project: Project, app: ASGIApp) -> None:
        self._project, self._app = project, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        user = Request(scope).scope.get("user")
        problem = (
            run_problem(self._project.content.policy, user)
            if isinstance(user, User)
            else "nobody is known to ask"
        )
        if problem:
            await JSONResponse({"error": problem, "hint": "ask the data team"}, 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)
