"""python -m reverse_etl: plan, run and look at syncs. Exit 0 done, 1 refused or failed, 2 usage."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy.exc import SQLAlchemyError

from connectors.protocol import DestinationStopped, Outcome
from reverse_etl import history, show
from reverse_etl.counts import Counts
from reverse_etl.journal import Order
from reverse_etl.run import RunReport, Watch, person, plan_sync, run_folder, run_sync
from reverse_etl.source import find_sync, target_of
from serving import Project, open_project
from serving.errors import SluiceError
from serving.store import utc_now

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

ProjectDir = Annotated[
    Path | None, typer.Option("--project", help="the folder with the content [default: models]")
]
VarDir = Annotated[Path | None, typer.Option("--var", help="the folder with the state [default: var]")]
AsJson = Annotated[bool, typer.Option("--json", help="machine output")]


class _Refused(Exception):
    """The command was understood and did not end well; the reason has been printed."""


@app.callback()
def options(
    ctx: typer.Context, project: ProjectDir = None, var: VarDir = None, as_json: AsJson = False
) -> None:
    """Options that may stand before or after the command."""
    ctx.obj = (project, var, as_json)


@app.command()
def plan(
    ctx: typer.Context,
    sync: str,
    rows: Annotated[int, typer.Option(help="how many rows to show")] = 20,
    full: Annotated[bool, typer.Option(help="as `run --full` would")] = False,
    project: ProjectDir = None,
    var: VarDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what a run would change; nothing is sent."""
    with _opened(ctx, project, var) as opened:
        made = plan_sync(opened, sync, full=full, now=utc_now())
        planned = history.planned_rows(made.folder, limit=rows)
        refused = history.source_rejects(made.folder, limit=rows)
        if _json(ctx, as_json):
            print(show.as_json({"sync": sync, "counts": made.counts, "rows": planned, "rejected": refused}))
            return
        print(show.plan_summary(sync, target_of(find_sync(opened.content, sync)), made.counts))
        for row in planned:
            print(show.planned_line(row))
        for reject in refused:
            print(show.outcome_line(reject))
        if made.counts.to_send > len(planned):
            print(f"  … {made.counts.to_send - len(planned):,} more; --rows shows them")


@app.command()
def run(
    ctx: typer.Context,
    sync: str,
    approve: Annotated[str | None, typer.Option(help="let the guard pass once, for this reason")] = None,
    full: Annotated[bool, typer.Option(help="send every row of the source again")] = False,
    project: ProjectDir = None,
    var: VarDir = None,
    as_json: AsJson = False,
) -> None:
    """Run a sync, or resume the run that was interrupted."""
    order = Order(person(), approval=approve, full=full)
    _run(ctx, project, var, as_json, sync, order)


@app.command()
def retry(
    ctx: typer.Context, number: int, project: ProjectDir = None, var: VarDir = None, as_json: AsJson = False
) -> None:
    """Run the sync of a run again, with the rows it did not deliver, parked ones included."""
    with _opened(ctx, project, var) as opened:
        sync = history.find_run(opened, number).sync
    _run(ctx, project, var, as_json, sync, Order(person(), "retry", retry_of=number))


@app.command()
def runs(
    ctx: typer.Context,
    sync: Annotated[str | None, typer.Argument()] = None,
    limit: int = 20,
    project: ProjectDir = None,
    var: VarDir = None,
    as_json: AsJson = False,
) -> None:
    """List runs, the newest first."""
    with _opened(ctx, project, var) as opened:
        if sync is not None:
            find_sync(opened.content, sync)
        found = history.list_runs(opened, sync, limit=limit)
    if _json(ctx, as_json):
        print(show.as_json(list(found)))
        return
    for row in found:
        print(show.run_line(row))


@app.command("show")
def show_run(
    ctx: typer.Context,
    number: int,
    rows: Annotated[bool, typer.Option("--rows", help="every row that was not accepted")] = False,
    limit: int = 1000,
    project: ProjectDir = None,
    var: VarDir = None,
    as_json: AsJson = False,
) -> None:
    """Show one run: numbers, reasons and, with --rows, the rows behind them."""
    with _opened(ctx, project, var) as opened:
        found = history.find_run(opened, number)
        groups = history.reasons(opened, number)
        outcomes = history.refused_rows(opened, number, limit=limit) if rows else ()
    if _json(ctx, as_json):
        print(show.as_json({"run": found, "reasons": groups, "rows": outcomes}))
        return
    print(show.run_detail(found, groups))
    for outcome in outcomes:
        print(show.outcome_line(outcome))


@app.command()
def worker(
    ctx: typer.Context, project: ProjectDir = None, var: VarDir = None, as_json: AsJson = False
) -> None:
    """Run syncs on their schedules until told to stop."""
    from reverse_etl.worker import work  # APScheduler is for this command only

    with _opened(ctx, project, var) as opened:
        work(opened, _stopping())


def main() -> int:
    """The command line; the exit code is for the shell."""
    try:
        app(standalone_mode=True)
    except _Refused:
        return 1
    except SluiceError as error:
        print(error, file=sys.stderr)
        return 1
    except DestinationStopped as error:
        print(error, file=sys.stderr)
        return 1
    except SQLAlchemyError as error:
        print(f"the control store cannot be used: {error}", file=sys.stderr)
        return 1
    return 0


def _run(
    ctx: typer.Context, project: Path | None, var: Path | None, as_json: bool, sync: str, order: Order
) -> None:
    as_json = _json(ctx, as_json)
    stop = _stopping()
    with _opened(ctx, project, var) as opened:
        target = target_of(find_sync(opened.content, sync))
        with _watched(sync, target, stop.is_set, quiet=as_json) as watch:
            report = run_sync(opened, sync, order, watch=watch)
        groups = history.reasons(opened, report.run)
        folder = run_folder(opened, sync, report.run)
    if as_json:
        print(show.as_json({"report": report, "folder": str(folder), "reasons": groups}))
    else:
        print(show.run_summary(report))
    _complain(report, groups)


def _complain(report: RunReport, groups: Sequence[history.ReasonGroup]) -> None:
    """Say on stderr what a person has to look at, and fail where they have to act."""
    if report.verdicts.rejected:
        number = report.verdicts.rejected
        print(f"warning: {number:,} {'row was' if number == 1 else 'rows were'} rejected", file=sys.stderr)
    for group in groups[:10]:
        print(f"  {group}", file=sys.stderr)
    if report.state == "guarded":
        print("\n".join(trip.message for trip in report.trips), file=sys.stderr)
        print('  hint: look at `plan`, then run again with --approve "why this is right"', file=sys.stderr)
    if report.error:
        print(report.error, file=sys.stderr)
    if not report.ok:
        raise _Refused


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

        yield Watch(planned, rows, stop)


def _stopping() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set, so that batches in flight are finished and written down."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


@contextmanager
def _opened(ctx: typer.Context, project: Path | None, var: Path | None) -> Iterator[Project]:
    before: tuple[Path | None, Path | None, bool] = ctx.obj
    opened = open_project(project or before[0] or Path("models"), var=var or before[1] or Path("var"))
    try:
        yield opened
    finally:
        opened.close()


def _json(ctx: typer.Context, as_json: bool) -> bool:
    return as_json or bool(ctx.obj[2])


if __name__ == "__main__":
    sys.exit(main())
