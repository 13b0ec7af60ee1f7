"""Versions: which files the marts are, moved in one transaction."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    delete,
    func,
    insert,
    select,
)
from sqlalchemy.dialects.sqlite import insert as upsert

from serving.errors import NotPublished
from serving.marts.artifact import MartFile
from serving.marts.data_tests import Tested
from serving.marts.rollups import KEPT
from serving.store import Store, UtcTime, utc_now

metadata = MetaData()

versions = Table(
    "versions",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("published_at", UtcTime, nullable=False),
    sqlite_autoincrement=True,
)
version_marts = Table(
    "version_marts",
    metadata,
    Column("version", ForeignKey("versions.number", ondelete="CASCADE"), primary_key=True),
    Column("mart", String, primary_key=True),
    Column("file", String, nullable=False),
    Column("fingerprint", String, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("columns", String, nullable=False),
    Column("built_at", UtcTime, nullable=False),
    Column("rollups", String),  # JSON; NULL in versions that were published before there were any
)
pointer = Table(
    "pointer", metadata, Column("name", String, primary_key=True), Column("version", Integer, nullable=False)
)
tested = Table(
    "tested",
    metadata,
    Column("question", String, primary_key=True),  # data_tests.question_key
    Column("mart", String, nullable=False),
    Column("name", String, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("words", String, nullable=False),
)
build_failures = Table(
    "build_failures",
    metadata,
    Column("mart", String, primary_key=True),  # or the source that a test belongs to
    Column("words", String, nullable=False),  # what is red, without a row's values
    Column("at", UtcTime, nullable=False),
)


@dataclass(frozen=True)
class Version:
    """A published set of mart files."""

    number: int
    published_at: datetime
    marts: Mapping[str, MartFile]
    built_at: Mapping[str, datetime]
    current: bool = False


def publish(store: Store, folder: Path, files: Mapping[str, MartFile], keep: int) -> Version:
    """Make `files` the current version, unless they are already; drop versions beyond `keep`."""
    now = utc_now()
    with store.write() as connection:
        current = _current(connection, folder)
        if current is not None and _same(current.marts, files):
            return current
        number = connection.execute(
            insert(versions).values(published_at=now).returning(versions.c.number)
        ).scalar_one()
        marts = {} if current is None else current.marts
        built = {} if current is None else current.built_at
        for file in files.values():
            kept = file.mart in marts and marts[file.mart].fingerprint == file.fingerprint  # the same rows
            row = {
                "version": number,
                "mart": file.mart,
                "file": file.path.name,
                "fingerprint": file.fingerprint,
                "rows": file.rows,
                "columns": json.dumps(file.columns),
                "built_at": built[file.mart] if kept else now,
                "rollups": KEPT.dump_json(file.rollups).decode(),
            }
            connection.execute(insert(version_marts).values(row))
        _point(connection, number)
        _forget(connection, keep)
    drop_unused(store, folder)
    return version(store, folder, number)


def rollback(store: Store, folder: Path, number: int) -> Version:
    """Let an older version serve again; raises NotPublished where it is not kept."""
    wanted = version(store, folder, number)
    with store.write() as connection:
        if connection.execute(select(versions.c.number).where(versions.c.number == number)).scalar() is None:
            raise NotPublished(f"version {number} is no longer kept")  # a build dropped it just now
        _point(connection, number)
    return wanted


def current_version(store: Store, folder: Path) -> Version | None:
    """The version that serves, or None before the first build."""
    with store.read() as connection:
        return _current(connection, folder)


def current_number(store: Store) -> int | None:
    """The number of the version that serves, or None before the first build."""
    number: int | None = store.glance("SELECT version FROM pointer WHERE name = 'current'")
    return number


def version(store: Store, folder: Path, number: int) -> Version:
    """One kept version; raises NotPublished."""
    found = next((entry for entry in all_versions(store, folder) if entry.number == number), None)
    if found is None:
        raise NotPublished(
            f"there is no version {number}", hint="`python -m serving versions` lists the kept ones"
        )
    return found


def all_versions(store: Store, folder: Path) -> list[Version]:
    """The kept versions, newest first."""
    with store.read() as connection:
        serving = connection.execute(select(pointer.c.version).where(pointer.c.name == "current")).scalar()
        rows = connection.execute(select(versions).order_by(versions.c.number.desc())).all()
        return [
            _read(connection, folder, row.number, row.published_at, row.number == serving) for row in rows
        ]


def drop_unused(store: Store, folder: Path) -> None:
    """Delete mart files that no kept version names; readers that have one open keep it."""
    with store.read() as connection:
        used = set(connection.execute(select(version_marts.c.file)).scalars())
    for path in folder.glob("*.duckdb"):
        if path.name not in used and not path.name.startswith("."):
            path.unlink(missing_ok=True)


def record_tests(store: Store, results: Iterable[tuple[str, Tested, str]]) -> None:
    """Remember (question key, result, words) for `tests_passed` and the catalog."""
    with store.write() as connection:
        for key, result, words in results:
            row = {
                "question": key,
                "mart": result.test.mart,
                "name": result.test.name,
                "at": utc_now(),
                "failures": max(result.failures, 1 if result.error else 0),
                "words": words,
            }
            connection.execute(upsert(tested).values(row).on_conflict_do_update(["question"], set_=row))


def record_failures(store: Store, settled: Collection[str], red: Mapping[str, str]) -> None:
    """Remember what was red in the newest attempt: `settled` names are judged anew, `red` says how."""
    now = utc_now()
    with store.write() as connection:
        connection.execute(delete(build_failures).where(build_failures.c.mart.in_([*settled, *red])))
        for mart, words in red.items():
            connection.execute(insert(build_failures).values(mart=mart, words=words, at=now))


def failures(store: Store) -> Mapping[str, str]:
    """What was red in the newest attempt to build it, and not published: mart or source -> words."""
    with store.read() as connection:
        rows = connection.execute(select(build_failures).order_by(build_failures.c.mart)).all()
    return {row.mart: row.words for row in rows}


def tests_passed(store: Store, keys: Iterable[str]) -> set[str]:
    """Those of `keys` that are known to be green."""
    with store.read() as connection:
        green = set(connection.execute(select(tested.c.question).where(tested.c.failures == 0)).scalars())
    return green & set(keys)


def _current(connection: Connection, folder: Path) -> Version | None:
    query = (
        select(versions)
        .join(pointer, pointer.c.version == versions.c.number)
        .where(pointer.c.name == "current")
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else _read(connection, folder, row.number, row.published_at, True)


def _read(
    connection: Connection, folder: Path, number: int, published_at: datetime, current: bool
) -> Version:
    rows = connection.execute(select(version_marts).where(version_marts.c.version == number)).all()
    files = {
        row.mart: MartFile(
            row.mart,
            folder / row.file,
            row.fingerprint,
            row.rows,
            tuple((n, t) for n, t in json.loads(row.columns)),
            KEPT.validate_json(row.rollups) if row.rollups else (),
        )
        for row in rows
    }
    return Version(number, published_at, files, {row.mart: row.built_at for row in rows}, current)


def _same(one: Mapping[str, MartFile], two: Mapping[str, MartFile]) -> bool:
    return {name: file.path.name for name, file in one.items()} == {
        name: file.path.name for name, file in two.items()
    }


def _point(connection: Connection, number: int) -> None:
    row = {"name": "current", "version": number}
    connection.execute(upsert(pointer).values(row).on_conflict_do_update(["name"], set_=row))


def _forget(connection: Connection, keep: int) -> None:
    kept = (
        connection.execute(select(versions.c.number).order_by(versions.c.number.desc()).limit(keep))
        .scalars()
        .all()
    )
    serving = connection.execute(select(func.max(pointer.c.version))).scalar_one()
    connection.execute(delete(versions).where(versions.c.number.not_in([*kept, serving])))
