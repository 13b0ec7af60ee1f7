"""`python -m serving import` and `export`: content from dbt and Apache Ossie, and to the latter."""

from pathlib import Path
from typing import Annotated

import typer

from serving.cli import MODELS, Json, ProjectDir, app, print_json, refusals
from serving.cli_receipt import errors
from serving.errors import ContentInvalid, SluiceError
from serving.importing.dbt.project import import_dbt
from serving.importing.findings import HEADS
from serving.importing.ossie.export import hidden_measures, ossie_text
from serving.importing.ossie.project import import_ossie
from serving.importing.place import Place
from serving.importing.sketch import Draft
from serving.importing.write import REPORT, counted, write_draft
from serving.project import check_project

imports = typer.Typer(no_args_is_help=True, help="Make a content folder of another tool's model.")
exports = typer.Typer(no_args_is_help=True, help="Write the content for another tool.")
app.add_typer(imports, name="import")
app.add_typer(exports, name="export")

Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="The content folder to write.")]
Database = Annotated[
    Path | None, typer.Option("--database", metavar="FILE.duckdb", help="The DuckDB file with the tables.")
]
Parquet = Annotated[
    Path | None, typer.Option("--parquet", metavar="FOLDER", help="Instead: a folder of NAME.parquet.")
]
Schema = Annotated[str, typer.Option("--schema", metavar="NAME", help="Their schema, if not the one named.")]
Select = Annotated[
    list[str] | None,
    typer.Option("--select", metavar="PATTERN", help="fct_*, tag:NAME, folder:NAME, access:public, all."),
]
Force = Annotated[bool, typer.Option("--force", help="Write over files that are there.")]


@imports.command("dbt")
def from_dbt(
    manifest: Annotated[Path, typer.Argument(metavar="target/manifest.json")],
    out: Out = MODELS,
    database: Database = None,
    parquet: Parquet = None,
    schema: Schema = "",
    select: Select = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Marts over the relations that a dbt project built, with its descriptions, tests and metrics."""
    place = _place(database, parquet, schema)
    with refusals(as_json):
        _write(import_dbt(manifest, place, select or ()), out, force, as_json)


@imports.command("ossie")
def from_ossie(
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml")],
    out: Out = MODELS,
    database: Database = None,
    parquet: Parquet = None,
    schema: Schema = "",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Marts over the tables that an Apache Ossie model describes, with its fields and metrics."""
    place = _place(database, parquet, schema)
    with refusals(as_json):
        _write(import_ossie(file, place), out, force, as_json)


@exports.command("ossie")
def to_ossie(
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE.yaml", help="Write to a file.")] = None,
    project: ProjectDir = MODELS,
    as_json: Json = False,
) -> None:
    """The visible marts as one Apache Ossie model."""
    with refusals(as_json):
        content, _, problems = check_project(project)
        if problems:
            raise ContentInvalid(problems)
        text, hidden = ossie_text(content), hidden_measures(content)
        if hidden:
            words = f"other tools do not see {', '.join(hidden)}: no expression says what these are"
            errors.print(words, markup=False)
        if out is None:
            print(text, end="")
            return
        try:
            out.write_text(text, encoding="utf-8")
        except OSError as error:
            raise SluiceError(
                f"{out} cannot be written: {error.strerror}", hint="give another --out"
            ) from error
        print_json({"ok": True, "file": str(out), "hidden": hidden}) if as_json else print(
            f"{out} is written"
        )


def _place(database: Path | None, parquet: Path | None, schema: str) -> Place:
    if database is not None and parquet is not None:
        raise typer.BadParameter("give --database or --parquet, not both")
    return Place(database, parquet, schema)


def _write(draft: Draft, out: Path, force: bool, as_json: bool) -> None:
    """Write the folder, say what was left, and check what was written."""
    files = write_draft(draft, out, force=force)
    problems = check_project(out)[2]
    if as_json:
        facts = {
            "ok": not problems,
            "from": draft.origin,
            "out": str(out),
            "files": [str(path) for path in files],
            **draft.counts,
            "findings": [vars(finding) for finding in draft.findings],
            "problems": [vars(problem) for problem in problems],
        }
        print_json(facts)
    else:
        _say(draft, out)
    for problem in problems:
        errors.print(str(problem), markup=False)
    if problems:
        raise typer.Exit(1)


def _say(draft: Draft, out: Path) -> None:
    print(f"{out}: {counted(draft)} of {draft.origin}")
    for kind, head in HEADS.items():
        found = [finding for finding in draft.findings if finding.kind == kind]
        if found:
            print(f"\n{head} ({len(found)})")
            for finding in found:
                print(f"  {finding.what}: {finding.words}")
    print(
        f"\n{out / REPORT} keeps this list. Nobody sees the marts yet: assign a role in policies/access.yml,"
    )
    print(f"then `python -m serving check --project {out}` and `build`.")
