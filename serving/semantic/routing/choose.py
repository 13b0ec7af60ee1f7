"""The one place that decides which rollup answers a block of aggregation, and why the others do not."""

from collections.abc import Mapping, Sequence

from serving.content.model import Mart
from serving.semantic.dimension import quoted
from serving.semantic.routing.fit import Fit, Unfit, fit
from serving.semantic.routing.routes import Days, Miss, Need, Offer, Reason, Route, Source
from serving.semantic.routing.source import base_source, day_conditions

_YEAR = 365  # days that a range without an end is taken for


def choose(
    need: Need,
    mart: Mart,
    kinds: Mapping[str, str],
    offers: Sequence[Offer],
    week_starts: str,
    timezone: str,
    rows: int,
) -> Source:
    """The rollup that answers from the fewest rows, or the mart itself; every other one has its miss.

    `kinds` are the types of the mart's columns as built, `rows` how many it has, `offers` what its version
    keeps, as this person may read it. The values and their types are those of the mart in either case.
    """
    built = {offer.kept.name for offer in offers}
    not_built = "it is declared, but the version that is asked was built without it"
    misses = {name: Miss(name, Reason.NOT_BUILT, not_built) for name in mart.rollups if name not in built}
    fits: list[Fit] = []
    for offer in offers:
        try:
            fits.append(fit(offer, need, mart, kinds, week_starts, timezone, rows))
        except Unfit as reason:
            misses[offer.kept.name] = Miss(offer.kept.name, reason.reason, reason.words)
    if not fits:
        return base_source(mart, need, dict(kinds), week_starts, _in_order(misses, mart), rows)
    best = min(fits, key=lambda found: _cost(found, rows))
    for other in fits:
        if other is not best:
            words = f"'{best.kept.name}' answers from no more rows"
            misses[other.kept.name] = Miss(other.kept.name, Reason.MORE_ROWS, words)
    return _source(best, mart, kinds, need, _in_order(misses, mart))


def _in_order(misses: Mapping[str, Miss], mart: Mart) -> tuple[Miss, ...]:
    """As they are declared, then those that the version still has."""
    return tuple(misses[name] for name in dict.fromkeys((*mart.rollups, *misses)) if name in misses)


def _cost(found: Fit, rows: int) -> float:
    """Rows that it reads: its own, and the mart's at the range's edges as if all lay in the range."""
    ragged = found.ragged
    if ragged is None:
        return found.kept.rows
    start, end = ragged.days.start, ragged.days.end
    length = (end - start).days if start and end else _YEAR
    return found.kept.rows + rows * min(1.0, ragged.edge_days / length)


def _source(found: Fit, mart: Mart, kinds: Mapping[str, str], need: Need, misses: tuple[Miss, ...]) -> Source:
    kept, ragged = found.kept, found.ragged
    route = Route(mart.name, kept.name, kept.rows, ragged is not None, misses)
    if ragged is None:
        conditions = tuple(text for each in found.stretches for text in each.conditions(mart.name))
        table = f"{quoted(kept.table)} AS {quoted(mart.name)}"
        return Source(route, table, found.dimensions, found.leaves, conditions, (kept.table,))
    table = f"({_split(found, ragged.edges, mart, kinds, need)}) AS {quoted(mart.name)}"
    return Source(route, table, found.dimensions, found.leaves, (), (kept.table, mart.name))


def _split(found: Fit, edges: Sequence[Days], mart: Mart, kinds: Mapping[str, str], need: Need) -> str:
    """Whole buckets as the rollup keeps them, and the edges from the mart as it would keep them."""
    kept = found.kept
    rolled = ", ".join(map(quoted, found.uses))
    within = [text for each in found.stretches for text in each.conditions()]
    texts = {**kept.dimensions, **kept.leaves}
    keys = [str(place + 1) for place, name in enumerate(found.uses) if name in kept.dimensions]
    edge = " OR ".join(f"({' AND '.join(day_conditions(each, kinds[each.column]))})" for each in edges)
    others = [each.days for each in found.stretches if not each.edges]
    outside = [f"({edge})", *(text for days in others for text in day_conditions(days, kinds[days.column]))]
    raw = f"SELECT {', '.join(texts[name] for name in found.uses)} FROM {quoted(mart.name)}"
    grouped = f" GROUP BY {', '.join(keys)}" if keys else ""
    return (
        f"SELECT {rolled} FROM {quoted(kept.table)} WHERE {' AND '.join(within)} "
        f"UNION ALL {raw} WHERE {' AND '.join(outside)}{grouped}"
    )
