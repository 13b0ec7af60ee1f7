"""What the CRM accepts: the shape of a batch, and of each record in it."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from connectors.protocol import Json

BATCH_ROWS = 100
_PROPERTY = re.compile(r"[a-z0-9_]{1,50}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_LONGEST = 2_000


class Malformed(Exception):
    """The whole batch is refused: a status and a code with words."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Incoming:
    """One record of a batch; `index` is its place there."""

    index: int
    id: str
    properties: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Refusal:
    """One record that is not taken, and why."""

    index: int
    id: str
    code: str
    message: str


def read_batch(body: Json, wants_properties: bool) -> list[Incoming]:
    """The records of a body; raises `Malformed` where the batch cannot be read as a whole."""
    records = body.get("records") if isinstance(body, dict) else None
    if not isinstance(records, list) or not records:
        raise Malformed(400, "malformed", 'the body must be {"records": [...]} with at least one record')
    if len(records) > BATCH_ROWS:
        raise Malformed(
            400, "too_many", f"{len(records)} records in one batch, at most {BATCH_ROWS} are taken"
        )
    found = [_incoming(index, record, wants_properties) for index, record in enumerate(records)]
    seen: set[str] = set()
    for record in found:
        if record.id in seen:
            raise Malformed(409, "conflict", f"record '{record.id}' stands twice in the batch")
        seen.add(record.id)
    return found


def read_ids(body: Json) -> list[str]:
    """The ids of a body that asks for records."""
    ids = body.get("ids") if isinstance(body, dict) else None
    if not isinstance(ids, list) or not ids or not all(isinstance(one, str) for one in ids):
        raise Malformed(400, "malformed", 'the body must be {"ids": [...]} with at least one text')
    if len(ids) > BATCH_ROWS:
        raise Malformed(400, "too_many", f"{len(ids)} ids in one batch, at most {BATCH_ROWS} are taken")
    return [str(one) for one in ids]


def digest(properties: Mapping[str, Json]) -> str:
    """The same for the same names and values."""
    text = json.dumps(properties, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _incoming(index: int, record: Json, wants_properties: bool) -> Incoming:
    if not isinstance(record, dict) or not isinstance(name := record.get("id"), str):
        raise Malformed(400, "malformed", f"records[{index}] has no text 'id'")
    properties = record.get("properties", {})
    if wants_properties and not isinstance(properties, dict):
        raise Malformed(400, "malformed", f"records[{index}].properties is no object")
    return Incoming(index, name, properties if isinstance(properties, dict) else {})


Refuses = Callable[[Incoming], tuple[str, str] | None]


def sorted_out(
    records: Sequence[Incoming], refuses: Refuses, *, ids_only: bool = False
) -> tuple[list[Incoming], list[Refusal]]:
    """Records that may be written, and those that may not, each in the order they came.

    `refuses` gives code and words for what this account does not take. `ids_only`: the
    records are removed, so that nothing else of them matters.
    """
    good: list[Incoming] = []
    bad: list[Refusal] = []
    for record in records:
        if problem := (None if ids_only else _problem(record)) or refuses(record):
            bad.append(Refusal(record.index, record.id, *problem))
        else:
            good.append(record)
    return good, bad


def _problem(record: Incoming) -> tuple[str, str] | None:
    if not 1 <= len(record.id) <= 200:
        return "invalid_id", "an id has 1 to 200 characters"
    for name, value in record.properties.items():
        if not _PROPERTY.fullmatch(name):
            return "invalid_property", f"'{name[:60]}' is no property name: a-z, 0-9 and _, at most 50"
        if isinstance(value, list | dict):
            return "invalid_value", f"{name} must be text, a number, true, false or null"
        if isinstance(value, str) and len(value) > _LONGEST:
            return "too_long", f"{name} has {len(value):,} characters, at most {_LONGEST:,} are taken"
    email = record.properties.get("email")
    if email is None:
        return None
    if not isinstance(email, str) or not _EMAIL.fullmatch(email):
        return "invalid_email", f"{email!r} is no valid e-mail address"
    return None
