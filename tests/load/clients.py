"""The clients: each asks one kind of question again and again, and judges what comes back."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from serving import Project
from serving.answer import Answer
from serving.engine.process import GRACE, Cancel
from serving.errors import NotPublished, QueryFailed, QueryRefused, QueryStopped, SluiceError, TooBusy
from tests.load import world
from tests.load.chaos import Seasons
from tests.load.questions import (
    BOMBS,
    ENDLESS,
    FEW,
    FEW_ROWS,
    HEAVY,
    LIGHT,
    STUCK,
    WRONG,
    Known,
    Truth,
    plain,
    soup,
)
from tests.load.tally import Heard, Kills, Tally, TimedLanes

HEAVY_PART = 0.01  # of the innocent questions
Act = Callable[[random.Random], None]


@dataclass(frozen=True)
class Clients:
    """Everything that clients share."""

    project: Project
    lanes: TimedLanes
    truth: Truth
    seasons: Seasons
    tally: Tally
    kills: Kills
    slack: float  # seconds that a loaded machine may take on top of a promise

    def acts(self, address: str) -> tuple[Act, ...]:
        """Who asks what, for 32 clients."""
        rest = httpx.Client(base_url=address, timeout=90)

        def over_rest(dice: random.Random) -> None:
            self.over_rest(dice, rest)

        return (
            *[self.innocent] * 14,
            *[over_rest] * 3,
            *[self.as_of] * 2,
            *[self.wrong] * 3,
            *[self.alone] * 3,
            *[self.cancelled] * 2,
            self.bomb,
            self.stuck,
            self.slow,
            *[self.soup] * 2,
        )

    def innocent(self, dice: random.Random) -> None:
        """A question with one right answer."""
        if dice.random() < 0.05:
            self._right(FEW, world.SMALL)
            return
        heavy = dice.random() < HEAVY_PART
        person = dice.choice([world.STEWARD, *world.SALES.values()])
        self._right(dice.choice(HEAVY if heavy else LIGHT), person, heavy=heavy)

    def as_of(self, dice: random.Random) -> None:
        """A kept version's own numbers, whichever serves now."""
        version = dice.choice(self.seasons.versions())
        try:
            self._right(dice.choice(LIGHT), dice.choice(list(world.SALES.values())), as_of=version)
        except NotPublished:
            if any(kept.number == version for kept in self.project.versions()):
                self.tally.fail(f"version {version} is kept, and was said not to be")
            self.tally.count("as of a version that went meanwhile")

    def alone(self, dice: random.Random) -> None:
        """A person who may run one question and queue one: the third is refused, and that is right."""
        try:
            self._right(dice.choice(LIGHT), world.ALONE)
        except TooBusy as busy:
            if "of your questions" not in busy.problem:
                self.tally.fail(f"{world.ALONE}: {busy}")
            self.tally.count("refused: own queue full")

    def over_rest(self, dice: random.Random, rest: httpx.Client) -> None:
        """The same over HTTP, from a server in a process of its own."""
        known, person = dice.choice(LIGHT), dice.choice([world.STEWARD, *world.SALES.values()])
        body = {"sql": known.sql, "parameters": None if known.parameter is None else [known.parameter]}
        with self.kills.survivor():
            started = time.monotonic()
            reply = rest.post("/api/v1/query", json=body, headers={"X-Sluice-User": person})
        if reply.status_code != 200:
            self.tally.fail(f"REST {reply.status_code}: {reply.text}")
            return
        self.tally.time("rest", time.monotonic() - started)
        found = reply.json()
        self._judge(known, person, found["receipt"]["version"], found["rows"], "right over REST")

    def wrong(self, dice: random.Random) -> None:
        """A question that fails the same way each time."""
        question = dice.choice(WRONG)
        try:
            with self.kills.survivor():
                self._ask(question.sql, question.person)
        except SluiceError as failure:
            if not isinstance(failure, question.kind) or question.words not in failure.problem:
                self.tally.fail(f"{question.sql}: {type(failure).__name__}: {failure}")
            if isinstance(failure, QueryStopped):
                self.tally.fail(f"{question.sql} was stopped: {failure}")
            self.tally.count("refused as it should")
            return
        self.tally.fail(f"{question.sql} was answered")

    def soup(self, dice: random.Random) -> None:
        """Any text: an answer or words for people, nothing else."""
        try:
            self._ask(soup(dice), world.SOUP)
            self.tally.count("soup: answered")
        except QueryRefused:
            self.tally.count("soup: refused")

    def bomb(self, dice: random.Random) -> None:
        """A question that takes memory until it is stopped."""
        self._ends(dice.choice(BOMBS), world.BOMBER, "bomb", world.LARGE)
        time.sleep(dice.uniform(0, 8))

    def stuck(self, dice: random.Random) -> None:
        """A question that hears no interrupt."""
        self._ends(dice.choice(STUCK), world.STUCK, "stuck", world.SHORT)
        time.sleep(dice.uniform(0, 10))

    def slow(self, dice: random.Random) -> None:
        """A question that runs out of time."""
        self._ends(ENDLESS, world.SLOW, "slow", world.SHORT)
        time.sleep(dice.uniform(0, 8))

    def cancelled(self, dice: random.Random) -> None:
        """A question that is cancelled at some moment, from another thread."""
        heard, me = Heard(), threading.get_ident()
        cancel, moments = Cancel(heard), list[tuple[float, bool]]()

        def strike() -> None:
            moments.append((time.monotonic(), heard.looked > self.lanes.began(me)))
            cancel.set()

        timer = threading.Timer(dice.uniform(0, 1.5), strike)
        timer.start()
        try:
            self._ask(ENDLESS, world.CANCELS, cancel=cancel)
            self.tally.fail("an endless question was answered")
        except QueryStopped as stopped:
            done = time.monotonic()
            if "cancelled" not in stopped.problem:
                self.tally.fail(f"a cancelled question says: {stopped}")
            ((struck, was_running),) = moments
            self.tally.time("cancel_running" if was_running else "cancel_before", done - struck)
            if done - struck > GRACE + 0.5 + self.slack:
                self.tally.fail(
                    f"a cancel took {done - struck:.1f} s ({'running' if was_running else 'before'})"
                )
            self.tally.count("cancelled")
        timer.join()
        time.sleep(dice.uniform(0, 2))

    def _ask(self, sql: str, person: str, **how: object) -> Answer:
        self.tally.ask()
        self.lanes.forget()
        return self.project.ask(sql, user=person, surface="load", **how)  # type: ignore[arg-type]

    def _right(self, known: Known, person: str, *, heavy: bool = False, as_of: int | None = None) -> None:
        parameters = None if known.parameter is None else [known.parameter]
        try:
            with self.kills.survivor():
                started = time.monotonic()
                answer = self._ask(known.sql, person, parameters=parameters, as_of=as_of)
        except (NotPublished, TooBusy) as failure:
            if person == world.ALONE or (as_of is not None and isinstance(failure, NotPublished)):
                raise
            self.tally.fail(f"{person}: {known.sql}: {type(failure).__name__}: {failure}")
            return
        except SluiceError as failure:
            self.tally.fail(f"{person}: {known.sql}: {type(failure).__name__}: {failure}")
            return
        self.tally.time("heavy" if heavy else "light", time.monotonic() - started)
        version = answer.receipt.version
        if as_of not in (None, version):
            self.tally.fail(f"asked as of {as_of}, answered from {version}")
        if answer.receipt.truncated != (known is FEW):
            self.tally.fail(f"{known.sql}: truncated is {answer.receipt.truncated}")
        rows = [list(row.values()) for row in answer.table.slice(0, FEW_ROWS + 1).to_pylist()]
        self._judge(known, person, version, rows, "right")

    def _judge(self, known: Known, person: str, version: int, rows: list[list[object]], word: str) -> None:
        expected = plain(self.truth.rows(known, person, self.seasons.of(version)))
        if plain(rows) == expected:
            self.tally.count(word)
        else:
            self.tally.fail(f"{person}, version {version}: {known.sql}: {rows[:3]} is not {expected[:3]}")

    def _ends(self, sql: str, person: str, word: str, limit: float) -> None:
        started = time.monotonic()
        try:
            self._ask(sql, person)
            self.tally.count(f"{word}: answered in time")
        except TooBusy as busy:
            self.tally.count(f"{word}: {busy.problem}")
            return
        except QueryStopped as stopped:
            self.tally.count(f"{word}: {stopped.problem}")
        except QueryFailed as failed:
            self.tally.count(f"{word}: {failed.problem.splitlines()[0]}")
        ran = max(0.0, time.monotonic() - self.lanes.began(threading.get_ident()))
        self.tally.time(f"{word}_ran", ran)
        self.tally.time(f"{word}_whole", time.monotonic() - started)
        if ran > limit + GRACE + 0.5 + self.slack:
            self.tally.fail(f"{word} ran {ran:.1f} s with a limit of {limit:g} s: {sql}")
