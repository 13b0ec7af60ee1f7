"""Commands that plan and deliver: plan, run, retry, undo, pause, resume, worker."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from connectors.protocol import Outcome
from reverse_etl import alerts, history, log_marts, requests, row_files, show
from reverse_etl.cli import (
    AsJson,
    ProjectDir,
    Refused,
    VarDir,
    app,
    complain,
    opened,
    stopping,
    wants_json,
)
from reverse_etl.counts import Counts
from reverse_etl.journal import Order
from reverse_etl.plans import SavedPlan
from reverse_etl.propose import plan_sync, plan_undo, run_folder
from reverse_etl.run import RunReport, Watch, person, run_sync
from reverse_etl.source import find_sync, target_of
from serving.store import utc_now

Rows = Annotated[int, typer.Option(help="how many rows to show")]
Full = Annotated[bool, typer.Option(help="send every row of the source again")]
Adopt = Annotated[
    bool, typer.Option(help="count what the destination holds as sent by this sync: reads it all back")
]
Approve = Annotated[str | None, typer.Option(help="let the guard pass once, for this reason")]


@app.command()
def plan(
    ctx: typer.Context,
    sync: str,
    rows: Rows = 20,
    full: Full = False,
    adopt: Adopt = False,
    project: ProjectDir = None,
    var: VarDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what a run would change and what it costs; nothing is sent. `run` delivers this plan."""
    with opened(ctx, project, var) as found:
        made = plan_sync(found, sync, Order(person(), full=full, adopt=adopt), now=utc_now())
        _show_plan(made, rows, wants_json(ctx, as_json))


@app.command()
def run(
    ctx: typer.Context,
    sync: str,
    approve: Approve = None,
    full: Full = False,
    adopt: Adopt = False,
    number: Annotated[int | None, typer.Option("--plan", help="deliver this plan, not the newest")] = None,
    project: ProjectDir = None,
    var: VarDir = None,
    as_json: AsJson = False,
) -> None:
    """Deliver the plan of a sync, or resume the run that was interrupted."""
    order = Order(person(), approval=approve, full=full, adopt=adopt, plan=number)
    _run(ctx, project, var, as_json, sync, order)


@app.command()
def retry(
    ctx: typer.Context, number: int, project: ProjectDir = None, var: VarDir = None, as_json: AsJson = False
) -> None:
    """Run the sync of a run again, with the rows it did not deliver, parked ones included."""
    with opened(ctx, project, var) as found:
        sync = history.find_run(found, number).sync
    _run(ctx, project, var, as_json, sync, Order(person(), "retry", retry_of=number))


@app.command()
def undo(
    ctx: typer.Context,
    number: int,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would be restored")] = False,
    approve: Approve = None,
    rows: Rows = 20,
    project: ProjectDir = None,
    var: VarDir = None,
    as_json: AsJson = False,
) -> None:
    """Restore what a run changed, but for what was changed since; the sync is paused by it."""
    with opened(ctx, project, var) as found:
        sync = history.find_run(found, number).sync
        if dry_run:
            made = plan_undo(found, number, by=person(), now=utc_now())
            _show_plan(made, rows, wants_json(ctx, as_json))
            return
    _run(ctx, project, var, as_json, sync, Order(person(), "undo", approval=approve, undo_of=number))


@app.command()
def pause(ctx: typer.Context, sync: str, project: ProjectDir = None, var: VarDir = None) -> None:
    """Let no run of a sync start until `resume`; a run under way goes on."""
    with opened(ctx, project, var) as found:
        requests.pause(found, sync, person())
    print(f"{sync} is paused; `resume {sync}` lets it run again")


@app.command()
def resume(ctx: typer.Context, sync: str, project: ProjectDir = None, var: VarDir = None) -> None:
    """Let a paused sync run again."""
    with opened(ctx, project, var) as found:
        requests.resume(found, sync)
    print(f"{sync} may run again")


@app.command()
def worker(
    ctx: typer.Context, project: ProjectDir = None, var: VarDir = None, as_json: AsJson = False
) -> None:
    """Run syncs on their schedules until told to stop."""
    from reverse_etl.worker import work  # APScheduler is for this command only

    with opened(ctx, project, var) as found:
        work(found, stopping())


def _show_plan(made: SavedPlan, rows: int, as_json: bool) -> None:
    planned = row_files.planned_rows(made.folder, limit=rows)
    refused = row_files.source_rejects(made.folder, limit=rows)
    left = row_files.left_out(made.folder)
    if as_json:
        print(show.plan_json(made, planned, refused, left))
        return
    print(show.plan_document(made))
    for row in planned:
        print(show.planned_line(row))
    for reject in refused:
        print(show.outcome_line(reject))
    if made.counts.to_send > len(planned):
        print(f"  … {made.counts.to_send - len(planned):,} more; --rows shows them, or {made.folder}")
    for group in left:
        print(f"  {group.rows:,} left as {'it is' if group.rows == 1 else 'they are'}: {group.reason}")


def _run(
    ctx: typer.Context, project: Path | None, var: Path | None, as_json: bool, sync: str, order: Order
) -> None:
    as_json = wants_json(ctx, as_json)
    stop = stopping()
    with opened(ctx, project, var) as found:
        target = target_of(find_sync(found.content, sync))
        with _watched(sync, target, stop.is_set, quiet=as_json) as watch:
            report = run_sync(found, sync, order, watch=watch)
        alerts.after_run(found, report)
        if problem := log_marts.log_problem(found.store, found.var):
            complain(problem)
        groups = history.reasons(found, report.run)
        folder = run_folder(found, sync, report.run)
    if as_json:
        print(show.as_json({"report": report, "folder": str(folder), "reasons": groups}))
    else:
        print(show.run_summary(report))
    look = f"undo {order.undo_of} --dry-run" if order.undo_of is not None else f"plan {sync}"
    _judge(report, groups, look)


def _judge(report: RunReport, groups: Sequence[row_files.ReasonGroup], look: str) -> None:
    """Say on stderr what a person has to look at, and fail where they have to act."""
    if report.verdicts.rejected:
        number = report.verdicts.rejected
        complain(f"warning: {number:,} {'row was' if number == 1 else 'rows were'} rejected")
    for group in groups[:10]:
        complain(f"  {group}")
    if report.state == "guarded":
        complain("\n".join(trip.message for trip in report.trips))
        complain(f'  hint: look at `{look}`, then say the same again with --approve "why this is right"')
    if report.error:
        complain(report.error)
    if not report.ok:
        raise Refused


@contextmanager
def _watched(sync: str, target: str, stop: Callable[[], bool], *, quiet: bool) -> Iterator[Watch]:
    """A progress bar on stderr where somebody looks at it; the plan's numbers before anything is sent."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("delivering", total=None, rate="", visible=False)

        def planned(counts: Counts) -> None:
            if not quiet:
                print(show.plan_summary(sync, target, counts), flush=True)
            bar.update(task, total=counts.to_send, visible=counts.to_send > 0)

        def rows(outcomes: Sequence[Outcome]) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, advance=len(outcomes), rate=f"{speed:,.0f} rows/s" if speed else "")

        def waits(seconds: float, reason: str) -> None:
            bar.update(task, rate=f"waits {seconds:.0f} s: {reason}")

        yield Watch(planned, complain, rows, waits, stop)
