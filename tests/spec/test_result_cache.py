"""Kept answers: whose they are, when they are not kept, and who runs."""

import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from serving import Project, open_project
from serving.engine.result_cache import ResultCache

ANA, EMIL, AMY = "ana@example.com", "emil@example.com", "amy@example.com"
TOTAL = "select count(*) as n, sum(amount) as total from orders"
SMALL = pa.table({"n": [1]})


def test_the_second_asker_gets_the_first_ones_answer() -> None:
    cache, runs = ResultCache(1_000_000), []

    def run() -> pa.Table:
        runs.append(1)
        return SMALL

    assert [cache.answer("key", run, 5.0) for _ in range(2)] == [(SMALL, False), (SMALL, True)]
    assert runs == [1]


def test_twenty_askers_at_once_cost_one_run() -> None:
    cache, runs = ResultCache(1_000_000), []
    started, go = threading.Event(), threading.Event()

    def run() -> pa.Table:
        runs.append(1)
        started.set()
        go.wait(10)
        return SMALL

    found: list[bool] = []
    threads = [
        threading.Thread(target=lambda: found.append(cache.answer("key", run, 10.0)[1])) for _ in range(20)
    ]
    threads[0].start()
    started.wait(10)
    for thread in threads[1:]:
        thread.start()
    go.set()
    for thread in threads:
        thread.join(10)
    assert runs == [1]
    assert sorted(found) == [False, *[True] * 19]


def test_a_failure_is_its_own_askers_and_who_waited_runs() -> None:
    cache = ResultCache(1_000_000)
    started, go = threading.Event(), threading.Event()
    failed: list[Exception] = []

    def fail() -> pa.Table:
        started.set()
        go.wait(10)
        raise ValueError("mine")

    def first() -> None:
        try:
            cache.answer("key", fail, 10.0)
        except ValueError as error:
            failed.append(error)

    leader = threading.Thread(target=first)
    leader.start()
    started.wait(10)
    found: list[tuple[pa.Table, bool]] = []
    follower = threading.Thread(target=lambda: found.append(cache.answer("key", lambda: SMALL, 10.0)))
    follower.start()
    go.set()
    leader.join(10)
    follower.join(10)
    assert len(failed) == 1
    assert found == [(SMALL, False)]


def test_a_cancelled_asker_does_not_wait_for_anothers_run() -> None:
    cache = ResultCache(1_000_000)
    started, go = threading.Event(), threading.Event()

    def slow() -> pa.Table:
        started.set()
        go.wait(10)
        return SMALL

    leader = threading.Thread(target=lambda: cache.answer("key", slow, 10.0))
    leader.start()
    started.wait(10)
    assert cache.answer("key", lambda: SMALL, 10.0, cancelled=lambda: True) == (SMALL, False)
    go.set()
    leader.join(10)


def test_the_oldest_answers_leave_and_the_bytes_stay_bounded() -> None:
    tables = [pa.table({"n": list(range(1_000))}) for _ in range(50)]
    cache = ResultCache(100_000)
    for place, table in enumerate(tables):
        cache.answer(place, lambda table=table: table, 5.0)  # type: ignore[misc]
        assert cache.held <= 100_000
    assert cache.answer(49, lambda: SMALL, 5.0)[1]
    assert not cache.answer(0, lambda: SMALL, 5.0)[1]


def test_an_answer_that_fills_a_quarter_of_the_room_is_not_kept() -> None:
    cache = ResultCache(10_000)
    large = pa.table({"n": list(range(1_000))})
    assert [cache.answer("key", lambda: large, 5.0)[1] for _ in range(2)] == [False, False]
    assert cache.held == 0


def test_receipts_say_whether_an_answer_was_kept(shop: Project) -> None:
    shop.forget_answers()
    found = [shop.ask(TOTAL, user=ANA).receipt.cached for _ in range(2)]
    assert found == [False, True]


def test_only_people_who_see_the_same_share_an_answer(shop: Project) -> None:
    shop.forget_answers()
    seen = {who: shop.ask(TOTAL, user=who) for who in (ANA, EMIL, AMY)}
    assert not any(answer.receipt.cached for answer in seen.values())
    assert len({str(answer.table.to_pylist()) for answer in seen.values()}) == 3


@pytest.mark.parametrize(
    "sql",
    [
        "select random() as r, count(*) as n from orders",
        "select uuid() as u from orders limit 1",
        "select now() as n from orders limit 1",
        "select current_timestamp as n from orders limit 1",
        "select id from orders using sample 2",
        "select id from orders where day < current_date",
    ],
)
def test_what_may_differ_the_next_time_is_not_kept(shop: Project, sql: str) -> None:
    assert [shop.ask(sql, user=ANA).receipt.cached for _ in range(2)] == [False, False]


def test_parameters_are_part_of_the_question(shop: Project) -> None:
    shop.forget_answers()
    sql = "select count(*) as n from orders where region = $region or cast(id as varchar) = $region"
    answers = [shop.ask(sql, user=ANA, parameters={"region": given}) for given in ("EMEA", "AMER", "EMEA")]
    assert [answer.receipt.cached for answer in answers] == [False, False, True]
    assert [answer.table["n"][0].as_py() for answer in answers] == [3, 2, 3]


def test_a_new_version_is_asked_anew(shop_files: Callable[..., Path], tmp_path: Path) -> None:
    project = open_project(shop_files(), var=tmp_path / "var")
    project.build()
    before = project.ask(TOTAL, user=ANA).table.to_pylist()
    csv = project.root / "orders.csv"
    csv.write_text(csv.read_text() + "6,1,EMEA,1.00,new,2026-03-02\n")
    project.build()
    after = project.ask(TOTAL, user=ANA)
    project.close()
    assert not after.receipt.cached
    assert after.table["n"][0].as_py() == before[0]["n"] + 1
