"""The commands of `python -m serving`.

Results go to stdout, messages to stderr; exit 0 done, 1 refused or failed, 2 usage.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from serving.catalog import describe
from serving.cli_receipt import errors, plan_facts, plan_lines, print_answer
from serving.content.schemas import write_schemas
from serving.engine.process import Parameters
from serving.errors import ContentInvalid, SluiceError
from serving.marts.build import Status
from serving.plan import Plan
from serving.project import Project, check_project, open_project

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Sluice: curated marts, governed questions.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

ProjectDir = Annotated[Path, typer.Option("--project", metavar="DIR", help="The content folder.")]
VarDir = Annotated[Path, typer.Option("--var", metavar="DIR", help="Where state lives.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Email = Annotated[str, typer.Option("--user", metavar="EMAIL", help="Who asks.")]
Params = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME=VALUE", help="A value of $NAME (or, as 1=…, of the first ?)."),
]
AsOf = Annotated[int | None, typer.Option("--as-of", metavar="VERSION", help="Ask a kept version.")]
Form = Annotated[
    Literal["table", "csv", "json", "arrow", "parquet"],
    typer.Option("--format", help="How to write the answer."),
]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write to a file.")]
MODELS, VAR = Path("models"), Path("var")


@app.command()
def check(
    project: ProjectDir = MODELS,
    as_json: Json = False,
    schemas: Annotated[
        Path | None,
        typer.Option("--schemas", metavar="DIR", help="Also write a JSON Schema of every file kind."),
    ] = None,
) -> None:
    """Find all problems of all files."""
    with refusals(as_json):
        content, _, problems = check_project(project)
        if problems:
            raise ContentInvalid(problems)
        if schemas is not None:
            write_schemas(schemas)
        counts = {
            "sources": len(content.sources),
            "marts": sum(not mart.built_in for mart in content.marts.values()),
            "roles": len(content.policy.roles),
            "dashboards": len(content.dashboards),
            "destinations": len(content.destinations),
            "syncs": len(content.syncs),
        }
        if as_json:
            print_json({"ok": True, "problems": [], **counts})
        else:
            print(
                f"{project}: no problems ({', '.join(f'{count} {kind}' for kind, count in counts.items())})"
            )


@app.command()
def build(
    marts: Annotated[list[str] | None, typer.Argument(metavar="[MART]...")] = None,
    full: Annotated[bool, typer.Option("--full", help="Rebuild marts that did not change, too.")] = False,
    project: ProjectDir = MODELS,
    var: VarDir = VAR,
    as_json: Json = False,
) -> None:
    """Build what changed, test it and publish it."""
    with refusals(as_json), opened(project, var) as opened_project:
        total = len(opened_project.graph.upstream(marts) if marts else opened_project.graph.order)
        with _progress(total) as report:
            result = opened_project.build(marts or (), full=full, report=report)
        if as_json:
            print_json(
                {
                    "ok": True,
                    "version": result.version.number,
                    "published": result.published,
                    "built": result.built,
                    "unchanged": result.unchanged,
                    "tests": result.tests,
                    "known_green": result.known_green,
                    "warnings": result.warnings,
                    "rollups": {
                        name: {kept.name: kept.rows for kept in file.rollups}
                        for name, file in result.version.marts.items()
                        if file.rollups
                    },
                }
            )
            return
        for status, names in (("built", result.built), ("unchanged", result.unchanged)):
            for name in names:
                file = result.version.marts[name]
                print(f"{status:<10} {name:<32} {file.rows:>12,} rows")
                for kept in file.rollups:
                    print(f"  rollup {kept.name}  {kept.rows:,} rows  ({name}: {file.rows:,})")
        known = f", {result.known_green} known to be green" if result.known_green else ""
        print(f"{result.tests} data tests green{known}")
        for warning in result.warnings:
            errors.print(f"warning: {warning}", markup=False)
        print(
            f"version {result.version.number} "
            + ("is published" if result.published else "already serves this")
        )


@app.command()
def query(
    sql: str,
    user: Email,
    form: Form = "table",
    out: Out = None,
    param: Params = None,
    as_of: AsOf = None,
    project: ProjectDir = MODELS,
    var: VarDir = VAR,
    as_json: Json = False,
) -> None:
    """Ask a governed SQL question."""
    with refusals(as_json), opened(project, var) as opened_project:
        given = parameters(param or [])
        answer = opened_project.ask(sql, user=user, surface="cli", as_of=as_of, parameters=given)
        print_answer(answer, form, out, as_json)


@app.command()
def explain(
    sql: str,
    user: Email,
    param: Params = None,
    as_of: AsOf = None,
    project: ProjectDir = MODELS,
    var: VarDir = VAR,
    as_json: Json = False,
) -> None:
    """Show what a question means for somebody: marts, policies, masks, rollups used or passed over."""
    with refusals(as_json), opened(project, var) as opened_project:
        given = parameters(param or [])
        plan = opened_project.explain(sql, user=user, as_of=as_of, parameters=given)
        print_plan(plan, opened_project.weigh(plan, given), user, as_json)


@app.command()
def versions(project: ProjectDir = MODELS, var: VarDir = VAR, as_json: Json = False) -> None:
    """List the kept versions, newest first."""
    with refusals(as_json), opened(project, var) as opened_project:
        kept = opened_project.versions()
        if as_json:
            print_json(
                [
                    {
                        "version": v.number,
                        "published_at": v.published_at.isoformat(),
                        "current": v.current,
                        "marts": {name: file.rows for name, file in v.marts.items()},
                    }
                    for v in kept
                ]
            )
            return
        for v in kept:
            mark = "*" if v.current else " "
            print(f"{mark} {v.number:>5}  {v.published_at:%Y-%m-%d %H:%M:%S} UTC  {len(v.marts)} marts")


@app.command()
def rollback(version: int, project: ProjectDir = MODELS, var: VarDir = VAR, as_json: Json = False) -> None:
    """Let an older version serve again."""
    with refusals(as_json), opened(project, var) as opened_project:
        back = opened_project.rollback(version)
        if as_json:
            print_json({"ok": True, "version": back.number})
        else:
            print(f"version {back.number} serves again")


@app.command()
def catalog(
    mart: Annotated[str | None, typer.Argument()] = None,
    user: Annotated[
        str | None, typer.Option("--user", metavar="EMAIL", help="Only what this person may see.")
    ] = None,
    project: ProjectDir = MODELS,
    var: VarDir = VAR,
    as_json: Json = False,
) -> None:
    """List the marts, or describe one."""
    with refusals(as_json), opened(project, var) as opened_project:
        entries = describe(opened_project, opened_project.user(user) if user else None)
        if mart is not None:
            entries = [entry for entry in entries if entry.mart == mart]
            if not entries:
                raise SluiceError(f"there is no mart {mart!r}", hint="`python -m serving catalog` lists them")
        if as_json:
            print_json([entry.facts() for entry in entries])
            return
        for entry in entries:
            unbuilt = "live" if entry.live else "not built"
            rows = f"{entry.rows:,} rows" if entry.rows is not None else unbuilt
            print(f"{entry.mart:<28} {rows:>16}  {entry.description}")
            if mart is not None:
                for column in entry.columns:
                    tags = f"  [{', '.join(column.tags)}]" if column.tags else ""
                    mask = f"  ({column.mask})" if column.mask else ""
                    print(f"    {column.name:<26} {column.kind:<16} {column.description}{tags}{mask}")


@app.command()
def users(project: ProjectDir = MODELS, var: VarDir = VAR, as_json: Json = False) -> None:
    """List the people of the policy, their roles and the marts they may read."""
    with refusals(as_json), opened(project, var) as opened_project:
        people = [
            {
                "email": user.email,
                "name": user.name,
                "roles": user.roles,
                "attributes": user.attributes,
                "marts": opened_project.visible_marts(user),
            }
            for user in opened_project.people()
        ]
        if as_json:
            print_json(people)
            return
        for person in people:
            print(f"{person['email']:<32} {', '.join(person['roles'])}")


def parameters(given: list[str]) -> Parameters:
    """`NAME=VALUE` texts as parameters: a number, true, false or null where it reads as one, else text."""
    values: dict[str, Any] = {}
    for text in given:
        name, found, value = text.partition("=")
        if not found:
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--param")
        try:
            values[name.removeprefix("$")] = json.loads(value)
        except ValueError:
            values[name.removeprefix("$")] = value
    if all(name.isdigit() for name in values):
        return [values[name] for name in sorted(values, key=int)] or None
    return values


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def print_plan(plan: Plan, lane: str, user: str, as_json: bool) -> None:
    """What a question means for somebody, to stdout."""
    print_json(plan_facts(plan, lane)) if as_json else print("\n".join(plan_lines(plan, lane, user)))


@contextmanager
def opened(project: Path, var: Path) -> Iterator[Project]:
    """The project, closed again afterwards."""
    opened_project = open_project(project, var=var)
    try:
        yield opened_project
    finally:
        opened_project.close()


@contextmanager
def refusals(as_json: bool) -> Iterator[None]:
    """Every understood failure ends the command with 1 and its words on stderr."""
    try:
        yield
    except SluiceError as error:
        if as_json:
            facts: dict[str, Any] = {"ok": False, "error": error.problem, "hint": error.hint}
            if isinstance(error, ContentInvalid):
                facts["problems"] = [vars(problem) for problem in error.problems]
            print_json(facts)
        errors.print(str(error), markup=False)
        raise typer.Exit(1) from error


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str, Status, int], None]]:
    """A bar of marts on stderr where a person watches; silent in a pipe."""
    columns = (TextColumn("{task.description:<44}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("reading sources", total=total)

        def report(mart: str, status: Status, rows: int) -> None:
            progress.update(
                task, description=f"{status} {mart}", advance=1 if status in ("built", "unchanged") else 0
            )

        yield report
