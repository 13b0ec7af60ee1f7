"""`python -m serving audit`: read, verify and export who asked what."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from serving.audit import Asked, recent
from serving.audit_chain import AuditBroken, Chain, verify
from serving.audit_export import export, exported
from serving.audit_log import entries, reading, stamp
from serving.cli import VAR, Json, VarDir, app, print_json, refusals
from serving.errors import SluiceError

audit = typer.Typer(
    no_args_is_help=True,
    help="Who asked what, and how it ended; append-only and chained by hashes.",
    rich_markup_mode=None,
)
app.add_typer(audit, name="audit")

OUTCOMES = ("answered", "refused", "failed", "stopped", "unfinished")
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="From then on: 2026-11-21 or 2026-11-21T08:30.")
]
Head = Annotated[
    str | None, typer.Option("--head", metavar="HASH", help="A head remembered from before: is it in there?")
]


@audit.command("list")
def list_questions(
    user: Annotated[str | None, typer.Option("--user", metavar="EMAIL", help="Asked by this person.")] = None,
    mart: Annotated[str | None, typer.Option("--mart", metavar="MART", help="Reading this mart.")] = None,
    outcome: Annotated[
        str | None, typer.Option("--outcome", metavar="OUTCOME", help=f"One of {', '.join(OUTCOMES)}.")
    ] = None,
    since: Since = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="The newest so many.")] = 50,
    var: VarDir = VAR,
    as_json: Json = False,
) -> None:
    """List questions, newest first."""
    with refusals(as_json):
        if outcome is not None and outcome not in OUTCOMES:
            raise SluiceError(f"there is no outcome {outcome!r}", hint=f"one of {', '.join(OUTCOMES)}")
        found = recent(
            _file(var), limit, user=user, mart=mart, outcome=outcome, since=_moment(since) if since else None
        )
        if as_json:
            print_json([{**asdict(question), "at": question.at.isoformat()} for question in found])
            return
        for question in found:
            print(_line(question))


@audit.command("verify")
def verify_chain(
    head: Head = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="An exported file instead of the audit.")
    ] = None,
    var: VarDir = VAR,
    as_json: Json = False,
) -> None:
    """Walk the chain; name the first entry that does not fit."""
    with refusals(as_json):
        try:
            if file is not None:
                chain = verify(exported(file), whole=False, head=head)
            else:
                with reading(_file(var)) as connection:
                    chain = verify(entries(connection), head=head)
        except AuditBroken as broken:
            if as_json:
                print_json({"ok": False, "entry": broken.entry, "error": broken.problem, "hint": broken.hint})
                raise typer.Exit(1) from broken
            raise
        _tell(chain, as_json, "the chain holds")


@audit.command("export")
def export_entries(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A .jsonl, .csv or .parquet file.")],
    since: Since = None,
    var: VarDir = VAR,
    as_json: Json = False,
) -> None:
    """Write the entries with their hashes into a file that can be verified alone."""
    with refusals(as_json), reading(_file(var)) as connection:
        start = stamp(_moment(since)) if since else ""
        chain = export(entries(connection, start), out, whole=not since)
        _tell(chain, as_json, f"written to {out}")


def _file(var: Path) -> Path:
    return var / "audit.sqlite"


def _moment(text: str) -> datetime:
    """An ISO 8601 date or time; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SluiceError(
            f"{text!r} is no time", hint="write 2026-11-21, or 2026-11-21T08:30 (UTC unless it says a zone)"
        ) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _line(question: Asked) -> str:
    text = "".join(c if c.isprintable() else " " for c in " ".join(question.sql.split()))
    rows = f"{question.rows:,} rows" if question.rows is not None else ""
    ms = f"{question.milliseconds:,.1f} ms" if question.milliseconds is not None else ""
    shown = text if len(text) <= 100 else f"{text[:99]}…"
    who = f"{question.id:>7}  {question.at:%Y-%m-%d %H:%M:%S} UTC  {question.user:<28} {question.surface:<10}"
    return f"{who} {question.outcome:<10} {rows:>14} {ms:>12}  {shown}"


def _tell(chain: Chain, as_json: bool, what: str) -> None:
    if as_json:
        print_json({"ok": True, **asdict(chain)})
        return
    span = f" ({chain.first} to {chain.last})" if chain.entries else ""
    print(f"{chain.entries:,} entries{span}: {what}")
    if chain.first > 1:
        print(f"they follow entry {chain.first - 1}, {chain.before}")
    print(f"head {chain.head}")
