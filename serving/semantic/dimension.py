"""A dimension's name -> the expression behind it. Keys: `region`, `basket`, `ordered_at.month`."""

from typing import Literal, get_args

from serving.content.model import Mart
from serving.content.semantics import Grain

WeekStart = Literal["monday", "sunday"]
GRAINS: tuple[Grain, ...] = get_args(Grain)  # from fine to coarse; a week is in no month
COARSER: dict[Grain, tuple[Grain, ...]] = {  # what can be put together from buckets of a grain
    "hour": GRAINS,
    "day": ("day", "week", "month", "quarter", "year"),
    "week": ("week",),
    "month": ("month", "quarter", "year"),
    "quarter": ("quarter", "year"),
    "year": ("year",),
}


def quoted(name: str) -> str:
    """A name as DuckDB reads it literally."""
    return '"' + name.replace('"', '""') + '"'


def split_grain(key: str) -> tuple[str, Grain | None]:
    """`ordered_at.month` -> (`ordered_at`, `month`); raises ValueError for an unknown grain."""
    name, _, grain = key.partition(".")
    if grain and grain not in GRAINS:
        raise ValueError(f"'{grain}' is no time grain: {', '.join(GRAINS)}")
    return name, grain if grain else None


def dimension_sql(mart: Mart, key: str, week_starts: str = "monday") -> str:
    """The expression over the mart's columns; raises ValueError for an unknown grain."""
    name, grain = split_grain(key)
    expression = f"({mart.dimensions[name].expr})" if name in mart.dimensions else quoted(name)
    return expression if grain is None else bucket_sql(expression, grain, week_starts)


def bucket_sql(expression: str, grain: Grain, week_starts: str = "monday") -> str:
    """The start of the bucket that holds a time: a DATE (from days up), an instant for hours.

    Instants with a time zone fall into the days of the session's zone, which is the project's.
    """
    if grain == "hour":
        # date_trunc goes by the wall clock, which shows the hour that autumn repeats twice as one
        clock = f"CAST({expression} AS TIMESTAMP)"
        return f"({expression} - ({clock} - date_trunc('hour', {clock})))"
    if grain == "week" and week_starts == "sunday":
        return f"CAST(date_trunc('week', {expression} + INTERVAL 1 DAY) - INTERVAL 1 DAY AS DATE)"
    return f"CAST(date_trunc('{grain}', {expression}) AS DATE)"


def header(key: str) -> str:
    """The column of an answer that a dimension becomes: `ordered_at.month` -> `ordered_at_month`."""
    return key.replace(".", "_")
