"""Metric requests as people and programs write them: texts in a mapping <-> MetricRequest.

    metrics:  [orders.revenue, ~orders.buyers]
    by:       [ordered_at.month, region]
    where:    ["ordered_at: last 12 months", "region in ('EMEA', null)", "country contains 'an'"]
    having:   ["orders.revenue > 1000"]
    compare:  previous period | previous year | 3 months earlier
    top:      "5 country by orders.revenue, other"
    totals:   true | [[region], []]
    fill:     true
    order:    [-revenue, region]
    limit:    10

Names that are not plain words stand in double quotes, texts in single quotes; a quote inside is doubled.
What cannot be read is refused with the text, the place in it, and an example.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from serving.errors import QueryRefused
from serving.semantic.asking.phrases import (
    axis,
    compare,
    counted,
    flag,
    having,
    known_only,
    metric,
    order,
    top,
    written_axis,
    written_having,
    written_metric,
    written_order,
    written_top,
)
from serving.semantic.asking.phrases_where import condition, written_condition
from serving.semantic.asking.request import Axis, Filter, MetricRequest, Span

__all__ = [
    "axis",
    "compare",
    "condition",
    "having",
    "metric",
    "order",
    "read_request",
    "top",
    "write_request",
]

T = TypeVar("T")
_KEYS = ("metrics", "by", "where", "having", "compare", "top", "totals", "fill", "order", "limit")


def read_request(words: Mapping[str, Any]) -> MetricRequest:
    """The request that the mapping says; raises QueryRefused for what is unknown or cannot be read."""
    known_only(words, _KEYS, "a metric request")
    conditions = _each(words, "where", condition)
    compared, best = words.get("compare"), words.get("top")
    return MetricRequest(
        metrics=_each(words, "metrics", metric),
        by=_each(words, "by", axis),
        filters=tuple(found for found in conditions if isinstance(found, Filter)),
        spans=tuple(found for found in conditions if isinstance(found, Span)),
        having=_each(words, "having", having),
        compare=None if compared is None else compare(compared),
        top=None if best is None else top(best),
        totals=_totals(words.get("totals")),
        fill=flag(words, "fill"),
        order=_each(words, "order", order),
        limit=None if words.get("limit") is None else counted(words["limit"], "limit"),
    )


def write_request(request: MetricRequest) -> dict[str, Any]:
    """The request as a mapping that JSON can hold; `read_request` reads the same request from it."""
    best = request.top
    totals = [[written_axis(kept) for kept in total] for total in request.totals]
    found: dict[str, Any] = {
        "metrics": [written_metric(item) for item in request.metrics],
        "by": [written_axis(item) for item in request.by],
        "where": [*map(written_condition, request.spans), *map(written_condition, request.filters)],
        "having": [written_having(item) for item in request.having],
        "compare": None if request.compare is None else str(request.compare),
        "top": None if best is None else written_top(best),
        "totals": True if totals == [[]] else totals,
        "fill": request.fill,
        "order": [written_order(item) for item in request.order],
        "limit": request.limit,
    }
    return {key: value for key, value in found.items() if value not in (None, False, [])}


def _totals(given: Any) -> tuple[tuple[Axis, ...], ...]:
    if given is None or isinstance(given, bool):
        return ((),) if given else ()
    if not isinstance(given, list | tuple) or not all(isinstance(kept, list | tuple) for kept in given):
        hint = "true for the grand total; [[region], []] for one per region and the grand one"
        raise QueryRefused(f"'totals' is {given!r}", hint=hint)
    return tuple(tuple(axis(text) for text in kept) for kept in given)


def _each(words: Mapping[str, Any], key: str, read: Callable[[Any], T]) -> tuple[T, ...]:
    """One or several of a key."""
    given = words.get(key)
    if given is None:
        return ()
    return tuple(read(item) for item in (given if isinstance(given, list | tuple) else [given]))
