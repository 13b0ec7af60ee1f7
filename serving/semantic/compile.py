"""A metric request -> the SELECT that answers it. Pure: the door runs the text like any other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sqlglot import exp

from serving.content.model import Mart
from serving.content.spec import Scalar
from serving.semantic.dimension import dimension_sql, header, quoted
from serving.semantic.leaves import measure_sql
from serving.semantic.time import TimeRange

FilterValue = TimeRange | tuple[Scalar, ...]


@dataclass(frozen=True)
class MetricRequest:
    """Measures of one mart by dimensions. `by` and `split` are `column` or `column.grain`."""

    mart: str
    metrics: tuple[str, ...]
    by: tuple[str, ...] = ()
    filters: Mapping[str, FilterValue] = field(default_factory=dict)  # dimension -> range, or values
    order: Literal["value", "label"] = "label"
    limit: int | None = None


def compile_request(mart: Mart, request: MetricRequest, week_starts: str = "monday") -> str:
    """The SELECT: one column per dimension, then one per measure; raises KeyError for unknown names."""
    dimensions = [
        f"{dimension_sql(mart, name, week_starts)} AS {quoted(header(name))}" for name in request.by
    ]
    measures = [f"{measure_sql(mart, name)} AS {quoted(name)}" for name in request.metrics]
    lines = [f"SELECT {', '.join([*dimensions, *measures])}", f"FROM {quoted(request.mart)}"]
    if conditions := [_condition(mart, name, value) for name, value in request.filters.items()]:
        lines.append("WHERE " + " AND ".join(conditions))
    if dimensions:
        positions = ", ".join(str(index + 1) for index in range(len(dimensions)))
        lines.append(f"GROUP BY {positions}")
        by_value = f"{len(dimensions) + 1} DESC NULLS LAST, {positions}"
        lines.append(f"ORDER BY {by_value if request.order == 'value' else positions}")
    if request.limit is not None:
        lines.append(f"LIMIT {request.limit}")
    return "\n".join(lines)


def newest_sql(mart: str, column: str) -> str:
    """The question for the last day with data that the asker may see."""
    return (  # no max(): where a mart answers in aggregates only, that would be one person's day
        f"SELECT CAST({quoted(column)} AS DATE) AS newest FROM {quoted(mart)} "
        "GROUP BY 1 ORDER BY 1 DESC NULLS LAST LIMIT 1"
    )


def values_sql(mart: Mart, dimension: str, limit: int = 200) -> str:
    """The question for the values of a dimension, as a filter offers them."""
    expression = dimension_sql(mart, dimension)
    return (
        f"SELECT DISTINCT {expression} AS value FROM {quoted(mart.name)} "
        f"WHERE {expression} IS NOT NULL ORDER BY 1 LIMIT {limit}"
    )


def _condition(mart: Mart, name: str, value: FilterValue) -> str:
    expression = dimension_sql(mart, name)
    if isinstance(value, TimeRange):
        return f"{expression} >= DATE '{value.start}' AND {expression} < DATE '{value.end}'"
    return f"{expression} IN ({', '.join(exp.convert(item).sql('duckdb') for item in value)})"
