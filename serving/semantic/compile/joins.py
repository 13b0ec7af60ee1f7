"""The joined sides of a block. Their columns are renamed to paths (`customers.segment`), so that authors'
texts over the mart's own columns stay as they were written, and no name means two things."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from serving.semantic.compile.axes import Place
from serving.semantic.dimension import dimension_sql, quoted
from serving.semantic.model import Model


def left_joins(mart: str, places: Iterable[Place], model: Model) -> tuple[list[str], frozenset[str]]:
    """The LEFT JOINs that bring the places to the mart's rows, and the mart's columns that they compare.

    Each row finds one partner at most, as joins lead to unique keys only.
    """
    return _joined(mart, (), list(places), model)


def _joined(
    mart: str, walked: tuple[str, ...], places: Sequence[Place], model: Model
) -> tuple[list[str], frozenset[str]]:
    texts, keys = [], set[str]()
    for name in dict.fromkeys(found.joins[0] for found in places if found.joins):
        join, path = model.content.marts[mart].joins[name], (*walked, name)
        behind = [replace(p, joins=p.joins[1:]) for p in places if p.joins[:1] == (name,)]
        side = _side(join.mart, path, behind, tuple(join.on.values()), model)
        equal = " AND ".join(
            f"{quoted(mart)}.{quoted(here)} = {_named(path, there)}" for here, there in join.on.items()
        )
        texts.append(f"LEFT JOIN ({side}) AS {quoted('.'.join(path))} ON {equal}")
        keys |= join.on.keys()
    return texts, frozenset(keys)


def _side(
    mart: str, path: tuple[str, ...], places: Sequence[Place], keys: tuple[str, ...], model: Model
) -> str:
    texts, _ = _joined(mart, path, places, model)
    shown = {_named(path, key): f"{quoted(mart)}.{quoted(key)}" for key in keys}
    for found in places:
        name = _named((*path, *found.joins), found.key)
        own = dimension_sql(model.content.marts[mart], found.key, model.week_starts)
        shown.setdefault(name, name if found.joins else own)
    columns = ", ".join(text if text == name else f"{text} AS {name}" for name, text in shown.items())
    # a row that nothing equals: of a side that is empty, the engine draws wrong conclusions about what is
    # aggregated above it, and loses filters (docs/decisions/0015)
    nobody = f"UNION ALL SELECT {', '.join(['NULL'] * len(shown))}"
    return " ".join([f"SELECT {columns} FROM {quoted(mart)}", *texts, nobody])


def _named(path: tuple[str, ...], key: str) -> str:
    return quoted(".".join((*path, key)))
