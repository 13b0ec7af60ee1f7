"""Measures: what each is made of exists, can be computed, and goes round in no circle."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from serving.content.model import Content, Mart
from serving.content.semantics import Measure
from serving.content.spec import KeyPath
from serving.content.validate import near
from serving.errors import Problem
from serving.semantic.checks.place import at, unknown_column
from serving.semantic.checks.texts import columns_read, estimates, names_read, text_problem


class Key(NamedTuple):
    """A measure of the project."""

    mart: str
    measure: str


Uses = Mapping[Key, tuple[Key, ...]]


def measure_problems(content: Content, mart: Mart) -> Iterator[Problem]:
    """Everything wrong with a mart's measures but circles."""
    for name, measure in mart.measures.items():
        path = ("measures", name)
        if measure.cumulative is not None:
            yield from _cumulative(content, mart, name, measure.cumulative)
        elif measure.agg is None:
            yield from _derived(content, mart, name, measure.expr or "")
        else:
            yield from _aggregate(mart, path, measure)


def circle_problems(content: Content) -> Iterator[Problem]:
    """One problem for each circle of measures, whole, at the first of its measures."""
    uses = _uses(content)
    for circle in _circles(uses):
        mart = content.marts[circle[0].mart]
        own = all(key.mart == mart.name for key in circle)
        shown = " -> ".join(
            key.measure if own else f"{key.mart}.{key.measure}" for key in (*circle, circle[0])
        )
        words = f"the measures {shown} refer to each other in a circle"
        yield at(mart, ("measures", circle[0].measure), words, "break the circle")


def expression_problems(mart: Mart, path: KeyPath, text: str) -> Iterator[Problem]:
    """Why a text is no expression over the mart's columns; which of these there are, the build knows."""
    if (found := text_problem(text)) is not None:
        yield at(mart, path, f"{text!r} {found.words}", found.hint)
        return
    for column in columns_read(text, mart.name):
        if column in mart.dimensions and (problem := unknown_column(mart, path, column)) is not None:
            yield problem


def _aggregate(mart: Mart, path: KeyPath, measure: Measure) -> Iterator[Problem]:
    for key, text in (("expr", measure.expr), ("filter", measure.filter)):
        if text is not None:
            yield from expression_problems(mart, (*path, key), text)
    columns = [("semi_additive", measure.semi_additive), *(("per", column) for column in measure.per)]
    for key, column in columns:
        if column is not None and (problem := unknown_column(mart, (*path, key), column)) is not None:
            yield problem


def _cumulative(content: Content, mart: Mart, name: str, base: str) -> Iterator[Problem]:
    path = ("measures", name, "cumulative")
    if base not in mart.measures:
        yield at(
            mart,
            path,
            f"'{name}' cumulates the measure '{base}', which there is not",
            near(base, mart.measures),
        )
        return
    if mart.time is None:
        yield at(
            mart, path, f"'{name}' runs along the mart's time, and the mart names none", "add 'time: COLUMN'"
        )
    start = Key(mart.name, base)
    for key in (start, *_uses_of(content, start)):
        spec = content.marts[key.mart].measures[key.measure]
        what = f"'{base}'" if key == start else f"'{base}', and that '{key.measure}'"
        if key.mart != mart.name:
            words = f"'{name}' cumulates '{base}', which uses '{key.mart}.{key.measure}' of another mart"
            yield at(mart, path, words, "cumulate the two apart, and divide one by the other")
        elif spec.cumulative is not None and key.measure != name:
            words = f"'{name}' cumulates {what}, which is cumulative itself"
            yield at(mart, path, words, f"cumulate '{spec.cumulative}'")
        elif spec.semi_additive is not None:
            hint = f"'{key.measure}' is right at each time as it is: ask for it by {spec.semi_additive}"
            yield at(mart, path, f"'{name}' cumulates {what}, which is never added up over time", hint)


def _derived(content: Content, mart: Mart, name: str, text: str) -> Iterator[Problem]:
    path = ("measures", name, "expr")
    if (found := text_problem(text)) is not None:
        words, hint = found.words, found.hint
        if "aggregate" in words:
            words += ", but is made of measures"
            hint = "name an aggregate as a measure (agg: …, expr: …) and use its name"
        yield at(mart, path, f"{text!r} {words}", hint)
        return
    if estimates(text):
        hint = f"write it without ~, and ask for ~{mart.name}.{name}"
        yield at(mart, path, f"{text!r} asks for an estimate: that is for whoever asks the measure", hint)
    if not (used := names_read(text)):
        yield at(mart, path, f"'{name}' is made of no measure", "add 'agg', or name measures in 'expr'")
    for other in used:
        yield from _used(content, mart, name, other)


def _used(content: Content, mart: Mart, name: str, other: str) -> Iterator[Problem]:
    path = ("measures", name, "expr")
    home, _, measure = other.rpartition(".")
    if home == mart.name:
        yield at(mart, path, f"'{name}' uses '{other}' of its own mart", f"write '{measure}'")
        return
    if home and not (home in content.marts and content.marts[home].visible):
        shown = [each.name for each in content.marts.values() if each.visible]
        yield at(mart, path, f"'{name}' uses '{other}': there is no visible mart '{home}'", near(home, shown))
        return
    known = content.marts[home].measures if home else mart.measures
    if measure not in known:
        hint = near(measure, known) or "a measure without 'agg' is an expression over measures"
        yield at(mart, path, f"'{name}' uses the measure '{other}', which there is not", hint)


def _uses(content: Content) -> Uses:
    return {
        Key(mart.name, name): tuple(_made_of(content, mart, measure))
        for mart in content.marts.values()
        for name, measure in mart.measures.items()
    }


def _made_of(content: Content, mart: Mart, measure: Measure) -> Iterator[Key]:
    names: tuple[str, ...] = ()
    if measure.cumulative is not None:
        names = (measure.cumulative,)
    elif measure.agg is None and measure.expr is not None and text_problem(measure.expr) is None:
        names = names_read(measure.expr)
    for name in names:
        home, _, other = name.rpartition(".")
        if (there := content.marts.get(home or mart.name)) is not None and other in there.measures:
            yield Key(there.name, other)


def _uses_of(content: Content, start: Key) -> tuple[Key, ...]:
    """Every measure behind one, at any depth."""
    uses, found, todo = _uses(content), dict[Key, None](), [start]
    while todo:
        for key in uses.get(todo.pop(), ()):
            if key not in found:
                found[key] = None
                todo.append(key)
    return tuple(found)


def _circles(uses: Uses) -> list[tuple[Key, ...]]:
    """The circles, each starting with its smallest measure; each once."""
    found: dict[tuple[Key, ...], None] = {}
    done: set[Key] = set()

    def walk(key: Key, trail: tuple[Key, ...]) -> None:
        if key in trail:
            circle = trail[trail.index(key) :]
            first = circle.index(min(circle))
            found[(*circle[first:], *circle[:first])] = None
        elif key not in done:
            for other in uses[key]:
                walk(other, (*trail, key))
            done.add(key)

    for key in uses:
        walk(key, ())
    return list(found)
