"""`python -m serving metrics` asks metrics by dimensions, or lists them; `rollups list` says what is kept."""

import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer

from serving.catalog import describe
from serving.cli import (
    MODELS,
    VAR,
    AsOf,
    Email,
    Form,
    Json,
    Out,
    ProjectDir,
    VarDir,
    app,
    opened,
    print_json,
    print_plan,
    refusals,
)
from serving.cli_receipt import print_answer
from serving.cli_suggest import rollups
from serving.semantic.asking.words import read_request
from serving.semantic.compile.askable import AskableMart, askable_marts

Metrics = Annotated[
    list[str] | None, typer.Argument(metavar="[MART.MEASURE]...", help="None: list what may be asked.")
]
By = Annotated[
    list[str] | None, typer.Option("--by", metavar="DIMENSION[,…]", help="region, ordered_at.month, …")
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="CONDITION", help="\"region = 'EMEA'\", 'ordered_at: last 12 months'."),
]
HavingOption = Annotated[
    list[str] | None, typer.Option("--having", metavar="CONDITION", help="'orders.revenue > 1000'.")
]
CompareOption = Annotated[
    str | None,
    typer.Option("--compare", metavar="WHEN", help="'previous period', 'previous year', '3 months earlier'."),
]
TopOption = Annotated[
    str | None, typer.Option("--top", metavar="TOP", help="'5 country by orders.revenue, other'.")
]
TotalsOption = Annotated[bool, typer.Option("--totals", help="Add a row over everything.")]
FillOption = Annotated[bool, typer.Option("--fill", help="A row for each bucket of the range.")]
OrderOption = Annotated[
    list[str] | None, typer.Option("--order", metavar="COLUMN[,…]", help="-revenue: the largest first.")
]
LimitOption = Annotated[int | None, typer.Option("--limit", metavar="N", help="So many rows at most.")]
NoRollups = Annotated[bool, typer.Option("--no-rollups", help="Ask the marts themselves.")]
Explain = Annotated[bool, typer.Option("--explain", help="Show what it means instead of asking.")]


@app.command()
def metrics(
    names: Metrics = None,
    user: Email = ...,  # type: ignore[assignment]
    by: By = None,
    where: WhereOption = None,
    having: HavingOption = None,
    compare: CompareOption = None,
    top: TopOption = None,
    totals: TotalsOption = False,
    fill: FillOption = False,
    order: OrderOption = None,
    limit: LimitOption = None,
    no_rollups: NoRollups = False,
    explain: Explain = False,
    form: Form = "table",
    out: Out = None,
    as_of: AsOf = None,
    project: ProjectDir = MODELS,
    var: VarDir = VAR,
    as_json: Json = False,
) -> None:
    """Ask metrics by dimensions; without a metric, list what this person may ask."""
    words: dict[str, Any] = {
        "metrics": names,
        "by": _each(by),
        "where": where,
        "having": having,
        "compare": compare,
        "top": top,
        "totals": totals,
        "fill": fill,
        "order": _each(order),
        "limit": limit,
    }
    with refusals(as_json), opened(project, var) as opened_project:
        if not names:
            if given := [key for key, value in words.items() if value]:
                raise typer.BadParameter(f"--{given[0]} needs a metric to ask for, as in orders.revenue")
            marts = askable_marts(opened_project.model(opened_project.user(user)))
            print_json([asdict(mart) for mart in marts]) if as_json else print("\n".join(_listed(marts)))
            return
        request = read_request(words)
        if explain:
            plan = opened_project.explain(metrics=request, user=user, as_of=as_of, rollups=not no_rollups)
            print_plan(plan, opened_project.weigh(plan), user, as_json)
            return
        answer = opened_project.ask(
            metrics=request, user=user, surface="cli", as_of=as_of, rollups=not no_rollups
        )
        print_answer(answer, form, out, as_json)


@rollups.command("list")
def list_rollups(
    user: Annotated[
        str | None, typer.Option("--user", metavar="EMAIL", help="Only what this person may see.")
    ] = None,
    project: ProjectDir = MODELS,
    var: VarDir = VAR,
    as_json: Json = False,
) -> None:
    """List the rollups of every mart: what they keep, by what, and how many rows."""
    with refusals(as_json), opened(project, var) as opened_project:
        entries = describe(opened_project, opened_project.user(user) if user else None)
        found = [(entry, kept) for entry in entries for kept in entry.meaning.rollups]
        if as_json:
            print_json(
                [{"mart": entry.mart, "mart_rows": entry.rows, **asdict(kept)} for entry, kept in found]
            )
            return
        for entry, kept in found:
            rows = "not built" if not kept.built else "built" if kept.rows is None else f"{kept.rows:,} rows"
            share = f" of {entry.rows:,}" if kept.rows is not None and entry.rows else ""
            print(f"{entry.mart}.{kept.name:<28} {rows}{share}")
            print(f"    by     {', '.join(kept.dimensions) or 'nothing: one row'}")
            print(f"    keeps  {', '.join(kept.measures)}")


def _each(given: list[str] | None) -> list[str]:
    """Names between commas; a comma inside double quotes belongs to the name."""
    return [name.strip() for text in given or [] for name in re.findall(r'(?:"(?:[^"]|"")*"|[^,"])+', text)]


def _listed(marts: tuple[AskableMart, ...]) -> Iterator[str]:
    for mart in marts:
        yield f"{mart.mart}{f': {mart.description}' if mart.description else ''}"
        wide = max(len(metric.name) for metric in mart.metrics)
        for metric in mart.metrics:
            words = [metric.label, metric.description]
            words += [f"also called {', '.join(metric.synonyms)}"] if metric.synonyms else []
            words += [f"≈ as ~{metric.name}"] if metric.estimate else []
            yield f"  {metric.name:<{wide}}  {'; '.join(word for word in words if word)}"
        times = [f"{one.name}.GRAIN" for one in mart.dimensions if one.time]
        others = [one.name for one in mart.dimensions if not one.time]
        yield from _wrapped("  by time  ", times)
        yield from _wrapped("  by       ", others)
        yield ""


def _wrapped(head: str, names: list[str], wide: int = 100) -> Iterator[str]:
    line = head
    for name in names:
        if len(line) > len(head) and len(line) + len(name) > wide:
            yield line.rstrip()
            line = " " * len(head)
        line += f"{name} "
    if names:
        yield line.rstrip()
