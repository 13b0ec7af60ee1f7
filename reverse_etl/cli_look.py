"""Commands that look: syncs, runs, show."""

from typing import Annotated

import typer

from reverse_etl import history, show
from reverse_etl.cli import AsJson, ProjectDir, VarDir, app, opened, wants_json
from reverse_etl.overview import list_syncs
from reverse_etl.propose import run_folder
from reverse_etl.retention import forgotten
from reverse_etl.source import find_sync
from serving.store import utc_now


@app.command()
def syncs(
    ctx: typer.Context, project: ProjectDir = None, var: VarDir = None, as_json: AsJson = False
) -> None:
    """List syncs: how the last run ended, when the next one is due, and what keeps it from running."""
    with opened(ctx, project, var) as found:
        listed = list_syncs(found, utc_now())
    if wants_json(ctx, as_json):
        print(show.as_json(list(listed)))
        return
    for sync in listed:
        print(show.sync_line(sync))


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
    with opened(ctx, project, var) as project_:
        if sync is not None:
            find_sync(project_.content, sync)
        found = history.list_runs(project_, sync, limit=limit)
    if wants_json(ctx, as_json):
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
    with opened(ctx, project, var) as project_:
        found = history.find_run(project_, number)
        groups = history.reasons(project_, number)
        outcomes = history.refused_rows(project_, number, limit=limit) if rows else ()
        gone = forgotten(run_folder(project_, found.sync, number), number) if found.counts.planned else ""
    if wants_json(ctx, as_json):
        print(show.as_json({"run": found, "reasons": groups, "rows": outcomes}))
        return
    print(show.run_detail(found, groups))
    if gone:
        print(f"  {gone}")
    for outcome in outcomes:
        print(show.outcome_line(outcome))
