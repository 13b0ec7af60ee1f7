"""The sandbox CRM over HTTP, as a real tool would be met."""

import re
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.sandbox.faults import Faults
from connectors.sandbox.rules import digest
from connectors.sandbox_client import SandboxClient, SandboxUnreachable
from tests.contract.sandbox_process import SandboxProcess, spawn, start

HTTP = httpx.Client(trust_env=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with spawn(tmp_path_factory.mktemp("own")) as found:
        yield found


@pytest.fixture
def crm(server: SandboxProcess) -> Iterator[SandboxClient]:
    """A client of a CRM without faults and without companies."""
    with server.client() as client:
        client.set_faults(Faults(rate_limit=None))
        for record in [*client.every_record("companies", "all")]:
            post(server, "delete", [{"id": record.id}])
        yield client


def post(server: SandboxProcess, action: str, records: Any, **how: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {server.token}"}
    url = f"{server.url}/v1/companies/batch/{action}"
    return HTTP.post(url, json={"records": records}, headers=headers, **how)


def test_an_upsert_creates_then_updates_and_null_clears(server: SandboxProcess, crm: SandboxClient) -> None:
    first = post(server, "upsert", [{"id": "a", "properties": {"name": "Abba", "size": 4}}])
    second = post(server, "upsert", [{"id": "a", "properties": {"size": None, "city": "Oslo"}}])

    assert first.json() == {"results": [{"id": "a", "status": "created"}], "errors": []}
    assert second.json()["results"] == [{"id": "a", "status": "updated"}]
    record = crm.record("companies", "a")
    assert record is not None
    assert record.properties == {"name": "Abba", "city": "Oslo"}
    assert record.created_at < record.updated_at


def test_good_records_are_written_and_bad_ones_named_by_their_place(
    server: SandboxProcess, crm: SandboxClient
) -> None:
    answer = post(
        server,
        "upsert",
        [
            {"id": "a", "properties": {"email": "joe example.com"}},
            {"id": "b", "properties": {"email": "bo@example.com"}},
            {"id": "c", "properties": {"Name": "x"}},
            {"id": "d", "properties": {"note": "x" * 2_001}},
            {"id": "e", "properties": {"tags": ["x"]}},
            {"id": "", "properties": {}},
            {"id": "f", "properties": {"email": "anna.lind@example"}},
        ],
    )

    errors = [(error["index"], error["id"], error["code"]) for error in answer.json()["errors"]]
    assert answer.status_code == 207
    assert errors == [
        (0, "a", "invalid_email"),
        (2, "c", "invalid_property"),
        (3, "d", "too_long"),
        (4, "e", "invalid_value"),
        (5, "", "invalid_id"),
        (6, "f", "invalid_email"),
    ]
    assert [record.id for record in crm.every_record("companies")] == ["b"]


@pytest.mark.parametrize(
    ("records", "status"),
    [
        ([], 400),
        ("x", 400),
        ([{"properties": {}}], 400),
        ([{"id": 7}], 400),
        ([{"id": "a", "properties": []}], 400),
        ([{"id": str(n)} for n in range(101)], 400),
        ([{"id": "a"}, {"id": "a"}], 409),
    ],
)
def test_a_malformed_batch_is_refused_as_a_whole(
    server: SandboxProcess, crm: SandboxClient, records: Any, status: int
) -> None:
    answer = post(server, "upsert", records)

    assert answer.status_code == status
    assert answer.json()["error"]["message"]
    assert crm.stats().records["companies"] == 0


def test_archived_records_are_hidden_and_an_upsert_brings_them_back(
    server: SandboxProcess, crm: SandboxClient
) -> None:
    post(server, "upsert", [{"id": "a", "properties": {"n": 1}}, {"id": "b", "properties": {"n": 2}}])
    answer = post(server, "archive", [{"id": "a"}, {"id": "zz"}])

    assert [(e["index"], e["code"]) for e in answer.json()["errors"]] == [(1, "not_found")]
    assert [r.id for r in crm.records("companies").results] == ["b"]
    assert [r.id for r in crm.records("companies", archived="only").results] == ["a"]
    assert (crm.stats().records["companies"], crm.stats().archived["companies"]) == (1, 1)

    post(server, "upsert", [{"id": "a", "properties": {"m": 3}}])
    record = crm.record("companies", "a")
    assert record is not None and record.archived_at is None
    assert record.properties == {"n": 1, "m": 3}


def test_deleted_records_are_gone(server: SandboxProcess, crm: SandboxClient) -> None:
    post(server, "upsert", [{"id": "a", "properties": {}}])

    assert post(server, "delete", [{"id": "a"}]).status_code == 200
    assert post(server, "delete", [{"id": "a"}]).json()["errors"][0]["code"] == "not_found"
    assert crm.record("companies", "a") is None


def test_records_are_listed_page_by_page_and_found_by_what_they_hold(
    server: SandboxProcess, crm: SandboxClient
) -> None:
    post(server, "upsert", [{"id": f"c{n:02}", "properties": {"name": f"No {n}%"}} for n in range(25)])

    page = crm.records("companies", limit=10)
    assert ([r.id for r in page.results][-1], page.after) == ("c09", "c09")
    assert crm.records("companies", limit=10, after="c19").after is None
    assert [r.id for r in crm.records("companies", q="no 7%").results] == ["c07"]
    assert crm.records("companies", q="7_").results == ()


def test_the_log_tells_each_call_and_the_records_it_wrote(server: SandboxProcess, crm: SandboxClient) -> None:
    before = crm.calls(1, newest=True)[0].id
    writes = crm.stats().writes
    post(server, "upsert", [{"id": "a", "properties": {"email": "x"}}, {"id": "b", "properties": {}}])
    post(server, "archive", [{"id": "b"}])

    upsert, archive = crm.calls(after=before)
    assert (upsert.method, upsert.path, upsert.status) == ("POST", "/v1/companies/batch/upsert", 207)
    assert (upsert.records, upsert.ids, archive.ids) == (2, ("b",), ("b",))
    assert crm.stats().writes - writes == 2


def test_looking_on_leaves_no_trace(crm: SandboxClient) -> None:
    before = crm.stats()
    crm.records("contacts")
    crm.record("contacts", "a")

    assert crm.stats() == before


def test_without_the_token_nothing_but_health_is_answered(server: SandboxProcess) -> None:
    with SandboxClient(server.url, "wrong") as stranger:
        assert stranger.healthy()
        with pytest.raises(SandboxUnreachable, match="refuses the token"):
            stranger.stats()
    assert httpx.get(f"{server.url}/v1/contacts").status_code == 401


def test_the_token_is_for_its_owner_only_and_stays_the_same(tmp_path: Path) -> None:
    with spawn(tmp_path) as first:
        token, mode = first.token, (tmp_path / "sandbox" / "token").stat().st_mode
    with spawn(tmp_path) as second:
        assert second.token == token
    assert stat.S_IMODE(mode) == 0o600


def test_too_many_calls_are_told_to_wait(server: SandboxProcess, crm: SandboxClient) -> None:
    crm.set_faults(Faults(rate_limit=2))

    answers = [post(server, "upsert", [{"id": "a", "properties": {}}]) for _ in range(4)]

    assert [answer.status_code for answer in answers[:2]] == [200, 200]
    assert (answers[-1].status_code, answers[-1].headers["Retry-After"]) == (429, "1")
    assert crm.calls(1, newest=True)[0].status == 429


def test_switched_faults_strike_every_nth_call(server: SandboxProcess, crm: SandboxClient) -> None:
    crm.set_faults(Faults(rate_limit=None, fail_500_every=2, drop_every=3, reject_emails_matching="@bad"))

    def outcome(n: int) -> int | str:
        try:
            return post(server, "upsert", [{"id": str(n), "properties": {"email": "a@bad.se"}}]).status_code
        except httpx.RemoteProtocolError:
            return "dropped"

    assert [outcome(n) for n in range(1, 7)] == [207, 500, "dropped", 500, 207, "dropped"]
    assert [call.status for call in crm.calls(6, newest=True)] == [0, 207, 500, 0, 500, 207]


def test_a_write_without_an_answer_has_been_written(server: SandboxProcess, crm: SandboxClient) -> None:
    crm.set_faults(Faults(rate_limit=None, timeout_after_write_every=1))

    with pytest.raises(httpx.ReadTimeout):
        post(server, "upsert", [{"id": "a", "properties": {}}], timeout=0.3)

    assert crm.record("companies", "a") is not None
    assert (crm.calls(1, newest=True)[0].status, crm.calls(1, newest=True)[0].ids) == (0, ("a",))


def test_faults_that_make_no_sense_are_refused(server: SandboxProcess, crm: SandboxClient) -> None:
    headers = {"Authorization": f"Bearer {server.token}"}

    for faults in ({"drop_every": 0}, {"dorp_every": 2}, {"reject_emails_matching": "("}):
        answer = httpx.put(f"{server.url}/v1/faults", json=faults, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "malformed")
    assert crm.faults() == Faults(rate_limit=None)


def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    with spawn(tmp_path) as first:
        port = first.port
        for n in range(20):
            assert post(first, "upsert", [{"id": f"{n:02}", "properties": {"n": n}}]).status_code == 200
        first.kill()

    again = start(tmp_path, port)
    try:
        with again.client() as client:
            assert [record.properties["n"] for record in client.every_record("companies")] == [*range(20)]
            assert client.stats().calls == client.stats().writes == 20
    finally:
        again.stop()


def test_a_sandbox_that_is_not_there_is_said_so() -> None:
    with SandboxClient("http://127.0.0.1:9", "t") as client:
        assert not client.healthy()
        with pytest.raises(SandboxUnreachable, match=r"python -m connectors\.sandbox"):
            client.stats()


def test_an_insert_takes_only_free_ids_and_an_archived_record_keeps_its_own(
    server: SandboxProcess, crm: SandboxClient
) -> None:
    post(server, "upsert", [{"id": "a", "properties": {"n": 1}}, {"id": "b", "properties": {"n": 1}}])
    post(server, "archive", [{"id": "b"}])

    answer = post(server, "insert", [{"id": name, "properties": {"n": 2}} for name in "abc"])

    assert [(e["id"], e["code"]) for e in answer.json()["errors"]] == [
        ("a", "already_exists"),
        ("b", "already_exists"),
    ]
    assert {r.id: r.properties["n"] for r in crm.every_record("companies", "all")} == {"a": 1, "b": 1, "c": 2}


def test_an_update_finds_only_live_records(server: SandboxProcess, crm: SandboxClient) -> None:
    post(server, "upsert", [{"id": "a", "properties": {"n": 1, "m": 1}}, {"id": "b", "properties": {"n": 1}}])
    post(server, "archive", [{"id": "b"}])

    answer = post(server, "update", [{"id": name, "properties": {"n": 2}} for name in "abc"])

    assert [(e["id"], e["code"]) for e in answer.json()["errors"]] == [("b", "not_found"), ("c", "not_found")]
    assert [(r.id, r.properties) for r in crm.every_record("companies")] == [("a", {"n": 2, "m": 1})]


def read(server: SandboxProcess, ids: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {server.token}"}
    return HTTP.post(f"{server.url}/v1/companies/batch/read", json={"ids": ids}, headers=headers)


def test_a_batch_read_gives_the_live_ones_and_is_no_write(server: SandboxProcess, crm: SandboxClient) -> None:
    post(server, "upsert", [{"id": "a", "properties": {"n": 1}}, {"id": "b", "properties": {}}])
    post(server, "archive", [{"id": "b"}])
    crm.set_faults(Faults(rate_limit=1))
    writes = crm.stats().writes

    answers = [read(server, ["a", "b", "c"]) for _ in range(3)]

    assert [[r["id"] for r in answer.json()["results"]] for answer in answers] == [["a"]] * 3
    assert answers[0].json()["results"][0]["properties"] == {"n": 1}
    last = crm.calls(1, newest=True)[0]
    assert (last.method, last.op, last.ids, set(last.received)) == ("READ", "read", (), {"a", "b", "c"})
    assert crm.stats().writes == writes
    assert [read(server, ids).status_code for ids in ([], "a", [1], ["x"] * 101)] == [400] * 4


def test_the_log_holds_what_each_record_said_and_the_idempotency_key(
    server: SandboxProcess, crm: SandboxClient
) -> None:
    good, bad = {"email": "ö@example.com", "n": 1}, {"email": "x"}
    headers = {"Authorization": f"Bearer {server.token}", "Idempotency-Key": "k-1"}
    records = [{"id": "a", "properties": good}, {"id": "b", "properties": bad}]
    httpx.post(f"{server.url}/v1/companies/batch/upsert", json={"records": records}, headers=headers)

    call = crm.calls(1, newest=True)[0]

    assert (call.op, call.idempotency_key, call.ids) == ("upsert", "k-1", ("a",))
    assert call.received == {"a": digest(good), "b": digest(bad)}


@pytest.mark.parametrize(
    ("hint", "header", "form"),
    [
        ("seconds", "Retry-After", "7"),
        ("date", "Retry-After", r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"),
        ("reset", "X-RateLimit-Reset", r"\d{10}"),
        ("none", "Retry-After", None),
    ],
)
def test_a_429_hints_as_it_was_told_to(
    server: SandboxProcess, crm: SandboxClient, hint: Any, header: str, form: str | None
) -> None:
    crm.set_faults(Faults(rate_limit=None, limited_share=1, limited_seconds=7, hint=hint))

    answer = post(server, "upsert", [{"id": "a", "properties": {}}])

    assert answer.status_code == 429
    given = answer.headers.get(header)
    assert given is None if form is None else re.fullmatch(form, given)
    assert crm.record("companies", "a") is None


def shown(server: SandboxProcess, *keys: str) -> int | str:
    """The status of an upsert, or how else it ended."""
    records = [{"id": key, "properties": {"n": 1}} for key in keys]
    try:
        answer = post(server, "upsert", records, timeout=0.3)
    except httpx.TimeoutException:
        return "silence"
    except (httpx.RemoteProtocolError, httpx.NetworkError):
        return "reset"
    try:
        answer.json()
    except ValueError:
        return "garbage"
    return answer.status_code


@pytest.mark.parametrize(
    ("fault", "seen", "written"),
    [
        ("limited_share", 429, False),
        ("fail_500_share", 500, False),
        ("unavailable_503_share", 503, False),
        ("drop_share", "reset", False),
        ("timeout_after_write_share", "silence", True),
        ("reset_after_write_share", "reset", True),
        ("garble_share", "garbage", True),
    ],
)
def test_each_fault_writes_or_does_not_as_it_says(
    server: SandboxProcess, crm: SandboxClient, fault: str, seen: int | str, written: bool
) -> None:
    crm.set_faults(Faults.model_validate({"rate_limit": None, fault: 1.0}))

    assert shown(server, "a") == seen
    assert (crm.record("companies", "a") is not None) == written
    assert crm.calls(1, newest=True)[0].ids == (("a",) if written else ())


def test_the_same_seed_strikes_the_same_calls(server: SandboxProcess, crm: SandboxClient) -> None:
    def history(seed: int) -> list[int | str]:
        shares = {"fail_500_share": 0.2, "drop_share": 0.2, "garble_share": 0.2, "reject_share": 0.3}
        crm.set_faults(Faults.model_validate({"rate_limit": None, "seed": seed, **shares}))
        return [shown(server, f"k{n}") for n in range(20)]

    first = history(1)

    assert history(1) == first != history(2)
    assert {200, 207, 500, "reset", "garbage"} <= set(first)


@pytest.mark.parametrize(
    ("how", "status", "written"),
    [("207", 207, ["a"]), ("200", 200, ["a"]), ("409", 409, []), ("ok:false", 200, [])],
)
def test_a_bad_record_is_named_or_spoils_its_batch(
    server: SandboxProcess, crm: SandboxClient, how: Any, status: int, written: list[str]
) -> None:
    crm.set_faults(Faults(rate_limit=None, reject_ids_matching="^bad", bad_records=how))

    answer = post(server, "upsert", [{"id": "a", "properties": {}}, {"id": "bad", "properties": {}}])

    assert answer.status_code == status
    assert "'bad' is refused by this account" in answer.text
    assert [record.id for record in crm.every_record("companies")] == written
    assert crm.calls(1, newest=True)[0].ids == tuple(written)


def test_an_expired_token_may_look_on_but_not_write_and_the_next_one_is_in_the_file(
    server: SandboxProcess, crm: SandboxClient
) -> None:
    crm.set_faults(Faults(rate_limit=None, token_calls=2))
    first = server.token

    assert [shown(server, "a"), shown(server, "b")] == [200, 200]
    old = httpx.post(f"{server.url}/v1/companies/batch/upsert", headers={"Authorization": f"Bearer {first}"})
    assert old.status_code == 401
    assert server.token != first
    assert shown(server, "c") == 200
    assert len(list(crm.every_record("companies"))) == 3


def test_a_log_of_an_older_sandbox_is_still_read(tmp_path: Path) -> None:
    (tmp_path / "sandbox").mkdir()
    old = sqlite3.connect(tmp_path / "sandbox" / "crm.sqlite")
    old.execute(
        "create table calls (id integer primary key, at text not null, method text not null,"
        " path text not null, status integer not null, records integer not null, ids text not null)"
    )
    old.execute(
        "insert into calls values"
        " (1, '2026-01-01T00:00:00Z', 'POST', '/v1/contacts/batch/upsert', 200, 0, '[]')"
    )
    old.commit()
    old.close()

    with spawn(tmp_path) as server, server.client() as client:
        assert [(call.op, call.received) for call in client.calls()] == [("upsert", {})]
