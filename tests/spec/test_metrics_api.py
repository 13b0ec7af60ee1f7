"""Metric requests over REST: the words of everywhere, receipts that say what answered."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pyarrow as pa
import pytest
from starlette.applications import Starlette

from serving import open_project
from serving.api import routes
from tests.conftest import SHOP

EMIL = "emil@example.com"
MORE = """\
  buyers: {agg: count_distinct, expr: customer_id, label: Customers}
rollups:
  by_day: {dimensions: [day.day, region], measures: [revenue, "~buyers"]}
"""
Send = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def send(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Send]:
    root = tmp_path_factory.mktemp("rest")
    orders = SHOP["marts/orders.yml"] + MORE
    for name, text in {**SHOP, "marts/orders.yml": orders}.items():
        path = root / name if name.endswith(".csv") else root / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("${HERE}", str(root)), encoding="utf-8")
    project = open_project(root / "models", var=root / "var")
    project.build()
    transport = httpx.ASGITransport(Starlette(routes=routes(project)))

    async def sent(method: str, body: Any, user: str, text: bytes | None) -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://rest") as client:
            what = {"content": text} if text is not None else {"json": body} if method == "POST" else {}
            headers = {"X-Sluice-User": user}
            return await client.request(method, "/api/v1/metrics", headers=headers, **what)

    yield lambda method="POST", user=EMIL, text=None, **body: asyncio.run(sent(method, body, user, text))
    project.close()


def test_a_request_is_answered_with_columns_rows_and_a_receipt(send: Send) -> None:
    answer = send(metrics=["orders.revenue", "~orders.buyers"], by=["region"], totals=True).json()
    assert answer["rows"] == [["EMEA", 115, 2, "group"], [None, 115, 2, "total"]]
    assert [column.get("approximate") for column in answer["columns"]] == [None, None, True, None]
    receipt = answer["receipt"]
    assert receipt["approximate"] == ["buyers"]
    assert [(route["mart"], route["rollup"]) for route in receipt["routes"]] == [("orders", "by_day")]
    assert "rows of orders: region = user.region" in receipt["policies"]


def test_the_same_request_again_comes_from_the_cache(send: Send) -> None:
    first, again = (send(metrics=["orders.orders"], where=["region = 'EMEA'"]).json() for _ in range(2))
    assert (first["receipt"]["cached"], again["receipt"]["cached"]) == (False, True)
    assert first["rows"] == again["rows"] == [[3]]


def test_without_rollups_the_mart_answers_the_same(send: Send) -> None:
    base = send(metrics=["orders.revenue"], by=["day.month"], rollups=False).json()
    assert base["rows"] == send(metrics=["orders.revenue"], by=["day.month"]).json()["rows"]
    assert [route["rollup"] for route in base["receipt"]["routes"]] == [None]


def test_a_miss_has_a_reason_code_and_a_sentence(send: Send) -> None:
    (route,) = send(metrics=["orders.revenue"], by=["note"]).json()["receipt"]["routes"]
    (miss,) = route["misses"]
    assert (route["rollup"], miss["rollup"], miss["reason"]) == (None, "by_day", "dimension")
    assert "note" in miss["words"]


def test_arrow_says_which_columns_are_estimates(send: Send) -> None:
    answer = send(metrics=["~orders.buyers"], format="arrow")
    (field,) = pa.ipc.open_stream(answer.content).read_all().schema
    assert field.metadata == {b"approximate": b"true"}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"metrics": ["orders.revenu"]}, "'orders' has no measure 'revenu'"),
        ({"metrics": ["secrets.x"]}, "there is no mart 'secrets' for you"),
        ({"metrics": ["orders.revenue"], "colour": 1}, "a metric request has no 'colour'"),
        ({"metrics": ["orders.revenue"], "format": ["csv"]}, "format: ['csv'] is none of"),
        ({"metrics": ["orders.revenue"], "rollups": "no"}, "rollups: 'no' is neither true nor false"),
        ({"metrics": [["orders"]]}, "a metric is a text"),
        ({}, "a request asks for at least one metric"),
    ],
)
def test_what_is_wrong_is_refused_with_400_and_the_reason(
    send: Send, body: dict[str, Any], error: str
) -> None:
    refused = send(**body)
    assert refused.status_code == 400
    assert error in refused.json()["error"]


@pytest.mark.parametrize("text", [b"{", b"[]", b"null", b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(send: Send, text: bytes) -> None:
    assert send(text=text).json()["error"] == "the body is no JSON object"


def test_the_list_says_what_this_person_may_ask(send: Send) -> None:
    (orders,) = send("GET").json()
    buyers = next(one for one in orders["metrics"] if one["name"] == "orders.buyers")
    assert (buyers["label"], buyers["estimate"]) == ("Customers", True)
    assert [one["name"] for one in orders["dimensions"] if one["time"]] == ["day"]
    assert send("GET", user="eve@example.com").status_code == 403
