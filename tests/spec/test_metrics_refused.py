"""What a metric request is refused for, in words that name the nearest one that has an answer."""

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from serving.errors import QueryRefused
from serving.semantic.asking.request import Filter, MetricRequest, Op, Order, Top
from tests.spec.metric_shop import TABLES, Shop, axes, axis, metrics


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        made.execute(TABLES)
        yield made


@pytest.fixture(scope="module")
def shop(connection: duckdb.DuckDBPyConnection) -> Shop:
    return Shop(connection)


def refused(shop: Shop, request: MetricRequest) -> tuple[str, str]:
    with pytest.raises(QueryRefused) as error:
        shop.compiled(request)
    return error.value.problem, error.value.hint


@pytest.mark.parametrize(
    ("name", "op", "values", "words"),
    [
        ("status", "=", (), "'status =' takes one value, not 0"),
        ("status", "is null", ("x",), "'status is null' takes no value, not 1"),
        ("amount", "<", (None,), "nothing is < NULL"),
        ("status", "=", (5,), "'status' holds texts, and 5 is none"),
        ("status", "contains", (5,), "'status contains' takes a text"),
    ],
)
def test_a_filter_whose_values_do_not_fit_is_refused(
    shop: Shop, name: str, op: Op, values: tuple[Any, ...], words: str
) -> None:
    request = MetricRequest(metrics("orders.orders"), filters=(Filter(axis(name), op, values),))
    assert refused(shop, request)[0] == words


@pytest.mark.parametrize(
    ("request_", "problem", "hint"),
    [
        (MetricRequest(()), "a request asks for at least one metric", "name one: orders.revenue"),
        (
            MetricRequest(metrics("order.revenue")),
            "there is no mart 'order' for you",
            "did you mean 'orders'?",
        ),
        (
            MetricRequest(metrics("orders.revenu")),
            "'orders' has no measure 'revenu'",
            "did you mean 'revenue'?",
        ),
        (
            MetricRequest(metrics("~orders.revenue")),
            "nothing in 'revenue' can be estimated: `~` is for distinct counts and quantiles",
            "ask for orders.revenue",
        ),
        (
            MetricRequest(metrics("orders.revenue"), axes("regoin")),
            "'orders' has no 'regoin'",
            "did you mean 'region'?",
        ),
        (
            MetricRequest(metrics("orders.revenue"), axes("custmers.segment")),
            "'orders' has no 'custmers.segment'",
            "write 'customers.segment'",
        ),
        (
            MetricRequest(metrics("orders.revenue"), axes("region.month")),
            "'region' of orders is no time, but VARCHAR",
            "times are DATE or TIMESTAMP columns",
        ),
        (
            MetricRequest(metrics("orders.revenue"), axes("region"), top=Top(axis("status"), 3)),
            "the top is of a dimension of the answer, and 'status' is none",
            "known here: region",
        ),
        (
            MetricRequest(metrics("orders.revenue"), axes("region"), totals=(axes("size"),)),
            "totals are by dimensions of the answer, and 'size' is none",
            "known here: region",
        ),
        (
            MetricRequest(metrics("orders.revenue"), axes("region"), order=(Order("revenu"),)),
            "the answer has no column 'revenu' to sort by",
            "did you mean 'revenue'?",
        ),
        (
            MetricRequest(metrics("orders.buyers", "~orders.buyers")),
            "two columns of the answer would be called 'orders_buyers'",
            "leave one out, or ask for it apart",
        ),
        (
            MetricRequest(metrics("orders.so_far"), axes("region"), top=Top(axis("region"), 1, other=True)),
            "'orders.so_far' is cumulative: the rest of a top cannot be gathered for it",
            "leave out 'other', or orders.so_far",
        ),
        (MetricRequest(metrics("orders.revenue"), limit=0), "a limit shows at least one, not 0", ""),
    ],
)
def test_what_says_nothing_is_refused_with_what_to_ask(
    shop: Shop, request_: MetricRequest, problem: str, hint: str
) -> None:
    assert refused(shop, request_) == (problem, hint)


def test_a_hidden_column_is_an_unknown_one(connection: duckdb.DuckDBPyConnection) -> None:
    shop = Shop(connection, {"orders": ("cost", "status")})
    problem, hint = refused(shop, MetricRequest(metrics("orders.revenue"), axes("status")))
    assert problem == "'orders' has no 'status'"
    assert hint.startswith("known here: ") and "status" not in hint


def test_a_measure_of_a_hidden_column_is_refused(connection: duckdb.DuckDBPyConnection) -> None:
    shop = Shop(connection, {"orders": ("cost",), "tickets": ("*",)})
    hidden = "the measure 'margin' needs a column that is hidden from you"
    assert refused(shop, MetricRequest(metrics("orders.margin")))[0] == hidden
    foreign = "the measure 'per_ticket' needs a column that is hidden from you"
    assert refused(shop, MetricRequest(metrics("orders.per_ticket")))[0] == foreign
    assert refused(shop, MetricRequest(metrics("tickets.tickets")))[0] == "there is no mart 'tickets' for you"


def test_a_computed_dimension_of_a_hidden_column_is_unknown(connection: duckdb.DuckDBPyConnection) -> None:
    shop = Shop(connection, {"customers": ("segment",)})
    problem, hint = refused(shop, MetricRequest(metrics("orders.revenue"), axes("customers.loud")))
    assert problem == "'orders' has no 'customers.loud'"
    assert "loud" not in hint


def test_a_join_over_a_masked_key_is_refused(connection: duckdb.DuckDBPyConnection) -> None:
    shop = Shop(connection, masked={"customers": ("customer_id",)})
    problem, _ = refused(shop, MetricRequest(metrics("orders.revenue"), axes("customers.segment")))
    assert problem == (
        "'orders' reaches 'customers.segment' only through a column that is masked for you: "
        "customers.customer_id"
    )
