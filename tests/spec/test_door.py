"""The door: what each person gets, what is refused, what is written down."""

import threading
import time
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from serving import Limits, Project
from serving.engine.failure import EngineFailure
from serving.engine.process import Cancel, Run, Watch, WorkerProcess
from serving.errors import QueryFailed, QueryRefused, QueryStopped, UnknownUser

ANA, EMIL, AMY, NOBODY = (f"{name}@example.com" for name in ("ana", "emil", "amy", "nobody"))


def rows(project: Project, sql: str, user: str) -> list[dict[str, object]]:
    return project.ask(sql, user=user).table.to_pylist()


@pytest.mark.parametrize(
    ("user", "total", "count"),
    [(ANA, "131.25", 5), (EMIL, "115.00", 3), (AMY, "16.25", 2), (NOBODY, None, 0)],
)
def test_people_see_totals_of_their_own_rows(shop: Project, user: str, total: str | None, count: int) -> None:
    expected = [{"total": Decimal(total) if total else None, "n": count}]
    assert rows(shop, "select sum(amount) as total, count(*) as n from orders", user) == expected


def test_masks_hold_everywhere_not_only_in_the_output(shop: Project) -> None:
    seen = rows(shop, "select * from customers order by customer_id", EMIL)
    assert [list(row) for row in seen] == [["customer_id", "region", "email", "phone"]] * 2
    assert all(row["phone"] is None for row in seen)
    emails = [str(row["email"]) for row in seen]
    assert all(len(email) == 32 and "@" not in email for email in emails)
    assert len(set(emails)) == 2
    assert rows(shop, "select count(*) n from customers where email like '%@%'", EMIL) == [{"n": 0}]
    assert rows(shop, f"select count(*) n from customers where email = '{emails[0]}'", EMIL) == [{"n": 1}]
    assert rows(shop, "select email from customers where customer_id = 1", ANA) == [
        {"email": "one@example.com"}
    ]


def test_a_hidden_column_does_not_exist(shop: Project) -> None:
    with pytest.raises(QueryRefused, match="'salary'"):
        shop.ask("select salary from customers", user=EMIL)
    with pytest.raises(QueryRefused, match="'salary'"):
        shop.ask("select 1 from customers order by salary", user=EMIL)


def test_the_hash_needs_the_key(shop: Project) -> None:
    sql = "select count(*) n from customers where email = left(sha256('one@example.com'), 32)"
    assert rows(shop, sql, EMIL) == [{"n": 0}]


def test_headers_types_and_order_are_the_engines_own(shop: Project) -> None:
    table = shop.ask(
        "select amount, amount, count(*), id::utinyint as i from orders group by all", user=ANA
    ).table
    assert table.column_names == ["amount", "amount", "count_star()", "i"]
    assert table.schema.types == [pa.decimal128(12, 2), pa.decimal128(12, 2), pa.int64(), pa.uint8()]
    ids = shop.ask("from orders select id order by amount desc", user=ANA).table.column("id").to_pylist()
    assert ids == [3, 1, 5, 4, 2]


def test_a_cte_may_shadow_a_mart_in_every_way_the_engine_allows(shop: Project) -> None:
    shadow = "with orders as (select id from orders where id < 3) select count(*) n from orders"
    assert rows(shop, shadow, EMIL) == [{"n": 2}]
    recursive = (
        "with recursive orders as (select id from orders union all select id from orders where false) "
        "select count(*) n from orders"
    )
    assert rows(shop, recursive, EMIL) == [{"n": 3}]


def test_a_missing_attribute_means_no_rows_and_is_written_down(shop: Project) -> None:
    answer = shop.ask("select count(*) n from orders", user=NOBODY)
    assert answer.table.to_pylist() == [{"n": 0}]
    assert "the person has no attribute 'region'" in shop.audit.recent(1)[0].policies


def test_the_receipt_says_what_ran_and_why(shop: Project) -> None:
    receipt = shop.ask("select email from customers", user=EMIL).receipt
    assert receipt.version == 1
    assert receipt.policies == (
        "rows of customers: region = user.region",
        "column customers.email: hash",
        "column customers.phone: null",
    )
    assert "column customers.salary: hide" in shop.audit.recent(1)[0].policies
    assert receipt.masked["customers.email"] == "hash"
    shown = receipt.views["customers"]
    assert "\"region\" = 'EMEA'" in shown
    assert 'KEYED_HASH("email")' in shown.upper().replace('"EMAIL"', '"email"')
    assert "salary" not in shown


def test_the_row_limit_cuts_and_says_so(shop: Project) -> None:
    answer = shop.ask("from range(10)", user=EMIL, limits=Limits(rows=3, seconds=5))
    assert (answer.table.num_rows, answer.receipt.truncated) == (3, True)
    assert not shop.ask("from range(3)", user=EMIL, limits=Limits(rows=3, seconds=5)).receipt.truncated


def test_the_policys_limit_is_the_default(shop: Project) -> None:
    answer = shop.ask("from range(2000)", user=EMIL)
    assert (answer.table.num_rows, answer.receipt.truncated) == (1000, True)


ENDLESS = "select count(*) from range(10000000) a, range(10000000) b where a.range * b.range % 7 = 3"


def test_a_query_over_its_time_is_stopped(shop: Project) -> None:
    started = time.monotonic()
    with pytest.raises(QueryStopped, match=r"longer than 0\.5 s"):
        shop.ask(ENDLESS, user=ANA, limits=Limits(seconds=0.5))
    assert time.monotonic() - started < 5


def test_a_cancelled_query_ends_and_the_next_one_runs(shop: Project) -> None:
    cancel = Cancel()
    timer = threading.Timer(0.3, cancel.set)
    timer.start()
    with pytest.raises(QueryStopped, match="cancelled"):
        shop.ask(ENDLESS, user=ANA, cancel=cancel)
    assert rows(shop, "select 1 as one", ANA) == [{"one": 1}]


def test_a_memory_bomb_is_stopped_and_the_next_query_runs(shop: Project) -> None:
    with pytest.raises(QueryStopped, match=r"memory|broke its worker"):
        shop.ask("select array_agg(a.range) from range(10000000) a, range(100) b", user=ANA)
    assert rows(shop, "select 1 as one", ANA) == [{"one": 1}]


def test_a_data_error_speaks_of_visible_rows_only(shop: Project) -> None:
    with pytest.raises(QueryFailed) as failed:
        shop.ask("select note::int from orders", user=EMIL)
    assert "Could not convert string" in failed.value.problem
    assert "POISON" not in str(failed.value)
    assert "line 1, at '::int'" in failed.value.problem
    amounts = rows(shop, "select count(note::int) n from orders where region = 'AMER'", EMIL)
    assert amounts == [{"n": 0}]


def test_only_the_secure_twins_words_of_a_data_error_are_told(
    shop: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plain views' error is never shown; an answer or an error of the SECURE ones is."""
    real, asked = WorkerProcess.run, []

    def run(self: WorkerProcess, question: Run, watch: Watch) -> pa.Table:
        asked.append(question.secure)
        if not question.secure:
            raise EngineFailure("data", "Conversion Error: POISON")
        return real(self, question, watch)

    monkeypatch.setattr(WorkerProcess, "run", run)
    assert rows(shop, "select count(*) n from orders", EMIL) == [{"n": 3}]
    with pytest.raises(QueryFailed, match="Could not convert string 'ten'"):
        shop.ask("select note::int from orders", user=EMIL)
    assert asked == [False, True, False, True]


def test_an_error_says_what_is_wrong_where_and_what_is_near(shop: Project) -> None:
    with pytest.raises(QueryRefused) as failed:
        shop.ask("select id,\n  amout from orders", user=EMIL)
    assert (failed.value.problem, failed.value.hint) == (
        "there is no column 'amout' (line 2, at 'amout')",
        "did you mean 'amount'?",
    )
    with pytest.raises(QueryRefused) as failed:
        shop.ask("select strlenn(note) from orders", user=EMIL)
    assert "strlenn" in failed.value.problem
    with pytest.raises(QueryRefused) as failed:
        shop.ask("select c.salary from customers c", user=EMIL)
    assert "salary" not in failed.value.hint
    with pytest.raises(QueryRefused) as failed:
        shop.ask("select * from ordrs", user=EMIL)
    assert failed.value.hint == "did you mean 'orders'?"


def test_parameters_are_values_and_each_needs_one(shop: Project) -> None:
    by_name = "select count(*) n from orders where amount > $least and note <> $word"
    answer = shop.ask(by_name, user=EMIL, parameters={"least": 5, "word": "' or true --"})
    assert answer.table.to_pylist() == [{"n": 2}]
    by_place = shop.ask("select cast(? as int) + ? as n", user=EMIL, parameters=[1, 2])
    assert by_place.table.to_pylist() == [{"n": 3}]
    with pytest.raises(QueryRefused, match=r"the parameter \$word has no value"):
        shop.ask(by_name, user=EMIL, parameters={"least": 5})
    with pytest.raises(QueryRefused, match=r"the query has no parameter \$lest"):
        shop.ask(by_name, user=EMIL, parameters={"least": 5, "word": "", "lest": 1})


def test_describe_summarize_and_show_tables_answer_from_what_the_person_sees(shop: Project) -> None:
    described = rows(shop, "describe customers", EMIL)
    assert [row["column_name"] for row in described] == ["customer_id", "region", "email", "phone"]
    summary = {row["column_name"]: row for row in rows(shop, "summarize orders", EMIL)}
    assert summary["region"]["max"] == summary["region"]["min"] == "EMEA"
    assert summary["id"]["count"] == 3
    assert rows(shop, "show tables", EMIL) == [{"name": "customers"}, {"name": "orders"}]
    assert rows(shop, "select count(*) n from (show tables)", EMIL) == [{"n": 2}]


def test_nobody_else_may_ask(shop: Project) -> None:
    with pytest.raises(UnknownUser, match="nobody called"):
        shop.ask("select 1", user="eve@example.com")


def test_every_question_is_in_the_audit_refused_ones_too(shop: Project) -> None:
    shop.ask("select count(*) from orders", user=EMIL, surface="test")
    with pytest.raises(QueryRefused):
        shop.ask("select * from secrets", user=EMIL, surface="test")
    refused, answered = shop.audit.recent(2, user=EMIL, surface="test")
    assert (answered.outcome, answered.marts, answered.rows) == ("answered", ("orders",), 1)
    assert answered.version == 1
    assert answered.policies == ("rows of orders: region = user.region",)
    assert (refused.outcome, refused.sql) == ("refused", "select * from secrets")
    assert "no mart 'secrets'" in refused.reason


def test_questions_in_parallel_get_their_own_answers(shop: Project) -> None:
    answers: dict[int, object] = {}

    def ask(number: int) -> None:
        answers[number] = shop.ask(
            f"select {number} as n, count(*) as c from orders", user=EMIL
        ).table.to_pylist()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: [{"n": number, "c": 3}] for number in range(12)}


def test_the_mask_key_is_kept_secret(shop: Project) -> None:
    key = shop.var / "secrets" / "mask.key"
    assert key.stat().st_mode & 0o077 == 0
    text = Path(key).read_text().strip()
    assert text not in str(shop.ask("select email from customers", user=EMIL).receipt)
