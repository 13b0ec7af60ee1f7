"""The rows of an answer before their values: each with the rows of the marts that it is about."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cmp_to_key

from serving.semantic.asking.request import Axis, Metric, MetricRequest
from tests.property.metrics.chosen import Ranges, chosen
from tests.property.metrics.running import running
from tests.property.metrics.sight import Sight
from tests.property.metrics.values import Cell, Pick, evaluated, picks

Key = tuple[object, ...]
Rows = Mapping[Pick, Sequence[int]]  # a mart's rows that pass, or those of a cumulative measure


@dataclass(frozen=True)
class Line:
    """A row of the answer before its values: what it is about, now and (compared with) before."""

    key: Key
    rows: Rows
    place: int = 0  # 0: a group (or the rest), then the totals in their order, the grand one last
    rest: bool = False
    before: Rows = field(default_factory=dict)


def shown_metrics(request: MetricRequest) -> list[Metric]:
    """What has a value in each row, shown or not."""
    return [*request.metrics, *(having.metric for having in request.having)]


def sources(sight: Sight, metrics: Sequence[Metric]) -> list[Pick]:
    """Where groups come from: marts, and cumulative measures."""
    found = picks(sight, metrics)
    return sorted({(mart, name if _cumulative(sight, mart, name) else "") for mart, name in found})


def lines(
    sight: Sight, request: MetricRequest, ranges: Ranges, best: Sequence[object] | None
) -> Iterable[Line]:
    """Every row: groups, the rest of a top, totals."""
    given = sources(sight, shown_metrics(request))
    totals = [kept for kept in request.totals if kept] + [kept for kept in request.totals if not kept]
    for place, kept in enumerate((request.by, *totals)):
        groups = _groups(sight, request, ranges, given, kept)
        for key, rest, found in _shown(request, groups, kept, best):
            shown = dict(zip(kept, key, strict=True))
            yield Line(tuple(shown.get(axis) for axis in request.by), found, place, rest)


def best_values(sight: Sight, request: MetricRequest, ranges: Ranges) -> list[object] | None:
    """The values that a top shows."""
    if request.top is None:
        return None
    metric = request.top.metric or request.metrics[0]
    groups = _groups(sight, request, ranges, sources(sight, shown_metrics(request)), (request.top.axis,))
    wanted = picks(sight, [metric])
    values = evaluated(sight, [metric], [cell_of(sight, wanted, found) for found in groups.values()])

    def order(a: tuple[Key, Key], b: tuple[Key, Key]) -> int:
        return compared(a[1][0], b[1][0], True) or compared(a[0][0], b[0][0], False)

    ranked = sorted(zip(groups, values, strict=True), key=cmp_to_key(order))
    return [key[0] for key, _ in ranked[: request.top.count]]


def cell_of(sight: Sight, wanted: Iterable[Pick], rows: Rows) -> Cell:
    """The rows that each measure of a row of the answer is an aggregate of."""
    return {(mart, name): _picked(sight, mart, name, rows) for mart, name in wanted}


def compared(a: object, b: object, descending: bool) -> int:
    """Missing values come last, in either direction."""
    if a is None or b is None:
        return (a is None) - (b is None)
    found = int(a > b) - int(a < b)  # type: ignore[operator]
    return -found if descending else found


def _shown(
    request: MetricRequest,
    groups: Mapping[Key, Rows],
    kept: Sequence[Axis],
    best: Sequence[object] | None,
) -> Iterable[tuple[Key, bool, Rows]]:
    """The groups of a top's values, and what is left in one (if it is asked for)."""
    top = request.top
    if top is None or best is None or top.axis not in kept:
        yield from ((key, False, found) for key, found in groups.items())
        return
    axis = kept.index(top.axis)
    rest: dict[Key, dict[Pick, list[int]]] = {}
    for key, found in groups.items():
        if key[axis] in best:
            yield key, False, found
        elif top.other:
            whole = rest.setdefault((*key[:axis], None, *key[axis + 1 :]), {})
            for source, positions in found.items():
                whole.setdefault(source, []).extend(positions)
    yield from ((key, True, found) for key, found in rest.items())


def _groups(
    sight: Sight, request: MetricRequest, ranges: Ranges, given: Sequence[Pick], by: Sequence[Axis]
) -> dict[Key, dict[Pick, Sequence[int]]]:
    """Rows by their values of the axes; without axes there is one group, even of no rows."""
    found: dict[Key, dict[Pick, Sequence[int]]] = {} if by else {(): {}}
    for source in given:
        mart, name = source
        groups = (
            running(sight, mart, name, request, ranges, by)
            if name
            else _plain(sight, mart, request, ranges, by)
        )
        for key, positions in groups.items():
            found.setdefault(key, {})[source] = positions
    return found


def _plain(
    sight: Sight, mart: str, request: MetricRequest, ranges: Ranges, by: Sequence[Axis]
) -> dict[Key, list[int]]:
    found: dict[Key, list[int]] = {}
    for rid in chosen(sight, mart, request, ranges):
        key = tuple(sight.value(mart, sight.rows[mart][rid], axis) for axis in by)
        found.setdefault(key, []).append(rid)
    return found


def _cumulative(sight: Sight, mart: str, name: str) -> bool:
    return bool(name) and sight.world.marts[mart].measures[name].cumulative


def _picked(sight: Sight, mart: str, name: str, rows: Rows) -> Sequence[int]:
    """Of semi-additive measures only the rows of the last (first) time count, of each `per` apart."""
    if not name or _cumulative(sight, mart, name):
        return rows.get((mart, name), ())
    spec, records = sight.world.marts[mart].measures[name].spec, sight.rows[mart]
    time = str(spec["semi_additive"])
    per: tuple[str, ...] = tuple(spec.get("per", ()))  # type: ignore[arg-type]
    choose = min if spec["take"] == "first" else max
    sets: dict[Key, list[int]] = {}
    for rid in rows.get((mart, ""), ()):
        if records[rid][time] is not None:
            sets.setdefault(tuple(records[rid][column] for column in per), []).append(rid)
    edges = {key: choose(records[rid][time] for rid in found) for key, found in sets.items()}  # type: ignore[type-var]
    return [rid for key, found in sets.items() for rid in found if records[rid][time] == edges[key]]
