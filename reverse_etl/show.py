"""What the command line prints about plans and runs; text in, text out."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime

from reverse_etl.counts import Counts
from reverse_etl.history import RunRow
from reverse_etl.overview import SyncOverview
from reverse_etl.plans import SavedPlan
from reverse_etl.row_files import PlannedRow, ReasonGroup, RowOutcome
from reverse_etl.run import RunReport

_SIGNS = {"create": "+", "update": "~", "remove": "-", "retry": "↻", "resend": "↻"}


def plan_summary(sync: str, target: str, counts: Counts) -> str:
    """The numbers of a plan, in two or three lines."""
    named = ("create", "update", "remove", "retry", "resend")
    parts = [f"{getattr(counts, name):,} {name}" for name in named if getattr(counts, name)]
    quiet = [f"{counts.unchanged:,} unchanged"]
    quiet += [
        f"{getattr(counts, name):,} {name}"
        for name in ("small", "early", "skipped", "waiting", "parked", "kept", "held")
        if getattr(counts, name)
    ]
    lines = [f"{sync} → {target}", f"  {', '.join(parts) or 'nothing to send'}; {', '.join(quiet)}"]
    if counts.rejected:
        lines.append(f"  {counts.rejected:,} rows of the source cannot be sent")
    if counts.held:
        lines.append("  removals are held: rows without a usable key could be the ones that seem to be gone")
    return "\n".join(lines)


def plan_document(plan: SavedPlan) -> str:
    """A plan's head: where from, what it changes, what it costs, what the guard says."""
    lines = [
        f"plan {plan.id} from version {plan.version} of the marts",
        plan_summary(plan.sync, plan.target, plan.counts),
    ]
    if plan.counts.to_send:
        lines.append(f"  {plan.price}")
    lines += [f"  the guard would hold it: {trip.message}" for trip in plan.trips]
    return "\n".join(lines)


def plan_json(
    plan: SavedPlan,
    rows: Sequence[PlannedRow],
    rejected: Sequence[RowOutcome],
    left: Sequence[ReasonGroup] = (),
) -> str:
    """All of a plan but its files, as a JSON document."""
    return as_json(
        {
            "plan": plan.id,
            "sync": plan.sync,
            "target": plan.target,
            "version": plan.version,
            "made_by": plan.made_by,
            "made_at": plan.made_at,
            "folder": str(plan.folder),
            "counts": plan.counts,
            "trips": plan.trips,
            "price": plan.price,
            "rows": rows,
            "rejected": rejected,
            "left": left,
        }
    )


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


def sync_line(sync: SyncOverview) -> str:
    """One line of `syncs`, and a second one where something keeps it from running."""
    state = "never ran" if sync.last_run is None else f"run {sync.last_run.id} {sync.last_run.state}"
    if sync.running_by:
        state = f"running ({sync.running_by})"
    due = f"next {_time(sync.next_fire)}" if sync.next_fire else sync.schedule
    line = f"{sync.name:<24} {state:<24} {due}"
    why = f"paused by {sync.paused_by}" if sync.paused_by else sync.problem
    return f"{line}\n  {why}" if why else line


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
    if run.replanned:
        lines.append(f"  {run.replanned}")
    if run.approval:
        by = f" by {run.approved_by}" if run.approved_by else ""
        lines.append(f"  approved{by}: {run.approval}")
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
