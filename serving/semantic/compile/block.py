"""One block of aggregation over one mart: the rows it reads, its groups and its measures, as SQL."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from serving.errors import QueryRefused
from serving.semantic.asking.request import Axis, Filter
from serving.semantic.asking.time import TimeRange
from serving.semantic.compile.axes import Place, kind, place
from serving.semantic.compile.conditions import comparison, day_range
from serving.semantic.compile.joins import left_joins
from serving.semantic.dimension import quoted
from serving.semantic.leaves import Formula, Leaf
from serving.semantic.model import Model, Sourcer
from serving.semantic.routing.routes import Days, Need, Route

KIND = "sluice_kind"  # 2 x the place of the grouping set, + 1 where the row gathers the rest of a top
ROW = "sluice_row"  # true: a block has a row for this group
VALUE, HIT = "sluice_value", "sluice_hit"  # columns of the values that a top shows


@dataclass(frozen=True)
class Ranked:
    """Rows of which the axis is none of the values in the CTE `name` are put together as the rest."""

    axis: Axis
    name: str


@dataclass(frozen=True)
class Block:
    """What is aggregated: `outputs` (header -> formula) by `axes`, over the rows that pass all conditions."""

    mart: str
    axes: tuple[Axis, ...]  # as the request writes them
    outputs: tuple[tuple[str, Formula], ...] = ()
    filters: tuple[Filter, ...] = ()
    days: tuple[tuple[Axis, TimeRange], ...] = ()  # ranges on time axes
    sets: tuple[tuple[Axis, ...], ...] = ()  # grouping sets; (): all axes once
    columns: tuple[str, ...] = ()  # plain columns of the mart that are read besides
    ranked: Ranked | None = None


@dataclass(frozen=True)
class BlockText:
    """A block as SQL: axes by their headers, outputs by theirs, then KIND where it has sets or a rest."""

    text: str
    route: Route
    reads: tuple[str, ...]


@dataclass(frozen=True)
class Rows:
    """The rows that a block reads, before they are aggregated; all texts stand over `table`."""

    table: str  # what stands behind FROM, joins included
    conditions: tuple[str, ...]  # all must hold
    axes: tuple[str, ...]  # one expression per axis of the block
    rest: str | None  # whether a row belongs to the rest, where the block is ranked
    leaves: Mapping[Leaf, str]
    route: Route
    reads: tuple[str, ...]

    @property
    def where(self) -> str:
        """The WHERE clause, or nothing."""
        return f"\nWHERE {' AND '.join(self.conditions)}" if self.conditions else ""


def block_sql(block: Block, model: Model, sourcer: Sourcer) -> BlockText:
    """The block's SELECT, groups and measures in the order they were given."""
    rows = block_rows(block, model, sourcer)
    shown = [f"{text} AS {quoted(a.header)}" for text, a in zip(rows.axes, block.axes, strict=True)]
    shown += [f"{f.sql(rows.leaves.__getitem__)} AS {quoted(name)}" for name, f in block.outputs]
    if marked := _kind(block, rows):
        shown.append(f"{marked} AS {KIND}")
    text = (
        f"SELECT {', '.join(shown) or f'TRUE AS {ROW}'}\nFROM {rows.table}{rows.where}{_groups(block, rows)}"
    )
    return BlockText(text, rows.route, rows.reads)


def block_rows(block: Block, model: Model, sourcer: Sourcer) -> Rows:
    """FROM and WHERE of the block, over the mart or a rollup of it as `sourcer` chooses."""
    placed = {axis: _placed(axis, block.mart, model) for axis in _axes(block)}
    joined = [found for found in placed.values() if found.joins]
    joins, keys = left_joins(block.mart, joined, model)
    need = _need(block, placed, keys, model)
    source = sourcer(need)
    texts = {
        axis: quoted(found.path) if found.joins else source.dimensions.get(found.key, "")
        for axis, found in placed.items()
    }
    conditions = [*source.conditions]
    conditions += [
        day_range(texts[axis], kind(placed[axis], model), days)
        for axis, days in block.days
        if not _plain(placed[axis], block.mart, model)
    ]
    conditions += [comparison(texts[f.axis], kind(placed[f.axis], model), f) for f in block.filters]
    rest = None
    if block.ranked is not None:
        axis, name = block.ranked.axis, quoted(block.ranked.name)
        joins.append(f"LEFT JOIN {name} ON {name}.{VALUE} IS NOT DISTINCT FROM {texts[axis]}")
        texts[axis], rest = f"CASE WHEN {name}.{HIT} THEN {texts[axis]} END", f"({name}.{HIT} IS NULL)"
    return Rows(
        "\n".join([source.table, *joins]),
        tuple(text for text in conditions if text),
        tuple(_apart([texts[axis] for axis in block.axes])),
        rest,
        source.leaves,
        source.route,
        (
            *source.reads,
            *dict.fromkeys(mart for found in joined for mart in _walked(block.mart, found, model)),
        ),
    )


def _apart(texts: Sequence[str]) -> Iterator[str]:
    """Two axes of one dimension as two expressions: the engine's GROUPING takes equal ones for one."""
    seen = set[str]()
    for text in texts:
        while text in seen:
            text = f"CASE WHEN TRUE THEN {text} END"
        seen.add(text)
        yield text


def _axes(block: Block) -> Iterator[Axis]:
    yield from block.axes
    yield from (condition.axis for condition in block.filters)
    yield from (axis for axis, _ in block.days)


def _placed(axis: Axis, mart: str, model: Model) -> Place:
    found = place(axis, mart, model)
    if found is None:
        raise QueryRefused(f"'{mart}' has no '{axis}'")
    return found


def _need(block: Block, placed: Mapping[Axis, Place], keys: frozenset[str], model: Model) -> Need:
    own = {axis: found for axis, found in placed.items() if not found.joins}
    ranges = [(own[axis], days) for axis, days in block.days if axis in own]
    computed = [found.key for found, _ in ranges if not _plain(found, block.mart, model)]
    return Need(
        block.mart,
        tuple(dict.fromkeys(own[axis].key for axis in block.axes if axis in own)),
        tuple(dict.fromkeys(leaf for _, formula in block.outputs for leaf in formula.leaves)),
        frozenset([*(own[f.axis].key for f in block.filters if f.axis in own), *computed]),
        keys | frozenset(block.columns),
        tuple(
            Days(found.key, days.start if days.bounded else None, days.end)
            for found, days in ranges
            if _plain(found, block.mart, model)
        ),
        not (keys or block.sets or block.columns or block.ranked),
    )


def _plain(found: Place, mart: str, model: Model) -> bool:
    """Whether it is a column of the mart itself, so that rollups know its ranges."""
    return not found.joins and found.key not in model.content.marts[mart].dimensions


def _walked(mart: str, found: Place, model: Model) -> Iterator[str]:
    for name in found.joins:
        mart = model.content.marts[mart].joins[name].mart
        yield mart


def _kind(block: Block, rows: Rows) -> str:
    """The expression of KIND; nothing where all rows are of one kind."""
    parts = []
    if block.sets:
        masks = {_mask(kept, block.axes): 2 * index for index, kept in enumerate(block.sets)}
        cases = " ".join(f"WHEN {mask} THEN {number}" for mask, number in masks.items())
        parts.append(f"CASE GROUPING({', '.join(rows.axes)}) {cases} END")
    if rows.rest is not None:
        parts.append(f"CASE WHEN {rows.rest} THEN 1 ELSE 0 END")
    return " + ".join(parts)


def _mask(kept: Sequence[Axis], axes: Sequence[Axis]) -> int:
    """What GROUPING(axes) is in the set: one bit per axis, set where it is not kept."""
    return int("".join("0" if axis in kept else "1" for axis in axes), 2)


def _groups(block: Block, rows: Rows) -> str:
    positions = {axis: str(index) for index, axis in enumerate(block.axes, 1)}
    if not block.sets:
        given = [*positions.values(), *([rows.rest] if rows.rest else [])]
        if not given and any(formula.leaves for _, formula in block.outputs):
            return ""
        return f"\nGROUP BY {', '.join(given) or '()'}"
    sets = []
    for kept in block.sets:
        rest = [rows.rest] if rows.rest and block.ranked and block.ranked.axis in kept else []
        sets.append(f"({', '.join([*(positions[axis] for axis in kept), *rest])})")
    return f"\nGROUP BY GROUPING SETS ({', '.join(sets)})"
