"""`python -m serving rollups suggest`: rollups for what is really asked, measured."""

from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from typing import Annotated

import typer

from serving.cli import MODELS, VAR, Json, ProjectDir, VarDir, app, opened, print_json, refusals
from serving.suggest.propose import suggest
from serving.suggest.suggestion import Beyond, Report, Suggestion

MEGABYTE = 1_000_000
SHOWN = 12  # of what no rollup helps
rollups = typer.Typer(no_args_is_help=True, help="Rollups: what they are, and which would help.")
app.add_typer(rollups, name="rollups")

Days = Annotated[int, typer.Option("--days", metavar="N", min=1, help="How far back the log is read.")]
Top = Annotated[int, typer.Option("--top", metavar="N", min=1, help="How many suggestions at most.")]
Budget = Annotated[
    int | None, typer.Option("--budget-mb", metavar="N", min=1, help="What all of them may take on disk.")
]
Person = Annotated[str | None, typer.Option("--user", metavar="EMAIL", help="Only what this person asked.")]
Yaml = Annotated[bool, typer.Option("--yaml", help="Print only the YAML to paste.")]


@rollups.command("suggest")
def suggest_rollups(
    days: Days = 30,
    top: Top = 5,
    budget: Budget = None,
    user: Person = None,
    yaml: Yaml = False,
    project: ProjectDir = MODELS,
    var: VarDir = VAR,
    as_json: Json = False,
) -> None:
    """Suggest rollups from the questions of the last days; builds each aside and times it."""
    with refusals(as_json), opened(project, var) as opened_project:
        most = None if budget is None else budget * MEGABYTE
        found = suggest(opened_project, days, top, most, user)
    if as_json:
        print_json(asdict(found))
    elif yaml:
        print("\n".join(_yaml(found.suggestions)))
    else:
        print("\n".join(_told(found)))


def _told(report: Report) -> Iterator[str]:
    yield (
        f"{report.questions:,} questions of {report.people} people in {report.days} days; "
        f"{report.refused:,} of them cannot be asked any more"
    )
    for place, one in enumerate(report.suggestions, 1):
        yield ""
        yield from _suggestion(place, one)
    if not report.suggestions:
        yield "no rollup would have saved time"
    else:
        yield "\nto paste:"
        yield from _yaml(report.suggestions)
    if report.beyond:
        yield "\nno rollup helps:"
        yield from map(_beyond, report.beyond[:SHOWN])
        if len(report.beyond) > SHOWN:
            yield f"  … and {len(report.beyond) - SHOWN} more (--json shows all)"
    if report.unused:
        yield "\nanswered none of these questions: " + ", ".join(report.unused)


def _suggestion(place: int, one: Suggestion) -> Iterator[str]:
    yield (
        f"{place}. {one.mart}: {one.name}  {one.rows:,} rows for {one.mart_rows:,}, "
        f"{one.bytes / MEGABYTE:.1f} MB, built in {one.build_seconds:.1f} s"
    )
    yield (
        f"   answers {one.questions:,} questions of {one.people} people ({one.share:.0%}), "
        f"{one.times_faster:,.0f} x faster: {one.seconds_a_day:,.3g} s a day"
    )


def _yaml(suggestions: tuple[Suggestion, ...]) -> Iterator[str]:
    for file, several in groupby(sorted(suggestions, key=lambda one: one.file), lambda one: one.file):
        yield f"# {file}\nrollups:"
        yield from (one.yaml.rstrip() for one in several)


def _beyond(one: Beyond) -> str:
    return f"  {one.questions:>7,} x {one.mart}  {one.reason}: {one.words}"
