"""The values of a dimension, as a filter offers them."""

from serving.content.model import Mart
from serving.semantic.dimension import dimension_sql, quoted


def values_sql(mart: Mart, dimension: str, limit: int = 200) -> str:
    """The question for the values of a dimension, in their order."""
    expression = dimension_sql(mart, dimension)
    return (
        f"SELECT DISTINCT {expression} AS value FROM {quoted(mart.name)} "
        f"WHERE {expression} IS NOT NULL ORDER BY 1 LIMIT {limit}"
    )
