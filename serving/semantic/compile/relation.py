"""The relation that a metric request asks for, before groups are chosen and sorted: CTEs that aggregate each
fact at its own grain, and one that puts them together by the axes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from serving.semantic.asking.request import Metric, MetricRequest, Span
from serving.semantic.asking.time import TimeRange
from serving.semantic.compile.block import HIT, KIND, ROW, VALUE, Block, Ranked, block_sql
from serving.semantic.compile.cumulative import cumulative_sql
from serving.semantic.compile.facts import (
    Fact,
    all_metrics,
    empties,
    expression,
    facts,
    header,
    part_formula,
)
from serving.semantic.compile.kinds import grouping_sets, has_kinds
from serving.semantic.compile.semi_additive import semi_additive_sql
from serving.semantic.compile.together import Built, Ctes, all_groups, mixed, of_top, together
from serving.semantic.dimension import quoted
from serving.semantic.leaves import Formula
from serving.semantic.model import Model, Sourcer
from serving.semantic.routing.routes import Route

Ranges = Mapping[Span, TimeRange]
TOP = "top values"


@dataclass(frozen=True)
class Column:
    """A metric's column, and its value, as SQL, where there are no rows."""

    header: str
    empty: str
    hidden: bool = False  # groups are chosen by it, but the answer does not show it


@dataclass(frozen=True)
class Relation:
    """CTEs, the last of which, `name`, has a row per group: `keys`, then `metrics`.

    Keys are the axes' headers, then KIND where rows are of several kinds (0: a plain group). They tell
    rows apart, NULLs included.
    """

    ctes: Ctes
    name: str
    keys: tuple[str, ...]
    metrics: tuple[Column, ...]
    routes: tuple[Route, ...]
    reads: frozenset[str]

    def then(self, name: str, text: str) -> "Relation":
        """The relation that one more CTE makes of it, with the same columns."""
        return replace(self, ctes=(*self.ctes, (name, text)), name=name)


def relation(
    model: Model,
    request: MetricRequest,
    ranges: Ranges,
    sourcer: Sourcer,
    *,
    prefix: str = "",
    top: str | None = None,
) -> Relation:
    """The metrics that the request shows or chooses by, for each group that one of them has rows of.

    Names of CTEs begin with `prefix`. `top` names a CTE of the values that a top shows, made before by
    `top_relation`; without it they are found here. Having, order and limit are the caller's.
    """
    chosen: Relation | None = None
    if request.top is not None and top is None:
        chosen = top_relation(model, request, ranges, sourcer, prefix=prefix)
        top = chosen.name
    wanted = all_metrics(request)
    spelled = {metric: expression(metric, model) for metric in wanted}
    found = _with_groups(facts([p for e in spelled.values() for p in e.parts], model), request)
    built = [
        _built(fact, f"{prefix}rows of {fact.mart}{index or ''}", model, request, ranges, sourcer, top)
        for index, fact in _numbered(found)
    ]
    keys = (*(axis.header for axis in request.by), *([KIND] if has_kinds(request) else []))
    groups = all_groups(built, keys, f"{prefix}all groups")
    columns = {metric: header(metric, request) for metric in wanted}
    text = together(built, keys, spelled, columns, model, groups)
    name = f"{prefix}all metrics"
    return Relation(
        (
            *(chosen.ctes if chosen else ()),
            *((b.name, b.text) for b in built),
            *groups,
            (name, text + of_top(request, top, built, groups)),
        ),
        name,
        keys,
        tuple(
            Column(columns[metric], empties(spelled[metric], model), metric not in request.metrics)
            for metric in wanted
        ),
        (*(chosen.routes if chosen else ()), *(route for b in built for route in b.routes)),
        frozenset(name for b in built for name in b.reads).union(chosen.reads if chosen else ()),
    )


def top_relation(
    model: Model, request: MetricRequest, ranges: Ranges, sourcer: Sourcer, *, prefix: str = ""
) -> Relation:
    """The values that the request's top shows: columns VALUE and HIT (always true).

    They are the largest by the metric over all rows that pass, of all the marts that the request asks;
    NULL is a value; ties go to the smaller value, and values without the metric come last.
    """
    top = request.top
    assert top is not None
    metric = top.metric or request.metrics[0]
    alone = MetricRequest((metric,), (top.axis,), request.filters, request.spans)
    if _sources(alone, model) != _sources(request, model):
        alone = replace(alone, metrics=tuple(dict.fromkeys((metric, *all_metrics(request)))))
    ranked = relation(model, alone, ranges, sourcer, prefix=f"{prefix}top ")
    axis, value = quoted(top.axis.header), quoted(header(metric, alone))
    text = (
        f"SELECT {axis} AS {VALUE}, TRUE AS {HIT}\nFROM {quoted(ranked.name)}\n"
        f"ORDER BY {value} DESC NULLS LAST, {axis} ASC NULLS LAST\nLIMIT {top.count}"
    )
    name = f"{prefix}{TOP}"
    return replace(ranked, ctes=(*ranked.ctes, (name, text)), name=name, keys=(VALUE,), metrics=())


def _sources(request: MetricRequest, model: Model) -> set[tuple[str, Metric | None]]:
    """Where groups come from: the rows of marts, and cumulative measures, which have groups of their own."""
    parts = {part for metric in all_metrics(request) for part in expression(metric, model).parts}
    running = {part: model.content.marts[part.mart].measures[part.measure].cumulative for part in parts}
    return {(part.mart, part if running[part] else None) for part in parts}


def _with_groups(found: list[Fact], request: MetricRequest) -> list[Fact]:
    """Also the groups of which no row counts for a semi-additive measure."""
    plain = {fact.mart for fact in found if fact.last is None and not fact.cumulative}
    if not request.by:
        return found
    lonely = dict.fromkeys(fact.mart for fact in found if fact.last is not None and fact.mart not in plain)
    return [*found, *map(Fact, lonely)]


def _numbered(found: Sequence[Fact]) -> list[tuple[str, Fact]]:
    count: dict[str, int] = {}
    numbered = []
    for fact in found:
        count[fact.mart] = count.get(fact.mart, 0) + 1
        numbered.append((f" ({count[fact.mart]})" if count[fact.mart] > 1 else "", fact))
    return numbered


def _built(
    fact: Fact,
    name: str,
    model: Model,
    request: MetricRequest,
    ranges: Ranges,
    sourcer: Sourcer,
    top: str | None,
) -> Built:
    if fact.cumulative:
        return _running(fact, name, model, request, ranges, sourcer)
    block = fact_block(fact, model, request, ranges, top)
    last = fact.last
    sql = semi_additive_sql(block, last, model, sourcer) if last else block_sql(block, model, sourcer)
    return Built(fact, name, sql.text, (sql.route,), sql.reads)


def fact_block(
    fact: Fact, model: Model, request: MetricRequest, ranges: Ranges, top: str | None = None
) -> Block:
    """The block that aggregates the fact's parts, each under its own name, by the request's axes."""
    sets = grouping_sets(request)
    outputs = [(str(part), part_formula(part, model)) for part in fact.parts]
    return Block(
        fact.mart,
        request.by,
        (*outputs, (ROW, Formula("TRUE", ()))) if mixed(fact, model) else tuple(outputs),
        request.filters,
        tuple((span.axis, ranges[span]) for span in request.spans),
        sets if len(sets) > 1 else (),
        ranked=Ranked(request.top.axis, top) if request.top and request.top.other and top else None,
    )


def _running(
    fact: Fact, name: str, model: Model, request: MetricRequest, ranges: Ranges, sourcer: Sourcer
) -> Built:
    """A cumulative measure, each grouping set by itself."""
    (part,) = fact.parts
    sets, texts, parts = grouping_sets(request), [], []
    for index, kept in enumerate(sets):
        alone = MetricRequest((part,), kept, request.filters, request.spans)
        sql = cumulative_sql(part, alone, ranges, model, sourcer)
        shown = [f"{quoted(a.header) if a in kept else 'NULL'} AS {quoted(a.header)}" for a in request.by]
        shown += [f"{quoted(header(part, alone))} AS {quoted(str(part))}", f"TRUE AS {ROW}"]
        shown += [f"{2 * index} AS {KIND}"] if len(sets) > 1 else []
        texts.append(f"SELECT {', '.join(shown)}\nFROM ({sql.text})")
        parts.append(sql)
    return Built(
        fact,
        name,
        "\nUNION ALL\n".join(texts),
        tuple(sql.route for sql in parts),
        tuple(read for sql in parts for read in sql.reads),
    )
