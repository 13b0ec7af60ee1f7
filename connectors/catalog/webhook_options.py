"""The options of `connector: webhook`: where to call, and how to read the answer."""

import re
import string
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from connectors.auth import HEADER_NAME, AuthOptions, Options
from connectors.catalog.account import Account
from connectors.catalog.address import web_address
from connectors.secrets import ONLY_BY_REFERENCE, is_reference

_SECRET_NAMES = re.compile(r"authorization|cookie|token|secret|password|api-?key", re.IGNORECASE)
_OWN_HEADERS = frozenset({"content-length", "host", "transfer-encoding", "connection"})
_WITHHELD = "***"


def placeholders(url: str) -> Iterator[str]:
    """The names in braces; raises ValueError on braces that name nothing."""
    try:
        parts = list(string.Formatter().parse(url))
    except ValueError:
        raise ValueError("has a brace without its partner") from None
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if not name or spec or conversion or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", name):
            raise ValueError("has braces that name no key field: write {object} or {key_field}")
        yield name


def _address(url: str) -> str:
    list(placeholders(url))
    web_address(url)
    if "{" in url.split("://", 1)[1].split("/", 1)[0]:
        raise ValueError("must name its host: placeholders stand in the path or the query")
    return url


def _statuses(text: object) -> object:
    """`200-299` or `200, 404` or a list of these, as a set of numbers."""
    parts = text if isinstance(text, list | tuple | set | frozenset) else str(text).split(",")
    found: set[int] = set()
    for part in parts:
        match = re.fullmatch(r"\s*(\d{3})\s*(?:-\s*(\d{3})\s*)?", str(part))
        if match is None:
            raise ValueError("wants statuses like 200-299 or 200, 201, 404")
        found.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return frozenset(found)


Address = Annotated[str, AfterValidator(_address)]
JsonPath = Annotated[str, StringConstraints(pattern=r"^[^.\s]+(\.[^.\s]+)*$")]
HeaderName = Annotated[str, StringConstraints(pattern=HEADER_NAME)]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{0,1000}$")]
Scalar = str | int | float | bool | None


class RemoveOptions(Options):
    """The call that archives or deletes."""

    method: Literal["DELETE", "POST", "PUT", "PATCH"] = "DELETE"
    url: Address


class CallOptions(Options):
    """Another call than the main one, for rows that must be new or must be there."""

    method: Literal["POST", "PUT", "PATCH"] = "POST"
    url: Address


class AnswerOptions(Options):
    """An answer that speaks of the whole batch, like `{"ok": false, "error": "…"}`."""

    ok: JsonPath = "ok"
    equals: tuple[Scalar, ...] = (True,)
    reason: JsonPath = "error"


class VerdictOptions(Options):
    """Per-row results: a list at `path`, one item per row, in the order they were sent."""

    path: JsonPath = "results"
    ok: JsonPath = "ok"
    equals: tuple[Scalar, ...] = (True,)
    reason: JsonPath = "error"


class WebhookOptions(Account):
    """The keys of `connector: webhook`.

    `url` and `method` serve upserts and clears; without `insert` or `update` there is no
    such mode. `partial`: a field that is left out keeps its value at the tool. `cleared` is
    what the tool takes for an empty field.
    """

    url: Address
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    insert: CallOptions | None = None
    update: CallOptions | None = None
    remove: RemoveOptions | None = None
    partial: bool = False
    cleared: Scalar = None
    headers: Mapping[HeaderName, HeaderValue] = {}
    auth: AuthOptions | None = None
    batch: int = Field(default=1, ge=1, le=10_000)
    batch_bytes: int = Field(default=1_000_000, ge=1_000)
    records_key: str = Field(default="records", min_length=1)
    body: Literal["flat", "nested"] = "flat"
    accepted: Annotated[frozenset[int], BeforeValidator(_statuses)] = frozenset(range(200, 300))
    answer: AnswerOptions | None = None
    verdict: VerdictOptions | None = None
    idempotent: bool = False
    idempotency_header: HeaderName | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every address that rows are sent to."""
        others = (self.insert, self.update, self.remove)
        return (self.url, *(other.url for other in others if other is not None))

    # The second of the two runs first: what it takes out is in no error.
    @field_validator("headers")
    @classmethod
    def _references_only(cls, headers: Mapping[str, str]) -> Mapping[str, str]:
        for name, value in headers.items():
            if value == _WITHHELD:
                raise ValueError(f"{name}: {ONLY_BY_REFERENCE}")
            if name.lower() in _OWN_HEADERS:
                raise ValueError(f"{name} is set by the connector itself")
        return headers

    @field_validator("headers", mode="before")
    @classmethod
    def _withhold(cls, headers: object) -> object:
        if not isinstance(headers, Mapping):
            return headers
        return {name: _WITHHELD if _pasted(str(name), value) else value for name, value in headers.items()}

    @model_validator(mode="after")
    def _rows_in_addresses_go_alone(self) -> Self:
        for url in self.addresses:
            named = [name for name in placeholders(url) if name != "object"]
            if named and self.batch > 1:
                raise ValueError(f"an address with {{{named[0]}}} is for one row: it goes with batch: 1")
        return self


def _pasted(name: str, value: object) -> bool:
    """A credential written out, or something that wants to be a reference and is none."""
    if isinstance(value, str) and is_reference(value):
        return False
    return bool(_SECRET_NAMES.search(name)) or "${" in str(value)
