"""Which row files go when they are old, and which stay whatever their age."""

import json
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from sqlalchemy import insert, select

from reverse_etl.retention import Forgotten, forget_old, forgotten
from reverse_etl.source import Door
from reverse_etl.tables import ledgers, plans, prepare, runs
from serving.store import Store

NOW = datetime(2026, 7, 1, tzinfo=UTC)
OLD, YOUNG = NOW - timedelta(days=91), NOW - timedelta(days=89)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    store = Store(tmp_path / "control.sqlite")
    prepare(store)
    yield cast(Door, SimpleNamespace(var=tmp_path, store=store))
    store.close()


def a_file(door: Door, path: str, written: datetime = OLD) -> Path:
    file = door.var / "syncs" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * 10)
    for place in (file, file.parent):
        os.utime(place, (written.timestamp(), written.timestamp()))
    return file


def a_run(door: Door, state: str = "done", ended: datetime | None = OLD, before: str | None = None) -> Path:
    """A run with its plan; gives its folder."""
    row = {
        "sync": "people",
        "target": "crm",
        "trigger": "manual",
        "requested_by": "mia",
        "full_resend": False,
    }
    with door.store.write() as connection:
        added = connection.execute(
            insert(runs).values(
                row | {"state": state, "started_at": OLD, "ended_at": ended, "ledger_before": before}
            )
        )
    number = added.inserted_primary_key[0]  # type: ignore[index]
    return a_file(door, f"people/{number}/plan.parquet").parent


def a_plan(door: Door, name: str, state: str, made: datetime = OLD, ledger: str | None = None) -> Path:
    row = {
        "sync": "people",
        "target": "crm",
        "counts": "{}",
        "profile": "{}",
        "trips": "[]",
        "made_by": "mia",
    }
    values: dict[str, object] = {
        "state": state,
        "basis": json.dumps({"ledger": ledger}),
        "folder": f"people/plans/{name}",
    }
    if "price" in plans.c:
        values["price"] = "{}"
    with door.store.write() as connection:
        connection.execute(insert(plans).values(row | values | {"made_at": made}))
    return a_file(door, f"people/plans/{name}/plan.parquet").parent


def test_files_of_a_run_go_after_ninety_days_and_its_row_stays(door: Door) -> None:
    old, young = a_run(door), a_run(door, ended=YOUNG)

    assert forget_old(door, NOW) == Forgotten(runs=1, bytes=10)

    assert (old.exists(), young.exists()) == (False, True)
    with door.store.read() as connection:
        assert len(connection.execute(select(runs)).all()) == 2
    assert forgotten(old, 1) == "the row files of run 1 were removed after 90 days"
    assert forgotten(young, 2) == ""
    assert forget_old(door, NOW) == Forgotten()


@pytest.mark.parametrize("state", ["planning", "delivering", "settling"])
def test_a_run_that_may_be_resumed_keeps_its_files_and_its_ledger(door: Door, state: str) -> None:
    before = a_file(door, "people/ledger-1.parquet")
    folder = a_run(door, state, None, "people/ledger-1.parquet")

    assert forget_old(door, NOW) == Forgotten()

    assert folder.exists() and before.exists()


def test_the_ledger_that_counts_stays_and_its_forerunners_go(door: Door) -> None:
    files = [a_file(door, f"people/ledger-{n}.parquet") for n in (1, 2)]
    files.append(a_file(door, "people/ledger-3.parquet", YOUNG))
    row = {"sync": "people", "target": "crm", "file": "people/ledger-2.parquet", "run": 2}
    with door.store.write() as connection:
        connection.execute(insert(ledgers).values(row))

    assert forget_old(door, NOW).ledgers == 1

    assert [file.exists() for file in files] == [False, True, True]


def test_an_open_plan_stays_with_its_ledger_and_a_taken_one_goes(door: Door) -> None:
    ledger = a_file(door, "people/ledger-1.parquet")
    open_one, taken = a_plan(door, "a", "open", ledger="people/ledger-1.parquet"), a_plan(door, "b", "taken")

    assert forget_old(door, NOW).plans == 1

    assert (open_one.exists(), taken.exists(), ledger.exists()) == (True, False, True)


def test_what_a_killed_process_left_goes_after_a_day_and_what_is_being_made_stays(door: Door) -> None:
    hours = [NOW - timedelta(hours=h) for h in (30, 2)]
    stray, making = (a_file(door, f"people/plans/{h:%H}/plan.parquet", h).parent for h in hours)
    half = a_file(door, "people/ledger-4.parquet.unfinished", hours[0])

    forget_old(door, NOW)

    assert (stray.exists(), making.exists(), half.exists()) == (False, True, False)


def test_a_crash_in_the_middle_of_a_removal_is_finished_the_next_time(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = a_run(door)

    def killed(path: Path, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            forget_old(door, NOW)
    assert not folder.exists(), "never half of a run's files under its name"
    assert list(folder.parent.iterdir()) != []

    forget_old(door, NOW)

    assert list(folder.parent.iterdir()) == []


def test_files_that_this_does_not_know_are_left_alone(door: Door) -> None:
    strangers = [
        a_file(door, path) for path in ("people/77/plan.parquet", "people/notes.txt", "log/log-1.duckdb")
    ]

    assert forget_old(door, NOW) == Forgotten()

    assert all(file.exists() for file in strangers)
