"""Row files of old runs and plans, removed when nobody needs them any more.

Runs, plans and approvals keep their rows in the control store for good; what goes are the
files with rows in them. A folder is renamed before it is emptied, so that it is there whole
or not at all, and a crash in the middle leaves something that the next call finishes.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from reverse_etl.journal import UNFINISHED
from reverse_etl.source import Door
from reverse_etl.tables import ledgers, plans, prepare, runs
from reverse_etl.unwritable import reading
from serving.store import Store

KEEP = timedelta(days=90)
ABANDONED = timedelta(days=1)  # for files that no row speaks of: what made them was killed
_GOING = ".going"


@dataclass(frozen=True)
class Forgotten:
    """How many folders and files were removed, and what they took on disk."""

    runs: int = 0
    plans: int = 0
    ledgers: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class _Known:
    """What the control store says about files; paths are relative to var/syncs/."""

    ended: dict[Path, datetime]  # folders of runs that are over, and since when
    made: dict[Path, datetime]  # folders of plans that were delivered or no longer hold
    open: frozenset[Path]  # folders of plans that may still be delivered
    ledgers: frozenset[Path]  # that count, or that a run or an open plan starts from


def forget_old(project: Door, now: datetime, keep: timedelta = KEEP) -> Forgotten:
    """Remove row files older than `keep` that no run, plan or sync needs; safe beside running syncs.

    Kept in any case: all of a run that may be resumed, open plans, the ledgers that count,
    and those that such a run or plan starts from.
    """
    prepare(project.store)
    home = project.var / "syncs"
    known = _known(project.store)  # before the files: what comes into being from here on is young
    old_runs = [home / folder for folder, ended in known.ended.items() if now - ended > keep]
    old_plans = [home / folder for folder, made in known.made.items() if now - made > keep]
    old_ledgers = [
        file
        for file in home.glob("*/ledger-*.parquet")
        if file.relative_to(home) not in known.ledgers and _age(file, now) > keep
    ]
    strays = [path for path in _strays(home, known) if _age(path, now) > min(keep, ABANDONED)]
    sizes = [[_removed(path) for path in paths] for paths in (old_runs, old_plans, old_ledgers, strays)]
    of_runs, of_plans, of_ledgers, _ = ([size for size in part if size is not None] for part in sizes)
    total = sum(size or 0 for part in sizes for size in part)
    return Forgotten(len(of_runs), len(of_plans), len(of_ledgers), total)


def forgotten(folder: Path, run: int, keep: timedelta = KEEP) -> str:
    """Why a run that made a plan has no row files; empty while it has them."""
    if (folder / "plan.parquet").exists():
        return ""
    return f"the row files of run {run} were removed after {keep.days} days"


def _known(store: Store) -> _Known:
    with reading(store) as connection:
        all_runs = connection.execute(
            select(runs.c.id, runs.c.sync, runs.c.state, runs.c.ended_at, runs.c.ledger_before)
        ).all()
        all_plans = connection.execute(
            select(plans.c.folder, plans.c.state, plans.c.basis, plans.c.made_at)
        ).all()
        current = connection.execute(select(ledgers.c.file)).scalars().all()
    starts = [run.ledger_before for run in all_runs if run.state in UNFINISHED]
    starts += [json.loads(plan.basis).get("ledger") for plan in all_plans if plan.state == "open"]
    return _Known(
        ended={
            Path(run.sync, str(run.id)): run.ended_at
            for run in all_runs
            if run.state not in UNFINISHED and run.ended_at is not None
        },
        made={Path(plan.folder): plan.made_at for plan in all_plans if plan.state != "open"},
        open=frozenset(Path(plan.folder) for plan in all_plans if plan.state == "open"),
        ledgers=frozenset(Path(file) for file in (*current, *starts) if file),
    )


def _strays(home: Path, known: _Known) -> Iterator[Path]:
    """What a killed process left behind: plans without a row, half of a file, half of a removal."""
    recorded = known.open | known.made.keys()
    for folder in (*home.glob("*/plans/*"), *home.glob("*/previews/*")):
        if folder.relative_to(home) not in recorded:
            yield folder
    yield from home.glob("*/*.unfinished")
    yield from home.glob(f"*/*{_GOING}")


def _age(path: Path, now: datetime) -> timedelta:
    """Since it was written; nothing where it is gone already."""
    try:
        return now - datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return timedelta(0)


def _removed(path: Path) -> int | None:
    """Bytes it took; None where it was gone already."""
    if not path.exists():
        return None
    size = sum(_sizes([path] if path.is_file() else path.rglob("*")))
    if path.is_file():
        path.unlink(missing_ok=True)
        return size
    going = path if path.name.endswith(_GOING) else path.with_name(path.name + _GOING)
    with suppress(FileNotFoundError):
        path.replace(going)
    shutil.rmtree(going, ignore_errors=True)
    return size


def _sizes(files: Iterable[Path]) -> Iterator[int]:
    for file in files:
        with suppress(FileNotFoundError):
            if file.is_file():
                yield file.stat().st_size
