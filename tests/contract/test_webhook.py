"""The webhook connector as a translation: changes to a request, an answer to outcomes."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.catalog.account import Account
from connectors.outcomes import BatchRefused
from connectors.protocol import Change, Destination, DestinationStopped, Op, Response
from connectors.registry import check_key, check_object, open_destination, options_model
from connectors.secrets import Secret

ROWS = [Change(0, "upsert", {"id": "a"}, {"n": 1}), Change(1, "upsert", {"id": "b"}, {"n": 2})]
BY_ROW = {
    "url": "https://x.test/{object}/{id}",
    "method": "PUT",
    "remove": {"url": "https://x.test/{object}/{id}"},
}


def opened(**options: Any) -> Destination:
    model = options_model("webhook").model_validate({"url": "https://x.test/{object}", **options})
    return open_destination("webhook", model, "con tacts")


def answered(destination: Destination, changes: Sequence[Change], status: int, body: object) -> list[str]:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = destination.outcomes(changes, Response(status, {}, text))
    return [outcome.verdict + (f": {outcome.reason}" if outcome.reason else "") for outcome in found]


def test_one_row_is_the_body_itself() -> None:
    request = opened().request(ROWS[:1])

    assert (request.method, request.path) == ("POST", "https://x.test/con%20tacts")
    assert json.loads(request.body) == {"id": "a", "n": 1}


def test_several_rows_stand_under_the_key_the_api_wants() -> None:
    request = opened(batch=50, records_key="items", body="nested").request(ROWS)

    assert json.loads(request.body) == {
        "items": [{"key": {"id": "a"}, "fields": {"n": 1}}, {"key": {"id": "b"}, "fields": {"n": 2}}]
    }


def test_a_batch_of_one_keeps_the_shape_of_a_batch() -> None:
    assert json.loads(opened(batch=50).request(ROWS[:1]).body) == {"records": [{"id": "a", "n": 1}]}


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("a/b", "a%2Fb"),
        ("?x=1", "%3Fx%3D1"),
        ("é #", "%C3%A9%20%23"),
        (7, "7"),
        (True, "true"),
        ("%2e", "%252e"),
    ],
)
def test_a_key_in_the_address_is_encoded(key: Any, part: str) -> None:
    request = opened(**BY_ROW).request([Change(0, "upsert", {"id": key}, {})])

    assert request.path == f"https://x.test/con%20tacts/{part}"


@pytest.mark.parametrize("key", ["", ".", "..", None, ["a"]])
@pytest.mark.parametrize("op", ["upsert", "delete"])
def test_a_key_that_would_lead_to_another_address_is_refused(key: Any, op: Op) -> None:
    """`DELETE /contacts/` and `DELETE /contacts/..` are not about this row."""
    with pytest.raises(BatchRefused, match="cannot stand in an address"):
        opened(**BY_ROW).request([Change(0, op, {"id": key}, {})])


def test_without_remove_nothing_is_removed() -> None:
    assert opened().capabilities.ops == {"upsert", "clear"}
    with pytest.raises(DestinationStopped, match="cannot remove rows"):
        opened().request([Change(0, "delete", {"id": "a"})])


def test_a_removal_by_address_has_no_body_and_one_by_body_has_the_key() -> None:
    removal = [Change(0, "archive", {"id": "a"})]

    by_address = opened(**BY_ROW).request(removal)
    by_body = opened(remove={"method": "POST", "url": "https://x.test/gone"}).request(removal)

    assert (by_address.method, by_address.body) == ("DELETE", b"")
    assert (by_body.method, json.loads(by_body.body)) == ("POST", {"id": "a"})


def test_removing_what_is_not_there_is_accepted_and_writing_it_is_not() -> None:
    by_row = opened(**BY_ROW)

    assert answered(by_row, [Change(0, "delete", {"id": "a"})], 404, {}) == [
        "accepted: status 404: it was not there any more"
    ]
    with pytest.raises(BatchRefused, match="status 404"):
        answered(by_row, ROWS[:1], 404, {"error": "unknown id"})
    with pytest.raises(DestinationStopped, match="404"):
        answered(opened(), ROWS[:1], 404, {})


def test_any_status_that_is_not_named_refuses_the_batch_in_the_tools_words() -> None:
    with pytest.raises(BatchRefused) as refused:
        answered(opened(), ROWS[:1], 422, b"name\n  is too " + b"long " * 200)

    assert refused.value.reason.startswith("status 422: name is too long")
    assert len(refused.value.reason) < 320


def test_other_statuses_can_be_named_as_accepted() -> None:
    destination = opened(accepted="200-201, 409")

    assert answered(destination, ROWS[:1], 409, {}) == ["accepted"]
    with pytest.raises(BatchRefused):
        answered(destination, ROWS[:1], 202, {})


def test_a_200_that_says_no_is_a_refusal() -> None:
    destination = opened(answer={"ok": "ok", "reason": "error"})

    assert answered(destination, ROWS[:1], 200, {"ok": True}) == ["accepted"]
    with pytest.raises(BatchRefused, match="channel_not_found"):
        answered(destination, ROWS[:1], 200, {"ok": False, "error": "channel_not_found"})
    assert answered(destination, ROWS[:1], 200, b"ok")[0].startswith("unknown: the answer has no 'ok'")
    with pytest.raises(BatchRefused):
        answered(destination, ROWS[:1], 200, {"ok": 1})


def test_each_row_has_the_verdict_that_its_result_gives() -> None:
    verdict = {"path": "data.results", "ok": "status", "equals": ["created", "updated"], "reason": "why.text"}
    destination = opened(batch=2, verdict=verdict)
    results = [{"status": "updated"}, {"status": "failed", "why": {"text": "too old"}}]

    assert answered(destination, ROWS, 200, {"data": {"results": results}}) == [
        "accepted",
        "rejected: too old",
    ]
    assert answered(destination, ROWS, 200, {"data": {"results": [{}, results[0]]}}) == [
        "unknown: the row's result has no 'status'",
        "accepted",
    ]


@pytest.mark.parametrize("body", [{}, [], b"", b"<html>", {"results": [{"ok": True}]}, {"results": "ok"}])
def test_results_that_do_not_fit_the_rows_leave_them_unknown(body: object) -> None:
    found = answered(opened(batch=2, verdict={}), ROWS, 200, body)

    assert [words.partition(":")[0] for words in found] == ["unknown", "unknown"]


def test_an_idempotency_key_is_the_same_for_the_same_rows_only() -> None:
    destination = opened(idempotency_header="Idempotency-Key")

    def key(changes: Sequence[Change]) -> str:
        return destination.request(changes).headers["Idempotency-Key"]

    again = Change(99, "upsert", {"id": "a"}, {"n": 1})
    assert key(ROWS[:1]) == key([again])
    assert len({key(ROWS[:1]), key(ROWS[1:]), key([Change(0, "clear", {"id": "a"}, {"n": 1})])}) == 3
    assert "upsert" in destination.capabilities.resend
    assert key(ROWS[:1]) != key([replace(again, version="another run")])
    assert not opened().capabilities.resend
    assert "upsert" in opened(idempotent=True).capabilities.resend


def test_inserts_and_updates_have_calls_of_their_own_or_do_not_exist() -> None:
    own = {
        "insert": {"url": "https://x.test/new"},
        "update": {"url": "https://x.test/old", "method": "PATCH"},
    }
    destination = opened(**own)
    new, old = Change(0, "insert", {"id": "a"}, {"n": 1}), Change(0, "update", {"id": "a"}, {"n": 1})

    assert destination.capabilities.ops == {"upsert", "clear", "insert", "update"}
    assert destination.request([new]).path == "https://x.test/new"
    assert (destination.request([old]).method, destination.request([old]).path) == (
        "PATCH",
        "https://x.test/old",
    )
    for change in (new, old):
        with pytest.raises(DestinationStopped, match=f"cannot {change.op} rows"):
            opened().request([change])


def test_an_insert_may_be_sent_again_only_where_the_tool_knows_it_by_its_key() -> None:
    own = {"insert": {"url": "https://x.test/new"}}

    assert "insert" not in opened(**own).capabilities.resend
    assert "insert" in opened(**own, idempotency_header="X-Key").capabilities.resend
    assert "insert" in opened(**own, idempotent=True).capabilities.resend


def test_what_the_tool_keeps_and_what_empties_a_field_are_declared() -> None:
    can = opened(partial=True, cleared="").capabilities

    assert (can.partial, can.cleared) == (True, "")
    assert (opened().capabilities.partial, opened().capabilities.cleared) == (False, None)


def test_header_values_may_be_literal_or_by_reference() -> None:
    account = options_model("webhook").model_validate(
        {"url": "https://x.test", "headers": {"X-Team": "sales", "X-Api-Key": "${env:K}"}}
    )
    assert isinstance(account, Account)

    assert account.credentials(lambda ref: Secret(f"<{ref}>")) == {
        "X-Team": "sales",
        "X-Api-Key": "<${env:K}>",
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "x.test/hook"}, "no web address"),
        ({"url": "ftp://x.test"}, "no web address"),
        ({"url": "https://x.test/#top"}, "must not end in"),
        ({"url": "https://x.test/{id"}, "a brace without its partner"),
        ({"url": "https://x.test/{}"}, "no key field"),
        ({"url": "https://{id}.x.test/"}, "must name its host"),
        ({"url": "https://x.test/{id}", "batch": 10}, "goes with batch: 1"),
        (
            {"url": "https://x.test", "insert": {"url": "https://x.test/{id}"}, "batch": 2},
            "goes with batch: 1",
        ),
        ({"url": "https://x.test", "accepted": "2xx"}, "wants statuses like"),
        ({"url": "https://x.test", "headers": {"Host": "y.test"}}, "set by the connector itself"),
        ({"url": "https://x.test", "headers": {"X Y": "z"}}, "pattern"),
        ({"url": "https://x.test", "headers": {"X-Y": "a\r\nb"}}, "pattern"),
        ({"url": "https://x.test", "methods": "PUT"}, "Extra inputs are not permitted"),
        ({"url": "https://x.test", "method": "GET"}, "'POST', 'PUT' or 'PATCH'"),
    ],
)
def test_options_that_cannot_work_are_refused(options: object, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        options_model("webhook").model_validate(options)


def test_the_key_must_have_what_the_address_wants() -> None:
    options = options_model("webhook").model_validate(BY_ROW)

    assert check_key("webhook", options, "x", ["id"]) is None
    assert "{id}" in (check_key("webhook", options, "x", ["email"]) or "")
    assert check_object("webhook", options, "anything") is None
    assert check_object("webhook", options, "..") is not None
