"""Two worlds for one person: the whole project with poison in every hidden cell, and the plain copy."""

import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from serving import Project, open_project
from serving.content.policy import Constant
from tests.oracle import masks, poison
from tests.oracle.policy import Sight, compared, person, sight


@dataclass(frozen=True)
class World:
    """Where one person's poisoned project and copy stand, and what the copy holds."""

    email: str
    models: Path
    var: Path
    copy: Path
    timezone: str
    sights: Mapping[str, Sight]  # of the visible marts
    folded: Mapping[str, str]  # mart -> the copy's rows through the policy's own predicate and constants

    secrets: frozenset[str]  # names of columns and marts that the person must not even read

    @property
    def aggregates(self) -> frozenset[str]:
        """Marts that answer in aggregates only: there the promise is another one."""
        return frozenset(name for name, seen in self.sights.items() if seen.aggregate)


def make_world(project: Project, email: str, folder: Path) -> World:
    """Write both worlds under `folder`, from the project's current version."""
    folder.mkdir(parents=True)
    version = project.current_version()
    assert version is not None, "build the project first"
    content, who = project.content, person(project.content.policy, email)
    # a mart that was taken out of the content still has its file, and no policy
    names = [name for name in version.marts if name in content.marts]
    sights = {name: sight(content, who, name) for name in names}
    var = folder / "var"
    _copy_state(project.var, var)
    with _marts({name: version.marts[name].path for name in names}) as raw:
        for name in names:
            columns = _columns(raw, name)
            text = _poisoned(name, columns, sights[name], compared(content)[name])
            _write(raw, var / "marts" / version.marts[name].path.name, name, text)
    copy = folder / "copy.duckdb"
    seen = {name: seen for name, seen in sights.items() if seen.visible}
    folded: dict[str, str] = {}
    known, every = set(seen), set(names)
    with _marts({name: var / "marts" / version.marts[name].path.name for name in names}) as whole:
        masks.teach(whole, mask_key(project.var))
        whole.execute(f"SET TimeZone = '{content.project.timezone}'")
        for name in names:
            every |= set(_columns(whole, name))
        for name, mine in seen.items():
            columns = _columns(whole, name)
            _write(whole, copy, name, _copied(name, columns, mine))
            folded[name] = _folded(columns, mine)
            known |= {column for column in columns if mine.masks.get(column) != "hide"}
        masks.unteach(whole)
    return World(
        email, project.root, var, copy, content.project.timezone, seen, folded, frozenset(every - known)
    )


def mask_key(var: Path) -> str:
    """The secret of the `hash` mask, where the product keeps it."""
    return os.environ.get("SLUICE_MASK_KEY") or (var / "secrets" / "mask.key").read_text("utf-8").strip()


@contextmanager
def opened(world: World) -> Iterator[Project]:
    """The poisoned project."""
    project = open_project(world.models, var=world.var)
    try:
        yield project
    finally:
        project.close()


def _copy_state(before: Path, after: Path) -> None:
    (after / "marts").mkdir(parents=True)
    if (before / "secrets").is_dir():
        shutil.copytree(before / "secrets", after / "secrets")
    source, target = sqlite3.connect(before / "control.sqlite"), sqlite3.connect(after / "control.sqlite")
    source.backup(target)
    source.close()
    target.close()


@contextmanager
def _marts(files: Mapping[str, Path]) -> Iterator[duckdb.DuckDBPyConnection]:
    """All marts under their bare names, so that a row rule can be evaluated as it is written."""
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET enable_progress_bar = false")
        for name, path in files.items():
            connection.execute(f"ATTACH '{path}' AS \"raw {name}\" (READ_ONLY)")
            connection.execute(f'CREATE TEMP VIEW "{name}" AS FROM "raw {name}"."{name}"')
        yield connection


def _columns(connection: duckdb.DuckDBPyConnection, mart: str) -> Mapping[str, Any]:
    relation = connection.sql(f'FROM "{mart}"')
    return dict(zip(relation.columns, relation.types, strict=True))


def _write(connection: duckdb.DuckDBPyConnection, path: Path, mart: str, text: str) -> None:
    connection.execute(f"ATTACH '{path}' AS target")
    connection.execute(f'CREATE TABLE target."{mart}" AS {text}')
    connection.execute("DETACH target")


def _poisoned(mart: str, columns: Mapping[str, Any], seen: Sight, kept: frozenset[str]) -> str:
    """Every hidden cell of a mart replaced; what row rules compare stays, or the rules would change."""
    visible = f"coalesce(({seen.where or 'true'}), false)" if seen.visible else "false"
    chosen: list[str] = []
    for name, kind in columns.items():
        cell, mask = f'"{name}"', seen.masks.get(name)
        if name not in kept:
            hidden = poison.poison(cell, kind)
            if mask is None:
                shown = cell
            elif mask in ("hide", "null") or isinstance(mask, Constant):
                shown = hidden
            else:
                shown = f"CASE WHEN {cell} IS NULL THEN NULL ELSE {poison.shaped(cell, kind, mask)} END"
            cell = f"CASE WHEN {visible} THEN {shown} ELSE {hidden} END AS {cell}"
        chosen.append(cell)
    return f'SELECT {", ".join(chosen)} FROM "{mart}"'


def _copied(mart: str, columns: Mapping[str, Any], seen: Sight) -> str:
    """What the person may see of a mart, as rows that are theirs."""
    chosen: list[str] = []
    for name, kind in columns.items():
        cell, mask = f'"{name}"', seen.masks.get(name)
        if mask is None:
            chosen.append(cell)
        elif mask != "hide":
            chosen.append(f"{masks.masked(cell, kind, mask)} AS {cell}")
    return f'SELECT {", ".join(chosen)} FROM "{mart}" WHERE {seen.where or "true"}'


def _folded(columns: Mapping[str, Any], seen: Sight) -> str:
    """The copy's mart with what the planner may know from the policy: its predicate, its constants.

    Only over the copy's own rows; a rule over a masked column cannot be said again and is left out.
    """
    chosen: list[str] = []
    for name, kind in columns.items():
        mask = seen.masks.get(name)
        if mask == "null" or isinstance(mask, Constant):
            chosen.append(f'{masks.masked("NULL", kind, mask)} AS "{name}"')
        elif mask != "hide":
            chosen.append(f'"{name}"')
    sayable = seen.where == "false" or not any(f"{name}" in seen.where for name in seen.masks)
    if " in (select" in seen.where.lower():
        sayable = False
    return (
        f"SELECT {', '.join(chosen)} FROM {{table}} WHERE {seen.where if seen.where and sayable else 'true'}"
    )
