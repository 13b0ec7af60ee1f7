"""Random metric requests over a world, as one person could ask them."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Literal

from serving.semantic.asking.request import (
    Axis,
    Compare,
    Filter,
    Having,
    Metric,
    MetricRequest,
    Order,
    Span,
    Top,
)
from serving.semantic.asking.time import TimeRange, time_range
from tests.property.metrics.around import distance, filled_axes, fits, moving
from tests.property.metrics.measures import MeasureDef
from tests.property.metrics.reference import metric_headers
from tests.property.metrics.scope import Scope, timely
from tests.property.metrics.sight import Sight
from tests.property.metrics.tables import TURNS, WORDS
from tests.property.metrics.values import picks
from tests.property.metrics.world import GRAINS

Bound = Literal["=", "!=", "<", "<=", ">", ">="]
WIDE = ("day.day", "seen.day", "n", "big", "id")  # many groups: rarely


@dataclass(frozen=True)
class Asked:
    """A request, and what its ranges mean for the person."""

    request: MetricRequest
    ranges: Mapping[Span, TimeRange]


def make_request(dice: random.Random, sight: Sight) -> Asked:
    """A request that has an answer, nearly always."""
    facts = dice.sample(sight.world.facts, min(len(sight.world.facts), dice.choice((1, 1, 1, 1, 2, 2, 3))))
    rollups = list(sight.world.marts[facts[0]].rollups.values())
    rollup = dice.choice(rollups) if rollups and dice.random() < 0.75 else None
    metrics = _metrics(dice, sight, facts, rollup["measures"] if rollup else [])
    marts = tuple(sorted({mart for mart, _ in picks(sight, metrics)}))
    scope = Scope(sight, marts, tuple(rollup["dimensions"]) if rollup else ())
    by = _by(dice, scope)
    span = _span(dice, scope, by)
    asked = MetricRequest(
        metrics=metrics,
        by=by,
        filters=tuple(_filter(dice, scope) for _ in range(dice.choice((0, 0, 0, 1, 1, 2)))),
        spans=(span,) if span else (),
    )
    ranges = {span: _range(scope, span)} if span else {}
    return Asked(_dressed(dice, sight, asked, ranges), ranges)


def _metrics(dice: random.Random, sight: Sight, facts: list[str], kept: list[str]) -> tuple[Metric, ...]:
    found: list[Metric] = []
    for place, fact in enumerate(facts):
        known = [n for n in sight.world.marts[fact].measures if _seen(sight, fact, n)]
        best = [n.lstrip("~") for n in kept if n.lstrip("~") in known] if place == 0 else []
        if best and dice.random() < 0.85:
            known = best
        for name in dice.sample(known, min(len(known), dice.choice((1, 1, 2, 3)))):
            share = 0.8 if f"~{name}" in kept else 0.15
            estimated = _estimable(sight, fact, name) and dice.random() < share
            found += [Metric(fact, name, estimated)]
    return tuple(found)


def _seen(sight: Sight, mart: str, name: str) -> bool:
    measure = sight.world.marts[mart].measures[name]
    hidden = {column for place, column in sight.person.hidden if place == mart}
    parts = (part.rpartition(".") for part in measure.parts)
    return not (measure.reads & hidden) and all(
        _seen(sight, other or mart, inner) for other, _, inner in parts
    )


def _estimable(sight: Sight, mart: str, name: str) -> bool:
    measure = sight.world.marts[mart].measures[name]
    if any("." in part for part in measure.parts):
        return False
    kinds = [sight.world.marts[mart].measures[part] for part in measure.parts] or [measure]
    return any(m.estimable for m in kinds) and not any(
        m.spec.get("agg") in ("median", "quantile") or m.parts for m in kinds if m is not measure
    )


def _by(dice: random.Random, scope: Scope) -> tuple[Axis, ...]:
    found: dict[str, Axis] = {}
    for _ in range(dice.choice((0, 1, 1, 1, 2, 2, 3))):
        axis = scope.axis(dice)
        if str(axis) not in WIDE or dice.random() < 0.3:
            found.setdefault(axis.header, axis)
    return tuple(found.values())


def _filter(dice: random.Random, scope: Scope) -> Filter:
    axis = scope.axis(dice)
    kind = scope.kind(axis)
    if dice.random() < 0.15:
        return Filter(axis, dice.choice(("is null", "is not null")))
    if axis.grain == "hour" or (axis.grain is None and kind.startswith("TIMESTAMP")):
        return Filter(axis, "is not null")
    if timely(kind):
        day = dice.choice(TURNS) if dice.random() < 0.5 else dice.choice(TURNS).replace(day=1)
        return Filter(axis, dice.choice(("=", "!=", "<", "<=", ">", ">=")), (str(day),))
    if kind == "BOOLEAN":
        return Filter(axis, dice.choice(("=", "!=")), (dice.random() < 0.5,))
    if kind == "VARCHAR":
        words: list[str | None] = [*WORDS, "open", "done", "small", "large", "x", "EMEA-open"]
        if dice.random() < 0.3:
            return Filter(axis, "contains", (dice.choice(("m", "E", "%", "_", "ä", "'", "")),))
        many = dice.sample([*words, None], dice.randint(1, 5))
        if dice.random() < 0.6:
            return Filter(axis, dice.choice(("in", "not in")), tuple(many))
        return Filter(axis, dice.choice(("=", "!=", "<", ">=")), (dice.choice(words),))
    numbers: list[int | float] = [0, 1, 2, 3, 10.5, -1, 99.25]
    if dice.random() < 0.3:
        whole = [n for n in numbers if isinstance(n, int)]
        return Filter(axis, dice.choice(("in", "not in")), tuple(dice.sample([*whole, None], 2)))
    return Filter(axis, dice.choice(("=", "!=", "<", "<=", ">", ">=")), (dice.choice(numbers),))


def _span(dice: random.Random, scope: Scope, by: tuple[Axis, ...]) -> Span | None:
    if dice.random() < 0.4:
        return None
    own = [axis for axis in by if timely(scope.kind(axis))]
    axis = replace(dice.choice(own), grain=None) if own and dice.random() < 0.8 else Axis("time")
    keys = [key for key, kind in scope.known.items() if timely(kind)]
    if not own and keys and dice.random() < 0.3:
        axis = scope.path(dice, dice.choice(keys))
    newest = scope.sight.newest(scope.marts[0], axis)
    plain = len(scope.marts) == 1 and not axis.path and axis.name != "due"
    if plain and newest is not None and dice.random() < 0.4:
        grain = dice.choice(GRAINS)
        words = (f"last {dice.randint(1, 6)} {grain}s", f"this {dice.choice(GRAINS[1:])}", f"last {grain}")
        return Span(axis, dice.choice(words[: 2 if grain == "day" else 3]))
    start = dice.choice(TURNS) + timedelta(days=dice.choice((-30, -3, -1, 0, 0, 1, 12)))
    if dice.random() < 0.5:
        start = date(start.year, start.month, 1)
    return Span(axis, f"{start}..{start + timedelta(days=dice.choice((0, 1, 6, 13, 27, 30, 30, 89, 120)))}")


def _range(scope: Scope, span: Span) -> TimeRange:
    newest = scope.sight.newest(scope.marts[0], span.axis) or date(2026, 1, 1)
    return time_range(span.words, newest, scope.sight.world.week_starts)  # type: ignore[arg-type]


def _dressed(
    dice: random.Random, sight: Sight, asked: MetricRequest, ranges: Mapping[Span, TimeRange]
) -> MetricRequest:
    """With the features that change what is shown of it."""
    numbers = [m for m in asked.metrics if _measure(sight, m).kind == "number"]
    if numbers and dice.random() < 0.12:
        op: Bound = dice.choice(("<", "<=", ">", ">=", "!="))
        asked = replace(asked, having=(Having(dice.choice(numbers), op, dice.choice((0, 1, 2, 50.5, 400))),))
    if numbers and asked.by and dice.random() < 0.22:
        metric = (
            dice.choice((None, dice.choice(numbers))) if asked.metrics[0] in numbers else dice.choice(numbers)
        )
        windows = [_measure(sight, m).cumulative for m in asked.metrics]
        top = Top(dice.choice(asked.by), dice.randint(1, 3), metric, not any(windows) and dice.random() < 0.6)
        if all(windows) or not any(windows):
            asked = replace(asked, top=top)
    if asked.spans and len(numbers) == len(asked.metrics) and dice.random() < 0.35:
        asked = replace(asked, compare=_compare(dice, sight, asked, ranges))
    if asked.by and dice.random() < 0.3 and _fillable(sight, asked, ranges):
        asked = replace(asked, fill=True)
    if asked.by and dice.random() < 0.22:
        asked = replace(asked, totals=_totals(dice, asked.by))
    if dice.random() < 0.3:
        asked = replace(asked, order=_order(dice, asked))
    if dice.random() < 0.15:
        asked = replace(asked, limit=dice.randint(1, 6))
    return asked


def _compare(
    dice: random.Random, sight: Sight, asked: MetricRequest, ranges: Mapping[Span, TimeRange]
) -> Compare | None:
    """A comparison that moves whole buckets."""
    grains = GRAINS[:4] if dice.random() < 0.7 else GRAINS
    offset = Compare("offset", dice.randint(1, 3), dice.choice(grains))
    compare = dice.choice((Compare("previous period"), Compare("previous year"), offset))
    asked = replace(asked, compare=compare)
    span, axes = moving(sight, asked.metrics[0].mart, asked)
    if span is None or any(axis.grain in (None, "hour") for axis in axes):
        return None
    months, days = distance(asked, ranges[span], axes)
    top = asked.top is not None and asked.top.axis in axes
    return compare if not top and all(fits(axis, months, days) for axis in axes) else None


def _fillable(sight: Sight, asked: MetricRequest, ranges: Mapping[Span, TimeRange]) -> bool:
    try:
        axes, _ = filled_axes(sight, asked.metrics[0].mart, asked, ranges)
    except LookupError:
        return False
    grains = {axis.grain for axis in axes}
    if None in grains and any(kind != "DATE" for kind in _kinds(sight, asked, axes)):
        return False
    return not (("week" in grains) and grains & {"month", "quarter", "year"}) and (
        asked.top is None or asked.top.axis not in axes
    )


def _kinds(sight: Sight, asked: MetricRequest, axes: tuple[Axis, ...]) -> list[str]:
    mart = asked.metrics[0].mart
    return [sight.kinds[mart][sight.key(mart, axis) or ""] for axis in axes]


def _totals(dice: random.Random, by: tuple[Axis, ...]) -> tuple[tuple[Axis, ...], ...]:
    if len(by) == 1 or dice.random() < 0.5:
        return ((),)
    kept = tuple((axis,) for axis in dice.sample(by, dice.randint(1, len(by))))
    return kept if dice.random() < 0.3 else (*kept, ())


def _order(dice: random.Random, asked: MetricRequest) -> tuple[Order, ...]:
    headers = [*(axis.header for axis in asked.by), *metric_headers(asked)]
    return tuple(Order(header, dice.random() < 0.6) for header in dice.sample(headers, min(len(headers), 2)))


def _measure(sight: Sight, metric: Metric) -> MeasureDef:
    return sight.world.marts[metric.mart].measures[metric.measure]
