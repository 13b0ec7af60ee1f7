"""The inverse of one row that a run delivered, or why there is none.

Only what the run itself changed is undone, and only while it still stands: what a later
run or a person did to the record since stays. Where nobody can say whether undoing would
destroy something, it is not done.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from connectors.protocol import CREATED, RESTORED, Capabilities, Json, Op

Fields = Mapping[str, Json]
REMOVALS: tuple[Op, ...] = ("clear", "archive", "delete")


@dataclass(frozen=True, slots=True)
class Delivered:
    """A row that a run delivered: what it `sent` over what was there (`old`; None: not known).

    `held`: what the ledger says the destination holds of the row today, sent last by run `by`.
    `open`: a later change of the row was sent and never answered.
    """

    op: Op
    sent: Fields
    old: Fields | None
    reason: str
    held: Fields | None
    by: int | None
    open: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What the destination said it holds; `asked` is False where it cannot be asked."""

    asked: bool
    record: Fields | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """How a row is undone. `op` None: it is not; `left` says what stays as it is, and why."""

    op: Op | None
    kind: str = ""
    fields: Fields | None = None
    left: str = ""


NOTHING = Step(None)  # the run changed nothing in this row
NO_REMOVAL = "the destination can neither delete nor archive what the run created"


def settled(row: Delivered, run: int) -> str:
    """Why the ledger says that a row of this run is not to be undone any more; else empty."""
    if row.held is not None and row.op in REMOVALS:
        return f"run {row.by} has sent the row since"
    if row.held is not None and row.by != run and _other(row.sent, row.held):
        return f"run {row.by} has changed the row since"
    if row.held is None and row.op not in REMOVALS:
        return "a later run has removed the row"
    return ""


def inverse(row: Delivered, found: Found, can: Capabilities) -> Step:
    """What takes the row back to where it was before the run."""
    if row.open and not found.asked:
        return Step(None, left="a later change of the row may have arrived: its outcome is unknown")
    if row.op in ("archive", "delete"):
        return _brought_back(row, found, can)
    if row.op == "clear":
        return _values_back(row, row.sent, found, can)
    if row.old is None:
        return _taken_out(row, found, can)
    changed = {name: value for name, value in row.sent.items() if not _kept(row.old, name, value)}
    return _values_back(row, changed, found, can) if changed else NOTHING


def _other(sent: Fields, held: Fields) -> bool:
    return any(not _kept(held, name, value) for name, value in sent.items())


def _kept(old: Fields, name: str, value: Json) -> bool:
    return name in old and alike(old[name], value)


def _brought_back(row: Delivered, found: Found, can: Capabilities) -> Step:
    if row.old is None:
        return Step(None, left="the values that the record had are not known")
    if row.reason:
        return Step(None, left="the record was already gone when the run removed it")
    if found.record is not None:
        return Step(None, left="the record is there again: somebody else brought it back")
    if "upsert" not in can.ops:
        return Step(None, left="the destination cannot write removed records")
    return Step("upsert", "create", dict(row.old))


def _taken_out(row: Delivered, found: Found, can: Capabilities) -> Step:
    if row.op == "update":
        return Step(None, left="the values that the record had are not known")
    if row.op == "upsert" and row.reason not in (CREATED, RESTORED):
        return Step(None, left="the destination did not say that it was this run that made the record")
    wanted: tuple[Op, ...] = ("archive",) if row.reason == RESTORED else ("delete", "archive")
    op = next((op for op in wanted if op in can.ops), None)
    if op is None:
        return Step(None, left=NO_REMOVAL)
    if found.asked and found.record is None:
        return Step(None, left="the record is gone")
    if edited := _edited(row.sent, found, can):
        return Step(None, left=f"somebody else changed {_listed(edited)} since: the record stays")
    return Step(op, "remove")


def _values_back(row: Delivered, changed: Fields, found: Found, can: Capabilities) -> Step:
    """The old values of these fields; those that somebody else changed since stay as they are."""
    if row.old is None:
        return Step(None, left="the values that the record had are not known")
    if found.asked and found.record is None:
        return Step(None, left="the record is gone")
    op: Op | None = next((op for op in _UPDATES if op in can.ops), None)
    if op is None:
        return Step(None, left="the destination can neither update nor upsert")
    edited = _edited(changed, found, can)
    left = f"somebody else changed {_listed(edited)} since: left as it is" if edited else ""
    wanted = changed.keys() if can.partial else {**row.old, **row.sent}.keys()
    if len(edited) == len(changed) or (edited and not can.partial):
        return Step(None, left=left)
    fields = {name: row.old.get(name, can.cleared) for name in wanted if name not in edited}
    return Step(op, "update", fields, left)


_UPDATES: tuple[Op, ...] = ("update", "upsert")


def _edited(sent: Fields, found: Found, can: Capabilities) -> list[str]:
    """Fields that do not hold any more what the run sent."""
    if found.record is None:
        return []
    empty = (None, can.cleared)
    return [
        name
        for name, value in sorted(sent.items())
        if not alike(found.record.get(name), value)
        and not (_among(found.record.get(name), empty) and _among(value, empty))
    ]


def alike(one: Json, other: Json) -> bool:
    """Whether two values are the same to a tool: 1 is 1.0, but not true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return one == other


def _among(value: Json, values: tuple[Json, ...]) -> bool:
    return any(alike(value, one) for one in values)


def _listed(names: list[str]) -> str:
    return ", ".join(names)
