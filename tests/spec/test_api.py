"""Questions over REST: the same door, and a status that says what kind of no it was."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from serving import Project
from serving.api import routes, status_of
from serving.audit_log import AuditUnwritable
from serving.errors import QueryFailed, QueryRefused, QueryStopped, SluiceError, TooBusy, UnknownUser

Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(shop: Project) -> Ask:
    transport = httpx.ASGITransport(Starlette(routes=routes(shop)))

    async def send(body: dict[str, Any], user: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://rest") as client:
            return await client.post("/api/v1/query", json=body, headers={"X-Sluice-User": user})

    return lambda user="emil@example.com", **body: asyncio.run(send(body, user))


def test_an_answer_has_columns_rows_and_a_receipt(ask: Ask) -> None:
    answer = ask(sql="select region, count(*) as n from orders group by all").json()
    assert (answer["rows"], [column["name"] for column in answer["columns"]]) == (
        [["EMEA", 3]],
        ["region", "n"],
    )
    assert answer["receipt"]["policies"] == ["rows of orders: region = user.region"]


def test_parameters_go_by_name_or_by_place(ask: Ask) -> None:
    by_name = ask(sql="select count(*) from orders where amount > $least", parameters={"least": 5})
    assert by_name.json()["rows"] == [[2]]
    assert ask(sql="select ? || '!'", parameters=["x' or true --"]).json()["rows"] == [["x' or true --!"]]
    missing = ask(sql="select $least")
    assert (missing.status_code, missing.json()["error"]) == (400, "the parameter $least has no value")
    assert ask(sql="select $a", parameters={"a": {"nested": 1}}).status_code == 400


def test_a_refusal_says_what_is_wrong_where_and_what_to_do(ask: Ask) -> None:
    refused = ask(sql="select amout from orders")
    assert refused.status_code == 400
    assert refused.json()["error"] == "there is no column 'amout' (line 1, at 'amout')"
    assert refused.json()["hint"] == "did you mean 'amount'?"
    assert ask(sql="select 1", user="eve@example.com").status_code == 403


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (QueryRefused, 400),
        (QueryFailed, 400),
        (QueryStopped, 408),
        (TooBusy, 429),
        (UnknownUser, 403),
        (AuditUnwritable, 503),
    ],
)
def test_each_kind_of_failure_has_its_status(failure: type[SluiceError], status: int) -> None:
    assert status_of(failure("no")) == status
