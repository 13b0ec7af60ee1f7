"""A metric request -> the SELECT that answers it. Pure: the door runs the text like any other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import sqlglot
from sqlglot import exp

from serving.content.model import Mart, Measure
from serving.content.spec import Scalar
from serving.semantic.time import GRAINS, TimeRange

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
    dimensions = [f"{dimension_sql(mart, name, week_starts)} AS {_name(header(name))}" for name in request.by]
    measures = [f"{measure_sql(mart, name)} AS {_name(name)}" for name in request.metrics]
    lines = [f"SELECT {', '.join([*dimensions, *measures])}", f"FROM {_name(request.mart)}"]
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
        f"SELECT CAST({_name(column)} AS DATE) AS newest FROM {_name(mart)} "
        "GROUP BY 1 ORDER BY 1 DESC NULLS LAST LIMIT 1"
    )


def values_sql(mart: Mart, dimension: str, limit: int = 200) -> str:
    """The question for the values of a dimension, as a filter offers them."""
    expression = dimension_sql(mart, dimension)
    return (
        f"SELECT DISTINCT {expression} AS value FROM {_name(mart.name)} "
        f"WHERE {expression} IS NOT NULL ORDER BY 1 LIMIT {limit}"
    )


def header(name: str) -> str:
    """The column that a dimension becomes: `ordered_at.month` -> `ordered_at_month`."""
    return name.replace(".", "_")


def split_grain(name: str) -> tuple[str, str | None]:
    """`ordered_at.month` -> (`ordered_at`, `month`)."""
    column, _, grain = name.partition(".")
    return column, grain or None


def dimension_sql(mart: Mart, name: str, week_starts: str = "monday") -> str:
    """The expression behind a dimension name."""
    column, grain = split_grain(name)
    expression = f"({mart.dimensions[column].expr})" if column in mart.dimensions else _name(column)
    if grain is None:
        return expression
    if grain not in GRAINS:
        raise KeyError(name)
    if grain == "week" and week_starts == "sunday":
        return f"CAST(date_trunc('week', {expression} + INTERVAL 1 DAY) - INTERVAL 1 DAY AS DATE)"
    return f"CAST(date_trunc('{grain}', {expression}) AS DATE)"


def measure_sql(mart: Mart, name: str, inside: tuple[str, ...] = ()) -> str:
    """The aggregate behind a measure; derived ones are expressions over aggregates.

    A ratio is a ratio of aggregates, never an aggregate of ratios, and null where the divisor is 0.
    """
    if name in inside:
        raise ValueError(f"the measures {' -> '.join([*inside, name])} refer to each other in a circle")
    measure = mart.measures[name]
    if measure.agg is not None:
        return _aggregate(measure)

    tree = sqlglot.parse_one(measure.expr or "", dialect="duckdb")
    for division in list(tree.find_all(exp.Div)):
        division.set("expression", exp.func("NULLIF", division.expression, exp.Literal.number(0)))
    for column in list(tree.find_all(exp.Column)):
        if column.name in mart.measures:
            # expanded as text: what an author wrote inside an aggregate is not for sqlglot to reprint
            column.set("this", exp.to_identifier(f"{_MARK}{column.name}"))
    text = tree.sql("duckdb", comments=False)
    for marked in sorted({column.name for column in tree.find_all(exp.Column)}, key=len, reverse=True):
        if marked.startswith(_MARK):
            text = text.replace(marked, f"({measure_sql(mart, marked.removeprefix(_MARK), (*inside, name))})")
    return f"({text})"


_MARK = "sluice_measure_"


def _aggregate(measure: Measure) -> str:
    match measure.agg, measure.expr:
        case "count", None:
            return "count(*)"
        case "count_distinct", expression:
            return f"count(DISTINCT {expression})"
        case function, expression:
            return f"{function}({expression})"


def _condition(mart: Mart, name: str, value: FilterValue) -> str:
    expression = dimension_sql(mart, name)
    if isinstance(value, TimeRange):
        return f"{expression} >= DATE '{value.start}' AND {expression} < DATE '{value.end}'"
    return f"{expression} IN ({', '.join(exp.convert(item).sql('duckdb') for item in value)})"


def _name(name: str) -> str:
    return exp.to_identifier(name, quoted=True).sql("duckdb")
