"""How a measure is computed, in words that its readers know; and all that it is made of."""

from collections.abc import Iterator

from serving.content.model import Content, Mart
from serving.content.semantics import Measure
from serving.semantic.checks.texts import names_read

_CALLS = {"count_distinct": "count(distinct {})", "quantile": "the {:g} quantile of {}"}


def definition(measure: Measure) -> str:
    """`sum(amount) where paid`, `revenue / orders`, `revenue of the last 28 days`, …"""
    if measure.cumulative is not None:
        if measure.window is not None:
            return f"{measure.cumulative} of the last {measure.window}"
        since = f"since the start of the {measure.to_date}" if measure.to_date else "from the beginning"
        return f"{measure.cumulative} {since}, added up"
    if measure.agg is None:
        return measure.expr or ""
    text = _call(measure)
    if measure.filter is not None:
        text += f" where {measure.filter}"
    if measure.semi_additive is not None:
        apart = f" of each {' and '.join(measure.per)}" if measure.per else ""
        text += f", of the {measure.take} {measure.semi_additive}{apart} only"
    return text


def estimable(content: Content, mart: Mart, name: str) -> bool:
    """Whether `~name` says something: a distinct count, median or quantile is behind the measure."""
    return any(
        spec.agg in ("count_distinct", "median", "quantile") for _, spec in made_of(content, mart, name)
    )


def made_of(content: Content, mart: Mart, name: str) -> Iterator[tuple[Mart, Measure]]:
    """The measure and every one behind it, each with its mart; of content without problems."""
    measure = mart.measures[name]
    yield mart, measure
    if measure.cumulative is not None:
        yield from made_of(content, mart, measure.cumulative)
    elif measure.agg is None:
        for other in names_read(measure.expr or ""):
            home, _, inner = other.rpartition(".")
            yield from made_of(content, content.marts[home] if home else mart, inner)


def texts(mart: Mart, measure: Measure) -> tuple[str, ...]:
    """Everything that a measure itself says about columns of its mart."""
    over = mart.time if measure.cumulative is not None else measure.semi_additive
    found = (measure.expr if measure.agg else None, measure.filter, over, *measure.per)
    return tuple(text for text in found if text)


def _call(measure: Measure) -> str:
    if measure.agg == "quantile":
        return _CALLS["quantile"].format(measure.quantile, measure.expr)
    if measure.agg == "count_distinct":
        return _CALLS["count_distinct"].format(measure.expr)
    return f"{measure.agg}({measure.expr or '*'})"
