"""Metric requests as texts: what can be said, what is refused and how, and that writing loses nothing."""

import json
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import QueryRefused
from serving.semantic.asking.request import (
    Axis,
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
from serving.semantic.asking.words import (
    axis,
    compare,
    condition,
    having,
    metric,
    order,
    read_request,
    top,
    write_request,
)
from serving.semantic.dimension import GRAINS

MONTH, REGION = Axis("ordered_at", "month"), Axis("region")


def test_a_whole_request_is_read_from_a_mapping() -> None:
    words = {
        "metrics": ["orders.revenue", "~orders.buyers"],
        "by": ["ordered_at.month", "customers.segment"],
        "where": [
            "region in ('EMEA', null)",
            "ordered_at: last 12 months",
            "status = 'it''s done'",
            "company is null",
            "country contains 'an'",
            {"dimension": "basket", "op": "not in", "values": ["small", 3, True]},
        ],
        "having": "orders.revenue > 1000.5",
        "compare": "3 months earlier",
        "top": {"dimension": "country", "count": 5, "by": "orders.revenue", "other": True},
        "totals": [["customers.segment"], []],
        "fill": True,
        "order": ["-revenue", "ordered_at.month"],
        "limit": 10,
    }
    segment, revenue = Axis("segment", path=("customers",)), Metric("orders", "revenue")
    assert read_request(words) == MetricRequest(
        metrics=(revenue, Metric("orders", "buyers", approximate=True)),
        by=(MONTH, segment),
        filters=(
            Filter(REGION, "in", ("EMEA", None)),
            Filter(Axis("status"), "=", ("it's done",)),
            Filter(Axis("company"), "is null"),
            Filter(Axis("country"), "contains", ("an",)),
            Filter(Axis("basket"), "not in", ("small", 3, True)),
        ),
        spans=(Span(Axis("ordered_at"), "last 12 months"),),
        having=(Having(revenue, ">", 1000.5),),
        compare=Compare("offset", 3, "month"),
        top=Top(Axis("country"), 5, revenue, other=True),
        totals=((segment,), ()),
        fill=True,
        order=(Order("revenue", descending=True), Order("ordered_at_month")),
        limit=10,
    )


def test_one_text_stands_for_a_list_of_one_and_true_for_the_grand_total() -> None:
    found = read_request(
        {"metrics": "orders.revenue", "where": "paid = true", "totals": True, "order": "-revenue"}
    )
    assert found.metrics == (Metric("orders", "revenue"),)
    assert found.filters == (Filter(Axis("paid"), "=", (True,)),)
    assert found.totals == ((),)
    assert read_request({"metrics": "orders.revenue", "totals": False, "limit": None}).totals == ()


def test_a_last_part_in_double_quotes_is_a_name_and_not_a_grain() -> None:
    assert axis("customers.month") == Axis("customers", "month")
    assert axis('customers."month"') == Axis("month", None, ("customers",))
    assert axis('"Größe ""x"""') == Axis('Größe "x"')
    assert axis("month") == Axis("month")
    assert axis("orders.customers.born.year") == Axis("born", "year", ("orders", "customers"))


def test_small_texts_are_read_in_any_case_of_words_and_with_any_blanks() -> None:
    assert condition(" amount<>-1.5e3 ") == Filter(Axis("amount"), "!=", (-1500.0,))
    assert condition("region NOT IN('a')") == Filter(REGION, "not in", ("a",))
    assert condition("region IS  NOT NULL") == Filter(REGION, "is not null")
    assert condition("ordered_at.month >= '2026-01-01'") == Filter(MONTH, ">=", ("2026-01-01",))
    assert condition("time : since 2026-01-01") == Span(Axis("time"), "since 2026-01-01")
    assert top("3 region") == Top(REGION, 3)
    assert top("3 region, other") == Top(REGION, 3, None, True)
    assert compare("previous period") == Compare("previous period")
    assert compare("1 year earlier") == Compare("offset", 1, "year")
    assert having("~orders.buyers >= 5") == Having(Metric("orders", "buyers", True), ">=", 5)


@pytest.mark.parametrize(
    ("read", "text", "says"),
    [
        (metric, "revenue", "'revenue' cannot be read: at its end, a dot and the name of a measure"),
        (metric, "orders.revenue.x", "at character 15, '.x', the end is expected"),
        (axis, "ordered_at.", "a name, or a grain is expected"),
        (condition, "region = EMEA", "at character 10, 'EMEA', a value ('text' in single quotes"),
        (condition, "region", "one of = != < <= > >=, in, is, contains or ':' is expected"),
        (condition, "region in ()", "at character 12, ')', a value"),
        (condition, "region in ('a' 'b')", "a comma or ')' is expected"),
        (condition, "region = 'a' or true", "at character 14, 'or true', the end"),
        (condition, "region < null", "write region is null"),
        (condition, "region = 'open", "at character 10"),
        (condition, "amount contains 5", "looks for a text"),
        (condition, "amount = 1e999", "too large"),
        (condition, "amount = 12abc", "at character 10, '12abc'"),
        (condition, "ordered_at: yesterday", "'yesterday' in the condition"),
        (condition, "ordered_at.month: last 3 months", "write ordered_at: last 3 months"),
        (having, "orders.revenue > '5'", "a number is expected"),
        (compare, "previous month", "period or year is expected"),
        (compare, "3 hours earlier", "days, weeks, months, quarters or years"),
        (compare, "0 days earlier", "goes 0 back"),
        (top, "five region", "a number is expected"),
        (top, "5 region, others", "other is expected"),
        (top, "1.5 region", "whole number from 1 up"),
        (order, "-", "a column of the answer is expected"),
        (metric, 5, "a metric is a text, not 5"),
    ],
)
def test_what_cannot_be_read_is_quoted_with_the_place_and_a_hint(read: Any, text: Any, says: str) -> None:
    with pytest.raises(QueryRefused) as refused:
        read(text)
    assert says in str(refused.value)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"metrics": "a.b", "fliter": 1}, "did you mean"),
        ({"metrics": "a.b", "ordr": 1}, "did you mean 'order'?"),
        ({"metrics": "a.b", "where": {"dimension": "x", "op": "like", "values": ["y"]}}, "no 'op' 'like'"),
        ({"metrics": "a.b", "where": {"dimension": "x", "value": 1}}, "did you mean 'values'?"),
        (
            {"metrics": "a.b", "where": {"dimension": "x", "op": "=", "values": [1, 2]}},
            "takes one value, not 2",
        ),
        ({"metrics": "a.b", "where": {"dimension": "x", "op": "in", "values": [[1]]}}, "[1] is no value"),
        ({"metrics": "a.b", "top": {"dimension": "x", "count": 0}}, "'count' is 0"),
        ({"metrics": "a.b", "limit": "10"}, "'limit' is '10'"),
        ({"metrics": "a.b", "limit": True}, "whole number"),
        ({"metrics": "a.b", "fill": "yes"}, "true or false"),
        ({"metrics": "a.b", "totals": ["region"]}, "[[region], []]"),
    ],
)
def test_a_mapping_with_another_key_or_value_is_refused(words: dict[str, Any], says: str) -> None:
    if "fliter" in words:
        says = "no 'fliter'"
    with pytest.raises(QueryRefused) as refused:
        read_request(words)
    assert says in str(refused.value)


names = st.one_of(
    st.sampled_from(["orders", "month", "time", "null", "in", "by"]), st.text(min_size=1, max_size=6)
)
axes = st.builds(Axis, names, st.sampled_from([None, *GRAINS]), st.lists(names, max_size=2).map(tuple))
metrics = st.builds(Metric, names, names, st.booleans())
scalars = st.one_of(
    st.text(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.just("it's \n null"),
)


@st.composite
def filters(draw: st.DrawFn) -> Filter:
    op: Op = draw(st.sampled_from(get_args(Op)))
    if op in ("is null", "is not null"):
        return Filter(draw(axes), op)
    if op in ("in", "not in"):
        return Filter(draw(axes), op, tuple(draw(st.lists(st.none() | scalars, min_size=1, max_size=3))))
    return Filter(draw(axes), op, (draw(st.text() if op == "contains" else scalars),))


words_of_ranges = st.sampled_from(
    ["last 12 months", "2026-01-01..2026-03-31", "until 2026-03-31", "last year"]
)
spans = st.builds(Span, st.builds(Axis, names, path=st.lists(names, max_size=2).map(tuple)), words_of_ranges)
signs = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
numbers = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
compares = st.one_of(
    st.sampled_from([Compare("previous period"), Compare("previous year")]),
    st.builds(Compare, st.just("offset"), st.integers(1, 99), st.sampled_from(GRAINS[1:])),
)
requests = st.builds(
    MetricRequest,
    metrics=st.lists(metrics, min_size=1, max_size=2).map(tuple),
    by=st.lists(axes, max_size=2).map(tuple),
    filters=st.lists(filters(), max_size=3).map(tuple),
    spans=st.lists(spans, max_size=2).map(tuple),
    having=st.lists(st.builds(Having, metrics, signs, numbers), max_size=2).map(tuple),
    compare=st.none() | compares,
    top=st.none() | st.builds(Top, axes, st.integers(1, 9), st.none() | metrics, st.booleans()),
    totals=st.lists(st.lists(axes, max_size=2).map(tuple), max_size=2).map(tuple),
    fill=st.booleans(),
    order=st.lists(st.builds(Order, names, st.booleans()), max_size=2).map(tuple),
    limit=st.none() | st.integers(1, 9),
)


@settings(max_examples=150, deadline=None)
@given(requests)
def test_a_request_that_was_written_is_read_back_the_same_through_json(request: MetricRequest) -> None:
    assert read_request(json.loads(json.dumps(write_request(request)))) == request


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(alphabet="ab.'\"~=<>(),:- 0129einul"), st.text()))
def test_no_text_ends_in_anything_but_a_part_or_a_refusal(text: str) -> None:
    for read in (metric, axis, condition, having, compare, top, order):
        try:
            read(text)
        except QueryRefused as refused:
            assert refused.hint
