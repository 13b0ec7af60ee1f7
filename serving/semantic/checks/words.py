"""The words of a mart: names that mean one thing each, times and hierarchies that there are."""

import re
from collections.abc import Iterable, Iterator, Mapping

from serving.content.model import Mart
from serving.content.semantics import Described
from serving.content.spec import KeyPath
from serving.errors import Problem
from serving.semantic.checks.place import at, unknown_column, unknown_dimension

_NAME = re.compile(r"[^\W\d]\w{0,62}")


def word_problems(mart: Mart) -> Iterator[Problem]:
    """Names that cannot be asked for, synonyms of two things, times and hierarchies of nothing."""
    named: Mapping[str, Iterable[str]] = {
        "dimensions": mart.dimensions,
        "measures": mart.measures,
        "joins": mart.joins,
        "hierarchies": mart.hierarchies,
        "rollups": mart.rollups,
    }
    for kind, names in named.items():
        folded = {name.casefold(): name for name in mart.columns} if kind in ("dimensions", "joins") else {}
        for name in names:
            yield from _name(mart, kind, name)
            other = folded.setdefault(name.casefold(), name)
            if other != name:
                words = f"'{name}' and '{other}' are one name to SQL, which reads no case"
                yield at(mart, (kind, name), words, "rename one")
    if mart.time is not None and (problem := unknown_column(mart, ("time",), mart.time)) is not None:
        yield problem
    if "time" in mart.columns and mart.time not in (None, "time"):
        words = f"the mart's time is '{mart.time}', and it has a column called 'time'"
        yield at(mart, ("columns", "time"), words, "rename the column in the mart's SQL")
    yield from _hierarchies(mart)
    yield from _synonyms(mart)


def _name(mart: Mart, kind: str, name: str) -> Iterator[Problem]:
    path = (kind, name)
    if not _NAME.fullmatch(name):
        hint = "letters, digits and _, starting with a letter; people read its 'label'"
        yield at(mart, path, f"'{name}' cannot be the name of something that is asked for", hint)
    elif name == "time" and kind in ("dimensions", "measures"):
        hint = "'time' is the mart's time, in every mart: rename it"
        yield at(mart, path, f"one of the {kind} cannot be called 'time'", hint)


def _hierarchies(mart: Mart) -> Iterator[Problem]:
    for name, levels in mart.hierarchies.items():
        path: KeyPath = ("hierarchies", name)
        for place, level in enumerate(levels):
            if (problem := unknown_dimension(mart, (*path, place), level)) is not None:
                yield problem
        if len(set(levels)) < max(2, len(levels)):
            words = f"the hierarchy '{name}' needs two different levels or more"
            yield at(mart, path, words, "from the whole to the part: [region, country, city]")


def _synonyms(mart: Mart) -> Iterator[Problem]:
    """One word for two things; a column and the measure of its name are one thing."""
    kinds: dict[str, dict[str, Described]] = {
        "measures": dict(mart.measures),
        "dimensions": dict(mart.dimensions),
        "columns": dict(mart.columns),
    }
    meant = {name.casefold(): name for things in kinds.values() for name in things}
    for kind, things in kinds.items():
        for name, spec in things.items():
            for word in spec.synonyms:
                other = meant.setdefault(word.casefold().replace(" ", "_"), name)
                if other != name:
                    words = f"'{word}' is said of '{name}', and means '{other}' already"
                    yield at(mart, (kind, name, "synonyms"), words, "keep it where people mean it most")
