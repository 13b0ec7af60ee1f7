"""Whether a metric request says something: its parts fit each other, and the person knows every name."""

from collections import Counter
from collections.abc import Iterable

from serving.content.validate import near
from serving.errors import QueryRefused
from serving.semantic.asking.request import Axis, MetricRequest
from serving.semantic.compile.facts import all_metrics, expression, header
from serving.semantic.compile.reach import check_reach
from serving.semantic.model import Model


def check_request(request: MetricRequest, model: Model) -> None:
    """Raises QueryRefused with what is wrong, and what to ask instead."""
    if not request.metrics:
        raise QueryRefused("a request asks for at least one metric", hint="name one: orders.revenue")
    for metric in all_metrics(request):
        expression(metric, model)
    check_reach(request, model)
    _check_headers(request)
    for total in request.totals:
        _check_shown(total, request, "totals are by dimensions of the answer")
    if request.top is not None:
        _check_shown([request.top.axis], request, "the top is of a dimension of the answer")
        if request.top.other:
            _check_rest(request, model)
    for count, what in ((request.top.count if request.top else None, "a top"), (request.limit, "a limit")):
        if count is not None and count < 1:
            raise QueryRefused(f"{what} shows at least one, not {count}")
    _check_order(request)


def _check_headers(request: MetricRequest) -> None:
    names = [axis.header for axis in request.by] + [header(metric, request) for metric in request.metrics]
    twice = [name for name, count in Counter(name.casefold() for name in names).items() if count > 1]
    if twice:
        hint = "leave one out, or ask for it apart"
        raise QueryRefused(f"two columns of the answer would be called '{twice[0]}'", hint=hint)


def _check_rest(request: MetricRequest, model: Model) -> None:
    """The rest of a top is aggregated from its rows; running totals have none that are theirs alone."""
    for metric in all_metrics(request):
        for part in expression(metric, model).parts:
            if model.content.marts[part.mart].measures[part.measure].cumulative is not None:
                problem = f"'{metric}' is cumulative: the rest of a top cannot be gathered for it"
                raise QueryRefused(problem, hint=f"leave out 'other', or {metric}")


def _check_shown(axes: Iterable[Axis], request: MetricRequest, words: str) -> None:
    for axis in axes:
        if axis not in request.by:
            hint = (
                f"add '{axis}' to the dimensions" if not request.by else near(str(axis), map(str, request.by))
            )
            raise QueryRefused(f"{words}, and '{axis}' is none", hint=hint or f"ask by '{axis}' as well")


def _check_order(request: MetricRequest) -> None:
    metrics = [header(metric, request) for metric in request.metrics]
    known = [axis.header for axis in request.by] + metrics
    if request.compare is not None:
        known += [f"{name}_{word}" for name in metrics for word in ("before", "change", "change_rate")]
    for order in request.order:
        if order.header not in known:
            hint = near(order.header, known)
            raise QueryRefused(f"the answer has no column '{order.header}' to sort by", hint=hint)
