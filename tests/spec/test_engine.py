"""Workers: expendable, replaced, and never in the way of the next question."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from serving import Project
from serving.engine.estimate import HEAVY_ROWS
from serving.engine.failure import EngineFailure, SnapshotGone
from serving.engine.lanes import Lanes, Share, Turn
from serving.engine.pool import Pool
from serving.engine.process import Cancel, Run, Snapshot, Watch, WorkerProcess
from serving.engine.wire import send


@pytest.fixture
def snapshot(shop: Project) -> Snapshot:
    version = shop.current_version()
    assert version is not None
    return Snapshot.of(version.number, {name: file.path for name, file in version.marts.items()}, "UTC")


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool()
    yield pool
    pool.close()


def answer(worker: WorkerProcess, sql: str, *, seconds: float = 20) -> object:
    return worker.run(Run(sql, (), None, None), Watch(seconds))[0][0].as_py()


def run(pool: Pool, snapshot: Snapshot, sql: str, **how: Any) -> Any:
    given: dict[str, Any] = {"seconds": 20, "wait": 10, "cancel": Cancel(), **how}
    lane, share = given.pop("lane", "light"), given.pop("share", Share("ana", 4, 4))
    question = given.pop("run", Run(sql, (), None, None))
    return pool.run(snapshot, question, lane, share, **given)[0][0].as_py()


def test_a_worker_that_was_killed_is_replaced_and_the_question_runs_again(
    pool: Pool, snapshot: Snapshot
) -> None:
    seen: list[int] = []

    def work(worker: WorkerProcess, _: Turn) -> object:
        seen.append(worker.process.pid)
        if len(seen) == 1:
            threading.Timer(0.3, os.kill, (worker.process.pid, signal.SIGKILL)).start()
            return answer(
                worker,
                "select count(*) from range(10000000) a, range(1000) b where a.range % 7 = b.range % 5",
            )
        return answer(worker, "select 42")

    assert pool.call(snapshot, work, wait=10) == 42
    assert len(set(seen)) == 2


def test_a_question_that_kills_every_worker_is_given_up(pool: Pool, snapshot: Snapshot) -> None:
    def suicide(worker: WorkerProcess, _: Turn) -> object:
        os.kill(worker.process.pid, signal.SIGKILL)
        return answer(worker, "select 1")

    with pytest.raises(EngineFailure) as failed:
        pool.call(snapshot, suicide, wait=10)
    assert failed.value.kind == "crashed"
    assert run(pool, snapshot, "select 1") == 1


def test_a_full_lane_says_busy_instead_of_waiting_for_ever(snapshot: Snapshot) -> None:
    pool = Pool(lanes=Lanes({"check": 1, "light": 1, "heavy": 1}))
    entered, leave = threading.Event(), threading.Event()

    def hold(_worker: WorkerProcess, _turn: Turn) -> None:
        entered.set()
        leave.wait(20)

    thread = threading.Thread(target=lambda: pool.call(snapshot, hold, wait=10))
    thread.start()
    entered.wait(20)
    with pytest.raises(EngineFailure) as failed:
        run(pool, snapshot, "select 1", wait=0.1)
    assert failed.value.kind == "busy"
    assert run(pool, snapshot, "select 1", lane="heavy") == 1
    leave.set()
    thread.join()
    pool.close()


def test_what_an_interrupt_does_not_stop_the_kill_does(pool: Pool, snapshot: Snapshot) -> None:
    started = time.monotonic()
    with pytest.raises(EngineFailure) as failed:
        run(pool, snapshot, "select len(list_sort(range(90000000)))", seconds=0.3)
    assert failed.value.kind in ("stopped", "memory", "crashed")
    assert time.monotonic() - started < 6
    assert run(pool, snapshot, "select 1") == 1


def test_a_cancel_that_comes_late_does_not_hit_the_next_question(pool: Pool, snapshot: Snapshot) -> None:
    def work(worker: WorkerProcess, _: Turn) -> object:
        cancel = Cancel()
        first = worker.run(Run("select 1", (), None, None), Watch(20, cancel))
        late = threading.Timer(0.1, send, (worker.pipe, {"op": "cancel", "number": 1}))
        late.start()  # it arrives while the next question runs
        second = answer(worker, "select count(*) from range(300000000) where range % 7 = 3")
        late.join()
        return first[0][0].as_py(), second

    assert pool.call(snapshot, work, wait=10) == (1, 42857143)


def test_an_answer_beyond_its_bytes_is_refused_and_the_next_one_comes(pool: Pool, snapshot: Snapshot) -> None:
    with pytest.raises(EngineFailure) as failed:
        run(pool, snapshot, "", run=Run("select repeat('x', 1000) from range(100000)", (), None, 1_000_000))
    assert failed.value.kind == "size"
    assert run(pool, snapshot, "select 1") == 1


def test_parameters_reach_the_engine_with_their_types(pool: Pool, snapshot: Snapshot) -> None:
    def ask(sql: str, parameters: Any) -> Any:
        return run(pool, snapshot, "", run=Run(sql, (), 10, None, parameters=parameters))

    assert ask("select ? + 1", [41]) == 42
    assert ask("select typeof($day) || $word", {"day": date(2026, 1, 5), "word": "!"}) == "DATE!"
    assert ask("select $1", [Decimal("1.50")]) == Decimal("1.50")
    assert ask("select $1 is null", [None]) is True


def test_a_question_that_turns_out_to_be_heavy_leaves_the_light_lane(snapshot: Snapshot) -> None:
    pool = Pool(lanes=Lanes({"check": 1, "light": 1, "heavy": 1}))
    cancel = Cancel()

    def endless() -> None:
        with pytest.raises(EngineFailure):
            run(pool, snapshot, ENDLESS, cancel=cancel)

    slow = threading.Thread(target=endless)
    slow.start()
    started = time.monotonic()
    assert run(pool, snapshot, "select 1", share=Share("emil", 4, 4)) == 1
    assert time.monotonic() - started < 5
    assert pool.lanes.counts()["heavy"] == 1
    cancel.set()
    slow.join()
    pool.close()


def test_people_who_wait_go_before_people_who_have_their_turn(snapshot: Snapshot) -> None:
    lanes = Lanes({"check": 1, "light": 2, "heavy": 1})
    order: list[str] = []
    hold, greedy, modest = threading.Event(), Share("greedy", 2, 9), Share("modest", 2, 9)

    def ask(share: Share, wait_for: threading.Event) -> None:
        with lanes.turn("light", share, 20):
            order.append(share.who)
            wait_for.wait(20)

    first = threading.Event()
    threads = [threading.Thread(target=ask, args=(greedy, event)) for event in (hold, first)]
    for thread in threads:
        thread.start()
    _until(lambda: len(order) == 2)
    waiting = [
        *(threading.Thread(target=ask, args=(greedy, hold)) for _ in range(3)),
        threading.Thread(target=ask, args=(modest, hold)),
    ]
    for number, thread in enumerate(waiting, 3):
        thread.start()
        _until(lambda number=number: lanes.arrived == number)
    first.set()
    _until(lambda: len(order) == 3)
    assert order[2] == "modest"
    hold.set()
    for thread in threads + waiting:
        thread.join()


def test_more_questions_than_a_person_may_queue_are_refused() -> None:
    lanes = Lanes({"check": 1, "light": 2, "heavy": 1})
    with lanes.turn("light", Share("ana", 1, 0), 1):
        with pytest.raises(EngineFailure) as failed, lanes.turn("light", Share("ana", 1, 0), 1):
            pass
        assert failed.value.kind == "queue"
        with lanes.turn("light", Share("emil", 1, 0), 1):
            pass


def test_a_plan_tells_heavy_questions_from_light_ones(pool: Pool, snapshot: Snapshot) -> None:
    def guess(sql: str) -> Any:
        return pool.plan(snapshot, Run(sql, (), None, None), 5, 5)

    assert guess("select 1").weight == "light"
    heavy = guess("select count(*) from range(100000) a, range(100000) b where a.range < b.range")
    assert heavy.rows > HEAVY_ROWS
    alias = snapshot.aliases["orders"]
    assert guess(f'from "{alias}".orders').scanned == {f"{alias}.main.orders"}


ENDLESS = "select count(*) from range(10000000) a, range(10000000) b where a.range * b.range % 7 = 3"


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_files_that_are_gone_are_told_from_a_worker_that_crashed(tmp_path: Path) -> None:
    missing = Snapshot.of(7, {"orders": tmp_path / "gone.duckdb"}, "UTC")
    with pytest.raises(SnapshotGone):
        run(Pool(), missing, "select 1")


def test_each_snapshot_has_workers_of_its_own_and_no_more_than_fit(snapshot: Snapshot) -> None:
    pool = Pool(lanes=Lanes({"check": 1, "light": 1, "heavy": 1}))
    other = Snapshot.of(99, snapshot.paths, "UTC")
    old = pool.call(snapshot, lambda worker, _: worker.process, lane="heavy", wait=5)
    assert pool.call(snapshot, lambda worker, _: worker.process, lane="heavy", wait=5) is old
    new = pool.call(other, lambda worker, _: worker.process, lane="heavy", wait=5)
    assert new.pid != old.pid
    assert old.wait(5) != 0
    assert new.poll() is None
    pool.close()


def test_workers_end_with_their_parent(pool: Pool, snapshot: Snapshot) -> None:
    process = pool.call(snapshot, lambda worker, _: worker.process, wait=5)
    pool.close()
    assert process.wait(5) is not None
