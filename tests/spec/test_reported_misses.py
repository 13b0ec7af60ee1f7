"""What users of other tools reported, asked here: the right number, and a rollup that answers, or why not.

Each test is named after what went wrong elsewhere; the tool and the number of its report stand in its
docstring.
"""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import pytest

from serving import Project, open_project
from serving.answer import Answer
from serving.semantic.asking.words import read_request
from serving.semantic.routing.routes import Reason
from tests.conftest import write_files

ADA, BEN = "ada@example.com", "ben@example.com"
FILES = {
    "project.yml": "name: reports\ntimezone: Europe/Berlin\n",
    "sources/raw_orders.yml": "path: ${HERE}/orders.csv\noptions: {types: {ordered_at: TIMESTAMPTZ}}\n",
    "sources/raw_items.yml": "path: ${HERE}/items.csv\n",
    "sources/raw_tickets.yml": "path: ${HERE}/tickets.csv\n",
    "sources/raw_customers.yml": "path: ${HERE}/customers.csv\n",
    "marts/orders.sql": """\
select id * 100 + copy as id, customer_id, region, status, amount::decimal(12, 2) as amount, ordered_at
from raw_orders cross join (select unnest(range(25)) as copy)
""",
    "marts/orders.yml": """\
grain: id
time: ordered_at
measures:
  revenue: {agg: sum, expr: amount}
  orders: {agg: count}
  buyers: {agg: count_distinct, expr: customer_id}
  paid_revenue: {agg: sum, expr: amount, filter: "status = 'paid'"}
  paid_orders: {agg: count, filter: "status = 'paid'"}
  aov: {expr: revenue / orders}
  per_paid: {expr: revenue / paid_orders}
  per_ticket: {expr: revenue / tickets.tickets}
  revenue_ever: {cumulative: revenue}
joins:
  customer: {mart: customers, on: {customer_id: customer_id}}
rollups:
  daily:
    dimensions: [ordered_at.day, region, status]
    measures: [revenue, orders, paid_revenue, paid_orders, aov]
  regions: {dimensions: [region], measures: [revenue, buyers]}
""",
    "marts/items.sql": "select id, order_id * 100 as order_id, quantity from raw_items\n",
    "marts/items.yml": """\
grain: id
measures:
  quantity: {agg: sum, expr: quantity}
joins:
  parent: {mart: orders, on: {order_id: id}}
""",
    "marts/tickets.sql": "select * from raw_tickets\n",
    "marts/tickets.yml": """\
grain: id
time: opened
measures:
  tickets: {agg: count}
joins:
  customer: {mart: customers, on: {customer_id: customer_id}}
""",
    "marts/customers.sql": "select * from raw_customers\n",
    "marts/customers.yml": "grain: customer_id\n",
    "marts/autumn.sql": """\
select number as id, timestamptz '2026-10-24 23:30:00+00' + to_hours(number) as seen
from (select unnest(range(4)) as number)
""",
    "marts/autumn.yml": "grain: id\ntime: seen\nmeasures:\n  seen: {agg: count}\n",
    "marts/visits.sql": """\
select number as id, make_timestamp(2026, 1, 1, 0, 0, 0) + to_hours(number * 6) as seen, 1 as pages
from (select unnest(range(480)) as number)
""",
    "marts/visits.yml": """\
grain: id
time: seen
measures:
  pages: {agg: sum, expr: pages}
rollups:
  monthly: {dimensions: [seen.month], measures: [pages]}
""",
    "policies/access.yml": """\
attributes: {customer: number}
roles:
  steward: {marts: "*"}
  customer: {marts: "*"}
assign:
  - {email: ada@example.com, roles: [steward]}
  - {email: ben@example.com, roles: [customer], attributes: {customer: 1}}
rows:
  - {mart: orders, where: "customer_id = user.customer", except: [steward]}
""",
    "orders.csv": """\
id,customer_id,region,status,amount,ordered_at
1,1,EMEA,paid,10.00,2026-01-10 09:00:00+01
2,1,EMEA,open,20.00,2026-01-31 23:30:00+01
3,2,AMER,paid,5.50,2026-02-01 00:15:00+01
4,2,AMER,paid,4.50,2026-02-14 12:00:00+01
5,3,,paid,100.00,2026-03-29 01:59:00+01
6,1,EMEA,paid,7.00,2026-03-29 03:00:00+02
7,2,EMEA,open,3.00,2026-03-30 00:10:00+02
8,1,AMER,paid,1.00,2026-03-31 10:00:00+02
""",
    "items.csv": """\
id,order_id,quantity
1,1,1
2,1,2
3,2,3
4,3,1
5,3,1
6,3,1
7,5,10
8,6,4
9,6,4
10,8,2
""",
    "tickets.csv": """\
id,customer_id,region,opened
1,1,EMEA,2026-01-12
2,3,,2026-03-02
3,3,,2026-03-29
4,2,LATAM,2026-02-01
""",
    "customers.csv": "customer_id,segment\n1,retail\n2,retail\n3,\n",
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Orders (25 of each line), their items, tickets and customers, built with rollups."""
    folder = tmp_path_factory.mktemp("reports")
    project = open_project(write_files(folder / "models", FILES), var=folder / "var")
    project.build()
    yield project
    project.close()


def asked(project: Project, user: str = ADA, **words: object) -> Answer:
    """The answer; and the same without rollups, which must be the same table."""
    request = read_request(words)
    answer = project.ask(metrics=request, user=user)
    assert answer.table.equals(project.ask(metrics=request, user=user, rollups=False).table)
    return answer


def rows(answer: Answer) -> list[tuple[object, ...]]:
    return list(zip(*(column.to_pylist() for column in answer.table.columns), strict=True))


def rollups(answer: Answer) -> list[str | None]:
    """Which rollup each block read."""
    return [route.rollup for route in answer.receipt.routes]


def reasons(answer: Answer) -> dict[str, Reason]:
    """Why each rollup of the one block was passed over."""
    (route,) = answer.receipt.routes
    return {miss.rollup: miss.reason for miss in route.misses}


def test_a_request_without_a_time_grain_is_answered_by_a_rollup_that_has_one(reports: Project) -> None:
    """cube #6762"""
    answer = asked(reports, metrics=["orders.revenue", "orders.orders"], by=["status"])
    assert rows(answer) == [("open", Decimal("575.00"), 50), ("paid", Decimal("3200.00"), 150)]
    assert rollups(answer) == ["daily"]


def test_a_measure_of_some_rows_only_is_answered_by_a_rollup(reports: Project) -> None:
    """cube #2959: segments did not match"""
    answer = asked(reports, metrics=["orders.paid_revenue"], by=["region"])
    assert rows(answer) == [
        ("AMER", Decimal("275.00")),
        ("EMEA", Decimal("425.00")),
        (None, Decimal("2500.00")),
    ]
    assert rollups(answer) == ["daily"]
    filtered = asked(reports, metrics=["orders.revenue"], by=["region"], where=["status = 'paid'"])
    assert rows(filtered) == rows(answer)
    assert rollups(filtered) == ["daily"]


def test_a_question_by_another_name_of_the_mart_is_answered_by_its_rollup(reports: Project) -> None:
    """cube #6464: asked through a view, nothing matched"""
    answer = asked(
        reports, metrics=["orders.revenue"], by=["orders.region"], where=["orders.status = 'open'"]
    )
    assert rows(answer) == [("EMEA", Decimal("575.00"))]
    assert rollups(answer) == ["daily"]
    through = reports.ask(
        "with o as (select region, MEASURE(revenue) from orders where status = 'open' group by all) "
        "select * from o order by region",
        user=ADA,
    )
    assert rows(through) == [("EMEA", Decimal("575.00"))]
    assert rollups(through) == ["daily"]


def test_every_rollup_that_is_passed_over_has_its_reason_in_the_receipt(reports: Project) -> None:
    """cube #8468"""
    answer = asked(reports, metrics=["orders.revenue"], by=["customer_id"])
    assert rows(answer)[0] == (1, Decimal("950.00"))
    assert rollups(answer) == [None]
    assert reasons(answer) == {"daily": Reason.DIMENSION, "regions": Reason.DIMENSION}
    hours = asked(reports, metrics=["orders.revenue"], by=["ordered_at.hour"])
    assert reasons(hours)["daily"] == Reason.GRAIN
    distinct = asked(reports, metrics=["orders.buyers"])
    assert rows(distinct) == [(3,)]
    assert reasons(distinct) == {"daily": Reason.MEASURE, "regions": Reason.DISTINCT}


def test_days_at_midnight_and_at_the_change_of_clocks_lose_no_rows(reports: Project) -> None:
    """cube #9293: rows missing where zones meet"""
    answer = asked(reports, metrics=["orders.orders"], by=["ordered_at.day"])
    assert rollups(answer) == ["daily"]
    assert rows(answer) == [
        (date(2026, 1, 10), 25),
        (date(2026, 1, 31), 25),
        (date(2026, 2, 1), 25),
        (date(2026, 2, 14), 25),
        (date(2026, 3, 29), 50),
        (date(2026, 3, 30), 25),
        (date(2026, 3, 31), 25),
    ]
    march = asked(reports, metrics=["orders.orders"], where=["ordered_at: 2026-03-29..2026-03-29"])
    assert rows(march) == [(50,)]
    assert rollups(march) == ["daily"]


def test_an_hour_that_comes_twice_in_autumn_is_two_groups(reports: Project) -> None:
    """Clocks in Berlin go from 3:00 back to 2:00 at 1:00 UTC"""
    answer = asked(reports, metrics=["autumn.seen"], by=["autumn.seen.hour"])
    assert [count for _, count in rows(answer)] == [1, 1, 1, 1]


def test_whole_buckets_of_a_rollup_and_the_rows_around_them_add_up(reports: Project) -> None:
    """cube #9638: where rollup and fresh rows meet, some were lost"""
    answer = asked(reports, metrics=["visits.pages"], where=["seen: 2026-01-15..2026-04-10"])
    assert rows(answer) == [(4 * (17 + 28 + 31 + 10),)]
    assert rollups(answer) == ["monthly"]
    assert answer.receipt.routes[0].split


def test_a_comparison_is_answered_by_rollups_on_both_sides(reports: Project) -> None:
    """rill: comparisons always read the mart itself"""
    answer = asked(
        reports,
        metrics=["orders.revenue"],
        where=["ordered_at: 2026-02-01..2026-02-28"],
        compare="previous period",
    )
    assert rows(answer)[0][:3] == (Decimal("250.00"), Decimal("750.00"), Decimal("-500.00"))
    assert set(rollups(answer)) == {"daily"}


def test_counts_and_derived_measures_are_answered_by_rollups(reports: Project) -> None:
    """rill: COUNT was rejected, derived measures read the mart itself"""
    answer = asked(reports, metrics=["orders.orders", "orders.aov", "orders.per_paid"], by=["region"])
    assert rows(answer) == [
        ("AMER", 75, 275 / 75, 275 / 75),
        ("EMEA", 100, 10.0, 20.0),
        (None, 25, 100.0, 100.0),
    ]
    assert rollups(answer) == ["daily"]


def test_exact_distinct_counts_are_answered_at_their_own_dimensions(reports: Project) -> None:
    """cube #8763: only approximate ones were"""
    answer = asked(reports, metrics=["orders.buyers"], by=["region"])
    assert rows(answer) == [("AMER", 2), ("EMEA", 2), (None, 1)]
    assert rollups(answer) == ["regions"]


def test_a_running_sum_without_a_range_is_answered_by_a_rollup(reports: Project) -> None:
    """cube #7730: rolling windows without a range of dates were not"""
    answer = asked(reports, metrics=["orders.revenue_ever"], by=["ordered_at.month"])
    assert rows(answer) == [
        (date(2026, 1, 1), Decimal("750.00")),
        (date(2026, 2, 1), Decimal("1000.00")),
        (date(2026, 3, 1), Decimal("3775.00")),
    ]
    assert set(rollups(answer)) == {"daily"}


def test_a_total_is_what_the_same_request_without_dimensions_answers(reports: Project) -> None:
    """lightdash #16473, #17055: the dashboard's total was not the explorer's"""
    metrics = ["orders.revenue", "orders.buyers", "orders.aov"]
    totals = rows(asked(reports, metrics=metrics, by=["region"], totals=True))
    assert totals[-1] == (None, Decimal("3775.00"), 3, 18.875, "total")
    assert rows(asked(reports, metrics=metrics)) == [totals[-1][1:4]]
    assert len(totals) == 4, "the group without a region is no total"


def test_two_marts_in_one_request_are_each_counted_at_their_own_grain(reports: Project) -> None:
    """lightdash #861, #3393, superset #12203: rows of one were repeated for each row of the other"""
    answer = asked(reports, metrics=["orders.revenue", "tickets.tickets"], by=["region"])
    assert rows(answer) == [
        ("AMER", Decimal("275.00"), 0),
        ("EMEA", Decimal("1000.00"), 1),
        ("LATAM", None, 1),
        (None, Decimal("2500.00"), 2),
    ]
    orders, _ = answer.receipt.routes
    assert orders.rollup == "regions", "the smallest that has what is asked"


def test_two_marts_without_any_dimension_are_not_multiplied(reports: Project) -> None:
    """lightdash #16829: tiles without dimensions"""
    answer = asked(reports, metrics=["orders.revenue", "tickets.tickets", "orders.per_ticket"])
    assert rows(answer) == [(Decimal("3775.00"), 4, 943.75)]


def test_a_chain_of_joins_repeats_nothing(reports: Project) -> None:
    """lightdash #15700"""
    answer = asked(reports, metrics=["items.quantity"], by=["parent.customer.segment"])
    assert rows(answer) == [("retail", 19), (None, 10)]


def test_a_filter_holds_for_every_metric_of_a_request(reports: Project) -> None:
    """metabase #39083: only the first series was filtered"""
    answer = asked(reports, metrics=["orders.revenue", "tickets.tickets"], where=["region = 'EMEA'"])
    assert rows(answer) == [(Decimal("1000.00"), 1)]


def test_a_rollup_without_the_column_of_a_row_rule_answers_nobody_under_the_rule(reports: Project) -> None:
    """superset #41496: how do row rules travel?"""
    answer = asked(reports, BEN, metrics=["orders.revenue"], by=["status"])
    assert rows(answer) == [("open", Decimal("500.00")), ("paid", Decimal("450.00"))]
    assert rollups(answer) == [None]
    assert reasons(answer)["daily"] == Reason.POLICY


def test_a_ratio_over_nothing_is_missing_and_not_infinite(reports: Project) -> None:
    """DuckDB's 1/0 is inf"""
    answer = asked(reports, metrics=["orders.per_paid"], where=["status = 'open'"])
    assert rows(answer) == [(None,)]
    assert rollups(answer) == ["daily"]
