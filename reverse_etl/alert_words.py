"""An alert in words: what happened, the numbers, why, and what to do. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reverse_etl.history import RunRow
from reverse_etl.row_files import ReasonGroup

Event = Literal["failed", "guarded", "recovered", "rejects"]

REASONS = 3
LONGEST = 500  # characters of an error

_HEADS = {
    "failed": "failed",
    "guarded": "is held by its guard; nothing was sent",
    "recovered": "has recovered",
    "rejects": "has many rejected rows",
}
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


@dataclass(frozen=True)
class Message:
    """A subject of one line, and the whole text that begins with it."""

    subject: str
    text: str


def message(event: Event, run: RunRow, groups: Sequence[ReasonGroup]) -> Message:
    """What people read. No row's values: groups of reasons come without them, errors lose what is quoted."""
    subject = f"Sync {run.sync} {_HEADS[event]}"
    ended = run.ended_at or run.started_at
    lines = [subject, f"Run {run.id} to {run.target}, {ended:%Y-%m-%d %H:%M} UTC, by {run.requested_by}"]
    if event == "guarded":
        lines += [f"- {trip}" for trip in run.trips]
    else:
        lines.append(str(run.verdicts))
    if event == "failed" and run.error:
        lines.append(_QUOTED.sub("…", " ".join(run.error.split()))[:LONGEST])
    if event in ("failed", "rejects"):
        lines += [f"- {group}" for group in groups[:REASONS]]
        if len(groups) > REASONS:
            lines.append(f"- and {len(groups) - REASONS} more reasons")
    lines += _advice(event, run)
    return Message(subject, "\n".join(lines))


def _advice(event: Event, run: RunRow) -> list[str]:
    show = f"python -m reverse_etl show {run.id}"
    page = f"the page Syncs, sync {run.sync}"
    match event:
        case "guarded":
            approve = f'python -m reverse_etl run {run.sync} --approve "why this is right"'
            return [
                f"What to do: look at the plan (python -m reverse_etl plan {run.sync}, or {page}).",
                f"If it is right: {approve}",
            ]
        case "recovered":
            return []
        case _:
            return [f"What to do: {show} --rows, or {page}."]
