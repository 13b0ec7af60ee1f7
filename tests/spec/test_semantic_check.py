"""The language of metrics in the files: every mistake has its line, its reason and a way out."""

from collections.abc import Callable, Mapping
from pathlib import Path

import duckdb
import pytest

from serving.content.load import read_content
from serving.content.model import Content
from serving.errors import BuildFailed, Problem
from serving.marts.data_tests import data_tests
from serving.project import open_project
from serving.semantic.checks.content import semantic_problems
from serving.semantic.checks.types import built_problems
from tests.conftest import SHOP

Write = Callable[..., Path]

ORDERS = """\
grain: id
time: day
columns: {id: {}, customer_id: {}, region: {}, amount: {}, note: {}, day: {}}
dimensions:
  big: {expr: amount > 50}
measures:
  revenue: {agg: sum, expr: amount}
  orders: {agg: count}
  buyers: {agg: count_distinct, expr: customer_id}
  aov: {expr: revenue / orders}
  balance: {agg: sum, expr: amount, semi_additive: day, per: region}
  revenue_28d: {cumulative: revenue, window: 28 days}
"""
JOIN = "joins:\n  customers: {mart: customers, on: {customer_id: customer_id}}\n"
TYPES = {
    "id": "BIGINT",
    "customer_id": "BIGINT",
    "region": "VARCHAR",
    "amount": "DECIMAL(12,2)",
    "note": "VARCHAR",
    "day": "DATE",
}
CUSTOMER_TYPES = {"customer_id": "BIGINT", "region": "VARCHAR", "email": "VARCHAR", "salary": "DOUBLE"}


def content_of(write: Write, changes: Mapping[str, str | None]) -> tuple[Content, list[Problem]]:
    """What was read, and what is wrong with it."""
    content, problems = read_content(write(changes))
    return content, [*problems, *semantic_problems(content)]


def said(problems: list[Problem]) -> list[str]:
    """`line: message | hint`, in the order of the file."""
    return [f"{p.line}: {p.message}" + (f" | {p.hint}" if p.hint else "") for p in sorted(set(problems))]


def problems(write: Write, more: str, orders: str = ORDERS, **others: str) -> list[str]:
    """What is wrong with the shop's orders, with more lines at their end."""
    files = {f"marts/{name}.yml": text for name, text in others.items()}
    return said(content_of(write, {"marts/orders.yml": orders + more, **files})[1])


def test_the_whole_language_has_no_problem_where_it_is_used_right(shop_files: Write) -> None:
    more = (
        "  big_ones: {agg: count, filter: amount > 50, label: Big orders}\n"
        + "  typical: {agg: quantile, quantile: 0.9, expr: amount, synonyms: [p90]}\n"
        + "  per_head: {expr: revenue / customers.people}\n"
        + "  growth: {expr: revenue_28d / balance - 1}\n"
        + JOIN
        + "hierarchies:\n  place: [region, big]\n  calendar: [day.year, day.month]\n"
        + "rollups:\n  monthly: {dimensions: [day.month, day.day, big], measures: [revenue, aov, ~buyers]}\n"
        + "  stock: {dimensions: [day, region], measures: balance}\n"
    )
    people = SHOP["marts/customers.yml"] + "measures:\n  people: {agg: count}\n"
    assert problems(shop_files, more, customers=people) == []


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        ("{agg: sum, expr: amount +}", "13: 'amount +' is not an SQL expression | an expression such as"),
        ("{agg: sum, expr: 'amount; id'}", "13: 'amount; id' is not one SQL expression"),
        ("{agg: sum, expr: 'select 1'}", "13: 'select 1' is not one SQL expression"),
        ("{agg: sum, expr: amount as x}", "13: 'amount as x' is not one SQL expression"),
        ("{agg: sum, expr: '*'}", "13: '*' is not one SQL expression"),
        ("{agg: sum, expr: '(select max(id) from orders)'}", "13: '(select max(id) from orders)' is not one"),
        (
            "{agg: count, filter: id in (select 1)}",
            "13: 'id in (select 1)' holds a subquery | add what it looks up to the mart's SQL as a column",
        ),
        ("{agg: sum, expr: sum(amount)}", "13: 'sum(amount)' holds the aggregate sum() | 'agg' says how"),
        ("{agg: sum, expr: product(amount)}", "13: 'product(amount)' holds the aggregate product()"),
        (
            "{agg: max, expr: rank() over (order by id)}",
            "13: 'rank() over (order by id)' holds a window function",
        ),
        ("{agg: sum, expr: amount * $rate}", "13: 'amount * $rate' holds a parameter | write the value"),
        (
            "{agg: sum, expr: amount -- net}",
            "13: 'amount -- net' holds an SQL comment | say it in 'description'",
        ),
        (
            "{agg: count, filter: big}",
            "13: 'big' is a computed dimension of 'orders', no column | write out its",
        ),
        (
            "{agg: sum, expr: amount, semi_additive: dya}",
            "13: 'orders' describes no column 'dya' | did you mean",
        ),
        (
            "{agg: sum, expr: amount, semi_additive: day, per: hour}",
            "13: 'orders' describes no column 'hour'",
        ),
        (
            "{expr: revnue / orders}",
            "13: 'x' uses the measure 'revnue', which there is not | did you mean 'revenue'?",
        ),
        (
            "{expr: sum(amount) / orders}",
            "13: 'sum(amount) / orders' holds the aggregate sum(), but is made of m",
        ),
        (
            "{expr: revenue / ~buyers}",
            "13: 'revenue / ~buyers' asks for an estimate: that is for whoever asks",
        ),
        (
            "{expr: orders.revenue / orders}",
            "13: 'x' uses 'orders.revenue' of its own mart | write 'revenue'",
        ),
        (
            "{expr: revenue / customer.people}",
            "13: 'x' uses 'customer.people': there is no visible mart 'customer'",
        ),
        (
            "{expr: revenue / customers.people}",
            "13: 'x' uses the measure 'customers.people', which there is not",
        ),
        ("{expr: '1'}", "13: 'x' is made of no measure | add 'agg', or name measures in 'expr'"),
        ("{cumulative: revnue}", "13: 'x' cumulates the measure 'revnue', which there is not | did you mean"),
        (
            "{cumulative: revenue_28d}",
            "13: 'x' cumulates 'revenue_28d', which is cumulative itself | cumulate 'rev",
        ),
        (
            "{cumulative: balance}",
            "13: 'x' cumulates 'balance', which is never added up over time | 'balance' is",
        ),
        ("{expr: x + 1}", "13: the measures x -> x refer to each other in a circle | break the circle"),
        ("{cumulative: x}", "13: the measures x -> x refer to each other in a circle"),
    ],
)
def test_a_measure_that_cannot_be_computed_says_why(shop_files: Write, measure: str, message: str) -> None:
    found = problems(shop_files, f"  x: {measure}\n")
    assert any(line.startswith(message) for line in found), found


def test_a_circle_is_named_whole_and_once_also_through_other_marts(shop_files: Write) -> None:
    more = "  a: {expr: b * 2}\n  b: {expr: customers.c + 1}\n  user: {expr: a / orders}\n"
    people = SHOP["marts/customers.yml"] + "measures:\n  c: {expr: orders.a}\n"
    words = "the measures customers.c -> orders.a -> orders.b -> customers.c refer to each other in a circle"
    assert problems(shop_files, more, customers=people) == [f"10: {words} | break the circle"]


def test_a_cumulative_measure_needs_the_marts_time_and_its_own_mart(shop_files: Write) -> None:
    people = SHOP["marts/customers.yml"] + "measures:\n  people: {agg: count}\n"
    more = "  rate: {expr: revenue / customers.people}\n  rates: {cumulative: rate}\n"
    words = "'rates' cumulates 'rate', which uses 'customers.people' of another mart"
    hint = "cumulate the two apart, and divide one by the other"
    assert problems(shop_files, more, customers=people) == [f"14: {words} | {hint}"]
    timeless = problems(shop_files, "", ORDERS.replace("time: day\n", ""))
    assert timeless == [
        "11: 'revenue_28d' runs along the mart's time, and the mart names none | add 'time: COLUMN'"
    ]


@pytest.mark.parametrize(
    ("join", "message"),
    [
        (
            "customers: {mart: custmers, on: {customer_id: customer_id}}",
            "there is no mart 'custmers' to join | did",
        ),
        ("me: {mart: orders, on: {id: id}}", "'orders' is joined to itself"),
        (
            "people: {mart: hidden_people, on: {id: id}}",
            "'hidden_people' is a building block, which nobody may",
        ),
        (
            "customers: {mart: customers, on: {customer: customer_id}}",
            "'orders' describes no column 'customer' |",
        ),
        ("customers: {mart: customers, on: {customer_id: id}}", "'customers' describes no column 'id'"),
        (
            "customers: {mart: customers, on: {id: region, note: region}}",
            "two columns are compared with one column",
        ),
        (
            "region: {mart: customers, on: {customer_id: customer_id}}",
            "a join cannot be called 'region': that is a",
        ),
        (
            "big: {mart: customers, on: {customer_id: customer_id}}",
            "a join cannot be called 'big': that is a dim",
        ),
        (
            "month: {mart: customers, on: {customer_id: customer_id}}",
            "a join cannot be called 'month': that is a t",
        ),
        (
            "time: {mart: customers, on: {customer_id: customer_id}}",
            "a join cannot be called 'time': that is the",
        ),
        (
            "orders: {mart: customers, on: {customer_id: customer_id}}",
            "a join cannot be called 'orders': that is",
        ),
        (
            "hidden_people: {mart: customers, on: {id: region}}",
            "the join 'hidden_people' leads to 'customers', but",
        ),
        (
            "a.b: {mart: customers, on: {customer_id: customer_id}}",
            "'a.b' cannot be the name of something that is",
        ),
    ],
)
def test_a_join_leads_somewhere_under_a_name_of_its_own(shop_files: Write, join: str, message: str) -> None:
    files = {
        "marts/orders.yml": f"{ORDERS}joins:\n  {join}\n",
        "marts/hidden_people.sql": "select 1 as id",
        "marts/hidden_people.yml": "visible: false",
    }
    found = said(content_of(shop_files, files)[1])
    assert any(line.startswith(f"14: {message}") for line in found), found


@pytest.mark.parametrize(
    ("rollup", "message"),
    [
        (
            "{dimensions: [regoin], measures: revenue}",
            "'orders' describes no 'regoin' | did you mean 'region'?",
        ),
        ("{dimensions: [day.fortnight], measures: revenue}", "'fortnight' is no time grain"),
        ("{dimensions: [time.month], measures: revenue}", "'time' stands for a column | write 'day' itself"),
        (
            "{dimensions: [customers.region], measures: revenue}",
            "'customers.region' is a dimension of another mart",
        ),
        (
            "{dimensions: [region, region], measures: revenue}",
            "'region' stands here twice | keep one of them",
        ),
        (
            "{dimensions: region, measures: revnue}",
            "'orders' has no measure 'revnue' | did you mean 'revenue'?",
        ),
        (
            "{dimensions: region, measures: ~revenue}",
            "nothing in 'revenue' is a distinct count or a quantile",
        ),
        (
            "{dimensions: region, measures: revenue_28d}",
            "'revenue_28d' is cumulative | keep 'revenue': beside days",
        ),
        (
            "{dimensions: region, measures: balance}",
            "'balance' counts the last 'day' only, which this rollup does",
        ),
        (
            "{dimensions: [day.day, region], measures: balance}",
            "'balance' counts the last 'day' only, which this",
        ),
        (
            "{dimensions: day, measures: balance}",
            "'balance' is taken for each 'region' apart, which this rollup do",
        ),
        (
            "{dimensions: region, measures: per_head}",
            "'per_head' uses customers.people of another mart: a rollup",
        ),
    ],
)
def test_a_rollup_keeps_what_can_be_put_together(shop_files: Write, rollup: str, message: str) -> None:
    more = f"  per_head: {{expr: revenue / customers.people}}\n{JOIN}rollups:\n  daily: {rollup}\n"
    people = SHOP["marts/customers.yml"] + "measures:\n  people: {agg: count}\n"
    found = problems(shop_files, more, customers=people)
    assert len(found) == 1, found
    assert found[0].startswith(f"17: {message}"), found


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("time: day", "time: dya", "2: 'orders' describes no column 'dya' | did you mean 'day'?"),
        ("time: day", "time: big", "2: 'big' is a computed dimension of 'orders', no column"),
        ("  big:", "  time:", "5: one of the dimensions cannot be called 'time'"),
        ("  big:", "  Region:", "5: 'Region' and 'region' are one name to SQL, which reads no case"),
        ("  orders:", "  Revenue:", "8: 'Revenue' and 'revenue' are one name to SQL"),
        ("  big:", "  big.one:", "5: 'big.one' cannot be the name of something that is asked for"),
        ("expr: amount > 50", "expr: max(amount) > 50", "5: 'max(amount) > 50' holds the aggregate max()"),
        ("  orders: {agg: count", "  time: {agg: count", "8: one of the measures cannot be called 'time'"),
        (
            "measures:",
            "hierarchies: {place: [region]}\nmeasures:",
            "6: the hierarchy 'place' needs two different",
        ),
        ("measures:", "hierarchies: {place: [region, cty]}\nmeasures:", "6: 'orders' describes no 'cty'"),
        (
            "{agg: count}",
            "{agg: count, synonyms: [buyers]}",
            "8: 'buyers' is said of 'orders', and means 'buyers'",
        ),
        (
            "amount}",
            "amount, synonyms: [Order Value]}\n  x: {agg: count, synonyms: order_value}",
            "8: 'order_value'",
        ),
    ],
)
def test_words_mean_one_thing(shop_files: Write, old: str, new: str, message: str) -> None:
    found = problems(shop_files, "", ORDERS.replace(old, new, 1))
    assert any(line.startswith(message) for line in found), found


def test_a_column_and_the_measure_of_its_name_may_share_a_synonym(shop_files: Write) -> None:
    orders = ORDERS.replace("amount: {}", "amount: {synonyms: value}")
    assert problems(shop_files, "  amount: {agg: sum, expr: amount, synonyms: value}\n", orders) == []


def test_a_mart_that_describes_no_column_may_have_any(shop_files: Write) -> None:
    orders = ORDERS.replace(
        "columns: {id: {}, customer_id: {}, region: {}, amount: {}, note: {}, day: {}}\n", ""
    )
    more = "  x: {agg: sum, expr: anything}\nrollups:\n  daily: {dimensions: [whatever], measures: [x]}\n"
    assert problems(shop_files, more, orders) == []


def test_a_tile_takes_metrics_of_several_marts_by_what_each_of_them_has(shop_files: Write) -> None:
    people = SHOP["marts/customers.yml"] + "measures:\n  people: {agg: count}\n"
    files = {"marts/orders.yml": ORDERS + JOIN, "marts/customers.yml": people}

    def board(by: str) -> list[str]:
        tile = f"{{title: T, metrics: [orders.revenue, customers.people], by: [{by}]}}"
        text = f"title: S\nfilters: {{region: all}}\ntiles:\n  - {tile}\n"
        return said(content_of(shop_files, {**files, "dashboards/sales.yml": text})[1])

    assert board("region") == []
    assert board("big") == [
        "4: 'customers' describes no 'big' | known here: customer_id, email, phone, region, salary"
    ]
    assert board("time.month") == ["4: 'customers' names no time | add 'time: COLUMN' to the mart"]
    (far,) = board("customers.email.moth")
    assert far.startswith("4: 'moth' is no time grain | did you mean 'month'?")
    assert board("customers.email") == []  # through orders' join, and as customers' own


def test_the_built_columns_are_checked_where_the_files_cannot_know(shop_files: Write) -> None:
    orders = ORDERS.replace(
        "columns: {id: {}, customer_id: {}, region: {}, amount: {}, note: {}, day: {}}\n", ""
    )
    more = "  noted: {agg: avg, expr: note}\n  odd: {agg: sum, expr: Amount * 2}\n" + JOIN
    more += "rollups:\n  daily: {dimensions: [day.month, shop], measures: [revenue, aov]}\n"
    content, found = content_of(shop_files, {"marts/orders.yml": orders + more})
    assert found == []
    fine = {"orders": {**TYPES, "shop": "VARCHAR"}, "customers": CUSTOMER_TYPES}
    wrong = "12: avg over 'note', which is VARCHAR | cast it in the mart's SQL, or count it"
    spelled = "13: the built mart 'orders' has no column 'Amount' | did you mean 'amount'?"
    assert said(built_problems(content, fine)) == [wrong, spelled]
    types = {**TYPES, "day": "VARCHAR", "amount": "DOUBLE", "customer_id": "VARCHAR", "big": "BOOLEAN"}
    floats = (
        "sums of floating-point numbers depend on the order of rows: cast to DECIMAL, or leave it out of the"
    )
    assert said(built_problems(content, {"orders": types, "customers": CUSTOMER_TYPES})) == [
        "2: 'day' is VARCHAR, and no DATE or TIMESTAMP | cast it in the mart's SQL",
        "4: 'big' is a column of the built mart and a computed dimension | rename one",
        "10: 'day' is VARCHAR, and no DATE or TIMESTAMP | cast it in the mart's SQL",
        wrong,
        spelled,
        "15: 'customer_id' is VARCHAR, but 'customers.customer_id' is BIGINT | cast one of them in its mart",
        f"17: 'aov' needs sum(amount), and 'amount' is DOUBLE | {floats} rollup",
        "17: 'day' is VARCHAR, and no DATE or TIMESTAMP | cast it in the mart's SQL",
        f"17: 'revenue' needs sum(amount), and 'amount' is DOUBLE | {floats} rollup",
        f"17: the built mart 'orders' has no column 'shop' | known here: {', '.join(sorted(types))}",
    ]


def joined(write: Write, kind: str, customers: str) -> list[tuple[str, str, str]]:
    """The tests of a join from orders to customers: name, line, SQL."""
    orders = (
        f"{ORDERS}joins:\n  customers: {{mart: customers, on: {{customer_id: customer_id}}, kind: {kind}}}\n"
    )
    content, found = content_of(write, {"marts/orders.yml": orders, "marts/customers.yml": customers})
    assert found == []
    tests = [test for test in data_tests(content) if test.name.startswith("join")]
    return [(test.name, test.at.rpartition(":")[2], test.sql) for test in tests]


def test_a_joins_keys_are_tested_unique_where_nothing_else_tests_them(shop_files: Write) -> None:
    plain = "columns: {customer_id: {}, region: {}, email: {tags: [pii.email]}, phone: {}, salary: {}}\n"
    ((name, line, sql),) = joined(shop_files, "many_to_one", plain)
    assert (name, line) == ("join customers: customer_id is unique in customers", "14")
    engine = duckdb.connect()
    rows = "(values (1), (2), (2), (null), (null)) as t (customer_id)"
    engine.execute(f"create table customers as from {rows}")
    assert engine.sql(sql).fetchall() == [(2, 2)]  # a NULL is the partner of nobody, so it may repeat
    assert joined(shop_files, "many_to_one", f"grain: customer_id\n{plain}") == []
    assert (
        joined(
            shop_files, "many_to_one", plain.replace("{customer_id: {}", "{customer_id: {tests: [unique]}")
        )
        == []
    )
    both = [name for name, *_ in joined(shop_files, "one_to_one", plain)]
    assert both == [name, "join customers: customer_id is unique in orders"]


def test_a_join_that_repeats_rows_is_red_and_nothing_is_published(shop_files: Write) -> None:
    customers = SHOP["marts/customers.yml"].replace("grain: customer_id\n", "")
    folder = shop_files(
        {
            "marts/orders.yml": SHOP["marts/orders.yml"] + JOIN,
            "marts/customers.yml": customers,
            "customers.csv": SHOP["customers.csv"] + "2,AMER,two@example.org,+1 2,2500\n",
        }
    )
    project = open_project(folder, var=folder.parent / "var")
    with pytest.raises(
        BuildFailed, match="join customers: customer_id is unique in customers: 1 failing row"
    ):
        project.build()
    assert project.current_version() is None
    project.close()
