"""Joins: they lead to a mart that people may read, by columns that there are, under a name of their own."""

from collections.abc import Iterator

from serving.content.model import Content, Mart
from serving.content.semantics import Join
from serving.content.spec import KeyPath
from serving.content.validate import near
from serving.errors import Problem
from serving.semantic.checks.place import at, unknown_column
from serving.semantic.dimension import GRAINS


def join_problems(content: Content, mart: Mart) -> Iterator[Problem]:
    """Everything wrong with a mart's joins that the files show."""
    shown = [each.name for each in content.marts.values() if each.visible and not each.built_in]
    for name, join in mart.joins.items():
        path = ("joins", name)
        yield from _name(content, mart, name, join)
        there = content.marts.get(join.mart)
        if there is mart:
            words = f"'{mart.name}' is joined to itself"
            yield at(mart, (*path, "mart"), words, "add what it looks up to the mart's SQL as a column")
        elif there is None:
            words = f"there is no mart '{join.mart}' to join"
            yield at(mart, (*path, "mart"), words, near(join.mart, shown))
        elif there.built_in:
            words = f"'{join.mart}' is kept by the program: whether its rows are unique is not tested"
            yield at(mart, (*path, "mart"), words, near(join.mart, shown))
        elif not there.visible:
            words = f"'{join.mart}' is a building block, which nobody may read"
            yield at(mart, (*path, "mart"), words, near(join.mart, shown) or "set 'visible: true' there")
        else:
            yield from _columns(mart, there, path, join)


def _columns(mart: Mart, there: Mart, path: KeyPath, join: Join) -> Iterator[Problem]:
    for here, other in join.on.items():
        for problem in (
            unknown_column(mart, (*path, "on", here), here),
            unknown_column(mart, (*path, "on", here), other, of=there),
        ):
            if problem is not None:
                yield problem
    if len(set(join.on.values())) < len(join.on):
        words = f"two columns are compared with one column of '{there.name}'"
        yield at(mart, (*path, "on"), words, "name each column there once")


def _name(content: Content, mart: Mart, name: str, join: Join) -> Iterator[Problem]:
    path = ("joins", name)
    taken = {
        **dict.fromkeys(GRAINS, "a time grain"),
        **dict.fromkeys(mart.columns, f"a column of '{mart.name}'"),
        **dict.fromkeys(mart.dimensions, f"a dimension of '{mart.name}'"),
        "time": "the mart's time",
        mart.name: "this mart",
    }
    if name in taken:
        words = f"a join cannot be called '{name}': that is {taken[name]}"
        yield at(mart, path, words, f"such as {join.mart}: {{mart: {join.mart}, …}}")
    elif name in content.marts and name != join.mart:
        words = f"the join '{name}' leads to '{join.mart}', but there is a mart '{name}'"
        yield at(mart, path, words, f"call it '{join.mart}', or by what '{join.mart}' is here")
