"""Limits as people meet them: how much, how long, how many at once, and whose turn it is."""

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from serving import Project, open_project
from serving.answer import Answer, Limits
from serving.engine.lanes import Lane, Lanes, Share, Turn
from serving.engine.process import GRACE, SLOW, Cancel, WorkerProcess
from serving.errors import QueryFailed, QueryStopped, TooBusy
from serving.governance.access import limits_for
from tests.conftest import SHOP, write_files

ANA, EMIL, AMY, NOBODY = (f"{name}@example.com" for name in ("ana", "emil", "amy", "nobody"))
NUMBER = itertools.count()
ENDLESS = "select count(*) from range(10000000) a, range(10000000) b where a.range * b.range % 7 = 3"
DEAF = "select levenshtein(repeat('a', 100000), repeat('b', 100000))"  # hears no interrupt
LIMITS = """\
limits:
  - {role: steward, seconds: 60, concurrent: 8, queued: 32}
  - {role: analyst, rows: 2, megabytes: 0.5, seconds: 3, concurrent: 1, queued: 1}
  - {role: emea, rows: 3, seconds: 60, concurrent: 2}
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    policy, _, _ = SHOP["policies/access.yml"].partition("limits:")
    files = {**SHOP, "policies/access.yml": policy + LIMITS}
    project = open_project(write_files(tmp_path / "models", files), var=tmp_path / "var")
    project.build()
    yield project
    project.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as threads:
        yield threads


def lanes(project: Project, **slots: int) -> Lanes:
    """Fewer slots than this machine would give, so that turns can be foreseen."""
    few: dict[Lane, int] = {"check": 2, "light": slots["light"], "heavy": slots["heavy"]}
    project._pool.lanes = Lanes(few)
    return project._pool.lanes


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.005)


def where(turns: Lanes, who: str) -> tuple[int, int]:
    """How many questions of the person run, and wait."""
    with turns._change:
        return tuple(sum(t.share.who == who for t in some) for some in (turns._running, turns._waiting))  # type: ignore[return-value]


def endless(
    project: Project, threads: ThreadPoolExecutor, user: str, cancel: Cancel, sql: str | None = None
) -> "Future[Answer]":
    """A question of its own: the same one twice at once would run once."""
    return threads.submit(project.ask, sql or f"{ENDLESS} -- {next(NUMBER)}", user=user, cancel=cancel)


def stopped(question: "Future[Answer]") -> QueryStopped:
    failure = question.exception(30)
    assert isinstance(failure, QueryStopped), failure
    return failure


def test_an_answer_is_cut_at_the_roles_rows_and_says_so(project: Project) -> None:
    answer = project.ask("from orders order by id", user=AMY)
    assert (answer.table.num_rows, answer.receipt.truncated) == (2, False)
    for user, sees, rows in ((AMY, "range(3)", 2), (EMIL, "range(4)", 3), (AMY, "range(2)", 2)):
        answer = project.ask(f"from {sees}", user=user)
        assert answer.table.num_rows == answer.receipt.rows == rows
        assert answer.receipt.truncated == (sees != "range(2)")


def test_an_answer_beyond_the_roles_megabytes_is_refused(project: Project) -> None:
    assert project.ask("select repeat('x', 400000) as x", user=AMY).table.num_rows == 1
    with pytest.raises(QueryStopped, match="larger than your limit"):
        project.ask("select repeat('x', 600000) as x", user=AMY)
    assert project.ask("select repeat('x', 600000) as x", user=ANA).table.num_rows == 1


def test_the_roles_seconds_end_a_question_and_the_answer_names_them(project: Project) -> None:
    started = time.monotonic()
    with pytest.raises(QueryStopped, match=r"longer than 3 s"):
        project.ask(ENDLESS, user=AMY)
    assert 3 < time.monotonic() - started < 3 + GRACE + 4
    assert project.ask("select 1 as one", user=AMY).table.to_pylist() == [{"one": 1}]


def test_of_several_roles_the_widest_limit_of_each_kind_counts(project: Project) -> None:
    """Emil is emea (rows, seconds, concurrent) and, through it, analyst (megabytes, queued)."""
    assert project.ask("from range(9)", user=EMIL).table.num_rows == 3
    with pytest.raises(QueryStopped, match="larger than your limit"):
        project.ask("select repeat('x', 600000) as x", user=EMIL)


def test_more_questions_at_once_than_the_role_may_run_and_queue_are_refused(
    project: Project, threads: ThreadPoolExecutor
) -> None:
    """Emil may run two and queue one: the fourth is told so, others are not concerned."""
    turns, cancels = lanes(project, light=4, heavy=4), [Cancel() for _ in range(3)]
    mine = [endless(project, threads, EMIL, cancel) for cancel in cancels]
    until(lambda: where(turns, EMIL) == (2, 1))
    with pytest.raises(TooBusy, match="3 of your questions run or wait already"):
        project.ask("select 1", user=EMIL)
    assert project.ask("select 1 as one", user=ANA).table.num_rows == 1
    for cancel in cancels:
        cancel.set()
    assert {stopped(question).problem for question in mine} == {"the query was cancelled"}
    assert project.ask("select 1 as one", user=EMIL).table.num_rows == 1


def test_a_flood_of_one_person_lets_another_pass_at_the_next_turn(
    project: Project, threads: ThreadPoolExecutor
) -> None:
    """With two slots and twenty of Ana's questions waiting, Emil's is the next that runs."""
    turns, order = lanes(project, light=2, heavy=1), list[str]()
    gate, leave = threading.Event(), threading.Event()
    pinned = project._pin(None)

    def hold(_worker: WorkerProcess, turn: Turn) -> None:
        order.append(turn.share.who)
        (leave if len(order) == 1 else gate).wait(30)

    def take(user: str) -> None:
        limits = limits_for(project.content, project.user(user))
        share = Share(user, limits.concurrent, limits.queued)
        project._pool.call(pinned.snapshot, hold, share=share, wait=30)

    flood = [threads.submit(take, ANA) for _ in range(20)]
    until(lambda: len(order) == 2)
    until(lambda: turns.arrived == 20)
    emil = threads.submit(take, EMIL)
    until(lambda: turns.arrived == 21)
    leave.set()
    until(lambda: len(order) == 3)
    assert order == [ANA, ANA, EMIL]
    gate.set()
    for one in (*flood, emil):
        one.result(30)


def test_a_question_that_proves_heavy_leaves_the_light_lane(
    project: Project, threads: ThreadPoolExecutor
) -> None:
    """Only one light question can run, and an endless one does: Emil's still gets its turn."""
    turns, cancel = lanes(project, light=1, heavy=1), Cancel()
    heavy = endless(project, threads, ANA, cancel)
    until(lambda: where(turns, ANA) == (1, 0))
    assert project.ask("select 1 as one", user=EMIL).table.num_rows == 1
    assert [(turn.lane, turn.share.who) for turn in turns._running] == [("heavy", ANA)]
    cancel.set()
    stopped(heavy)


def test_heavy_questions_beyond_their_lane_wait_for_it_and_never_block_light_ones(
    project: Project, threads: ThreadPoolExecutor
) -> None:
    """Six endless questions that nobody knew to be heavy, on one light and one heavy slot."""
    turns, cancels = lanes(project, light=1, heavy=1), [Cancel() for _ in range(6)]
    crowd = [endless(project, threads, ANA, cancel) for cancel in cancels]
    until(lambda: turns.counts()["heavy"] >= 1)
    for _ in range(3):
        assert project.ask("select sum(amount) from orders", user=EMIL).table.num_rows == 1
    for cancel in cancels:
        cancel.set()
    for question in crowd:
        assert stopped(question).problem == "the query was cancelled"


def test_the_same_heavy_question_starts_in_its_lane_the_next_time(
    project: Project, threads: ThreadPoolExecutor
) -> None:
    turns, first, second = lanes(project, light=1, heavy=1), Cancel(), Cancel()
    question = endless(project, threads, ANA, first, ENDLESS)
    until(lambda: turns.counts()["heavy"] == 1)
    first.set()
    stopped(question)
    question = endless(project, threads, ANA, second, ENDLESS)
    until(lambda: where(turns, ANA) == (1, 0))
    assert turns.counts() == {"heavy": 1}
    second.set()
    stopped(question)


def test_a_light_question_that_had_to_wait_is_not_taken_for_a_heavy_one(
    project: Project, threads: ThreadPoolExecutor
) -> None:
    turns, held, leave = lanes(project, light=1, heavy=1), threading.Event(), threading.Event()
    pinned = project._pin(None)

    def hold(_worker: WorkerProcess, _turn: Turn) -> None:
        held.set()
        leave.wait(30)

    holder = threads.submit(project._pool.call, pinned.snapshot, hold, wait=30)
    held.wait(30)
    patient = threads.submit(project.ask, "select sum(amount) from orders", user=ANA)
    until(lambda: where(turns, ANA)[1] == 1)
    threading.Timer(SLOW + 0.2, leave.set).start()
    patient.result(30)
    holder.result(30)
    assert set(project._door._lanes.values()) == {"light"}


def cancelled(project: Project, threads: ThreadPoolExecutor, sql: str) -> float:
    """Seconds from a cancel until the question has ended, once it runs in a worker."""
    cancel = Cancel()
    question = threads.submit(project.ask, sql, user=ANA, cancel=cancel)
    until(lambda: project._pool.lanes.counts()["heavy"] == 1)
    struck = time.monotonic()
    cancel.set()
    assert stopped(question).problem == "the query was cancelled"
    return time.monotonic() - struck


def test_a_cancel_ends_what_hears_it_at_once(project: Project, threads: ThreadPoolExecutor) -> None:
    times = [cancelled(project, threads, ENDLESS) for _ in range(5)]
    print("cancel, milliseconds:", [round(1000 * seconds) for seconds in times])
    assert min(times) < 0.2, times
    assert max(times) < 1, times


def test_a_cancel_ends_anything_within_the_grace_and_the_worker_is_replaced(
    project: Project, threads: ThreadPoolExecutor
) -> None:
    project.ask("select 1", user=ANA)
    before = set(workers())
    assert GRACE < cancelled(project, threads, DEAF) + 0.1 < GRACE + 0.6 + 1
    assert len(before - set(workers())) == 1
    assert project.ask("select 1 as one", user=ANA).table.num_rows == 1


def test_a_cancel_reaches_a_question_that_still_waits_for_its_turn(
    project: Project, threads: ThreadPoolExecutor
) -> None:
    turns, running, waiting = lanes(project, light=2, heavy=2), Cancel(), Cancel()
    two = [endless(project, threads, EMIL, running) for _ in range(2)]
    until(lambda: where(turns, EMIL) == (2, 0))
    third = threads.submit(project.ask, "select 1", user=EMIL, cancel=waiting)
    until(lambda: where(turns, EMIL) == (2, 1))
    waiting.set()
    stopped(third)
    running.set()
    for question in two:
        stopped(question)


def test_a_value_that_fails_late_in_a_large_answer_is_told_and_the_worker_lives(project: Project) -> None:
    project.ask("select 1", user=ANA)
    known = workers()
    with pytest.raises(QueryFailed, match="Could not convert string 'x90000'"):
        project.ask(
            "select (case when range = 90000 then 'x' || range else '1' end)::int from range(100000)",
            user=ANA,
        )
    assert set(known) <= set(workers())


def test_a_large_answer_under_way_hears_a_cancel(project: Project, threads: ThreadPoolExecutor) -> None:
    """Frame follows frame without a pause: the clock is looked at all the same."""
    cancel = Cancel()
    sql = "select a.range, repeat('x', 1000) as x from range(10000000) a"
    limits = Limits(rows=None, bytes=None, seconds=60)
    question = threads.submit(project.ask, sql, user=ANA, cancel=cancel, limits=limits)
    until(lambda: where(project._pool.lanes, ANA) == (1, 0))
    threading.Timer(0.5, cancel.set).start()
    started = time.monotonic()
    stopped(question)
    assert time.monotonic() - started < 0.5 + 1


def workers() -> list[int]:
    """The query workers that this process started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(stat.parent.name))
    return found
