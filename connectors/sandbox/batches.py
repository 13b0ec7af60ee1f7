"""What the CRM does with a batch: the records it takes, those it refuses, and its answer."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from connectors.protocol import Json
from connectors.sandbox.faults import Faults
from connectors.sandbox.records import Call, Records, Written
from connectors.sandbox.rules import Incoming, Refusal, sorted_out

Action = Literal["insert", "update", "upsert", "archive", "delete"]
ACTIONS: tuple[Action, ...] = ("insert", "update", "upsert", "archive", "delete")
REMOVALS: tuple[Action, ...] = ("archive", "delete")


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer's status and its body."""

    status: int
    body: Json


class Batches:
    """Writes batches into the records of one account, as its faults have it."""

    def __init__(self, records: Records, faults: Faults) -> None:
        self._records = records
        self._faults = faults
        self._emails = _pattern(faults.reject_emails_matching)
        self._ids = _pattern(faults.reject_ids_matching)

    def write(
        self,
        name: str,
        action: Action,
        incoming: Sequence[Incoming],
        call: Call,
        nth: int,
        at: datetime,
        *,
        silent: bool,
    ) -> Answered:
        """Write what may be written, with its line in the log; `silent`: no answer will be heard."""
        self._records.begin()
        try:
            written = self._written(name, action, incoming, nth, at)
            refused = [refusal for refusal in written.refused if action not in REMOVALS or not _gone(refusal)]
            if refused and self._faults.bad_records in ("409", "ok:false"):
                self._records.rollback()
                self._records.begin()
                answer, ids = self._whole(refused[0]), list[str]()
            else:
                answer = self._row_by_row(written)
                left_out = {refusal.index for refusal in written.refused}
                ids = [record.id for record in incoming if record.index not in left_out]
            self._records.log(at, call, 0 if silent else answer.status, ids)
        except BaseException:
            self._records.rollback()
            raise
        self._records.commit()
        return answer

    def _written(
        self, name: str, action: Action, incoming: Sequence[Incoming], nth: int, at: datetime
    ) -> Written:
        def refuses(record: Incoming) -> tuple[str, str] | None:
            return self._refuses(record, nth)

        good, bad = sorted_out(incoming, refuses, ids_only=action in REMOVALS)
        match action:
            case "insert":
                done = self._records.insert(name, good, at)
            case "update":
                done = self._records.update(name, good, at)
            case "upsert":
                done = self._records.upsert(name, good, at)
            case "archive":
                done = self._records.archive(name, good, at)
            case "delete":
                done = self._records.delete(name, good)
        return Written(done.results, sorted([*bad, *done.refused], key=lambda refusal: refusal.index))

    def _refuses(self, record: Incoming, nth: int) -> tuple[str, str] | None:
        email = record.properties.get("email")
        if self._emails is not None and isinstance(email, str) and self._emails.search(email):
            return "invalid_email", f"{email!r} is refused by this account"
        if self._ids is not None and self._ids.search(record.id):
            return "refused_id", f"{record.id!r} is refused by this account"
        if self._faults.unlucky(nth, record.id):
            return "unlucky", "this record is refused for now"
        return None

    def _row_by_row(self, written: Written) -> Answered:
        status = 207 if written.refused and self._faults.bad_records != "200" else 200
        errors: list[Json] = [_shown(refusal) for refusal in written.refused]
        return Answered(status, {"results": written.results, "errors": errors})

    def _whole(self, first: Refusal) -> Answered:
        error: Json = {"code": first.code, "message": f"record {first.id}: {first.message}"}
        if self._faults.bad_records == "409":
            return Answered(409, {"error": error})
        return Answered(200, {"ok": False, "error": error})


def _gone(refusal: Refusal) -> bool:
    return refusal.code == "not_found"


def _shown(refusal: Refusal) -> Json:
    return {"index": refusal.index, "id": refusal.id, "code": refusal.code, "message": refusal.message}


def _pattern(text: str | None) -> re.Pattern[str] | None:
    return re.compile(text) if text else None
