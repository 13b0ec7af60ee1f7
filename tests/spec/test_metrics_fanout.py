"""No row counts twice, and no group is lost, however marts are joined: bugs that users of others reported."""

from collections.abc import Iterator

import duckdb
import pytest

from serving.errors import QueryRefused
from serving.semantic.asking.request import Filter, MetricRequest, Top
from tests.spec.metric_shop import TABLES, Shop, axes, axis, metrics


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with duckdb.connect() as connection:
        connection.execute(TABLES)
        yield Shop(connection)


def refused(shop: Shop, request: MetricRequest) -> tuple[str, str]:
    with pytest.raises(QueryRefused) as error:
        shop.compiled(request)
    return error.value.problem, error.value.hint


def test_totals_beside_a_mart_with_more_rows_are_not_inflated(shop: Shop) -> None:
    """lightdash #17055"""
    request = MetricRequest(
        metrics("items.quantity", "orders.revenue", "orders.buyers"),
        axes("orders.region"),
        totals=((),),
    )
    total = shop.sql("select sum(amount), count(distinct customer_id) from orders")[0]
    assert shop.ask(request)[-1] == (None, 11, *total, "total")


def test_a_tile_without_dimensions_counts_each_row_once(shop: Shop) -> None:
    """lightdash #16829"""
    request = MetricRequest(metrics("orders.revenue", "items.quantity", "tickets.tickets"))
    assert shop.ask(request) == shop.sql(
        """select (select sum(amount) from orders), (select sum(quantity) from items),
                  (select count(*) from tickets)"""
    )


def test_chained_joins_repeat_no_row(shop: Shop) -> None:
    """lightdash #15700"""
    request = MetricRequest(metrics("items.quantity"), axes("orders.customers.cities.country"), totals=((),))
    assert shop.ask(request) == [("IT", 11, "group"), (None, 11, "total")]
    both = MetricRequest(metrics("items.quantity", "orders.orders"), axes("orders.customers.cities.country"))
    assert shop.ask(both) == [("IT", 11, 3), ("NO", None, 1), (None, None, 3)]


def test_two_facts_meet_by_region_with_null_and_one_sided_groups(shop: Shop) -> None:
    asked = metrics(
        "orders.orders", "orders.revenue", "tickets.tickets", "tickets.worst", "orders.per_ticket"
    )
    assert shop.ask(MetricRequest(asked, axes("region"))) == [
        ("AMER", 1, 80, 1, 9, 80),
        ("APAC", 1, 7, 0, None, None),
        ("EMEA", 3, 100, 2, 50, 50),
        ("LATAM", 0, None, 1, 8, None),
        (None, 2, 12, 1, 3, 12),
    ]


def test_a_filter_holds_for_each_fact(shop: Shop) -> None:
    emea = (Filter(axis("region"), "in", ("EMEA", None)),)
    request = MetricRequest(metrics("orders.orders", "tickets.tickets"), filters=emea)
    assert shop.ask(request) == [(5, 3)]


def test_three_facts_meet_on_the_groups_of_any(shop: Shop) -> None:
    request = MetricRequest(
        metrics("items.quantity", "orders.orders", "tickets.tickets"), axes("orders.status"), totals=((),)
    )
    assert shop.ask(request) == [
        ("done", 11, 4, 3, "group"),
        ("lost", None, 1, 0, "group"),
        ("open", None, 1, 0, "group"),
        (None, None, 1, 2, "group"),
        (None, 11, 7, 5, "total"),
    ]


def test_the_rest_of_a_top_is_that_of_every_fact(shop: Shop) -> None:
    request = MetricRequest(
        metrics("orders.buyers", "tickets.tickets"), axes("region"), top=Top(axis("region"), 1, other=True)
    )
    assert shop.ask(request) == [("EMEA", 2, 2, "group"), (None, 3, 3, "other")]


def test_the_rows_of_a_dimension_mart_count_once_beside_its_facts(shop: Shop) -> None:
    request = MetricRequest(metrics("customers.customers", "orders.orders"), axes("customers.segment"))
    assert shop.ask(request) == [("home", 1, 1), ("pro", 2, 3), (None, 1, 3)]


@pytest.mark.parametrize(
    ("request_", "problem", "hint"),
    [
        (
            MetricRequest(metrics("orders.revenue"), axes("items.category")),
            "'orders' has no 'items.category': it is a dimension of items, and each row of orders would be "
            "counted once per row of items",
            "ask for a measure of items: items.quantity by 'category'",
        ),
        (
            MetricRequest(metrics("items.quantity", "orders.revenue"), axes("category")),
            "'orders' has no 'category': it is a dimension of items, and each row of orders would be "
            "counted once per row of items",
            "leave out orders.revenue, or 'category'",
        ),
        (
            MetricRequest(metrics("orders.orders", "tickets.tickets"), axes("status")),
            "'tickets' has no 'status'",
            "write 'orders.status', or leave out tickets.tickets, or 'status'",
        ),
        (
            MetricRequest(
                metrics("orders.orders", "stock.counts"), filters=(Filter(axis("region"), "=", ("EMEA",)),)
            ),
            "'stock' has no 'region'",
            "leave out stock.counts, or 'region'",
        ),
        (
            MetricRequest(metrics("items.quantity", "stock.counts", "tickets.tickets"), axes("status")),
            "'items' has no 'status'",
            "known here: category, order_id, quantity",
        ),
        (
            MetricRequest(metrics("items.quantity"), axes("time.month")),
            "'items' has no time column of its own",
            "write 'orders.time.month'",
        ),
    ],
)
def test_what_would_repeat_rows_is_refused_with_the_nearest_request(
    shop: Shop, request_: MetricRequest, problem: str, hint: str
) -> None:
    assert refused(shop, request_) == (problem, hint)
