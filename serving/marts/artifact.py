"""Marts as files: how one is named, made and opened.

A mart's file is named by a fingerprint of everything that went into its rows, and by what its rollups
keep, so that a file that exists never needs to be made again and is never written to.
"""

import hashlib
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob
from pathlib import Path

import duckdb
from sqlglot import exp

from serving.content.model import Content, Mart, Source
from serving.errors import BuildFailed
from serving.marts.declared import UNPUBLISHED, declared_rollups, rollups_digest
from serving.marts.graph import Graph
from serving.marts.rollups import make_rollups, read_rollups
from serving.semantic.routing.routes import Kept
from serving.unsound import AVOID

_READERS = {
    ".csv": "read_csv",
    ".tsv": "read_csv",
    ".txt": "read_csv",
    ".parquet": "read_parquet",
    ".json": "read_json",
    ".jsonl": "read_json",
    ".ndjson": "read_json",
}
_DATABASES = (".duckdb", ".db", ".ddb")
DRAFT = ".draft-"  # the start of the name of a file that is not done yet


@dataclass(frozen=True)
class MartFile:
    """One built mart: an immutable DuckDB file that holds one table of the mart's name, and its rollups.

    The fingerprint is that of the mart's rows: rollups do not change it.
    """

    mart: str
    path: Path
    fingerprint: str
    rows: int
    columns: tuple[tuple[str, str], ...]  # name, DuckDB type
    rollups: tuple[Kept, ...] = ()  # tables of the same file


def quoted(name: str) -> str:
    """A name as DuckDB reads it literally."""
    return exp.to_identifier(name, quoted=True).sql("duckdb")


def literal(value: object) -> str:
    """A value as a DuckDB literal (text, numbers, booleans, lists, maps of them)."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{literal(str(key))}: {literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    return exp.convert(value).sql("duckdb")


def source_files(source: Source) -> list[Path]:
    """The files behind a source; raises BuildFailed where there are none."""
    found = sorted(Path(name) for name in glob(source.path, recursive=True))  # noqa: PTH207 - may be absolute
    if not found:
        where = source.at("path")
        raise BuildFailed(
            f"{where}: there is no file {source.path!r}", hint="check the path, or the variable in it"
        )
    return found


def source_fingerprint(source: Source) -> str:
    """Changes whenever the content of a source, or how it is read, does."""
    digest = hashlib.blake2b(f"{source.path}|{source.table}|{sorted(source.options.items())}".encode())
    for path in source_files(source):
        digest.update(path.as_posix().encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()[:32]


def mart_fingerprint(mart: Mart, content: Content, graph: Graph, inputs: Mapping[str, str]) -> str:
    """Changes whenever the mart's rows may: its SQL, inputs and settings, the time zone, the engine."""
    reads = graph.reads[mart.name]
    parts = [mart.sql, duckdb.__version__, content.project.timezone]
    parts += [f"{name}={inputs[name]}" for name in reads.inputs]
    parts += [f"{name}={content.project.settings[name]!r}" for name in reads.settings]
    if reads.volatile:
        parts.append(uuid.uuid4().hex)
    return hashlib.blake2b("\0".join(parts).encode()).hexdigest()[:16]


def mart_path(folder: Path, mart: Mart, fingerprint: str, week_starts: str) -> Path:
    """The file of a mart with these rows and its rollups as they are declared now."""
    digest = rollups_digest(declared_rollups(mart, week_starts))
    return folder / f"{mart.name}-{fingerprint}{digest and f'-{digest}'}.duckdb"


def same_rows(folder: Path, mart: str, fingerprint: str) -> Path | None:
    """A file that holds these rows of the mart, with whatever rollups."""
    digest = "[0-9a-f]" * 12
    bare = folder / f"{mart}-{fingerprint}.duckdb"
    return bare if bare.exists() else next(folder.glob(f"{mart}-{fingerprint}-{digest}.duckdb"), None)


@contextmanager
def writing(content: Content, target: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that writes `target`, in the project's time zone."""
    with duckdb.connect(str(target), config={"temp_directory": str(target.parent / "spill")}) as connection:
        connection.execute(AVOID)
        zone = content.project.timezone
        try:
            connection.execute(f"SET TimeZone = {literal(zone)}")
        except duckdb.Error as error:
            words = f"{content.project.at('timezone')}: there is no time zone {zone!r}"
            raise BuildFailed(words, hint="write it as in Europe/Berlin, or UTC") from error
        yield connection


@contextmanager
def build_connection(
    content: Content, graph: Graph, mart: Mart, upstream: Mapping[str, MartFile], target: Path
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Writes `target` and sees the mart's inputs under their bare names."""
    with writing(content, target) as connection:
        for name in graph.reads[mart.name].settings:
            connection.execute(f"SET VARIABLE {quoted(name)} = {literal(content.project.settings[name])}")
        for name in graph.reads[mart.name].inputs:
            if name in content.sources:
                show_source(connection, content.sources[name])
            else:
                show_mart(connection, upstream[name])
        yield connection


def show_mart(connection: duckdb.DuckDBPyConnection, file: MartFile) -> None:
    """Attach a built mart, and let its bare name mean its table."""
    alias, name = quoted(f"mart {file.mart}"), quoted(file.mart)
    connection.execute(f"ATTACH {literal(str(file.path))} AS {alias} (READ_ONLY)")
    connection.execute(f"CREATE TEMP VIEW {name} AS FROM {alias}.{name}")


def show_source(connection: duckdb.DuckDBPyConnection, source: Source) -> None:
    """Let a source's bare name mean its file; raises BuildFailed where it cannot be read."""
    name = quoted(source.name)
    kind = Path(source.path.removesuffix(".gz").removesuffix(".zst")).suffix.lower()
    try:
        if kind in _DATABASES:
            (path,) = source_files(source)
            alias = quoted(f"source {source.name}")
            connection.execute(f"ATTACH {literal(str(path))} AS {alias} (READ_ONLY)")
            table = ".".join(quoted(part) for part in (source.table or source.name).split("."))
            connection.execute(f"CREATE TEMP VIEW {name} AS FROM {alias}.{table}")
            return
        if kind not in _READERS:
            known = ", ".join([*_READERS, *_DATABASES])
            raise BuildFailed(
                f"{source.at('path')}: files ending in {kind!r} cannot be read", hint=f"known: {known}"
            )
        options = "".join(f", {quoted(key)} = {literal(value)}" for key, value in source.options.items())
        connection.execute(
            f"CREATE TEMP VIEW {name} AS FROM {_READERS[kind]}({literal(source.path)}{options})"
        )
    except duckdb.Error as error:
        raise BuildFailed(f"{source.at('path')}: the source cannot be read: {error}") from error


def make_mart(
    content: Content,
    graph: Graph,
    mart: Mart,
    upstream: Mapping[str, MartFile],
    fingerprint: str,
    folder: Path,
) -> MartFile:
    """Make the mart's file: its rows by its SQL, or as a file of this fingerprint has them, and its rollups.

    An aborted run leaves no file under that name. Raises BuildFailed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"{DRAFT}{uuid.uuid4().hex}.duckdb"
    week_starts = content.project.week_starts
    final = mart_path(folder, mart, fingerprint, week_starts)
    try:
        if (same := same_rows(folder, mart.name, fingerprint)) is None:
            _from_sql(content, graph, mart, upstream, draft)
        else:
            _from_file(content, mart, same, draft)
        if mart.rollups:
            with writing(content, draft) as connection:
                make_rollups(connection, declared_rollups(mart, week_starts), content.project.timezone)
        draft.replace(final)
    finally:
        for leftover in (draft, draft.with_suffix(".duckdb.wal")):
            leftover.unlink(missing_ok=True)
    final.chmod(0o444)
    return open_mart(mart.name, fingerprint, final)


def _from_sql(
    content: Content, graph: Graph, mart: Mart, upstream: Mapping[str, MartFile], draft: Path
) -> None:
    try:
        with build_connection(content, graph, mart, upstream, draft) as connection:
            # the newline keeps a trailing comment from eating the bracket
            connection.execute(f"CREATE TABLE {quoted(mart.name)} AS (\n{mart.sql.rstrip().rstrip(';')}\n)")
    except duckdb.Error as error:
        words = f"{mart.sql_file}: the mart cannot be built: {error}"
        raise BuildFailed(words, hint=UNPUBLISHED) from error


def _from_file(content: Content, mart: Mart, same: Path, draft: Path) -> None:
    with writing(content, draft) as connection:
        connection.execute(f"ATTACH {literal(str(same))} AS same (READ_ONLY)")
        connection.execute(f"CREATE TABLE {quoted(mart.name)} AS FROM same.{quoted(mart.name)}")


def open_mart(mart: str, fingerprint: str, path: Path) -> MartFile:
    """Read rows, columns and rollups of a mart that is built already."""
    with duckdb.connect(str(path), read_only=True) as connection:
        table = connection.sql(f"FROM {quoted(mart)}")
        columns = tuple((name, str(kind)) for name, kind in zip(table.columns, table.types, strict=True))
        (rows,) = connection.execute(f"SELECT count(*) FROM {quoted(mart)}").fetchone() or (0,)
        rollups = read_rollups(connection, mart)
    return MartFile(mart, path, fingerprint, rows, columns, rollups)
