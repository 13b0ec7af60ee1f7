"""What all commands of `python -m reverse_etl` have in common."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from reverse_etl.log_marts import refresh_log
from serving import Project, open_project

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Plan, run, undo and look at syncs. Exit 0 done, 1 refused or failed, 2 usage.",
)

ProjectDir = Annotated[
    Path | None, typer.Option("--project", help="the folder with the content [default: models]")
]
VarDir = Annotated[Path | None, typer.Option("--var", help="the folder with the state [default: var]")]
AsJson = Annotated[bool, typer.Option("--json", help="machine output")]


class Refused(Exception):
    """The command was understood and did not end well; the reason has been printed."""


@app.callback()
def options(
    ctx: typer.Context, project: ProjectDir = None, var: VarDir = None, as_json: AsJson = False
) -> None:
    """Options that may stand before or after the command."""
    ctx.obj = (project, var, as_json)


@contextmanager
def opened(ctx: typer.Context, project: Path | None, var: Path | None) -> Iterator[Project]:
    """The project that the options name."""
    before: tuple[Path | None, Path | None, bool] = ctx.obj
    folder, state = project or before[0] or Path("models"), var or before[1] or Path("var")
    found = open_project(folder, var=state, refresh_log=refresh_log)
    try:
        yield found
    finally:
        found.close()


def wants_json(ctx: typer.Context, as_json: bool) -> bool:
    """Whether --json stands before or after the command."""
    return as_json or bool(ctx.obj[2])


def stopping() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set, so that batches in flight are finished and written down."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def complain(words: str) -> None:
    """One line, or several, for the person who waits."""
    print(words, file=sys.stderr)
