"""A company whose worker is killed: a source that changes, several syncs, one CRM with faults."""

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import httpx
from sqlalchemy import func, select

from connectors.sandbox.faults import Faults
from connectors.sandbox_client import Record
from reverse_etl.counts import counts_from_json
from reverse_etl.journal import UNFINISHED
from reverse_etl.requests import request_run
from reverse_etl.tables import batches, prepare, requests, runs, worker
from serving import Project
from serving.store import Store, utc_now
from tests.chaos.forkserver import ForkServer, group_of
from tests.chaos.rig import Rig, rig

Phase = Literal["starting", "idle", "planning", "between batches", "in flight", "settling"]
PHASES: tuple[Phase, ...] = ("starting", "idle", "planning", "between batches", "in flight", "settling")
ROWS = 240  # of each sync, at first
PATIENCE = 60.0  # seconds until a calm worker must have done all it was asked
CALM = Faults(rate_limit=None)

SYNCS: Mapping[str, Mapping[str, object]] = {
    "insert": {"mode": "insert"},
    "update": {"mode": "update"},
    "upsert": {"mode": "upsert"},
    "archive": {"mode": "mirror", "on_removed": "archive"},
    "delete": {"mode": "mirror", "on_removed": "delete"},
    "clear": {"mode": "mirror", "on_removed": "clear"},
}
_OFF = {"deletes": "100%", "changes": "100%", "rows": 1000, "nulls": "100%", "min_rows": 0}


@dataclass(frozen=True)
class Row:
    """One person of the source; the team is the sync that takes it."""

    id: str
    team: str
    name: str
    email: str
    city: str | None = None

    @property
    def fields(self) -> dict[str, object]:
        """What the CRM must hold: it drops nulls."""
        given = {"name": self.name, "email": self.email, "city": self.city}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def good(self) -> bool:
        return "@" in self.email


@dataclass(frozen=True)
class Flight:
    """A batch without an answer when the process was struck."""

    sync: str
    run: int
    first: int
    last: int


@dataclass(frozen=True)
class Look:
    """The control store at one instant."""

    states: set[tuple[int, str]]  # of every run
    flights: list[Flight]
    sent: datetime | None  # when the newest batch left
    beat: datetime | None  # of a worker
    waiting: bool  # a request is not taken yet

    @property
    def going(self) -> bool:
        return self.waiting or any(state in UNFINISHED for _, state in self.states)


def phase(before: Look, now: Look, started: datetime) -> Phase:
    """What a worker that was started between two looks is doing, or was struck at."""
    fresh = {state for _, state in now.states - before.states}
    if "settling" in fresh:
        return "settling"
    if now.sent is not None and now.sent >= started and now.going:
        return "in flight" if now.flights else "between batches"
    if "delivering" in fresh:
        return "between batches"
    if "planning" in fresh:
        return "planning"
    beaten = now.beat is not None and now.beat >= started
    return "idle" if beaten and not now.going else "starting"


@dataclass
class World:
    """One project, its source, and what was done to it."""

    crm: Rig
    forks: ForkServer
    chance: random.Random
    syncs: tuple[str, ...]
    life: float = 1.0  # seconds from the start of a worker to the end of its runs, roughly
    seen: int = 0  # calls in the CRM's log that were made by the test
    rows: dict[str, Row] = field(default_factory=dict)
    versions: dict[str, list[Row]] = field(default_factory=dict)  # every row that was ever published
    flights: list[Flight] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)  # what each kill hit
    strangers: dict[str, Record] = field(default_factory=dict)  # records that no sync of ours may touch

    # the source

    def publish(self) -> None:
        """The source as it is now, built."""
        for row in self.rows.values():
            seen = self.versions.setdefault(row.id, [])
            if not seen or seen[-1] != row:
                seen.append(row)
        lines = [f"{r.id},{r.team},{r.name},{r.email},{r.city or ''}" for r in self.rows.values()]
        self.crm.home.joinpath("people.csv").write_text("\n".join(["id,team,name,email,city", *lines, ""]))
        with self.project() as project:
            project.build()

    def change(self) -> None:
        """Some rows of every sync change, leave, come (back), or get an address that is none."""
        for row in list(self.rows.values()):
            dice = self.chance.random()
            if dice < 0.06:
                del self.rows[row.id]
            elif dice < 0.34:
                self.rows[row.id] = self._changed(row)
            elif dice < 0.40:  # back to what it was, which may never have arrived
                self.rows[row.id] = self.chance.choice(self.versions[row.id])
        gone = [versions[-1] for key, versions in self.versions.items() if key not in self.rows]
        for row in gone:
            if self.chance.random() < 0.3:
                self.rows[row.id] = self._changed(row)
        for team in self.syncs:
            self._hire(team, self.chance.randint(0, 20))

    def _hire(self, team: str, many: int) -> None:
        known = sum(row[0].team == team for row in self.versions.values())
        for number in range(known, known + many):
            row = Row(f"{team}-{number:04}", team, f"P{number}", f"p{number}@example.com")
            self.rows[row.id] = self._changed(row)

    def _changed(self, row: Row) -> Row:
        name = f"{row.name.partition(' ')[0]} {self.chance.getrandbits(40):x}"
        email = row.email.replace(" at ", "@")
        if self.chance.random() < 0.03:
            email = email.replace("@", " at ")
        return replace(row, name=name, email=email, city=self.chance.choice([None, "Oslo", "Bergen"]))

    # the CRM

    def populate(self) -> None:
        """Records of other people, and those that `update` is to find."""
        others = {f"other-{n}": {"name": f"Other {n}", "email": f"o{n}@example.org"} for n in range(5)}
        found = [row for row in self.rows.values() if row.team == "update" and self.chance.random() < 0.9]
        self._write({**others, **{row.id: {"name": "as it was", "city": "Bodø"} for row in found}})
        with self.crm.sandbox.client() as client:
            for key in others:
                record = client.record("contacts", key)
                assert record is not None
                self.strangers[key] = record
            self.seen = client.stats().calls

    def _write(self, records: Mapping[str, Mapping[str, str]]) -> None:
        listed = [{"id": key, "properties": value} for key, value in records.items()]
        for start in range(0, len(listed), 100):
            httpx.post(
                f"{self.crm.sandbox.url}/v1/contacts/batch/upsert",
                headers={"Authorization": f"Bearer {self.crm.sandbox.token}"},
                json={"records": listed[start : start + 100]},
                trust_env=False,
            ).raise_for_status()

    # the worker

    def faults(self) -> Faults:
        """A new mix of what may go wrong."""
        chance = self.chance

        def at_times(most: float) -> float:
            return chance.uniform(0, most) if chance.random() < 0.35 else 0.0

        return Faults(
            seed=chance.getrandbits(30),
            rate_limit=None,
            slow_ms=chance.choice([0, 10, 30, 60]),
            fail_500_share=at_times(0.3),
            unavailable_503_share=at_times(0.3),
            drop_share=at_times(0.3),
            timeout_after_write_share=at_times(0.3),
            reset_after_write_share=at_times(0.3),
            garble_share=at_times(0.3),
            limited_share=at_times(0.3),
            limited_seconds=chance.choice([0, 1]),
            hint=chance.choice(["seconds", "date", "reset", "none"]),
            reject_share=at_times(0.02),
            bad_records=chance.choice(["207", "409", "200", "ok:false"]),
            token_calls=chance.choice([None, None, None, 7]),
        )

    def set_faults(self, faults: Faults) -> None:
        with self.crm.sandbox.client() as client:
            client.set_faults(faults)

    def ask(self) -> None:
        """A run of every sync that is not waiting for one."""
        with self.project() as project:
            prepare(project.store)
            with project.store.read() as connection:
                query = select(requests.c.sync).where(requests.c.state == "waiting")
                waiting = set(connection.execute(query).scalars())
            for sync in self.syncs:
                if sync not in waiting:
                    request_run(project, sync, "mia@example.com", "only kills are tested here")

    def start_worker(self) -> int:
        return self.forks.start(["worker", "--project", str(self.crm.models), "--var", str(self.crm.var)])

    def kill(self) -> None:
        """Start the worker, strike it at some instant, and note what it was doing."""
        before, started = self._look(), utc_now()
        pid = self.start_worker()
        self._aim(before, started)
        if self.chance.random() < 0.15:  # what it started must end by itself then
            self.forks.kill(pid)
        else:
            self.forks.strike(pid)
        found = self._look()
        self.flights += found.flights
        self.phases.append(phase(before, found, started))
        assert "ERROR incident" not in self.forks.log.read_text(), self.tail()
        end = time.monotonic() + 10
        while left := group_of(pid):
            assert time.monotonic() < end, f"left behind: {left}"
            time.sleep(0.005)

    def _aim(self, before: "Look", started: datetime) -> None:
        """Wait for some instant in the life of a worker: at random, or soon after a phase began."""
        target = self.chance.choice([*PHASES, "in flight", "any", "any"])
        if target in ("any", "starting"):
            time.sleep(self.chance.uniform(0, self.life if target == "any" else 0.1))
            return
        begun = time.monotonic()
        self._until(lambda: phase(before, self._look(), started) in (target, "idle"), 10)
        if target == "in flight":  # how long that takes depends on the machine
            self.life = 0.7 * self.life + 0.3 * min(4.0, 1.3 * (time.monotonic() - begun))
        time.sleep(self.chance.uniform(0, 0.04))

    def _look(self) -> "Look":
        """What the control store says at this instant."""
        flying = (
            select(runs.c.sync, batches.c.run, batches.c.first_seq, batches.c.last_seq)
            .join(runs, runs.c.id == batches.c.run)
            .where(batches.c.state == "intent", runs.c.state.in_(UNFINISHED))
        )
        waiting = select(func.count()).where(requests.c.state == "waiting")
        with self._store().read() as connection:
            return Look(
                {(row.id, row.state) for row in connection.execute(select(runs.c.id, runs.c.state))},
                [Flight(*row) for row in connection.execute(flying)],
                connection.execute(select(func.max(batches.c.sent_at))).scalar(),
                connection.execute(select(worker.c.heartbeat)).scalar(),
                bool(connection.execute(waiting).scalar()),
            )

    def _until(self, what: Callable[[], bool], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not (found := what()) and time.monotonic() < end:
            time.sleep(0.004)
        return found

    def settle_down(self) -> None:
        """No more faults, no more kills: run until every sync has planned and found nothing to send."""
        self.set_faults(CALM)
        since = utc_now()
        pid = self.start_worker()
        for _ in range(6):
            self.ask()
            assert self._until(self._quiet, PATIENCE), f"the worker does not come to rest: {self.tail()}"
            if self._nothing_left(since):
                break
        else:
            raise AssertionError(f"it never stops sending: {self.tail()}")
        self.forks.term(pid)
        assert self.forks.ended(pid, wait=True) == 0, self.tail()

    def _quiet(self) -> bool:
        """Nobody waits and nothing runs; a request that was taken by a worker now dead may have no run."""
        newest = select(func.max(requests.c.id)).group_by(requests.c.sync)
        asked = select(requests).where(requests.c.id.in_(newest))
        with self._store().read() as connection:
            if connection.execute(select(func.count()).where(runs.c.state.in_(UNFINISHED))).scalar():
                return False
            rows = connection.execute(asked).all()
        refused = [row.message for row in rows if row.state == "refused"]
        assert not refused, f"refused: {refused}"
        return all(row.run is not None for row in rows)

    def _nothing_left(self, since: datetime) -> bool:
        newest = select(func.max(runs.c.id)).group_by(runs.c.sync)
        with self._store().read() as connection:
            rows = connection.execute(select(runs).where(runs.c.id.in_(newest))).all()
        return len(rows) == len(self.syncs) and all(
            row.started_at > since and row.state == "done" and counts_from_json(row.counts).to_send == 0
            for row in rows
        )

    def _store(self) -> Store:
        assert self.crm.opened is not None
        return self.crm.opened.store

    @contextmanager
    def project(self) -> Iterator[Project]:
        with self.crm.project() as project:
            yield project

    def tail(self) -> str:
        """The end of what the workers said."""
        return self.forks.log.read_text()[-3000:]


@contextmanager
def world(home: Path, forks: ForkServer, seed: int, syncs: Sequence[str]) -> Iterator[World]:
    """A project with these syncs, and records in the CRM that belong to nobody here."""
    with rig(home) as crm:
        made = World(crm, forks, random.Random(seed), tuple(syncs))
        crm.write("marts/people.sql", "select id, team, name, email, city from people_file\n")
        (crm.models / "syncs/people.yml").unlink()
        for name in syncs:
            crm.write(f"syncs/{name}.yml", sync_file(name, SYNCS[name]))
        for name in syncs:
            made._hire(name, ROWS)
        made.publish()
        made.set_faults(CALM)
        made.populate()
        yield made


def sync_file(name: str, keys: Mapping[str, object]) -> str:
    whole = {
        "sql": f"select id, name, email, city from people where team = '{name}'",
        "run_as": "sync",
        "destination": "crm",
        "object": "contacts",
        "key": {"id": "id"},
        "fields": {"name": "name", "email": "email", "city": "city"},
        "guard": _OFF,
        **keys,
    }
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in whole.items())
