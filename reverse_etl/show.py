"""What the command line prints about plans and runs; text in, text out."""

import json
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from datetime import datetime

from reverse_etl.counts import Counts
from reverse_etl.history import PlannedRow, ReasonGroup, RowOutcome, RunRow
from reverse_etl.run import RunReport

_SIGNS = {"create": "+", "update": "~", "remove": "-", "retry": "↻", "resend": "↻"}


def plan_summary(sync: str, target: str, counts: Counts) -> str:
    """The numbers of a plan, in two or three lines."""
    named = ("create", "update", "remove", "retry", "resend")
    parts = [f"{getattr(counts, name):,} {name}" for name in named if getattr(counts, name)]
    quiet = [f"{counts.unchanged:,} unchanged"]
    quiet += [
        f"{getattr(counts, name):,} {name}"
        for name in ("waiting", "parked", "kept", "held")
        if getattr(counts, name)
    ]
    lines = [f"{sync} → {target}", f"  {', '.join(parts) or 'nothing to send'}; {', '.join(quiet)}"]
    if counts.rejected:
        lines.append(f"  {counts.rejected:,} rows of the source cannot be sent")
    if counts.held:
        lines.append("  removals are held: rows without a usable key could be the ones that seem to be gone")
    return "\n".join(lines)


def planned_line(row: PlannedRow) -> str:
    """`~ id=5  tier: "bronze" → "gold"`"""
    verb = f" {row.op}" if row.op != "upsert" else ""
    if row.op in ("archive", "delete"):  # the record goes; its fields are not written
        held = ", ".join(f"{change.name}: {_value(change.old)}" for change in row.changes)
        return f"  {_SIGNS[row.kind]}{verb} {_key(row.key)}{f'  (was {held})' if held else ''}"
    shown = (
        f"{change.name}: {_value(change.old)} → {_value(change.new)}"
        if change.known
        else f"{change.name}: {_value(change.new)}"
        for change in row.changes
    )
    return f"  {_SIGNS[row.kind]}{verb} {_key(row.key)}  {', '.join(shown)}".rstrip()


def outcome_line(row: RowOutcome) -> str:
    """`rejected  id=5  invalid_email: …`"""
    where = _key(row.key) if row.key is not None else "(no key)"
    return f"  {row.verdict:<9} {row.op or 'not sent':<8} {where}  {row.reason}".rstrip()


def run_summary(report: RunReport) -> str:
    """The last lines of `run`."""
    if report.state == "guarded":
        lines = [f"run {report.run} is held by its guard, nothing was sent:"]
        return "\n".join(lines + [f"  {trip.message}" for trip in report.trips])
    word = "resumed and " if report.resumed else ""
    return f"run {report.run} {word}{report.state}: {report.verdicts} ({report.calls:,} calls)"


def run_line(run: RunRow) -> str:
    """One line of `runs`."""
    state = run.state if run.ended_at or run.running else f"{run.state}, interrupted"
    ended = f"{run.counts.planned:,} rows held, nothing sent" if run.state == "guarded" else run.verdicts
    return f"{run.id:>5}  {_time(run.started_at)}  {run.sync:<20} {state:<12} {ended}"


def run_detail(run: RunRow, groups: Iterable[ReasonGroup]) -> str:
    """All of one run, for `show`."""
    lines = [
        run_line(run).strip(),
        f"  {run.trigger} by {run.requested_by}, marts version {run.version}, {run.calls:,} calls",
        *plan_summary(run.sync, run.target, run.counts).splitlines()[1:],
        *(f"  guard: {trip}" for trip in run.trips),
    ]
    if run.approval:
        lines.append(f"  approved: {run.approval}")
    if run.error:
        lines.append(f"  error: {run.error}")
    return "\n".join(lines + [f"  {group}" for group in groups])


def as_json(thing: object) -> str:
    """Dataclasses, alone or inside lists and dicts, as a JSON document."""
    return json.dumps(thing, default=_plain, ensure_ascii=False, indent=2)


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _key(key: object) -> str:
    return " ".join(f"{name}={value}" for name, value in key.items()) if isinstance(key, dict) else str(key)


def _value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _time(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
