"""Any JSON API: rows in, and as much of a verdict as the answer gives.

With `batch: 1` the row is the body; else the body is `{"records": [row, …]}`. A row is flat
(key and fields side by side) or nested (`{"key": {…}, "fields": {…}}`). A removal carries
the key alone, and nothing where its address names the row and its method is DELETE.
"""

import string
from collections.abc import Mapping, Sequence
from hashlib import sha256
from urllib.parse import quote, urlsplit

from connectors.auth import Resolve, auth_headers, on_one_line
from connectors.catalog.account import decoded, encoded
from connectors.catalog.webhook_options import (
    AnswerOptions,
    Scalar,
    VerdictOptions,
    WebhookOptions,
    placeholders,
)
from connectors.outcomes import BatchRefused, same, trimmed
from connectors.protocol import Capabilities, Change, DestinationStopped, Json, Op, Outcome, Request, Response
from connectors.secrets import is_reference

_SENDERS_OWN = frozenset({401, 403, 408, 429}) | frozenset(range(500, 600))
_ALREADY_GONE = frozenset({404, 410})


class WebhookAccount(WebhookOptions):
    """`connector: webhook`: an address that takes JSON."""

    @property
    def base_url(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def credentials(self, resolve: Resolve) -> Mapping[str, str]:
        given = {
            name: on_one_line(value, resolve) if is_reference(value) else value
            for name, value in self.headers.items()
        }
        return {**given, **(auth_headers(self.auth, resolve) if self.auth else {})}

    def destination(self, object_name: str) -> "WebhookObject":
        if problem := self.object_problem(object_name):
            raise DestinationStopped(problem, hint="correct 'object' in the sync's file")
        return WebhookObject(self, object_name)

    def object_problem(self, object_name: str) -> str | None:
        usable = object_name not in ("", ".", "..") and object_name.isprintable()
        return None if usable else f"'{object_name}' cannot stand in an address"

    def key_problem(self, object_name: str, key_fields: Sequence[str]) -> str | None:
        for url in self.addresses:
            for name in placeholders(url):
                if name != "object" and name not in key_fields:
                    return f"the destination's address wants {{{name}}}, which is no key field of the sync"
        return None


class WebhookObject:
    """What `{object}` means in the addresses of a webhook account."""

    def __init__(self, options: WebhookOptions, name: str) -> None:
        self._options = options
        self._name = name
        self._alone = options.batch == 1
        self._typed = any(header.lower() == "content-type" for header in options.headers)
        self.own_statuses = (options.accepted | _ALREADY_GONE) - _SENDERS_OWN
        ops: frozenset[Op] = frozenset({"upsert", "clear"})
        if options.insert:
            ops |= {"insert"}
        if options.update:
            ops |= {"update"}
        if options.remove:
            ops |= {"archive", "delete"}
        idempotent = options.idempotent or options.idempotency_header is not None
        self.capabilities = Capabilities(
            ops=ops,
            batch_rows=options.batch,
            batch_bytes=options.batch_bytes,
            resend=ops if idempotent else frozenset(),
            partial=options.partial,
            cleared=options.cleared,
        )

    def request(self, changes: Sequence[Change]) -> Request:
        removal = changes[0].op in ("archive", "delete")
        method, url = self._call(changes[0].op)
        body = b""
        if not (removal and method == "DELETE" and _names_row(url)):
            rows: list[Json] = [self._row(change, removal) for change in changes]
            body = encoded(rows[0] if self._alone else {self._options.records_key: rows})
        headers = {"Content-Type": "application/json"} if body and not self._typed else {}
        if self._options.idempotency_header:
            headers[self._options.idempotency_header] = _fingerprint(self._name, changes)
        return Request(method, _filled(url, self._name, changes[0]), body, headers)

    def _call(self, op: Op) -> tuple[str, str]:
        if op in ("upsert", "clear"):
            return self._options.method, self._options.url
        name = op if op in ("insert", "update") else "remove"
        calls = {
            "insert": self._options.insert,
            "update": self._options.update,
            "remove": self._options.remove,
        }
        call = calls[name]
        if call is None:
            raise DestinationStopped(
                f"this webhook cannot {name} rows", hint=f"give the destination '{name}: {{method, url}}'"
            )
        return call.method, call.url

    def _row(self, change: Change, removal: bool) -> Json:
        if self._options.body == "flat":
            return {**change.key} if removal else {**change.key, **change.fields}
        return {"key": {**change.key}} if removal else {"key": {**change.key}, "fields": {**change.fields}}

    def outcomes(self, changes: Sequence[Change], response: Response) -> list[Outcome]:
        status = response.status
        if status not in self._options.accepted:
            if status in _ALREADY_GONE:
                return self._not_there(changes, response)
            raise BatchRefused(f"status {status}: {_words(response.body)}")
        if self._options.answer is None and self._options.verdict is None:
            return same(changes, "accepted")
        answer = decoded(response.body)
        if self._options.answer is not None and (problem := _whole(self._options.answer, answer)):
            return same(changes, "unknown", problem)
        if self._options.verdict is None:
            return same(changes, "accepted")
        return _row_by_row(self._options.verdict, answer, changes)

    def _not_there(self, changes: Sequence[Change], response: Response) -> list[Outcome]:
        """404 and 410 speak of the row where the address names it, else of the address."""
        removal = changes[0].op in ("archive", "delete")
        if not _names_row(self._call(changes[0].op)[1]):
            raise DestinationStopped(
                f"the webhook answered {response.status}: nothing takes rows at this address",
                hint="check the destination's url and the sync's object",
            )
        if removal:
            return same(changes, "accepted", f"status {response.status}: it was not there any more")
        raise BatchRefused(f"status {response.status}: {_words(response.body)}")


def _names_row(url: str) -> bool:
    return any(field != "object" for field in placeholders(url))


def _whole(options: AnswerOptions, answer: Json) -> str:
    """Empty when the answer says yes, else why that is unclear; raises `BatchRefused` on a no."""
    found, value = _at(answer, options.ok)
    if not found:
        return f"the answer has no '{options.ok}'"
    if _among(value, options.equals):
        return ""
    raise BatchRefused(_said(answer, options.reason) or f"the answer's '{options.ok}' is {value!r}")


def _row_by_row(options: VerdictOptions, answer: Json, changes: Sequence[Change]) -> list[Outcome]:
    _, results = _at(answer, options.path)
    if not isinstance(results, list) or len(results) != len(changes):
        return same(changes, "unknown", f"the answer has no '{options.path}' with one result per row")
    return [_one_row(options, result, change) for result, change in zip(results, changes, strict=True)]


def _one_row(options: VerdictOptions, result: Json, change: Change) -> Outcome:
    found, value = _at(result, options.ok)
    if not found:
        return Outcome(change.seq, "unknown", f"the row's result has no '{options.ok}'")
    if _among(value, options.equals):
        return Outcome(change.seq, "accepted")
    return Outcome(change.seq, "rejected", _said(result, options.reason) or f"'{options.ok}' is {value!r}")


def _at(answer: Json, path: str) -> tuple[bool, Json]:
    for part in path.split("."):
        if not isinstance(answer, dict) or part not in answer:
            return False, None
        answer = answer[part]
    return True, answer


def _among(value: Json, wanted: Sequence[Scalar]) -> bool:
    # To Python, True equals 1; to the tool's author it does not.
    return any(type(value) is type(one) and value == one for one in wanted)


def _said(answer: Json, path: str) -> str:
    found, words = _at(answer, path)
    if not found or words is None:
        return ""
    return trimmed(words if isinstance(words, str) else encoded(words).decode())


def _words(body: bytes) -> str:
    return trimmed(body[:2_000].decode("utf-8", errors="replace")) or "no words"


def _filled(url: str, name: str, change: Change) -> str:
    """The address with its placeholders filled in."""
    filled = []
    for text, field, _, _ in string.Formatter().parse(url):
        filled.append(text)
        if field is not None:
            filled.append(quote(name, safe="") if field == "object" else _part(field, change))
    return "".join(filled)


def _part(field: str, change: Change) -> str:
    if field not in change.key:
        raise DestinationStopped(
            f"the destination's address wants {{{field}}}, which is no key field of the sync",
            hint=f"use one of: {', '.join(sorted(change.key))}",
        )
    value = change.key[field]
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    # An empty part or dots would turn the row's address into its parent's.
    if text in ("", ".", "..") or value is None or isinstance(value, list | dict):
        raise BatchRefused(f"key {field}: {value!r} cannot stand in an address")
    return quote(text, safe="")


def _fingerprint(name: str, changes: Sequence[Change]) -> str:
    """The same for the same rows of the same intent in the same order, whenever they are sent."""
    rows: list[Json] = [[change.version, change.op, {**change.key}, {**change.fields}] for change in changes]
    return sha256(encoded([name, *rows])).hexdigest()
