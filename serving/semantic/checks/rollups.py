"""Rollups: they keep dimensions and measures of their mart, and nothing that parts cannot put together."""

from collections import Counter
from collections.abc import Iterator

from serving.content.model import Mart
from serving.content.semantics import Measure, Rollup
from serving.content.spec import KeyPath
from serving.content.validate import near
from serving.errors import Problem
from serving.semantic.checks.place import at, unknown_dimension
from serving.semantic.checks.texts import names_read, text_problem
from serving.semantic.leaves import formula


def rollup_problems(mart: Mart) -> Iterator[Problem]:
    """Everything wrong with a mart's rollups that the files show."""
    for name, rollup in mart.rollups.items():
        path = ("rollups", name)
        for place, key in enumerate(rollup.dimensions):
            if (problem := unknown_dimension(mart, (*path, "dimensions", place), key)) is not None:
                yield problem
        for kind, names in (("dimensions", rollup.dimensions), ("measures", rollup.measures)):
            for twice in (name for name, count in Counter(names).items() if count > 1):
                yield at(mart, (*path, kind), f"'{twice}' stands here twice", "keep one of them")
        for place, word in enumerate(rollup.measures):
            yield from _measure(mart, (*path, "measures", place), rollup, word)


def _measure(mart: Mart, path: KeyPath, rollup: Rollup, word: str) -> Iterator[Problem]:
    name = word.removeprefix("~")
    measure = mart.measures.get(name)
    if measure is None:
        yield at(mart, path, f"'{mart.name}' has no measure '{name}'", near(name, mart.measures))
        return
    made_of = list(_made_of(mart, name, ()))
    if others := [other for other in made_of if "." in other]:
        words = f"'{name}' uses {others[0]} of another mart: a rollup keeps what its own mart knows"
        home = others[0].partition(".")[0]
        yield at(mart, path, words, f"keep its parts, here and in a rollup of '{home}'")
        return
    for other in made_of:
        if (base := mart.measures[other].cumulative) is not None:
            words = f"'{name}' is cumulative" if other == name else f"'{name}' uses the cumulative '{other}'"
            hint = f"keep '{base}': beside days of '{mart.time or 'time'}' it answers '{name}', too"
            yield at(mart, path, words, hint)
            return
        yield from _semi_additive(mart, path, rollup, name, mart.measures[other])
    if word.startswith("~"):
        try:
            formula(mart, name, approximate=True)
        except (ValueError, KeyError):  # circles and unknown names are reported with the measure
            hint = f"keep '{name}' without ~: it is exact"
            yield at(
                mart, path, f"nothing in '{name}' is a distinct count or a quantile to be estimated", hint
            )


def _semi_additive(
    mart: Mart, path: KeyPath, rollup: Rollup, name: str, measure: Measure
) -> Iterator[Problem]:
    if measure.semi_additive is None:
        return
    for column in (measure.semi_additive, *measure.per):
        if column not in rollup.dimensions:
            words = f"'{name}' counts the {measure.take} '{column}' only, which this rollup does not keep"
            if column in measure.per:
                words = f"'{name}' is taken for each '{column}' apart, which this rollup does not keep"
            yield at(mart, path, words, f"add '{column}' to its dimensions, or leave '{name}' out")


def _made_of(mart: Mart, name: str, inside: tuple[str, ...]) -> Iterator[str]:
    """The measure and those it is derived from; of other marts as `mart.measure`."""
    yield name
    text = mart.measures[name].expr
    if (
        name in inside
        or mart.measures[name].agg is not None
        or text is None
        or text_problem(text) is not None
    ):
        return
    for other in names_read(text):
        if "." in other:
            yield other
        elif other in mart.measures:
            yield from _made_of(mart, other, (*inside, name))
