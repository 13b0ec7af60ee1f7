"""Syncs over REST."""

import asyncio
from collections.abc import Callable, Iterator

import httpx
import pytest
from starlette.applications import Starlette

from reverse_etl.api import routes
from reverse_etl.journal import Order
from reverse_etl.requests import waiting_requests
from reverse_etl.run import run_sync
from tests.chaos.rig import Rig, rig

Call = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def crm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig(tmp_path_factory.mktemp("api")) as made:
        made.people([("1", "Ann", "ann@example.com"), ("2", "Bob", "nonsense")])
        yield made


@pytest.fixture
def call(crm: Rig) -> Iterator[Call]:
    with crm.project() as project:
        transport = httpx.ASGITransport(Starlette(routes=routes(project)))

        async def send(method: str, path: str, body: bytes | None) -> httpx.Response:
            async with httpx.AsyncClient(transport=transport, base_url="http://rest") as client:
                return await client.request(method, path, content=body)

        yield lambda method, path, body=None: asyncio.run(send(method, path, body))


def test_syncs_plans_and_runs_are_read_as_json(crm: Rig, call: Call) -> None:
    plan = call("GET", "/api/v1/syncs/people/plan").json()
    assert (plan["counts"]["create"], plan["rows"][0]["key"]) == (2, {"id": "1"})
    with crm.project() as project:
        number = run_sync(project, "people", Order("tester")).run
    run = call("GET", f"/api/v1/runs/{number}").json()
    assert (run["run"]["state"], run["reasons"][0]["rows"]) == ("done", 1)
    assert [row["verdict"] for row in run["rows"]] == ["accepted", "rejected"]
    assert call("GET", "/api/v1/runs?sync=people&limit=1").json()[0]["id"] == number
    [sync] = call("GET", "/api/v1/syncs").json()
    assert (sync["name"], sync["last_run"]["id"], sync["schedule"]) == ("people", number, "by hand")


def test_a_posted_run_waits_for_the_worker_with_its_approval(crm: Rig, call: Call) -> None:
    answer = call("POST", "/api/v1/syncs/people/run", b'{"approve": "checked with sales"}')
    assert answer.status_code == 202
    with crm.project() as project:
        [request] = waiting_requests(project.store)
    assert (request.id, request.approval) == (answer.json()["request"], "checked with sales")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "problem"),
    [
        ("GET", "/api/v1/syncs/nobody/plan", None, 404, "there is no sync 'nobody'"),
        ("GET", "/api/v1/runs/999", None, 404, "there is no run 999"),
        ("GET", "/api/v1/runs?limit=x", None, 400, "'x' is no whole number"),
        ("POST", "/api/v1/syncs/people/run", b"[1]", 400, "the body has unknown keys"),
        ("POST", "/api/v1/syncs/people/run", b"{", 400, "the body is no JSON"),
        ("POST", "/api/v1/syncs/people/run", b'{"approve": ""}', 400, "'approve' is no text"),
    ],
)
def test_what_cannot_be_done_says_why(
    call: Call, method: str, path: str, body: bytes | None, status: int, problem: str
) -> None:
    answer = call(method, path, body)
    assert (answer.status_code, answer.json()["error"]) == (status, problem)
