"""The answer to a metric request, in the most naive way: group by group, over exactly the rows of each.

It knows the request, the definitions as the generator wrote them, and one person's plain copy of the
rows; it does not know the compiler. Python drives the loop, DuckDB computes the aggregates, so that
types and last digits are the engine's.
"""

from collections.abc import Iterable, Sequence
from functools import cmp_to_key

from serving.semantic.asking.request import Metric, MetricRequest
from tests.property.metrics.around import distance, earlier, filled, moving, paired
from tests.property.metrics.chosen import Ranges
from tests.property.metrics.lines import Key, Line, best_values, cell_of, compared, lines, shown_metrics
from tests.property.metrics.sight import Sight
from tests.property.metrics.values import evaluated, picks

Valued = tuple[Line, Key, Key]  # values now, and before


def expected(sight: Sight, request: MetricRequest, ranges: Ranges) -> tuple[list[str], list[Key]]:
    """The headers and the rows of the right answer."""
    found = list(_lines(sight, request, ranges))
    metrics = shown_metrics(request)
    wanted = picks(sight, metrics)
    cells = [cell_of(sight, wanted, line.rows) for line in found]
    if request.compare is not None:
        cells += [cell_of(sight, wanted, line.before) for line in found]
    values = evaluated(sight, metrics, cells)
    now, before = values[: len(found)], values[len(found) :] or values
    headers = _headers(request)
    rows = []
    for line, new, old in zip(found, now, before, strict=True):
        if line.place or line.rest or _passes(request, new):
            shown = _shown(request, new, old)
            rows.append(
                (line, (*line.key, *shown, *([_kind(request, line)] if "row_kind" in headers else [])))
            )
    return headers, _ordered(request, headers, rows)


def _lines(sight: Sight, request: MetricRequest, ranges: Ranges) -> Sequence[Line]:
    mart = request.metrics[0].mart
    best = best_values(sight, request, ranges)
    found, then = list(lines(sight, request, ranges, best)), list[Line]()
    if request.compare is not None:
        span, axes = moving(sight, mart, request)
        assert span is not None
        months, days = distance(request, ranges[span], axes)
        then = list(lines(sight, request, earlier(ranges, span, months, days), best))
    if request.fill:
        found = list(filled(sight, mart, request, ranges, found, then))
    return found if request.compare is None else list(paired(request, axes, found, then, months, days))


def _passes(request: MetricRequest, values: Key) -> bool:
    judged = values[len(request.metrics) :]
    return all(_holds(value, h.op, h.value) for value, h in zip(judged, request.having, strict=True))


def _holds(value: object, op: str, limit: float) -> bool:
    if value is None:
        return False
    return {
        "=": value == limit,
        "!=": value != limit,
        "<": value < limit,  # type: ignore[operator]
        "<=": value <= limit,  # type: ignore[operator]
        ">": value > limit,  # type: ignore[operator]
        ">=": value >= limit,  # type: ignore[operator]
    }[op]


def _shown(request: MetricRequest, new: Key, old: Key) -> Iterable[object]:
    for place in range(len(request.metrics)):
        now, before = new[place], old[place]
        yield now
        if request.compare is not None:
            change = None if now is None or before is None else now - before  # type: ignore[operator]
            yield from (before, change, None if change is None or not before else _share(change, before))


def _share(change: object, before: object) -> float:
    """The change as a share of what was: of whole numbers and decimals, in floating-point numbers."""
    if isinstance(before, int):
        return change / abs(before)  # type: ignore[operator]
    return float(change) / float(abs(before))  # type: ignore[arg-type]


def _kind(request: MetricRequest, line: Line) -> str:
    if not line.place:
        return "other" if line.rest else "group"
    return "subtotal" if line.place <= sum(bool(kept) for kept in request.totals) else "total"


def _headers(request: MetricRequest) -> list[str]:
    names = metric_headers(request)
    if request.compare is not None:
        names = [f"{name}{more}" for name in names for more in ("", "_before", "_change", "_change_rate")]
    kinds = ["row_kind"] if request.totals or (request.top and request.top.other) else []
    return [*(axis.header for axis in request.by), *names, *kinds]


def metric_headers(request: MetricRequest) -> list[str]:
    """A measure's name, or mart_measure where another column is called so."""
    names = [*(metric.measure for metric in request.metrics), *(axis.header for axis in request.by)]
    return [_header(metric, names) for metric in request.metrics]


def _header(metric: Metric, names: Sequence[str]) -> str:
    return metric.measure if names.count(metric.measure) == 1 else f"{metric.mart}_{metric.measure}"


def _ordered(request: MetricRequest, headers: list[str], rows: list[tuple[Line, Key]]) -> list[Key]:
    """Totals last, whatever the limit; by what is asked, then by the axes, what a top gathers last."""

    def order(a: tuple[Line, Key], b: tuple[Line, Key]) -> int:
        if a[0].place != b[0].place:
            return a[0].place - b[0].place
        for wanted in request.order:
            place = headers.index(wanted.header)
            if found := compared(a[1][place], b[1][place], wanted.descending):
                return found
        by_axis = (compared(x, y, False) for x, y in zip(a[0].key, b[0].key, strict=True))
        return next((found for found in by_axis if found), 0) or a[0].rest - b[0].rest

    found = sorted(rows, key=cmp_to_key(order))
    groups = [row for line, row in found if not line.place][: request.limit]
    return groups + [row for line, row in found if line.place]
