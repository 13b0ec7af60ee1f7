"""Measures, dimensions and the dashboards that use them: do their names and texts hold?"""

from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from serving.content.model import Content, Dashboard, Mart
from serving.content.validate import near
from serving.errors import Problem
from serving.semantic.dimension import GRAINS
from serving.semantic.leaves import measure_sql


def semantic_problems(content: Content) -> list[Problem]:
    """All problems of measures, computed dimensions and dashboards."""
    return [
        *(problem for mart in content.marts.values() if not mart.built_in for problem in _mart(mart)),
        *(problem for board in content.dashboards.values() for problem in _board(content, board)),
    ]


def _mart(mart: Mart) -> Iterator[Problem]:
    file = mart._where.file
    texts = [(("dimensions", name, "expr"), spec.expr) for name, spec in mart.dimensions.items()]
    texts += [(("measures", name, "expr"), spec.expr) for name, spec in mart.measures.items() if spec.expr]
    readable = True
    for path, text in texts:
        try:
            sqlglot.parse_one(text, dialect="duckdb")
        except SqlglotError:
            readable = False
            yield Problem(file, mart._where.line(*path), f"{text!r} is not an SQL expression")
    if not readable:
        return
    for name, measure in mart.measures.items():
        line = mart._where.line("measures", name)
        try:
            measure_sql(mart, name)
        except ValueError as error:
            yield Problem(file, line, str(error), "break the circle")
            continue
        if measure.agg is None:
            used = {
                c.name for c in sqlglot.parse_one(measure.expr or "", dialect="duckdb").find_all(exp.Column)
            }
            for other in sorted(used - mart.measures.keys()):
                hint = near(other, mart.measures) or "a measure without 'agg' is an expression over measures"
                yield Problem(file, line, f"'{name}' uses the measure '{other}', which there is not", hint)


def _board(content: Content, board: Dashboard) -> Iterator[Problem]:
    read = set()
    for index, tile in enumerate(board.tiles):
        mart = content.marts.get(tile.metrics[0].partition(".")[0]) if tile.metrics else None
        if mart is None:
            continue
        read.add(mart.name)
        for name in tile.by:
            yield from _dimension(board, ("tiles", index, "by"), mart, name)
        if tile.split:
            yield from _dimension(board, ("tiles", index, "split"), mart, tile.split)
    for name in board.filters:
        path = ("filters", name)
        known = {column for mart in read for column in _dimensions(content.marts[mart])}
        if name not in known:
            line = board._where.line(*path)
            yield Problem(
                board._where.file,
                line,
                f"no mart of this dashboard has the column '{name}'",
                near(name, known),
            )


def _dimensions(mart: Mart) -> set[str]:
    return mart.columns.keys() | mart.dimensions.keys()


def _dimension(board: Dashboard, path: tuple[str | int, ...], mart: Mart, name: str) -> Iterator[Problem]:
    column, _, grain = name.partition(".")
    line = board._where.line(*path)
    if column not in _dimensions(mart):
        yield Problem(
            board._where.file, line, f"'{mart.name}' describes no '{column}'", near(column, _dimensions(mart))
        )
    if grain and grain not in GRAINS:
        yield Problem(board._where.file, line, f"'{grain}' is no time grain", near(grain, GRAINS))
