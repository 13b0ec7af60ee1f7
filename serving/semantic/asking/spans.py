"""The days that a request's ranges in words mean: they end with the data that the person may see."""

from collections.abc import Mapping
from datetime import date

from serving.errors import QueryRefused
from serving.semantic.asking.request import MetricRequest, Span
from serving.semantic.asking.time import TimeRange, time_range
from serving.semantic.compile.axes import Place, place
from serving.semantic.dimension import WeekStart, quoted
from serving.semantic.model import Model

Column = tuple[str, str]  # mart, column


def newest_columns(model: Model, request: MetricRequest) -> tuple[Column, ...]:
    """The columns whose newest day decides where the request's ranges end."""
    return tuple(dict.fromkeys(column for span in request.spans for column in _columns(model, request, span)))


def newest_sql(mart: str, column: str) -> str:
    """The question for the last day with data that the asker may see."""
    return (  # no max(): where a mart answers in aggregates only, that would be one person's day
        f"SELECT CAST({quoted(column)} AS DATE) AS newest FROM {quoted(mart)} "
        "GROUP BY 1 ORDER BY 1 DESC NULLS LAST LIMIT 1"
    )


def span_ranges(
    model: Model, request: MetricRequest, newest: Mapping[Column, date | None], today: date
) -> tuple[tuple[Span, TimeRange], ...]:
    """What each span means; `newest` by column, `today` where there are no rows at all.

    Raises QueryRefused for words that are no range.
    """
    found = []
    for span in request.spans:
        days = [newest[column] for column in _columns(model, request, span)]
        last = max((day for day in days if day is not None), default=today)
        try:
            found.append((span, time_range(span.words, last, _week_starts(model))))
        except ValueError as error:
            raise QueryRefused(str(error)) from error
    return tuple(found)


def _columns(model: Model, request: MetricRequest, span: Span) -> list[Column]:
    """The plain columns that the axis means for each mart asked; what it cannot mean is refused later."""
    marts = dict.fromkeys(metric.mart for metric in request.metrics if metric.mart in model.readable)
    places = [place(span.axis, mart, model) for mart in marts]
    return [(found.mart, found.key) for found in places if found is not None and _plain(found, model)]


def _plain(found: Place, model: Model) -> bool:
    return found.key in model.readable[found.mart]


def _week_starts(model: Model) -> WeekStart:
    return model.content.project.week_starts
