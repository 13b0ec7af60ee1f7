"""Every connector with the real tool it talks to, behind a gate that can play faults."""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel

from connectors.catalog.account import Account
from connectors.http import RETRIES, Delivery, Retries, Sender, Timeouts
from connectors.protocol import Change, Destination, Json
from connectors.readback import list_records, read_back
from connectors.registry import open_destination, options_model
from connectors.sandbox.faults import Faults
from connectors.secrets import Secret
from tests.contract.sandbox_process import SandboxProcess, spawn
from tests.contract.served import FarEnd, Gate, serve

OBJECT: Literal["contacts"] = "contacts"
TOKEN = "tok-4711-very-secret"


@dataclass
class FakeTime:
    """A clock that only moves when somebody sleeps."""

    now: float = 1_000.0
    naps: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


class Tool(Protocol):
    """What the contract suite needs to know of a tool."""

    name: str
    gate: Gate
    options: BaseModel
    refuses_batches: bool  # a bad row can refuse the whole batch

    def records(self) -> Mapping[str, Mapping[str, Any]]: ...

    def refuse_whole_batches(self) -> None: ...

    def reset(self) -> None:
        """Empty and healthy again."""


class SandboxTool:
    name = "sandbox"
    refuses_batches = False

    def __init__(self, server: SandboxProcess, gate: Gate, url: str) -> None:
        self._server = server
        self.gate = gate
        self.options = options_model(self.name)(url=url)

    def records(self) -> Mapping[str, Mapping[str, Any]]:
        with self._server.client() as client:
            return {record.id: record.properties for record in client.every_record(OBJECT)}

    def refuse_whole_batches(self) -> None:
        raise AssertionError("the sandbox judges row by row")

    def reset(self) -> None:
        self.gate.reset()
        with self._server.client() as client:
            client.set_faults(Faults(rate_limit=None))
        old = [Change(n, "delete", {"id": key}) for n, key in enumerate(self.records())]
        Line(self, Secret(TOKEN), open_destination(self.name, self.options, OBJECT)).send(old)
        self.gate.reset()


class WebhookTool:
    name = "webhook"
    refuses_batches = True

    def __init__(self, far_end: FarEnd, gate: Gate, url: str) -> None:
        self._far_end = far_end
        self.gate = gate
        self.options = options_model(self.name)(
            url=f"{url}/hook/{{object}}",
            insert={"url": f"{url}/hook/{{object}}/insert"},
            update={"url": f"{url}/hook/{{object}}/update"},
            remove={"method": "POST", "url": f"{url}/hook/{{object}}/remove"},
            partial=True,
            auth={"bearer": "${file:token}"},
            batch=10,
            verdict={"path": "results", "ok": "ok", "reason": "error"},
            idempotency_header="Idempotency-Key",
        )

    def records(self) -> Mapping[str, Mapping[str, Any]]:
        return {
            key: {name: value for name, value in row.items() if name != "id" and value is not None}
            for key, row in self._far_end.rows.items()
        }

    def refuse_whole_batches(self) -> None:
        self._far_end.whole_batches = True

    def reset(self) -> None:
        self.gate.reset()
        self._far_end.whole_batches = False
        self._far_end.rows.clear()
        self._far_end.bodies.clear()
        self._far_end.answered.clear()


@contextlib.contextmanager
def opened(name: str, server: SandboxProcess) -> Iterator[Tool]:
    """The tool of a connector."""
    if name == "sandbox":
        gate = Gate(server.url)
        with serve(gate.app()) as url:
            yield SandboxTool(server, gate, url)
        return
    far_end = FarEnd(TOKEN)
    with serve(far_end.app()) as behind:
        gate = Gate(behind)
        with serve(gate.app()) as url:
            yield WebhookTool(far_end, gate, url)


TOOLS = ("sandbox", "webhook")


@dataclass
class Line:
    """A destination and the way to send to it, with time that does not pass."""

    tool: Tool
    secret: Secret
    destination: Destination
    time: FakeTime = field(default_factory=FakeTime)

    def send(self, changes: Sequence[Change], read_timeout: float = 5.0, **retries: Any) -> Delivery:
        return asyncio.run(self._send(changes, read_timeout, Retries(**retries)))

    def read(self, keys: Sequence[str], fields: Sequence[str]) -> list[Mapping[str, Json] | None]:
        """What the tool says it holds under these ids."""

        async def asked() -> list[Mapping[str, Json] | None]:
            async with self._sender() as sender:
                return await read_back(sender, self.destination, [{"id": key} for key in keys], fields)

        return asyncio.run(asked())

    def listed(self, fields: Sequence[str]) -> dict[str, Mapping[str, Json]]:
        """All that the tool says it holds."""

        async def asked() -> dict[str, Mapping[str, Json]]:
            async with self._sender() as sender:
                pages = list_records(sender, self.destination, ["id"], fields)
                return {str(key["id"]): found async for page in pages for key, found in page}

        return asyncio.run(asked())

    async def _send(self, changes: Sequence[Change], read_timeout: float, retries: Retries) -> Delivery:
        async with self._sender(read_timeout, retries) as sender:
            return await sender.send(self.destination, changes)

    def _sender(self, read_timeout: float = 5.0, retries: Retries = RETRIES) -> Sender:
        account = self.tool.options
        assert isinstance(account, Account)
        return Sender(
            account.base_url,
            auth=account.credentials(lambda ref: self.secret),
            retries=retries,
            timeouts=Timeouts(read=read_timeout),
            sleep=self.time.sleep,
            clock=self.time.clock,
            random=lambda: 0.5,
        )


def line_to(tool: Tool, secret: Secret) -> Line:
    return Line(tool, secret, open_destination(tool.name, tool.options, OBJECT))


def upserts(count: int, **fields: Any) -> list[Change]:
    return [Change(n, "upsert", {"id": f"k{n:04}"}, {"n": n, **fields}) for n in range(count)]


@contextlib.contextmanager
def running_sandbox(var: Path) -> Iterator[SandboxProcess]:
    """One sandbox with the suite's own token."""
    folder = var / "sandbox"
    folder.mkdir(parents=True)
    (folder / "token").write_text(TOKEN + "\n", encoding="utf-8")
    with spawn(var) as server:
        yield server
