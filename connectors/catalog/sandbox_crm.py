"""The sandbox CRM: contacts and companies, matched by an external id."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator

from connectors.auth import Resolve, on_one_line
from connectors.catalog.account import Account, decoded, encoded
from connectors.catalog.address import web_address
from connectors.outcomes import BatchRefused, same, trimmed
from connectors.protocol import Capabilities, Change, DestinationStopped, Json, Outcome, Request, Response
from connectors.secrets import SecretRef

OBJECTS = ("companies", "contacts")
_CALLS = {"upsert": "upsert", "clear": "upsert", "archive": "archive", "delete": "delete"}
_GONE = "not_found"
_PER_SECOND = 50.0


class SandboxAccount(Account):
    """`connector: sandbox`, the local CRM of `python -m connectors.sandbox`."""

    own_per_second = _PER_SECOND

    url: Annotated[str, AfterValidator(web_address)] = "http://127.0.0.1:8600"
    token: SecretRef = "${file:sandbox/token}"  # noqa: S105 (the reference)

    @property
    def base_url(self) -> str:
        return self.url

    def credentials(self, resolve: Resolve) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {on_one_line(self.token, resolve)}"}

    def destination(self, object_name: str) -> "SandboxObject":
        if problem := self.object_problem(object_name):
            raise DestinationStopped(problem, hint="correct 'object' in the sync's file")
        return SandboxObject(object_name)

    def object_problem(self, object_name: str) -> str | None:
        if object_name in OBJECTS:
            return None
        return f"the sandbox has no object '{object_name}', only {' and '.join(OBJECTS)}"

    def key_problem(self, object_name: str, key_fields: Sequence[str]) -> str | None:
        if len(key_fields) == 1:
            return None
        return f"the sandbox matches {object_name} by one key field, not by {len(key_fields)}"


class SandboxObject:
    """Contacts or companies. The one key field is the record's external id.

    A key field with another name than `id` is written as a property, too, so that people
    see it. Removing a record that is not there counts as accepted: it is gone.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.capabilities = Capabilities(
            ops=frozenset({"upsert", "clear", "archive", "delete"}),
            batch_rows=100,
            per_second=_PER_SECOND,
            resend=frozenset({"upsert", "clear", "archive", "delete"}),
            partial=True,
        )

    def request(self, changes: Sequence[Change]) -> Request:
        op = changes[0].op
        records: list[Json] = [_record(change) for change in changes]
        return Request(
            "POST",
            f"/v1/{self._name}/batch/{_CALLS[op]}",
            encoded({"records": records}),
            {"Content-Type": "application/json"},
        )

    def outcomes(self, changes: Sequence[Change], response: Response) -> list[Outcome]:
        answer = decoded(response.body)
        if response.status not in (200, 207):
            raise BatchRefused(_refusal(answer, response.status))
        if not isinstance(answer, dict):
            return same(changes, "unknown", f"status {response.status} without a readable answer")
        results, errors = answer.get("results"), answer.get("errors")
        if not isinstance(results, list) or not isinstance(errors, list):
            return same(changes, "unknown", f"status {response.status} without results and errors")
        refused = _by_index(errors)
        whole = len(results) + len(refused) == len(changes)
        if not whole or not all(0 <= place < len(changes) for place in refused):
            return same(changes, "unknown", "the answer does not speak of every row")
        return [_outcome(change, refused.get(place)) for place, change in enumerate(changes)]


def _record(change: Change) -> Json:
    if len(change.key) != 1:
        raise DestinationStopped(
            "the sandbox matches records by exactly one key field", hint="give the sync one field under 'key'"
        )
    ((name, value),) = change.key.items()
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BatchRefused(f"key {name}: {value!r} is no text or whole number")
    if change.op in ("archive", "delete"):
        return {"id": str(value)}
    named = {} if name == "id" else {name: value}
    return {"id": str(value), "properties": {**change.fields, **named}}


def _by_index(errors: Sequence[Json]) -> dict[int, tuple[str, str]]:
    """Place in the batch -> (code, message)."""
    found: dict[int, tuple[str, str]] = {}
    for error in errors:
        if isinstance(error, dict) and isinstance(place := error.get("index"), int):
            found[place] = str(error.get("code", "")), str(error.get("message", ""))
    return found


def _outcome(change: Change, error: tuple[str, str] | None) -> Outcome:
    if error is None:
        return Outcome(change.seq, "accepted")
    code, message = error
    if code == _GONE and change.op in ("archive", "delete"):
        return Outcome(change.seq, "accepted", trimmed(f"{code}: {message}"))
    return Outcome(change.seq, "rejected", trimmed(f"{code}: {message}"))


def _refusal(answer: Json, status: int) -> str:
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict):
        return trimmed(f"{error.get('code', status)}: {error.get('message', '')}")
    return f"status {status}"
