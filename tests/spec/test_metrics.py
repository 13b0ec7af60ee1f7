"""Metric requests become SQL that says what they mean: executed in DuckDB beside hand-written SQL."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import duckdb
import pytest

from serving.semantic.asking.request import (
    Compare,
    Filter,
    Having,
    Metric,
    MetricRequest,
    Op,
    Order,
    Span,
    Top,
)
from tests.spec.metric_shop import TABLES, Shop, axes, axis, metrics

JANUARY = Span(axis("ordered_at"), "2026-01-01..2026-01-31")


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        made.execute(TABLES)
        yield made


@pytest.fixture(scope="module")
def shop(connection: duckdb.DuckDBPyConnection) -> Shop:
    return Shop(connection)


def test_the_simplest_request_is_one_plain_block(shop: Shop) -> None:
    request = MetricRequest(metrics("orders.revenue", "orders.orders"), axes("region", "ordered_at.month"))
    assert shop.compiled(request).sql == (
        'SELECT "region" AS "region", CAST(date_trunc(\'month\', "ordered_at") AS DATE) AS '
        '"ordered_at_month", sum(amount) AS "revenue", count(*) AS "orders"\n'
        'FROM "orders"\n'
        "GROUP BY 1, 2\n"
        "ORDER BY 1 NULLS LAST, 2 NULLS LAST"
    )


def test_groups_are_sorted_by_the_axes_and_null_is_a_group_at_the_end(shop: Shop) -> None:
    assert shop.ask(MetricRequest(metrics("orders.orders"), axes("region"))) == [
        ("AMER", 1),
        ("APAC", 1),
        ("EMEA", 3),
        (None, 2),
    ]


def test_a_request_has_one_column_per_axis_then_one_per_metric(shop: Shop) -> None:
    request = MetricRequest(
        metrics("orders.revenue", "customers.customers"),
        axes("customers.segment", "customers.cities.country"),
    )
    assert shop.headers(request) == ["customers_segment", "customers_cities_country", "revenue", "customers"]


def test_a_metric_called_as_another_column_is_named_with_its_mart(shop: Shop) -> None:
    assert shop.headers(MetricRequest(metrics("orders.amount"), axes("amount"))) == [
        "amount",
        "orders_amount",
    ]


def test_a_measure_called_like_a_column_still_reads_the_column(shop: Shop) -> None:
    request = MetricRequest(
        metrics("orders.amount"), axes("region"), having=(Having(metrics("orders.amount")[0], ">", 12),)
    )
    assert shop.ask(request) == shop.sql(
        "select region, sum(o.amount) from orders o group by 1 having sum(o.amount) > 12 order by 1"
    )


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        ("orders.revenue", "sum(amount)"),
        ("orders.done", "count(*) filter (where status = 'done')"),
        ("orders.buyers", "count(distinct customer_id)"),
        ("orders.typical", "median(amount)"),
        ("orders.aov", "sum(amount) / count(*)"),
        ("orders.lost", "coalesce(sum(amount) filter (where status = 'lost'), 0)"),
    ],
)
def test_each_kind_of_measure_is_that_of_hand_written_sql(shop: Shop, name: str, expression: str) -> None:
    for by, group in ((("region",), "region"), (("size", "region"), "amount < 50, region"), ((), "")):
        keys = {"region": "region", "size": "case when amount < 50 then 'small' else 'large' end"}
        shown = ", ".join([*(keys[key] for key in by), expression])
        end = (
            f"group by {group} order by {', '.join(f'{n + 1} nulls last' for n in range(len(by)))}"
            if by
            else ""
        )
        assert shop.ask(MetricRequest(metrics(name), axes(*by))) == shop.sql(
            f"select {shown} from orders {end}"
        )


@pytest.mark.parametrize(
    ("name", "op", "values", "condition"),
    [
        ("status", "=", ("done",), "status = 'done'"),
        ("status", "!=", ("done",), "status <> 'done'"),
        ("status", "=", (None,), "status is null"),
        ("status", "!=", (None,), "status is not null"),
        ("status", "in", ("done", "lost"), "status in ('done', 'lost')"),
        ("status", "in", ("done", None), "status = 'done' or status is null"),
        ("status", "in", (), "false"),
        ("status", "not in", ("done",), "status <> 'done'"),
        ("status", "not in", ("done", None), "status <> 'done'"),
        ("status", "not in", (None,), "status is not null"),
        ("status", "is null", (), "status is null"),
        ("status", "is not null", (), "status is not null"),
        ("status", "contains", ("ON",), "status ilike '%on%'"),
        ("status", "contains", ("%",), "false"),
        ("status", "=", ("it's",), "status = 'it''s'"),
        ("amount", ">=", (60,), "amount >= 60"),
        ("amount", "<", (7.5,), "amount < 7.5"),
        ("ordered_at", "<", ("2026-02-01",), "ordered_at < date '2026-02-01'"),
        ("ordered_at.month", "=", ("2026-02-01",), "date_trunc('month', ordered_at) = date '2026-02-01'"),
        ("size", "=", ("large",), "amount >= 50"),
        ("customers.segment", "=", ("pro",), "customer_id in (1, 2)"),
        ("customers.loud", "is null", (), "customer_id = 4 or customer_id = 9 or customer_id is null"),
    ],
)
def test_a_filter_keeps_the_rows_of_its_condition(
    shop: Shop, name: str, op: Op, values: tuple[Any, ...], condition: str
) -> None:
    request = MetricRequest(
        metrics("orders.orders", "orders.revenue"), filters=(Filter(axis(name), op, values),)
    )
    assert shop.ask(request) == shop.sql(f"select count(*), sum(amount) from orders where {condition}")


def test_a_span_takes_whole_days_of_a_timestamp(shop: Shop) -> None:
    assert shop.ask(MetricRequest(metrics("orders.revenue"), spans=(JANUARY,))) == [(40,)]


def test_a_span_may_be_over_a_joined_time(shop: Shop) -> None:
    request = MetricRequest(
        metrics("tickets.tickets"), spans=(replace(JANUARY, axis=axis("orders.ordered_at")),)
    )
    assert shop.ask(request) == [(2,)]


def test_time_means_the_time_column_of_each_mart(shop: Shop) -> None:
    request = MetricRequest(metrics("orders.orders", "tickets.tickets"), axes("time.month"))
    assert [(str(month), *counts) for month, *counts in shop.ask(request)] == [
        ("2026-01-01", 2, 1),
        ("2026-02-01", 3, 3),
        ("2026-03-01", 1, 1),
        ("None", 1, 0),
    ]


def test_groups_are_chosen_by_a_metric_that_is_not_shown(shop: Shop) -> None:
    chosen = (Having(metrics("orders.buyers")[0], ">=", 2),)
    assert shop.ask(MetricRequest(metrics("orders.revenue"), axes("region"), having=chosen)) == [
        ("EMEA", 100),
        (None, 12),
    ]
    foreign = (Having(metrics("tickets.tickets")[0], "=", 2),)
    assert shop.ask(MetricRequest(metrics("orders.revenue"), axes("region"), having=foreign)) == [
        ("EMEA", 100)
    ]


def test_ties_of_an_order_are_sorted_by_the_axes(shop: Shop) -> None:
    request = MetricRequest(
        metrics("orders.orders"), axes("region"), order=(Order("orders", descending=True),), limit=3
    )
    assert shop.ask(request) == [("EMEA", 3), (None, 2), ("AMER", 1)]


def test_a_top_shows_the_values_with_the_largest_metric_and_the_smaller_value_of_equals(shop: Shop) -> None:
    request = MetricRequest(metrics("orders.orders"), axes("region"), top=Top(axis("region"), 3))
    assert shop.ask(request) == [("AMER", 1), ("EMEA", 3), (None, 2)]


def test_a_top_is_chosen_over_all_rows_and_not_for_each_month(shop: Shop) -> None:
    top = Top(axis("region"), 1, metrics("orders.revenue")[0])
    request = MetricRequest(metrics("orders.orders"), axes("region", "ordered_at.month"), top=top)
    assert [row[:1] + row[2:] for row in shop.ask(request)] == [("EMEA", 2), ("EMEA", 1)]


def test_the_rest_of_a_top_is_aggregated_from_its_rows(shop: Shop) -> None:
    request = MetricRequest(
        metrics("orders.revenue", "orders.buyers", "orders.typical", "orders.aov"),
        axes("region"),
        top=Top(axis("region"), 1, other=True),
    )
    rest = shop.sql("""select null, sum(amount), count(distinct customer_id), median(amount), avg(amount),
                       'other' from orders where region is distinct from 'EMEA'""")
    assert shop.ask(request)[1:] == rest
    assert [row[0] for row in shop.ask(request)] == ["EMEA", None]


def test_a_null_among_the_values_of_a_top_is_told_from_the_rest(shop: Shop) -> None:
    request = MetricRequest(metrics("orders.orders"), axes("region"), top=Top(axis("region"), 2, other=True))
    assert shop.ask(request) == [("EMEA", 3, "group"), (None, 2, "group"), (None, 2, "other")]


def test_a_top_takes_its_values_from_all_marts_that_are_asked(shop: Shop) -> None:
    top = Top(axis("region"), 5, metrics("orders.revenue")[0])
    request = MetricRequest(metrics("tickets.tickets"), axes("region"), top=top)
    assert [row[0] for row in shop.ask(request)] == ["AMER", "APAC", "EMEA", "LATAM", None]


def test_totals_are_aggregated_from_rows(shop: Shop) -> None:
    request = MetricRequest(
        metrics("orders.buyers", "orders.typical", "orders.aov"),
        axes("region", "size"),
        totals=(axes("size"), ()),
    )
    values = "count(distinct customer_id), median(amount), sum(amount) / count(*)"
    size = "case when amount < 50 then 'small' else 'large' end"
    wanted = f"""select region, {size}, {values}, 'group' from orders group by 1, 2
                 union all select null, {size}, {values}, 'subtotal' from orders group by 2
                 union all select null, null, {values}, 'total' from orders"""
    rows = shop.ask(request)
    assert sorted(rows, key=repr) == sorted(shop.sql(wanted), key=repr)
    assert [row[-1] for row in rows] == ["group"] * 5 + ["subtotal"] * 2 + ["total"]


def test_the_total_of_a_null_group_is_told_from_the_grand_total(shop: Shop) -> None:
    request = MetricRequest(metrics("orders.orders"), axes("region"), totals=((),))
    assert shop.ask(request)[-2:] == [(None, 2, "group"), (None, 7, "total")]


def test_totals_are_there_where_no_row_passes(shop: Shop) -> None:
    nothing = (Filter(axis("region"), "=", ("nowhere",)),)
    request = MetricRequest(metrics("orders.orders", "orders.revenue"), axes("region"), nothing, totals=((),))
    assert shop.ask(request) == [(None, 0, None, "total")]


def test_a_limit_chooses_groups_and_leaves_totals(shop: Shop) -> None:
    request = MetricRequest(metrics("orders.orders"), axes("region"), totals=((),), limit=1)
    groups = shop.ask(replace(request, limit=None))
    assert shop.ask(request) == [groups[0], (None, 7, "total")]


def test_two_axes_of_one_dimension_have_their_own_totals(shop: Shop) -> None:
    request = MetricRequest(
        metrics("orders.orders"), axes("region", "orders.region"), totals=(axes("region"), ())
    )
    assert [row[-1] for row in shop.ask(request)] == ["group"] * 4 + ["subtotal"] * 4 + ["total"]


def test_having_and_a_top_choose_groups_and_leave_totals_whole(shop: Shop) -> None:
    request = MetricRequest(
        metrics("orders.orders"),
        axes("region"),
        having=(Having(metrics("orders.orders")[0], "<", 3),),
        top=Top(axis("region"), 2),
        totals=((),),
    )
    assert shop.ask(request) == [(None, 2, "group"), (None, 7, "total")]


def test_only_the_last_day_of_each_group_counts_for_a_semi_additive_measure(shop: Shop) -> None:
    asked = metrics("stock.pieces", "stock.first_pieces", "stock.each_last")
    request = MetricRequest(asked, axes("product"), totals=((),))
    assert shop.ask(request) == [
        ("x", 1, 5, 8, "group"),
        ("y", 11, 11, 11, "group"),
        (None, 1, 5, 8, "total"),
    ]
    assert shop.ask(MetricRequest(asked)) == [(1, 5, 8)]


def test_a_group_without_times_stays_beside_a_semi_additive_measure(shop: Shop) -> None:
    request = MetricRequest(metrics("stock.pieces"), axes("shop"))
    assert shop.ask(request) == [("A", 7), ("B", 1), ("C", None)]


def test_a_measure_derived_from_a_semi_additive_one_takes_each_from_its_rows(shop: Shop) -> None:
    assert shop.ask(MetricRequest(metrics("stock.share"), axes("shop"))) == [
        ("A", 7 / 3),
        ("B", 0.5),
        ("C", None),
    ]


def test_the_rest_of_a_top_has_its_own_last_day(shop: Shop) -> None:
    request = MetricRequest(metrics("stock.pieces"), axes("shop"), top=Top(axis("shop"), 1, other=True))
    assert shop.ask(request) == [("A", 7, "group"), (None, 1, "other")]


def test_an_estimate_is_named_in_the_answer(shop: Shop) -> None:
    request = MetricRequest(metrics("~orders.buyers", "orders.revenue"), axes("region"))
    assert shop.compiled(request).approximate == ("buyers",)
    assert "approx_count_distinct(customer_id)" in shop.compiled(request).sql


def test_a_comparison_shows_what_was_before_of_the_same_top_values(shop: Shop) -> None:
    request = MetricRequest(
        metrics("~orders.buyers", "orders.revenue"),
        axes("region"),
        spans=(Span(axis("ordered_at"), "2026-02-01..2026-02-28"),),
        compare=Compare("previous period"),
        top=Top(axis("region"), 2, metrics("orders.revenue")[0]),
    )
    assert [row[:1] + row[5:8] for row in shop.ask(request)] == [
        ("AMER", 80, None, None),
        ("EMEA", 60, 40, 20),
    ]
    estimates = ("buyers", "buyers_before", "buyers_change", "buyers_change_rate")
    assert shop.compiled(request).approximate == estimates


def test_gaps_are_filled_with_what_a_metric_is_over_no_rows(shop: Shop) -> None:
    request = MetricRequest(
        metrics("orders.orders", "orders.revenue", "orders.lost"),
        axes("ordered_at.month"),
        spans=(Span(axis("ordered_at"), "2026-03-01..2026-04-30"),),
        fill=True,
    )
    assert [row[1:] for row in shop.ask(request)] == [(1, 7, 0), (0, None, 0)]


def test_the_same_request_is_the_same_text(shop: Shop) -> None:
    request = MetricRequest(
        metrics("orders.per_ticket"), axes("region"), top=Top(axis("region"), 2, other=True)
    )
    assert shop.compiled(request) == shop.compiled(request)


def test_a_metric_may_read_only_another_mart(shop: Shop) -> None:
    made = shop.compiled(MetricRequest((Metric("tickets", "tickets"),), axes("region")))
    assert made.reads == {"tickets"}
    assert [route.mart for route in made.routes] == ["tickets"]
