"""A dashboard's tiles as governed questions and their answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa

from serving.answer import Answer
from serving.content.model import Dashboard, Tile
from serving.content.spec import Scalar
from serving.errors import QueryRefused
from serving.identity import User
from serving.project import Project
from serving.semantic.asking.request import Filter, MetricRequest, Span
from serving.semantic.asking.time import TimeRange, is_range
from serving.semantic.asking.words import axis as read_axis
from serving.semantic.compile.axes import Place, place
from serving.semantic.compile.facts import by_mart
from serving.semantic.compile.fill import filled_axes
from serving.semantic.compile.tile import tile_request
from serving.semantic.compile.values import values_sql
from serving.semantic.model import Model
from serving.shown import Shown, in_aggregates, show_metrics

ALL = "all"
Choice = str | tuple[Scalar, ...]  # a time range in words, `all`, or the values to keep


@dataclass(frozen=True)
class TileAnswer:
    """What a tile shows; `shown` says how metrics are read, and is None for SQL."""

    tile: Tile
    answer: Answer
    shown: Shown | None = None
    unfiltered: tuple[str, ...] = ()  # filters that do not reach this tile
    formats: Mapping[str, str] = field(default_factory=dict)  # measure -> d3-like format

    @property
    def before(self) -> float | None:
        """The same number one period earlier, for number tiles."""
        return self.shown.before if self.shown else None

    @property
    def measures(self) -> tuple[str, ...]:
        """The columns that are numbers to show."""
        return self.shown.measures if self.shown else tuple(self.table.column_names)

    @property
    def span(self) -> TimeRange | None:
        """The days shown; None: all of them."""
        return self.shown.span if self.shown else None

    @property
    def period(self) -> str:
        """The days shown, in words."""
        return self.shown.period if self.shown else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the tile was left out for this person, and why."""
        return self.shown.notes if self.shown else ()

    @property
    def table(self) -> pa.Table:
        """The rows of the answer."""
        return self.answer.table


def default_choices(board: Dashboard) -> dict[str, Choice]:
    """What the dashboard's file says its filters start with."""
    return {
        name: value if isinstance(value, tuple | str) else (value,) for name, value in board.filters.items()
    }


def filter_values(project: Project, board: Dashboard, name: str, user: User) -> list[Scalar]:
    """The values that a filter offers this user, from the first mart of the board that has them."""
    model, wanted = project.model(user), read_axis(name)
    for tile in board.tiles:
        for mart in tile.marts:
            found = place(wanted, mart, model) if mart in model.readable else None
            if found is not None:
                return place_values(project, found, user, "dashboard")
    return []


def place_values(project: Project, found: Place, user: User, surface: str) -> list[Scalar]:
    """The first values of a dimension that this person may see, in their order."""
    question = values_sql(project.content.marts[found.mart], found.key)
    table = project.ask(question, user=user, surface=surface).table
    return list(table.column("value").to_pylist())


def answer_tile(project: Project, tile: Tile, choices: Mapping[str, Choice], user: User) -> TileAnswer:
    """Ask what the tile shows; raises QueryRefused where this user may not."""
    if tile.sql is not None:
        answer = project.ask(tile.sql, user=user, surface="dashboard")
        return TileAnswer(
            tile, answer, unfiltered=tuple(name for name, value in choices.items() if value != ALL)
        )
    request, unfiltered = chosen_request(project, tile, choices, user)
    shown = show_metrics(project, request, user, "dashboard", lenient=True)
    return TileAnswer(tile, shown.answer, shown, unfiltered, shown.formats)


def chosen_request(
    project: Project, tile: Tile, choices: Mapping[str, Choice], user: User
) -> tuple[MetricRequest, tuple[str, ...]]:
    """What the tile asks under the page's filters, and the filters that do not reach it."""
    model, request = project.model(user), tile_request(tile)
    marts = by_mart(request, model)
    unfiltered = []
    for name, value in choices.items():
        wanted = read_axis(name)
        if value in (ALL, ()):
            continue
        if any(place(wanted, mart, model) is None for mart in marts):
            unfiltered.append(name)
        elif isinstance(value, str) and is_range(value):
            request = replace(request, spans=(Span(wanted, value), *request.spans))
        else:
            values = value if isinstance(value, tuple) else (value,)
            request = replace(request, filters=(*request.filters, Filter(wanted, "in", values)))
    return _filled(project, tile, request, user, model), tuple(unfiltered)


def _filled(project: Project, tile: Tile, request: MetricRequest, user: User, model: Model) -> MetricRequest:
    """Lines over a bounded range show every bucket of it."""
    if tile.chart != "line" or not tile.fill or in_aggregates(project, request, user, model):
        return request
    full = replace(request, fill=True)
    try:
        axes, _ = filled_axes(full, dict(project.ranges(full, user, "dashboard")), model)
    except QueryRefused:
        return request
    return full if axes[:1] == request.by[:1] else request
