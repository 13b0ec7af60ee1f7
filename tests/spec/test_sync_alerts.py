"""Alerts: who is told what, once per change of state, by webhook and by real SMTP."""

import asyncio
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from email import message_from_bytes
from email.header import decode_header, make_header
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import insert, select, update

from reverse_etl import alerts
from reverse_etl.alerts import undelivered
from reverse_etl.counts import Counts, Verdicts
from reverse_etl.mail import MailFailed, send_mail
from reverse_etl.overview import sync_overview
from reverse_etl.run import RunReport
from reverse_etl.tables import alerts as told
from reverse_etl.tables import prepare, runs
from serving import Project, open_project
from serving.content.model import Mail
from serving.errors import ContentInvalid
from serving.store import utc_now

# a chat tool's far end


class Chat:
    """What arrived at a webhook, and how it answers."""

    def __init__(self) -> None:
        self.got: list[dict[str, object]] = []
        self.status = 200

    @contextmanager
    def open(self) -> Iterator[str]:
        chat = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if chat.status == 200:
                    chat.got.append(body)
                self.send_response(chat.status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}/hook"
            finally:
                server.shutdown()
                thread.join()


@pytest.fixture
def chat() -> Iterator[Chat]:
    made = Chat()
    with made.open() as url:
        made.url = url  # type: ignore[attr-defined]
        yield made


NOTIFY = {"on": ["failed", "guarded", "recovered", "rejects"], "to": ["chat"]}


@pytest.fixture
def opened(shop_files: Callable[..., Path], tmp_path: Path, chat: Chat) -> Iterator[Callable[..., Project]]:
    """The shop with a sync that notifies; opened again, as a new process would."""
    projects: list[Project] = []

    def open_again(mail_port: int = 1, **notify: object) -> Project:
        sync = {
            "source": "customers",
            "run_as": "sync",
            "destination": "chat",
            "object": "people",
            "key": {"id": "customer_id"},
            "fields": {"region": "region"},
            "notify": NOTIFY | notify,
        }
        mail = {"host": "127.0.0.1", "port": mail_port, "security": "none", "sender": "a@b.c"}
        files = {
            "project.yml": f"name: shop\nmail: {json.dumps(mail)}\n",
            "destinations/chat.yml": f"connector: webhook\nurl: {chat.url}\n",  # type: ignore[attr-defined]
            "syncs/people.yml": json.dumps(sync),
        }
        projects.append(open_project(shop_files(files), var=tmp_path / "var"))
        prepare(projects[-1].store)
        return projects[-1]

    yield open_again
    for project in projects:
        project.close()


def ended(project: Project, state: str, error: str = "", **numbers: int) -> RunReport:
    """A run as the control store has it once it is over."""
    counts = Counts(create=10, wanted=10)
    if "retry" in numbers:
        counts = Counts(retry=numbers["retry"], wanted=10)
    rejected = numbers.get("rejected", 0)
    verdicts = Verdicts(accepted=counts.to_send - rejected, rejected=rejected)
    now = utc_now()
    row = {
        "sync": "people",
        "target": "chat/people(id)",
        "state": state,
        "trigger": "schedule",
        "requested_by": "schedule",
        "full_resend": False,
        "counts": counts.to_json(),
        "trips": json.dumps([{"limit": "deletes", "found": 0.5, "allowed": 0.1, "message": "5 of 10 go"}])
        if state == "guarded"
        else None,
        "accepted": verdicts.accepted,
        "rejected": rejected,
        "deferred": 0,
        "unknown": 0,
        "started_at": now,
        "ended_at": now,
        "error": error,
    }
    with project.store.write() as connection:
        number = connection.execute(insert(runs).values(row)).inserted_primary_key[0]  # type: ignore[index]
    report = RunReport(number, "people", state, counts, verdicts, 1)  # type: ignore[arg-type]
    alerts.after_run(project, report)
    return report


def states(chat: Chat) -> list[object]:
    return [told["state"] for told in chat.got]


def hurry(project: Project) -> None:
    """Let every wait of the alerts be over."""
    past = (utc_now() - timedelta(days=1)).isoformat()
    with project.store.write() as connection:
        for row in connection.execute(select(told)).all():
            if row.problem:
                tries = {to: t | {"next_try": past} for to, t in json.loads(row.problem).items()}
                ours = (told.c.sync == row.sync) & (told.c.topic == row.topic)
                connection.execute(update(told).where(ours).values(problem=json.dumps(tries)))


def test_a_change_of_state_is_told_once_and_not_with_every_run(
    opened: Callable[..., Project], chat: Chat
) -> None:
    project = opened()
    for state in ("done", "failed", "failed", "guarded", "guarded", "done", "done", "failed"):
        ended(project, state)
    assert states(chat) == ["failed", "guarded", "recovered", "failed"]


def test_a_restart_tells_nobody_twice_and_catches_up_on_a_run_whose_process_died(
    opened: Callable[..., Project], chat: Chat
) -> None:
    project = opened()
    ended(project, "failed")
    again = opened()
    alerts.catch_up(again)
    ended(again, "failed")
    assert states(chat) == ["failed"]
    row = {"sync": "people", "target": "t", "state": "done", "trigger": "manual", "requested_by": "mia"}
    with again.store.write() as connection:  # its process was killed before it could tell
        times = {"full_resend": False, "started_at": utc_now(), "ended_at": utc_now()}
        connection.execute(insert(runs).values(row | times))
    alerts.catch_up(again)
    alerts.catch_up(again)
    assert states(chat) == ["failed", "recovered"]


def test_only_what_somebody_wants_to_hear_is_told(opened: Callable[..., Project], chat: Chat) -> None:
    project = opened(on=["recovered"])
    for state in ("failed", "guarded", "done"):
        ended(project, state)
    assert states(chat) == ["recovered"]


def test_a_chat_gets_text_with_the_numbers_the_reason_and_what_to_do(
    opened: Callable[..., Project], chat: Chat
) -> None:
    report = ended(opened(), "failed", error="the tool said no to 'ann@example.com'")
    ended(opened(), "guarded")
    failed, guarded = chat.got
    assert failed.keys() == {"sync", "text", "state", "run"}
    text = str(failed["text"])
    assert text.startswith("Sync people failed\nRun ")
    assert "10 planned = 10 accepted" in text
    assert "the tool said no to …" in text
    assert "ann@example.com" not in text, "no row's values"
    assert f"python -m reverse_etl show {report.run} --rows" in text
    assert "- 5 of 10 go\n" in str(guarded["text"])
    assert 'run people --approve "why this is right"' in str(guarded["text"])


def test_an_alert_that_does_not_arrive_harms_no_run_is_shown_and_is_tried_again(
    opened: Callable[..., Project], chat: Chat
) -> None:
    project = opened()
    chat.status = 400
    ended(project, "failed")
    [missing] = undelivered(project.store)
    assert (missing.to, missing.tries) == ("chat", 1)
    assert "400" in missing.problem
    assert "did not reach chat" in sync_overview(project, "people", utc_now()).problem
    chat.status = 200
    alerts.catch_up(project)
    assert chat.got == [], "not before its time"
    hurry(project)
    alerts.catch_up(project)
    alerts.catch_up(project)
    assert states(chat) == ["failed"]
    assert undelivered(project.store) == ()


def test_one_recipient_that_is_down_costs_the_others_no_second_copy(
    opened: Callable[..., Project], chat: Chat
) -> None:
    project = opened(to=["chat", "ops@example.com"])  # no mail server listens on port 1
    ended(project, "failed")
    hurry(project)
    alerts.catch_up(project)
    assert states(chat) == ["failed"]
    [missing] = undelivered(project.store)
    assert (missing.to, missing.tries) == ("ops@example.com", 2)


def test_an_alert_is_given_up_after_many_tries_and_that_stays_visible(
    opened: Callable[..., Project], chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "MOST_TRIES", 2)
    project = opened()
    chat.status = 400
    ended(project, "failed")
    hurry(project)
    alerts.catch_up(project)
    [missing] = undelivered(project.store)
    assert (missing.tries, missing.next_try) == (2, None)
    assert "given up" in str(missing)


def test_many_rejects_are_told_when_they_begin_and_their_retries_are_no_news(
    opened: Callable[..., Project], chat: Chat
) -> None:
    project = opened(rejects="20%")
    ended(project, "done", rejected=1)
    assert chat.got == []
    ended(project, "done", rejected=2)
    ended(project, "done", rejected=3)
    ended(project, "done", retry=2, rejected=2)
    assert states(chat) == ["rejects"]
    ended(project, "done", rejected=0)
    ended(project, "done", rejected=5)
    assert states(chat) == ["rejects", "rejects"]


def test_the_largest_reasons_are_told_without_values(opened: Callable[..., Project], chat: Chat) -> None:
    project = opened(on=["rejects"])
    folder = project.var / "syncs" / "people" / "1"
    folder.mkdir(parents=True)
    said = [f"email '{n}@poison.example' is invalid" for n in range(4)] + ["b", "b", "c", "c", "d"]
    rows = {
        "seq": range(9),
        "op": ["upsert"] * 9,
        "kind": ["create"] * 9,
        "key": [f'{{"id":"K{n}"}}' for n in range(9)],
        "verdict": ["rejected"] * 9,
        "reason": said,
    }
    pq.write_table(
        pa.table({name: list(values) for name, values in rows.items()}), folder / "outcomes.parquet"
    )
    ended(project, "done", rejected=9)
    text = str(chat.got[0]["text"])
    assert "- 4 rows rejected: email … is invalid\n" in text
    assert "and 1 more reasons" in text
    assert "poison" not in text
    assert "K1" not in text


# e-mail


class Post:
    """A mail server that speaks enough SMTP: EHLO, STARTTLS, AUTH PLAIN, MAIL, RCPT, DATA."""

    def __init__(self, tls: ssl.SSLContext | None = None, *, at_once: bool = False) -> None:
        self.tls, self.at_once = tls, at_once
        self.mails: list[bytes] = []
        self.said: list[str] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        while line := (await reader.readline()).decode().strip():
            self.said.append(line)
            verb = line.split()[0].upper()
            if verb == "EHLO":
                more = b"250-STARTTLS\r\n" if self.tls and not self.at_once else b""
                writer.write(b"250-here\r\n" + more + b"250 AUTH PLAIN\r\n")
            elif verb == "STARTTLS":
                writer.write(b"220 go\r\n")
                await writer.drain()
                await writer.start_tls(self.tls)  # type: ignore[arg-type]
            elif verb == "AUTH":
                writer.write(b"235 yes\r\n" if line.endswith("AG1pYQBwdw==") else b"535 no such person\r\n")
            elif verb == "RCPT" and "nobody" in line:
                writer.write(b"550 no such mailbox\r\n")
            elif verb == "DATA":
                writer.write(b"354 go on\r\n")
                self.mails.append(await reader.readuntil(b"\r\n.\r\n"))
                writer.write(b"250 taken\r\n")
            else:
                writer.write(b"221 bye\r\n" if verb == "QUIT" else b"250 fine\r\n")

    @contextmanager
    def open(self) -> Iterator[int]:
        loop, ports = asyncio.new_event_loop(), []
        up, down = threading.Event(), asyncio.Event()

        async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await self.talk(reader, writer)
            except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
                pass  # a client that does not trust us goes away
            finally:
                writer.close()

        async def main() -> None:
            tls = self.tls if self.at_once else None
            async with await asyncio.start_server(quietly, "127.0.0.1", 0, ssl=tls) as server:
                ports.append(server.sockets[0].getsockname()[1])
                up.set()
                await down.wait()

        thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
        thread.start()
        up.wait(10)
        try:
            yield ports[0]
        finally:
            loop.call_soon_threadsafe(down.set)
            thread.join()
            loop.close()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate of its own making, and a client's that trusts it."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    home = tmp_path_factory.mktemp("tls")
    key, cert = str(home / "key.pem"), str(home / "cert.pem")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", *curve, *name, "-keyout", key, "-out", cert]
    subprocess.run(made, check=True, capture_output=True)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(cert, key)
    return server, ssl.create_default_context(cafile=cert)


def settings(port: int, security: str, **keys: object) -> Mail:
    base = {"host": "127.0.0.1", "port": port, "security": security, "sender": "sluice@example.com"}
    return Mail.model_validate(base | keys)


LOGIN = {"user": "mia", "password": "${env:MAIL_PASSWORD}"}


def test_an_alert_goes_by_mail_where_an_address_stands(opened: Callable[..., Project]) -> None:
    server = Post()
    with server.open() as port:
        project = opened(mail_port=port, to=["ops@example.com"])
        ended(project, "guarded")
    read = message_from_bytes(server.mails[0])
    assert (read["To"], read["Subject"]) == (
        "ops@example.com",
        "Sync people is held by its guard; nothing was sent",
    )
    assert "5 of 10 go" in str(read.get_payload())
    assert undelivered(project.store) == ()


@pytest.mark.parametrize("at_once", [False, True])
def test_mail_goes_over_tls_with_a_password_by_reference(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], tmp_path: Path, at_once: bool
) -> None:
    server = Post(tls[0], at_once=at_once)
    with server.open() as port:
        mail = settings(port, "tls" if at_once else "starttls", **LOGIN)
        environ = {"MAIL_PASSWORD": "pw"}
        send_mail(
            mail, "ops@example.com", "Sync ä\nfailed", "Why: ö", var=tmp_path, environ=environ, context=tls[1]
        )
    read = message_from_bytes(server.mails[0])
    assert (read["To"], read["From"], read["Auto-Submitted"]) == (
        "ops@example.com",
        mail.sender,
        "auto-generated",
    )
    assert server.mails[0].isascii()
    assert str(make_header(decode_header(read["Subject"]))) == "Sync ä failed"
    assert (read.get_payload(decode=True) or b"").decode().startswith("Why: ö")


@pytest.mark.parametrize(
    ("security", "environ", "to", "words"),
    [
        (
            "starttls",
            {"MAIL_PASSWORD": "pw"},
            "ops@example.com",
            "no safe connection",
        ),  # nobody vouches for it
        ("trusted", {"MAIL_PASSWORD": "wrong"}, "ops@example.com", "535 no such person"),
        ("trusted", {"MAIL_PASSWORD": "pw"}, "nobody@example.com", "refused nobody@example.com: 550"),
        ("trusted", {}, "ops@example.com", "MAIL_PASSWORD} is missing"),
    ],
)
def test_a_mail_that_is_not_taken_says_why_and_no_secret(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
    tmp_path: Path,
    security: str,
    environ: dict[str, str],
    to: str,
    words: str,
) -> None:
    server = Post(tls[0])
    with server.open() as port, pytest.raises(MailFailed) as failed:
        context = tls[1] if security == "trusted" else None
        mail = settings(port, "starttls", **LOGIN)
        send_mail(mail, to, "s", "t", var=tmp_path, environ=environ, context=context)
    assert words in str(failed.value)
    assert "wrong" not in str(failed.value)
    assert server.mails == []


def test_a_server_that_offers_no_tls_gets_no_mail_and_no_password(tmp_path: Path) -> None:
    server = Post()
    with server.open() as port, pytest.raises(MailFailed, match="STARTTLS"):
        environ = {"MAIL_PASSWORD": "pw"}
        send_mail(settings(port, "starttls", **LOGIN), "a@b.example", "s", "t", var=tmp_path, environ=environ)
    assert not any(line.startswith(("AUTH", "MAIL")) for line in server.said)


def test_a_mail_server_that_says_nothing_is_given_up_soon(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as silent, pytest.raises(MailFailed):
        mail = settings(silent.server_port, "none")
        send_mail(mail, "a@b.example", "s", "t", var=tmp_path, seconds=0.05)


@pytest.mark.parametrize(
    ("mail", "to", "words"),
    [
        ("", "ops@example.com", "there is no mail server"),
        ("", "chta", "there is no destination 'chta'"),
        ("mail: {host: m, sender: a@b.c}", "ops@", "'ops@' is no e-mail address"),
        ("mail: {host: m, sender: a@b.c, user: u, password: hunter2}", "a@b.c", "only by reference"),
        ("mail: {host: m, sender: a@b.c, user: u}", "a@b.c", "both 'user' and 'password'"),
        (
            "mail: {host: m, sender: a@b.c, security: none, user: u, password: '${env:X}'}",
            "a@b.c",
            "no password in the clear",
        ),
    ],
)
def test_check_names_recipients_and_mail_servers_that_cannot_work(
    shop_files: Callable[..., Path], tmp_path: Path, mail: str, to: str, words: str
) -> None:
    sync = f"""\
source: customers
run_as: sync
destination: chat
object: people
key: {{id: customer_id}}
notify: {{on: failed, to: {to}}}
"""
    files = {
        "project.yml": f"name: shop\n{mail}\n",
        "destinations/chat.yml": "connector: webhook\nurl: https://chat.example.com/hook\n",
        "syncs/people.yml": sync.replace("on: failed", "on: [failed]"),
    }
    with pytest.raises(ContentInvalid) as invalid:
        open_project(shop_files(files), var=tmp_path / "var")
    assert words in str(invalid.value)
    assert "hunter2" not in str(invalid.value)
