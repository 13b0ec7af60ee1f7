"""Whether a destination can do what a sync asks of it."""

from collections.abc import Iterator

from connectors.protocol import Capabilities, Op
from serving.content.sync import Sync
from serving.errors import Problem

_WRITES: dict[str, Op] = {"insert": "insert", "update": "update", "upsert": "upsert", "mirror": "upsert"}


def incapable(sync: Sync, can: Capabilities) -> Iterator[Problem]:
    """Everything the sync wants and its destination cannot do, with what it can."""
    where, target = sync._where, f"{sync.destination}/{sync.object}"
    able = f"it can {', '.join(sorted(can.ops))}"
    if _WRITES[sync.mode] not in can.ops:
        line = where.line("mode" if "mode" in sync.model_fields_set else "object")
        wanted = _WRITES[sync.mode]
        yield Problem(where.file, line, f"mode {sync.mode}: {target} cannot {wanted}", able)
    removal = sync.on_removed
    if sync.mode == "mirror" and removal != "keep" and removal not in can.ops:
        yield Problem(
            where.file, where.line("on_removed"), f"on_removed: {target} cannot {removal}", f"{able}, or keep"
        )
    if can.partial:
        return
    whole = f"{target} replaces the whole record"
    unless = "or say 'partial: true' at the destination if it keeps fields that are left out"
    if sync.send == "changed":
        hint = f"leave 'send' out, {unless}"
        yield Problem(where.file, where.line("send"), f"send: changed: {whole}", hint)
    for name, spec in sync.fields.items():
        if spec.nulls == "skip":
            line = where.line("fields", name, "nulls")
            hint = f"use 'send' or 'clear', {unless}"
            yield Problem(where.file, line, f"nulls: skip: {whole}", hint)
