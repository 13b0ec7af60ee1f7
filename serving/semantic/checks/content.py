"""What models/ says about meaning: do its names, texts, joins, rollups and tiles hold?"""

from collections.abc import Iterator

from serving.content.model import Content, Mart
from serving.errors import Problem
from serving.semantic.checks.boards import board_problems
from serving.semantic.checks.joins import join_problems
from serving.semantic.checks.measures import circle_problems, expression_problems, measure_problems
from serving.semantic.checks.rollups import rollup_problems
from serving.semantic.checks.words import word_problems


def semantic_problems(content: Content) -> list[Problem]:
    """All problems of all marts' measures, dimensions, joins and rollups, and of dashboards."""
    own = [mart for mart in content.marts.values() if not mart.built_in]
    return [
        *(problem for mart in own for problem in _mart(content, mart)),
        *circle_problems(content),
        *(problem for board in content.dashboards.values() for problem in board_problems(content, board)),
    ]


def _mart(content: Content, mart: Mart) -> Iterator[Problem]:
    yield from word_problems(mart)
    for name, dimension in mart.dimensions.items():
        yield from expression_problems(mart, ("dimensions", name, "expr"), dimension.expr)
    yield from measure_problems(content, mart)
    yield from join_problems(content, mart)
    yield from rollup_problems(mart)
