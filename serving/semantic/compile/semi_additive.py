"""Measures that are never added up over time: only the rows of a group's last (or first) day count."""

from collections.abc import Sequence
from dataclasses import replace

from serving.content.semantics import Measure
from serving.semantic.asking.request import Axis
from serving.semantic.compile.block import KIND, Block, BlockText, Rows, block_rows
from serving.semantic.dimension import quoted
from serving.semantic.model import Model, Sourcer

_REST = "sluice_rest"


def semi_additive_sql(block: Block, measure: Measure, model: Model, sourcer: Sourcer) -> BlockText:
    """The block over the rows of the last value of the measure's time column, for each of its `per` apart.

    It is the last of all rows that pass the conditions; the measure's own filter only chooses among those
    that are left. Each grouping set has its own: a total's last day is that of all its rows. Rows
    without a time never count, and a group that has no others is absent.
    """
    time = measure.semi_additive
    assert time is not None
    read = replace(block, columns=(time, *measure.per))
    rows = block_rows(read, model, sourcer)
    sets = list(enumerate(block.sets or (block.axes,)))
    texts = [_of_set(read, index, kept, rows, measure) for index, kept in sets]
    return BlockText("\nUNION ALL\n".join(texts), rows.route, rows.reads)


def _of_set(block: Block, index: int, kept: Sequence[Axis], rows: Rows, measure: Measure) -> str:
    places = [place for place, axis in enumerate(block.axes) if axis in kept]
    rest = rows.rest if block.ranked and block.ranked.axis in kept else None
    shown = [
        f"{_axis(place) if place in places else 'NULL'} AS {quoted(axis.header)}"
        for place, axis in enumerate(block.axes)
    ]
    shown += [f"{f.sql(rows.leaves.__getitem__)} AS {quoted(name)}" for name, f in block.outputs]
    if block.sets or rows.rest:
        shown.append(f"{2 * index}{f' + CASE WHEN {_REST} THEN 1 ELSE 0 END' if rest else ''} AS {KIND}")
    groups = [*map(_axis, places), *([_REST] if rest else [])]
    grouped = f"\nGROUP BY {', '.join(groups)}" if groups else ""
    table = f"({_last(block, places, rest, rows, measure)}) AS {quoted(block.mart)}"
    return f"SELECT {', '.join(shown)}\nFROM {table}{grouped}"


def _last(block: Block, places: Sequence[int], rest: str | None, rows: Rows, measure: Measure) -> str:
    mart = quoted(block.mart)
    time, *per = (f"{mart}.{quoted(column)}" for column in block.columns)
    named = [f"{rows.axes[place]} AS {_axis(place)}" for place in places]
    named += [f"{rest} AS {_REST}"] if rest else []
    apart = [*(rows.axes[place] for place in places), *([rest] if rest else []), *per]
    window = f"PARTITION BY {', '.join(apart)}" if apart else ""
    take = "max" if measure.take == "last" else "min"
    return (
        f"SELECT {', '.join([f'{mart}.*', *named])}\nFROM {rows.table}{rows.where}"
        f"\nQUALIFY {time} = {take}({time}) OVER ({window})"
    )


def _axis(place: int) -> str:
    return f"sluice_axis_{place}"
