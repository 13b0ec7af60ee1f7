"""What the names of a checked question mean: marts, columns, parameters."""

from collections.abc import Iterable, Iterator, Mapping

from serving.content.model import Content
from serving.content.validate import near
from serving.engine.process import Parameters
from serving.errors import QueryRefused
from serving.governance.access import View, visible_marts
from serving.governance.entitlements import Built
from serving.governance.refusal import NotAllowed, Reason
from serving.governance.tree import Reading
from serving.identity import User
from serving.plan import Pinned
from serving.semantic.routing.reads import columns_read


def names_of(parameters: Parameters) -> tuple[str, ...]:
    """The parameters that have a value: names, or places from 1 on."""
    if isinstance(parameters, Mapping):
        return tuple(sorted(parameters))
    return tuple(str(position + 1) for position in range(len(parameters or ())))


def check_parameters(reading: Reading, parameters: Parameters) -> None:
    """Raises QueryRefused where the text's parameters and the given ones differ."""
    given = set(names_of(parameters))
    if missing := sorted(reading.parameters - given):
        raise QueryRefused(
            f"the parameter ${missing[0]} has no value", hint="give one for each ? or $name of the query"
        )
    if unknown := sorted(given - reading.parameters):
        raise QueryRefused(
            f"the query has no parameter ${unknown[0]}", hint=near(unknown[0], reading.parameters)
        )


def marts_meant(
    reading: Reading, content: Content, built: Built, version: int, user: User
) -> tuple[str, ...]:
    """The marts the query may mean; a name that is neither mart nor CTE is refused."""
    visible = visible_marts(content, user)
    found = sorted(name for name in reading.tables if name in visible)
    for name in sorted(reading.tables - reading.ctes - set(found)):
        hint = near(name, visible) or "the catalog lists the marts you may see"
        raise NotAllowed(Reason.NAME, f"there is no mart '{name}' for you", hint=hint)
    for name in found:
        if name not in built:
            raise QueryRefused(f"the mart '{name}' is not built in version {version}", hint="build first")
    if reading.shows_tables:
        return tuple(sorted(set(visible) & built.keys()))
    return tuple(found)


def columns_meant(reading: Reading, views: Iterable[View], pinned: Pinned, built: Built) -> tuple[str, ...]:
    """mart.column of everything that the text can mean, behind rollups, too."""
    return tuple(dict.fromkeys(name for view in views for name in _columns(reading, view, pinned, built)))


def _columns(reading: Reading, view: View, pinned: Pinned, built: Built) -> Iterator[str]:
    mart, _, rollup = view.mart.partition(":")
    meant = [c for c in view.columns if reading.every_column or c.lower() in reading.columns]
    if not rollup:
        yield from (f"{mart}.{name}" for name in meant)
        return
    kept = next(each for each in pinned.rollups(mart) if each.name == rollup)
    texts = {**kept.dimensions, **kept.leaves}
    for name in meant:
        read = columns_read(texts[name], mart, built[mart])
        yield from (f"{mart}.{column}" for column in sorted(built[mart] if read is None else read))
