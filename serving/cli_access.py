"""`python -m serving access`: who sees what and why, and what a change of the policy does to whom."""

from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from typing import Annotated

import typer

from serving.access import changes, explain_column, explain_user, subject
from serving.cli import MODELS, VAR, Json, ProjectDir, VarDir, app, opened, print_json, refusals
from serving.rights.changes import Changes, PersonChanges
from serving.rights.grants import told
from serving.rights.report import MartAccess, Sight, UserAccess
from serving.rights.rules import ColumnAccess, RowAccess

WIDE = 100  # characters of a line of column names

Person = Annotated[
    str | None, typer.Option("--user", metavar="EMAIL", help="What this person (group:NAME, *@DOMAIN) sees.")
]
Mart = Annotated[str | None, typer.Option("--mart", metavar="MART", help="With --user: only this mart.")]
Column = Annotated[str | None, typer.Option("--column", metavar="MART.COLUMN", help="Who sees this column.")]
Compare = Annotated[
    bool, typer.Option("--changes", help="What the files change for whom, against the published policy.")
]
Strict = Annotated[
    bool, typer.Option("--fail-on-widening", help="With --changes: exit 1 when anybody gains anything.")
]


@app.command()
def access(
    user: Person = None,
    mart: Mart = None,
    column: Column = None,
    compare: Compare = False,
    strict: Strict = False,
    project: ProjectDir = MODELS,
    var: VarDir = VAR,
    as_json: Json = False,
) -> None:
    """Tell what a person sees, who sees a column, or what changes for whom; each with its reason."""
    if (user is not None) + (column is not None) + compare != 1:
        raise typer.BadParameter("give exactly one of --user, --column, --changes")
    if (mart is not None and user is None) or (strict and not compare):
        raise typer.BadParameter("--mart goes with --user, --fail-on-widening with --changes")
    with refusals(as_json), opened(project, var) as opened_project:
        if user is not None:
            found = explain_user(opened_project, subject(opened_project, user), mart)
            print_json(found.facts()) if as_json else print("\n".join(_person(found)))
        elif column is not None:
            sights = explain_column(opened_project, column)
            print_json([asdict(one) for one in sights]) if as_json else print("\n".join(_column(sights)))
        else:
            made = changes(opened_project)
            print_json(made.facts()) if as_json else print("\n".join(changes_text(made)))
            if strict and made.gaining:
                raise typer.Exit(1)


def _person(access: UserAccess) -> Iterator[str]:
    yield access.email + (f", {access.name}" if access.name else "")
    for holding in access.roles:
        yield f"  role       {holding.role}: {told(holding.steps)}"
    if not access.roles:
        yield "  role       none"
    for one in access.attributes:
        yield f"  attribute  {one.name} = {one.value}, by {one.subject} ({one.at})"
    for limit in access.limits:
        yield f"  limit      {limit.words}{_places(limit.at)}"
    for mart in access.marts:
        yield ""
        yield from _mart(mart)


def _mart(mart: MartAccess) -> Iterator[str]:
    if not mart.granted:
        offer = f"{' or '.join(mart.offered_by)} would grant it" if mart.offered_by else "no role grants it"
        yield f"{mart.mart}: no access; {offer}"
        return
    words = mart.aggregate.words if mart.aggregate and mart.in_aggregates_only else "may read"
    yield f"{mart.mart}: {words}{'' if mart.built else ' (not built yet: columns by its file)'}"
    for grant in mart.grants:
        yield f"  by         {told(grant.steps)}"
    if mart.problem:
        yield f"  nothing    {mart.problem}"
        return
    if mart.aggregate is not None:
        exempt = f" does not apply to {' and '.join(mart.aggregate.exempt)}" if mart.aggregate.exempt else ""
        yield f"  only       {mart.aggregate.words}{exempt} ({mart.aggregate.at})"
    for rule in mart.rows:
        yield f"  rows       {_row(rule)} ({rule.at})"
    if not mart.rows:
        yield "  rows       all; no rule speaks of them"
    yield from _columns(mart.columns)


def _row(rule: RowAccess) -> str:
    if rule.exempt:
        return f"all: {rule.where} does not apply to {' and '.join(rule.exempt)}"
    note = f": {rule.note}" if rule.note else ""
    return rule.bound + note + (f", by {rule.where}" if rule.bound != rule.where else "")


def _columns(columns: tuple[ColumnAccess, ...]) -> Iterator[str]:
    plain = [column.name for column in columns if not column.mask]
    yield from _wrapped("  seen       ", plain)
    for column in columns:
        if column.mask:
            tagged = f"; tagged at {column.tagged_at}" if column.tagged_at else ""
            yield f"  {column.state:<10} {column.name}: {column.why} ({column.at}{tagged})"


def _wrapped(head: str, names: list[str]) -> Iterator[str]:
    line = head
    for place, name in enumerate(names):
        comma = "," if place < len(names) - 1 else ""
        if len(line) > len(head) and len(line) + len(name) > WIDE:
            yield line.rstrip()
            line = " " * len(head)
        line += f"{name}{comma} "
    if names:
        yield line.rstrip()


def _column(sights: tuple[Sight, ...]) -> Iterator[str]:
    wide = max((len(one.email) for one in sights), default=0)
    for one in sights:
        rows = f"; {one.rows}" if one.rows and one.rows != "all rows" else ""
        only = f"; {one.aggregate}" if one.aggregate else ""
        at = f" ({one.at})" if one.at else ""
        yield f"{one.email:<{wide}}  {one.shown}{rows}{only}: {one.why}{at}"


def changes_text(made: Changes) -> Iterator[str]:
    """The changes as a person reads them, grouped by person."""
    if not made.people:
        yield f"nothing changes for anybody, against the policy published with version {made.version}"
        return
    for person in made.people:
        yield from _changed(person)
        yield ""
    gain, lose = len(made.gaining), len(made.losing)
    yield f"{gain} gain, {lose} lose, {made.unchanged} see the same (against version {made.version})"


def _changed(person: PersonChanges) -> Iterator[str]:
    standing = {"new": ": new", "gone": ": gone from the policy", "stays": ""}[person.standing]
    yield person.email + (f", {person.name}" if person.name else "") + standing
    for _, group in groupby(person.changes, key=lambda change: change.mart):
        for change in group:
            yield f"  {change.line}"


def _places(at: tuple[str, ...]) -> str:
    return f" ({', '.join(at)})" if at else ""
