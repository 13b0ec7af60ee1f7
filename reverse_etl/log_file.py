"""The files of the sync log: immutable, each made from the one before it.

A file is written aside and renamed when it is whole. Its table `taken` says what went into it.
"""

import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa

from reverse_etl.errors import SyncError
from reverse_etl.log_rows import Ended, Target
from reverse_etl.scratch import let_appear
from serving.log_files import LogFile
from serving.sync_log_mart import LEDGER, OUTCOMES, RUNS, SYNC_LOG

MEMORY = "500MB"  # of the writer; what does not fit is spilled
_TAKEN = """create table taken
    (run bigint, sync varchar, destination varchar, object varchar, stamp varchar)"""
# a reason without the row's own key and values, as history.reasons groups them
_GROUP = """regexp_replace(case when o.key is null then o.reason else replace(o.reason, o.key, '…') end,
    '''[^'']*''|"[^"]*"', '…', 'g')"""
_VALUE = """case when len(json_extract_string(key, '$.*')) = 1
    then json_extract_string(key, '$.*')[1] end"""
_ADD_OUTCOMES = f"""
insert into {OUTCOMES} by name
select $run as run, $sync as sync, $destination as destination, $object as object,
       o.seq, o.op, o.kind, o.key, {_VALUE.replace("(key", "(o.key")} as key_value, p.fields, p.old,
       o.verdict, nullif(o.reason, '') as reason, nullif({_GROUP}, '') as reason_group, $version as version,
       coalesce(case when o.seq <= r.last then r.answered_at end, $ended) as answered_at,
       $approved_by as approved_by
from outcomes o left join planned p on o.seq = p.seq asof left join ranges r on o.seq >= r.first
"""
_NO_RANGES = "create or replace temp table ranges (first bigint, last bigint, answered_at timestamptz)"
_ADD_LEDGER = f"""
insert into {LEDGER} by name
select $sync as sync, $destination as destination, $object as object, key, {_VALUE} as key_value,
       fields, accepted_at, run, pending, nullif(reason, '') as reason, attempts, next_try
from ledger
"""
Connection = duckdb.DuckDBPyConnection
Change = Callable[[Connection], None]


class Held(NamedTuple):
    """What a ledger speaks of; ledgers that differ in their key fields only are taken together."""

    sync: str
    target: Target


class LogUnwritable(SyncError):
    """The sync log cannot be brought up to date; the files that were written stay in force."""


def write_log(folder: Path, mart: str, former: LogFile | None, fingerprint: str, change: Change) -> LogFile:
    """The mart's next file: the former one's rows, changed. It appears whole or not at all.

    Raises LogUnwritable; the former file stays as it is.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = folder / f".draft-{secrets.token_hex(8)}.duckdb"
    config: dict[str, str | bool | int | float | list[str]] = {
        "temp_directory": str(folder / "spill"),
        "memory_limit": MEMORY,
        "autoinstall_known_extensions": False,
        "TimeZone": "UTC",
    }
    try:
        if former is not None:
            shutil.copyfile(former.path, draft)
        with duckdb.connect(str(draft), config=config) as connection:
            _shape(connection, mart)
            connection.execute("begin")
            change(connection)
            connection.execute("commit")
            connection.execute("checkpoint")
            found = connection.execute(f"select count(*) from {mart}").fetchall()
        final = folder / f"{mart}-{secrets.token_hex(8)}.duckdb"
        _settle(draft, final)
    except (duckdb.Error, OSError) as error:
        hint = "is the disk full? what was written before stays; the next question tries again"
        raise LogUnwritable(f"{mart} cannot be written ({type(error).__name__})", hint=hint) from error
    finally:
        for left in (draft, draft.with_name(draft.name + ".wal")):
            left.unlink(missing_ok=True)
    return LogFile(mart, final, fingerprint, int(found[0][0]))


def runs_in(connection: Connection) -> set[int]:
    """The runs that the file holds already."""
    return {run for (run,) in connection.execute("select run from taken where run is not null").fetchall()}


def add_outcomes(connection: Connection, run: Ended, folder: Path, ranges: Iterable[pa.Table]) -> None:
    """Every planned row of a run, from the files in its folder; none where there are none."""
    if (folder / "outcomes.parquet").exists():
        connection.execute(_NO_RANGES)
        for part in ranges:
            with _registered(connection, part):
                connection.execute("insert into ranges select * from part")
        values: dict[str, object] = {
            **_where(run.sync, run.target),
            "run": run.run,
            "version": run.version,
            "ended": run.ended_at,
            "approved_by": run.approved_by,
        }
        try:
            _show(connection, "outcomes", folder / "outcomes.parquet")
            _show(connection, "planned", folder / "plan.parquet")
            connection.execute(_ADD_OUTCOMES, values)
        except (duckdb.IOException, duckdb.InvalidInputException, duckdb.BinderException) as error:
            hint = (
                "put back plan.parquet and outcomes.parquet; without the latter the log leaves its rows out"
            )
            raise LogUnwritable(
                f"the files of run {run.run} in {folder} cannot be read", hint=hint
            ) from error
    connection.execute("insert into taken (run) values (?)", [run.run])


def replace_runs(connection: Connection, rows: pa.Table, final: Iterable[str]) -> None:
    """Let these runs be in the file as they are now; what has ended among them stays for ever."""
    connection.execute(f"delete from {RUNS} where run not in (select run from taken)")
    _add_rows(connection, RUNS, rows)
    connection.execute(
        f"insert into taken (run) select run from {RUNS} where list_contains($final, state)"
        " and run not in (select run from taken)",
        {"final": list(final)},
    )


def replace_rows(connection: Connection, mart: str, rows: pa.Table) -> None:
    """Let these rows be all that the file holds."""
    connection.execute(f"delete from {mart}")
    _add_rows(connection, mart, rows)


def replace_ledgers(connection: Connection, now: Mapping[Held, Sequence[Path]]) -> None:
    """Let the ledgers be in the file as those files have them; what did not change is not read."""
    stamps = {held: "|".join(stamp(file) for file in files) for held, files in now.items()}
    rows = connection.execute("select sync, destination, object, stamp from taken").fetchall()
    before = {Held(sync, Target(to, what)): stamp for sync, to, what, stamp in rows}
    for held in [held for held in before if before[held] != stamps.get(held)]:
        for table in (LEDGER, "taken"):
            same = "sync = $sync and destination = $destination and object = $object"
            connection.execute(f"delete from {table} where {same}", _where(*held))
    for held in [held for held in now if before.get(held) != stamps[held]]:
        for file in now[held]:
            if not file.exists():
                hint = "put it back: without it the sync does not know what it sent, either"
                raise LogUnwritable(f"the ledger {file} of sync {held.sync!r} is gone", hint=hint)
            _show(connection, "ledger", file)
            connection.execute(_ADD_LEDGER, _where(*held))
        columns = {**_where(*held), "stamp": stamps[held]}
        connection.execute("insert into taken values (null, $sync, $destination, $object, $stamp)", columns)


def stamp(file: Path) -> str:
    """Changes whenever the file is written, even under the same name; says where it is gone."""
    if not file.exists():
        return f"{file.name} is gone"
    found = file.stat()
    return f"{file.name} {found.st_mtime_ns} {found.st_size}"


def _add_rows(connection: Connection, mart: str, rows: pa.Table) -> None:
    with _registered(connection, rows):
        connection.execute(f"insert into {mart} by name select * from part")


def _where(sync: str, target: Target) -> dict[str, object]:
    return {"sync": sync, "destination": target.destination, "object": target.object}


def _show(connection: Connection, name: str, file: Path) -> None:
    """A file's rows under a name."""
    quoted = str(file).replace("'", "''")
    connection.execute(f"create or replace temp view {name} as from read_parquet('{quoted}')")


def _shape(connection: Connection, mart: str) -> None:
    """The table in the columns of now, with the rows that are there."""
    wanted = SYNC_LOG[mart].types
    columns = ", ".join(f'"{name}" {kind}' for name, kind in wanted.items())
    there = dict(
        connection.execute(
            "select column_name, data_type from duckdb_columns() where table_name = ? order by column_index",
            [mart],
        ).fetchall()
    )
    if not there:
        connection.execute(f"create table {mart} ({columns})")
        connection.execute(_TAKEN)
    elif list(there.items()) != list(wanted.items()):
        kept = ", ".join(f'"{name}"' for name in wanted if name in there)
        connection.execute(f"alter table {mart} rename to former")
        connection.execute(f"create table {mart} ({columns})")
        connection.execute(f"insert into {mart} by name select {kept} from former")
        connection.execute("drop table former")


def _settle(draft: Path, final: Path) -> None:
    """Let a finished file appear under its name, for its owner's eyes only."""
    draft.chmod(0o400)
    let_appear(draft, final)


@contextmanager
def _registered(connection: Connection, rows: pa.Table) -> Iterator[None]:
    connection.register("part", rows)
    try:
        yield
    finally:
        with suppress(duckdb.Error):  # an aborted transaction has forgotten it
            connection.unregister("part")
