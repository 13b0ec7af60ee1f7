"""A dashboard's tiles as governed questions and their answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import pyarrow as pa

from serving.answer import Answer
from serving.content.model import Dashboard, Mart, Tile
from serving.content.spec import Scalar
from serving.errors import QueryRefused
from serving.identity import User
from serving.project import Project
from serving.semantic.compile import (
    FilterValue,
    MetricRequest,
    compile_request,
    newest_sql,
    values_sql,
)
from serving.semantic.dimension import dimension_sql
from serving.semantic.time import TimeRange, is_range, time_range

ALL = "all"
Choice = str | tuple[Scalar, ...]  # a time range in words, `all`, or the values to keep
NewestDays = Mapping[tuple[str, str], date | QueryRefused | None]  # (mart, column) -> day


@dataclass(frozen=True)
class TileAnswer:
    """What a tile shows. `before` is the same number one period earlier, for number tiles."""

    tile: Tile
    answer: Answer
    dimensions: tuple[str, ...]  # the columns that are dimensions, in order
    measures: tuple[str, ...]
    formats: Mapping[str, str]  # measure -> d3-like format
    before: float | None = None
    span: TimeRange | None = None  # the days shown; None: all of them
    unfiltered: tuple[str, ...] = ()  # filters that do not reach this tile

    @property
    def period(self) -> str:
        """The days shown, in words."""
        return "" if self.span is None else f"{self.span.start:%-d %b %Y} – {self.span.last:%-d %b %Y}"

    @property
    def table(self) -> pa.Table:
        """The rows to draw."""
        return self.answer.table


def default_choices(board: Dashboard) -> dict[str, Choice]:
    """What the dashboard's file says its filters start with."""
    return {
        name: value if isinstance(value, tuple | str) else (value,) for name, value in board.filters.items()
    }


def filter_values(project: Project, board: Dashboard, name: str, user: User) -> list[Scalar]:
    """The values that a filter offers this user, from the first mart of the board that has them."""
    for tile in board.tiles:
        mart = _mart(project, tile)
        if mart is not None and _has(mart, name) and mart.name in project.visible_marts(user):
            table = project.ask(values_sql(mart, name), user=user, surface="dashboard").table
            return list(table.column("value").to_pylist())
    return []


def newest_days(
    project: Project, tiles: Sequence[Tile], choices: Mapping[str, Choice], user: User
) -> NewestDays:
    """The last day with data that this user may see, for every column that a range filters.

    Ranges end there, not today. Asked once for all tiles; a refusal waits for the tile it concerns.
    """
    found: dict[tuple[str, str], date | QueryRefused | None] = {}
    for mart in {mart.name: mart for tile in tiles if (mart := _mart(project, tile)) is not None}.values():
        for name, value in choices.items():
            if is_range(value) and _has(mart, name):
                try:
                    found[mart.name, name] = _newest(project, mart, name, user)
                except QueryRefused as refusal:
                    found[mart.name, name] = refusal
    return found


def answer_tile(
    project: Project,
    tile: Tile,
    choices: Mapping[str, Choice],
    user: User,
    newest: NewestDays | None = None,
) -> TileAnswer:
    """Ask what the tile shows; raises QueryRefused where this user may not.

    `newest` is what `newest_days` found for the tiles asked together.
    """
    mart = _mart(project, tile)
    if mart is None:
        answer = project.ask(tile.sql or "", user=user, surface="dashboard")
        unfiltered = tuple(name for name, value in choices.items() if value != ALL)
        return TileAnswer(tile, answer, (), tuple(answer.table.column_names), {}, unfiltered=unfiltered)
    measures = tuple(metric.partition(".")[2] for metric in tile.metrics)
    by = (*tile.by, *((tile.split,) if tile.split else ()))
    days = newest_days(project, [tile], choices, user) if newest is None else newest
    filters, unfiltered = _filters(mart, choices, days, project.content.project.week_starts)
    request = MetricRequest(mart.name, measures, by, filters, tile.order or "label", tile.limit)
    starts = project.content.project.week_starts
    answer = project.ask(compile_request(mart, request, starts), user=user, surface="dashboard")
    ranges = [value for value in filters.values() if isinstance(value, TimeRange)]
    before = None
    if tile.compare is not None and tile.chart == "number" and ranges:
        shifted: dict[str, FilterValue] = {
            name: value.shifted(tile.compare) if isinstance(value, TimeRange) else value
            for name, value in filters.items()
        }
        earlier = MetricRequest(mart.name, measures, (), shifted)
        table = project.ask(compile_request(mart, earlier, starts), user=user, surface="dashboard").table
        before = table.column(0)[0].as_py()
    return TileAnswer(
        tile,
        answer,
        tuple(answer.table.column_names[: len(by)]),
        measures,
        {name: mart.measures[name].format for name in measures},
        None if before is None else float(before),
        ranges[0] if ranges else None,
        unfiltered,
    )


def _mart(project: Project, tile: Tile) -> Mart | None:
    return project.content.marts[tile.metrics[0].partition(".")[0]] if tile.metrics else None


def _has(mart: Mart, name: str) -> bool:
    column, _, _ = name.partition(".")
    return column in mart.columns or column in mart.dimensions


def _filters(
    mart: Mart, choices: Mapping[str, Choice], newest: NewestDays, week_starts: Literal["monday", "sunday"]
) -> tuple[dict[str, FilterValue], tuple[str, ...]]:
    found: dict[str, FilterValue] = {}
    unfiltered = []
    for name, value in choices.items():
        if value in (ALL, ()):
            continue
        if not _has(mart, name):
            unfiltered.append(name)
        elif isinstance(value, tuple):
            found[name] = value
        elif is_range(value):
            day = newest[mart.name, name]
            if isinstance(day, QueryRefused):
                raise day
            if day is not None:
                found[name] = time_range(value, day, week_starts)
        else:
            found[name] = (value,)
    return found, tuple(unfiltered)


def _newest(project: Project, mart: Mart, column: str, user: User) -> date | None:
    if column in mart.dimensions:
        raise QueryRefused(
            f"a time range needs a column; '{column}' is computed: {dimension_sql(mart, column)}"
        )
    days = project.ask(newest_sql(mart.name, column), user=user, surface="dashboard").table.column(0)
    return next(iter(days.to_pylist()), None)
