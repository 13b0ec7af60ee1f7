"""Workers: expendable, replaced, and never in the way of the next question."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving import Project
from serving.engine.pool import Pool
from serving.engine.process import Cancel, EngineFailure, Snapshot, SnapshotGone, WorkerProcess


@pytest.fixture
def snapshot(shop: Project) -> Snapshot:
    version = shop.current_version()
    assert version is not None
    return Snapshot.of(version.number, {name: file.path for name, file in version.marts.items()}, "UTC")


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool(count=2)
    yield pool
    pool.close()


def answer(worker: WorkerProcess, sql: str, *, seconds: float = 20) -> object:
    table = worker.run(sql, [], rows=None, seconds=seconds, secure=False, cancel=Cancel())
    return table[0][0].as_py()


def test_a_worker_that_was_killed_is_replaced_and_the_question_runs_again(
    pool: Pool, snapshot: Snapshot
) -> None:
    seen: list[int] = []

    def work(worker: WorkerProcess) -> object:
        seen.append(worker.process.pid)
        if len(seen) == 1:
            threading.Timer(0.3, os.kill, (worker.process.pid, signal.SIGKILL)).start()
            return answer(
                worker,
                "select count(*) from range(10000000) a, range(1000) b where a.range % 7 = b.range % 5",
            )
        return answer(worker, "select 42")

    assert pool.call(snapshot, 10, work) == 42
    assert len(set(seen)) == 2


def test_a_question_that_kills_every_worker_is_given_up(pool: Pool, snapshot: Snapshot) -> None:
    def suicide(worker: WorkerProcess) -> object:
        os.kill(worker.process.pid, signal.SIGKILL)
        return answer(worker, "select 1")

    with pytest.raises(EngineFailure) as failed:
        pool.call(snapshot, 10, suicide)
    assert failed.value.kind == "crashed"
    assert pool.call(snapshot, 10, lambda worker: answer(worker, "select 1")) == 1


def test_a_full_pool_says_busy_instead_of_waiting_for_ever(snapshot: Snapshot) -> None:
    pool = Pool(count=1)
    entered, leave = threading.Event(), threading.Event()

    def hold(worker: WorkerProcess) -> None:
        entered.set()
        leave.wait(20)

    thread = threading.Thread(target=pool.call, args=(snapshot, 10, hold))
    thread.start()
    entered.wait(20)
    with pytest.raises(EngineFailure) as failed:
        pool.call(snapshot, 0.1, lambda worker: answer(worker, "select 1"))
    assert failed.value.kind == "busy"
    leave.set()
    thread.join()
    pool.close()


def test_what_an_interrupt_does_not_stop_the_kill_does(pool: Pool, snapshot: Snapshot) -> None:
    started = time.monotonic()
    with pytest.raises(EngineFailure) as failed:
        pool.call(
            snapshot, 10, lambda worker: answer(worker, "select len(list_sort(range(90000000)))", seconds=0.3)
        )
    assert failed.value.kind in ("stopped", "memory", "crashed")
    assert time.monotonic() - started < 6
    assert pool.call(snapshot, 10, lambda worker: answer(worker, "select 1")) == 1


def test_files_that_are_gone_are_told_from_a_worker_that_crashed(tmp_path: Path) -> None:
    missing = Snapshot.of(7, {"orders": tmp_path / "gone.duckdb"}, "UTC")
    with pytest.raises(SnapshotGone):
        Pool().call(missing, 5, lambda worker: None)


def test_a_new_snapshot_gets_new_workers_and_the_old_ones_leave(pool: Pool, snapshot: Snapshot) -> None:
    other = Snapshot.of(99, snapshot.paths, "UTC")
    old = pool.call(snapshot, 5, lambda worker: worker.process)
    new = pool.call(other, 5, lambda worker: worker.process)
    assert new.pid != old.pid
    assert old.wait(5) != 0
    assert new.poll() is None


def test_workers_end_with_their_parent(pool: Pool, snapshot: Snapshot) -> None:
    process = pool.call(snapshot, 5, lambda worker: worker.process)
    pool.close()
    assert process.wait(5) is not None
