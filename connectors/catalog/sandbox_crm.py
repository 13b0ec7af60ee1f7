"""The sandbox CRM: contacts and companies, matched by an external id."""

from collections.abc import Mapping, Sequence
from typing import Annotated
from urllib.parse import urlencode

from pydantic import AfterValidator

from connectors.auth import Resolve, on_one_line
from connectors.catalog.account import Account, decoded, encoded
from connectors.catalog.address import web_address
from connectors.outcomes import BatchRefused, same, trimmed
from connectors.protocol import (
    CREATED,
    RESTORED,
    Capabilities,
    Change,
    DestinationStopped,
    Json,
    Op,
    Outcome,
    Page,
    Request,
    Response,
)
from connectors.secrets import SecretRef

OBJECTS = ("companies", "contacts")
OPS: frozenset[Op] = frozenset({"insert", "update", "upsert", "clear", "archive", "delete"})
_REMOVALS = frozenset({"clear", "archive", "delete"})
_GONE = "not_found"
_TOLD = (CREATED, RESTORED)
_PAGE = 1_000
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
            ops=OPS,
            batch_rows=100,
            per_second=_PER_SECOND,
            resend=OPS - {"insert"},  # the second insert would be refused: as if the first were, too
            partial=True,
        )

    def request(self, changes: Sequence[Change]) -> Request:
        op = changes[0].op
        ids = _ids([change.key for change in changes])
        records: list[Json] = [
            _record(change, record_id) for change, record_id in zip(changes, ids, strict=True)
        ]
        return Request(
            "POST",
            f"/v1/{self._name}/batch/{'update' if op == 'clear' else op}",
            encoded({"records": records}),
            {"Content-Type": "application/json"},
        )

    def outcomes(self, changes: Sequence[Change], response: Response) -> list[Outcome]:
        answer = decoded(response.body)
        if response.status not in (200, 207):
            return _refused_whole(changes, answer, response.status)
        if not isinstance(answer, dict):
            return same(changes, "unknown", f"status {response.status} without a readable answer")
        if answer.get("ok") is False:
            return _refused_whole(changes, answer, response.status)
        results, errors = answer.get("results"), answer.get("errors")
        if not isinstance(results, list) or not isinstance(errors, list):
            return same(changes, "unknown", f"status {response.status} without results and errors")
        if not errors and (taken := _all_taken(changes, results)) is not None:
            return taken
        refused = _by_index(errors)
        whole = len(results) + len(refused) == len(changes)
        if not whole or not all(0 <= place < len(changes) for place in refused):
            return same(changes, "unknown", "the answer does not speak of every row")
        done = _statuses(results)
        return [_outcome(change, refused.get(place), done) for place, change in enumerate(changes)]

    def lookup(self, keys: Sequence[Mapping[str, Json]], fields: Sequence[str]) -> Request:
        ids: list[Json] = [*_ids(keys)]
        return Request(
            "POST",
            f"/v1/{self._name}/batch/read",
            encoded({"ids": ids}),
            {"Content-Type": "application/json"},
        )

    def looked_up(
        self, keys: Sequence[Mapping[str, Json]], fields: Sequence[str], response: Response
    ) -> list[Mapping[str, Json] | None]:
        found = {
            record_id: _picked(properties, fields) for record_id, properties in _records(response, "read")
        }
        return [found.get(_id(key)) for key in keys]

    def page(self, fields: Sequence[str], after: str | None) -> Request:
        query = urlencode({"limit": _PAGE, **({"after": after} if after is not None else {})})
        return Request("GET", f"/v1/{self._name}?{query}")

    def paged(self, key_fields: Sequence[str], fields: Sequence[str], response: Response) -> Page:
        (name,) = key_fields
        records = [
            ({name: record_id}, _picked(properties, fields))
            for record_id, properties in _records(response, "list")
        ]
        answer = decoded(response.body)
        after = answer.get("after") if isinstance(answer, dict) else None
        return Page(records, after if isinstance(after, str) else None)


def _ids(keys: Sequence[Mapping[str, Json]]) -> list[str]:
    if {*map(len, keys)} == {1}:
        values = [value for key in keys for value in key.values()]
        texts = [value for value in values if isinstance(value, str)]
        if len(texts) == len(values):
            return texts
    return [_id(key) for key in keys]


def _id(key: Mapping[str, Json]) -> str:
    if len(key) != 1:
        raise DestinationStopped(
            "the sandbox matches records by exactly one key field", hint="give the sync one field under 'key'"
        )
    ((name, value),) = key.items()
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BatchRefused(f"key {name}: {value!r} is no text or whole number")
    return str(value)


def _record(change: Change, record_id: str) -> Json:
    if change.op in ("archive", "delete"):
        return {"id": record_id}
    if "id" in change.key:  # and nothing else is
        return {"id": record_id, "properties": {**change.fields}}
    return {"id": record_id, "properties": {**change.fields, **change.key}}


def _records(response: Response, what: str) -> list[tuple[str, Mapping[str, Json]]]:
    """Id and properties of the records in an answer; DestinationStopped where it cannot be read."""
    answer = decoded(response.body)
    results = answer.get("results") if isinstance(answer, dict) else None
    found: list[tuple[str, Mapping[str, Json]]] = []
    for record in results if isinstance(results, list) else [None]:
        record_id = record.get("id") if isinstance(record, dict) else None
        properties = record.get("properties") if isinstance(record, dict) else None
        if response.status != 200 or not isinstance(record_id, str) or not isinstance(properties, dict):
            raise DestinationStopped(
                f"the sandbox's answer to a {what} cannot be read (status {response.status}):"
                f" {_refusal(answer, response.status)}",
                hint="try again when the destination answers",
            )
        found.append((record_id, properties))
    return found


def _picked(properties: Mapping[str, Json], fields: Sequence[str]) -> Mapping[str, Json]:
    return {name: properties.get(name) for name in fields}


def _all_taken(changes: Sequence[Change], results: Sequence[Json]) -> list[Outcome] | None:
    """The outcomes where the answer names every record, in order; None: it must be read record by record."""
    found = [result for result in results if isinstance(result, dict)]
    if [result.get("id") for result in found] != _ids([change.key for change in changes]):
        return None
    words = ["" if (said := result.get("status")) not in _TOLD else str(said) for result in found]
    return [Outcome(change.seq, "accepted", word) for change, word in zip(changes, words, strict=True)]


def _statuses(results: Sequence[Json]) -> Mapping[str, str]:
    """Record id -> what was done with it."""
    return {
        str(result.get("id")): str(result.get("status")) for result in results if isinstance(result, dict)
    }


def _by_index(errors: Sequence[Json]) -> dict[int, tuple[str, str]]:
    """Place in the batch -> (code, message)."""
    found: dict[int, tuple[str, str]] = {}
    for error in errors:
        if isinstance(error, dict) and isinstance(place := error.get("index"), int):
            found[place] = str(error.get("code", "")), str(error.get("message", ""))
    return found


def _outcome(change: Change, error: tuple[str, str] | None, done: Mapping[str, str]) -> Outcome:
    if error is None:
        status = done.get(_id(change.key), "")
        return Outcome(change.seq, "accepted", status if status in _TOLD else "")
    code, message = error
    if code == _GONE and change.op in _REMOVALS:
        return Outcome(change.seq, "accepted", trimmed(f"{code}: {message}"))
    return Outcome(change.seq, "rejected", trimmed(f"{code}: {message}"))


def _refused_whole(changes: Sequence[Change], answer: Json, status: int) -> list[Outcome]:
    words = _refusal(answer, status)
    if len(changes) == 1 and changes[0].op in _REMOVALS and words.startswith(f"{_GONE}:"):
        return same(changes, "accepted", words)
    raise BatchRefused(words)


def _refusal(answer: Json, status: int) -> str:
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict):
        return trimmed(f"{error.get('code', status)}: {error.get('message', '')}")
    return f"status {status}"
