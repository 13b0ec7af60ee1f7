"""The kinds of rows of an answer: which axes groups, subtotals and the grand total keep."""

from serving.semantic.asking.request import Axis, MetricRequest


def grouping_sets(request: MetricRequest) -> tuple[tuple[Axis, ...], ...]:
    """What rows of each kind keep of the axes: all of them first, the grand total last."""
    kept = [tuple(axis for axis in request.by if axis in total) for total in request.totals]
    sets = dict.fromkeys([request.by, *sorted(kept, key=lambda axes: not axes)])
    return tuple(sets)


def has_kinds(request: MetricRequest) -> bool:
    """Whether there may be rows of several kinds."""
    return len(grouping_sets(request)) > 1 or (request.top is not None and request.top.other)
