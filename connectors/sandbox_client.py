"""Looks into the sandbox CRM and switches its faults, for pages and tests."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Literal, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from connectors.protocol import DestinationStopped
from connectors.sandbox.faults import Faults
from connectors.secrets import Secret

Object = Literal["contacts", "companies"]
Archived = Literal["no", "only", "all"]
_ARCHIVED = {"no": "false", "only": "true", "all": "all"}


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Record(_Answer):
    """A contact or company as the CRM holds it; times are UTC."""

    id: str
    properties: Mapping[str, str | int | float | bool]
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None


class RecordPage(_Answer):
    """Some records in order of their id; `after` leads to the next page, None at the end."""

    results: tuple[Record, ...]
    after: str | None


class Call(_Answer):
    """One call in the CRM's log; status 0: never answered.

    `ids` are the records it wrote; `received` are all in its body, each with a digest of
    its properties (`connectors.sandbox.rules.digest`), or none for a call that was turned
    away unread. `op` is the last part of the path; batch reads have the method READ.
    """

    id: int
    at: datetime
    method: str
    path: str
    op: str
    status: int
    records: int
    ids: tuple[str, ...]
    received: Mapping[str, str]
    idempotency_key: str | None


class Stats(_Answer):
    """Live and archived records per object; calls in the log; records written so far."""

    records: Mapping[str, int]
    archived: Mapping[str, int]
    calls: int
    writes: int


class _Calls(_Answer):
    results: tuple[Call, ...]


class SandboxUnreachable(DestinationStopped):
    """The sandbox does not answer, or refuses us."""


A = TypeVar("A", bound=BaseModel)


class SandboxClient:
    """The sandbox at `url`; a context manager. Failures are `SandboxUnreachable`."""

    def __init__(self, url: str, token: Secret | str, timeout: float = 10.0) -> None:
        self._url = url.rstrip("/")
        text = token.reveal() if isinstance(token, Secret) else token
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {text}"}, timeout=timeout, trust_env=False, base_url=self._url
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def healthy(self) -> bool:
        """Whether a sandbox answers at the address, whatever the token."""
        try:
            return self._client.get("/healthz").status_code == 200
        except httpx.HTTPError:
            return False

    def records(
        self,
        name: Object,
        limit: int = 50,
        after: str | None = None,
        q: str = "",
        archived: Archived = "no",
    ) -> RecordPage:
        """A page of at most 1,000 records that contain `q`."""
        params = {"limit": str(limit), "after": after or "", "q": q, "archived": _ARCHIVED[archived]}
        return self._get(RecordPage, f"/v1/{name}", params)

    def every_record(self, name: Object, archived: Archived = "no") -> Iterator[Record]:
        """All records, page by page."""
        page = self.records(name, 1_000, archived=archived)
        yield from page.results
        while page.after is not None:
            page = self.records(name, 1_000, after=page.after, archived=archived)
            yield from page.results

    def record(self, name: Object, record_id: str) -> Record | None:
        """One record, archived or not."""
        answer = self._send("GET", f"/v1/{name}/{quote(record_id, safe='')}")
        return None if answer.status_code == 404 else self._read(Record, answer)

    def stats(self) -> Stats:
        return self._get(Stats, "/v1/stats", {})

    def calls(self, limit: int = 100, after: int = 0, newest: bool = False) -> tuple[Call, ...]:
        """Calls with an id above `after`, oldest first unless `newest`."""
        params = {"limit": str(limit), "after": str(after), "newest": str(newest).lower()}
        return self._get(_Calls, "/v1/calls", params).results

    def faults(self) -> Faults:
        return self._get(Faults, "/v1/faults", {})

    def set_faults(self, faults: Faults) -> Faults:
        """Switch faults; counting of `every` starts anew."""
        return self._read(Faults, self._send("PUT", "/v1/faults", body=faults.model_dump_json()))

    def _get(self, kind: type[A], path: str, params: Mapping[str, str]) -> A:
        return self._read(kind, self._send("GET", path, params))

    def _send(
        self, method: str, path: str, params: Mapping[str, str] | None = None, body: str | None = None
    ) -> httpx.Response:
        try:
            return self._client.request(method, path, params=params, content=body)
        except httpx.HTTPError as error:
            raise SandboxUnreachable(
                f"the sandbox at {self._url} does not answer ({error or type(error).__name__})",
                hint="start it: python -m connectors.sandbox",
            ) from None

    def _read(self, kind: type[A], answer: httpx.Response) -> A:
        if answer.status_code == 401:
            hint = "the token stands in sandbox/token under the folder the sandbox was started with (--var)"
            raise SandboxUnreachable(f"the sandbox at {self._url} refuses the token", hint=hint)
        try:
            return kind.model_validate_json(answer.raise_for_status().content)
        except httpx.HTTPStatusError:
            raise SandboxUnreachable(
                f"the sandbox at {self._url} answered {answer.status_code}: {answer.text[:300]}"
            ) from None
        except ValidationError:
            raise SandboxUnreachable(f"what answers at {self._url} is no sandbox") from None
