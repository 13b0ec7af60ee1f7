"""The sender's own promises, on a pure transport: order, splitting, waiting."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.budget import Limits, open_budget
from connectors.http import RETRIES, Delivery, DeliveryStopped, Retries, Sender
from connectors.outcomes import BatchRefused, same
from connectors.protocol import Capabilities, Change, Op, Outcome, Request, Response
from tests.contract.tools import FakeTime

LIMITS = Limits()
OPS: frozenset[Op] = frozenset({"upsert", "clear", "archive", "delete"})


@dataclass
class Rows:
    """A destination that writes row numbers and refuses a batch as a whole."""

    capabilities: Capabilities = field(default_factory=lambda: Capabilities(OPS, batch_rows=10, resend=OPS))

    def request(self, changes: Sequence[Change]) -> Request:
        body = {"op": changes[0].op, "seqs": [change.seq for change in changes]}
        return Request("POST", "/rows?key=qu3ry-s3cret", json.dumps(body).encode())

    def outcomes(self, changes: Sequence[Change], response: Response) -> list[Outcome]:
        if response.status == 422:
            raise BatchRefused(response.body.decode())
        return same(changes, "accepted")


def send(
    handler: Callable[[httpx.Request], httpx.Response],
    changes: Sequence[Change],
    rows: Rows | None = None,
    retries: Retries = RETRIES,
    limits: Limits = LIMITS,
) -> tuple[Delivery, FakeTime]:
    time = FakeTime()

    async def run() -> Delivery:
        sender = Sender(
            "https://crm.test/",
            budget=open_budget(None, "crm", limits, clock=time.clock, sleep=time.sleep),
            retries=retries,
            random=lambda: 1.0,
            transport=httpx.MockTransport(handler),
        )
        async with sender:
            return await sender.send(rows or Rows(), changes)

    return asyncio.run(run()), time


def plan(ops: Sequence[Op]) -> list[Change]:
    return [Change(seq, op, {"id": str(seq)}) for seq, op in enumerate(ops)]


@settings(max_examples=100, deadline=None)
@given(
    ops=st.lists(st.sampled_from(sorted(OPS)), max_size=40),
    bad=st.sets(st.integers(0, 39)),
    size=st.integers(1, 12),
    stumbles=st.lists(st.sampled_from([200, 200, 500, 503, 429, 408]), max_size=10),
)
def test_whatever_happens_each_row_is_taken_once_in_order_and_bad_rows_stand_alone(
    ops: list[Op], bad: set[int], size: int, stumbles: list[int]
) -> None:
    taken: list[int] = []
    batches: list[tuple[str, list[int]]] = []
    todo = list(stumbles)

    def handler(request: httpx.Request) -> httpx.Response:
        if todo and (status := todo.pop(0)) != 200:
            return httpx.Response(status)
        body = json.loads(request.content)
        batches.append((body["op"], body["seqs"]))
        if refused := bad & set(body["seqs"]):
            return httpx.Response(422, text=f"row {min(refused)} is bad")
        taken.extend(body["seqs"])
        return httpx.Response(200)

    changes = plan(ops)
    rows = Rows(Capabilities(OPS, batch_rows=size, resend=OPS))
    delivery, _ = send(handler, changes, rows, Retries(tries=20))

    expected = [
        Outcome(c.seq, "rejected", f"row {c.seq} is bad") if c.seq in bad else Outcome(c.seq, "accepted")
        for c in changes
    ]
    assert delivery.outcomes == expected
    assert taken == [c.seq for c in changes if c.seq not in bad]
    assert all(len(seqs) <= size and {ops[seq] for seq in seqs} == {op} for op, seqs in batches)
    assert delivery.calls == len(batches) + sum(s != 200 for s in stumbles[: len(stumbles) - len(todo)])


def test_a_batch_that_may_not_be_split_is_rejected_as_a_whole() -> None:
    rows = Rows(Capabilities(OPS, batch_rows=10, splits=False))

    delivery, _ = send(lambda request: httpx.Response(422, text="no"), plan(["upsert"] * 4), rows)

    assert delivery.outcomes == same(plan(["upsert"] * 4), "rejected", "no")
    assert delivery.calls == 1


def test_pauses_grow_to_the_cap_and_their_length_is_drawn_by_lot() -> None:
    retries = Retries(tries=6, base=0.5, cap=3.0)

    delivery, time = send(lambda request: httpx.Response(502), plan(["upsert"]), retries=retries)

    assert time.naps == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert (delivery.calls, delivery.waited) == (6, 9.5)


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout])
def test_when_no_connection_comes_about_nothing_was_sent_even_where_resending_is_not_safe(
    error: type[httpx.TransportError],
) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise error("refused", request=request)

    rows = Rows(Capabilities(OPS))
    delivery, _ = send(handler, plan(["upsert"]), rows, Retries(tries=3))

    assert delivery.outcomes[0].verdict == "deferred"
    assert "no connection (refused)" in delivery.outcomes[0].reason
    assert delivery.calls == 3


@pytest.mark.parametrize(
    "error",
    [httpx.ReadTimeout, httpx.WriteTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError],
)
def test_when_a_connection_breaks_later_the_rows_may_have_arrived(error: type[httpx.TransportError]) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise error("", request=request)

    risky = Rows(Capabilities(OPS))
    once, _ = send(handler, plan(["upsert"]), risky)
    often, _ = send(handler, plan(["upsert"]), retries=Retries(tries=4))

    assert (once.outcomes[0].verdict, once.calls) == ("unknown", 1)
    assert (often.outcomes[0].verdict, often.calls) == ("unknown", 4)
    assert error.__name__ in once.outcomes[0].reason


@pytest.mark.parametrize("status", [502, 504])
def test_a_gateway_without_an_answer_from_behind_is_not_resent_where_that_is_not_safe(status: int) -> None:
    rows = Rows(Capabilities(OPS))

    delivery, _ = send(lambda request: httpx.Response(status), plan(["upsert"]), rows)

    assert (delivery.outcomes[0].verdict, delivery.calls) == ("unknown", 1)


def test_a_destination_that_asks_for_zero_seconds_again_and_again_is_not_hammered() -> None:
    answer = httpx.Response(429, headers={"Retry-After": "0"})

    delivery, time = send(lambda request: answer, plan(["upsert"]), retries=Retries(patience=60))

    assert delivery.outcomes[0].verdict == "deferred"
    assert delivery.calls < 40
    assert sum(time.naps) <= 60


def test_a_limit_without_a_wait_slows_down_to_a_floor_and_uses_up_no_try() -> None:
    delivery, time = send(lambda request: httpx.Response(429), plan(["upsert"]), retries=Retries(tries=3))

    assert delivery.outcomes[0].verdict == "deferred"
    assert "slowed down to a call every 30 s, and still refused" in delivery.outcomes[0].reason
    assert delivery.calls > 20
    assert max(time.naps) == pytest.approx(30)
    assert sum(time.naps) <= 900


def test_one_limited_batch_makes_all_batches_of_the_account_wait() -> None:
    """Two deliveries share a sender; only one of them is told to wait."""
    time, calls = FakeTime(), list[float]()
    answers = iter([httpx.Response(429, headers={"Retry-After": "30"})])

    def handler(request: httpx.Request) -> httpx.Response:
        calls.append(time.now)
        return next(answers, httpx.Response(200))

    async def run() -> None:
        transport = httpx.MockTransport(handler)
        budget = open_budget(None, "crm", Limits(concurrent=1), clock=time.clock, sleep=time.sleep)
        sender = Sender("https://crm.test", budget=budget, transport=transport)
        async with sender:
            await asyncio.gather(*(sender.send(Rows(), plan(["upsert"])) for _ in range(3)))

    asyncio.run(run())

    assert calls == [1_000, 1_030, 1_030, 1_030]


def test_calls_keep_to_the_pace() -> None:
    calls = list[float]()

    def handler(request: httpx.Request) -> httpx.Response:
        calls.append(1)
        return httpx.Response(200)

    delivery, time = send(handler, plan(["upsert"] * 205), limits=Limits(per_second=5))

    assert delivery.calls == len(calls) == 21
    assert time.now - 1_000 == pytest.approx(4.0, rel=0.03)


def test_a_message_shows_the_address_without_its_query() -> None:
    with pytest.raises(DeliveryStopped) as stop:
        send(lambda request: httpx.Response(403), plan(["upsert"]))

    assert "POST https://crm.test/rows answered 403" in stop.value.problem
    assert "qu3ry-s3cret" not in str(stop.value)


def test_a_batch_that_is_too_large_is_cut_before_any_call() -> None:
    sizes = list[int]()

    class Wide(Rows):
        def request(self, changes: Sequence[Change]) -> Request:
            sizes.append(len(changes))
            return Request("POST", "/rows", b"x" * 100 * len(changes))

    rows = Wide(Capabilities(OPS, batch_rows=100, batch_bytes=1_000))
    delivery, _ = send(lambda request: httpx.Response(200), plan(["upsert"] * 100), rows)

    assert delivery.calls == 10
    assert sizes == [100] + [10] * 10


def test_an_outcome_list_that_does_not_fit_the_batch_is_unknown() -> None:
    class Short(Rows):
        def outcomes(self, changes: Sequence[Change], response: Response) -> list[Outcome]:
            return same(changes[:-1], "accepted")

    delivery, _ = send(lambda request: httpx.Response(200), plan(["upsert"] * 3), Short())

    assert [outcome.verdict for outcome in delivery.outcomes] == ["unknown"] * 3
