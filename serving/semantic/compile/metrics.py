"""A metric request -> the SQL that answers it. Pure: the door runs the text like any other."""

from dataclasses import replace

from serving.semantic.asking.request import Having, Metric, MetricRequest
from serving.semantic.compile.asked import check_request
from serving.semantic.compile.block import KIND, Block, block_rows
from serving.semantic.compile.compare import compare_sql, comparison
from serving.semantic.compile.facts import by_mart, expression, facts, header, part_formula
from serving.semantic.compile.fill import fill_sql
from serving.semantic.compile.kinds import grouping_sets, has_kinds
from serving.semantic.compile.relation import TOP, Ranges, Relation, fact_block, relation
from serving.semantic.dimension import quoted
from serving.semantic.model import Compiled, Model, Sourcer

ROW_KIND = "row_kind"
_BESIDE = ("", "_before", "_change", "_change_rate")  # the columns of a metric that is compared


def compile_metrics(model: Model, request: MetricRequest, ranges: Ranges, sourcer: Sourcer) -> Compiled:
    """The request as one SELECT; `ranges` says what its spans mean.

    Each mart's rows are aggregated alone and joined by the axes, so no row counts twice. Totals are
    aggregated from rows, of everything that passes the filters: `having`, and a `top` that does not
    gather the rest, and `limit` choose among groups only. Rows are sorted by `order`, then by the axes, NULLs
    last; totals come after all groups. Raises QueryRefused, with the nearest request that works.
    """
    check_request(request, model)
    if _plain(request, model):
        return _one_block(model, request, ranges, sourcer)
    found = _answer(model, request, ranges, sourcer)
    shown = [quoted(axis.header) for axis in request.by]
    shown += [quoted(column.header) for column in found.metrics if not column.hidden]
    if request.totals or (request.top and request.top.other):
        shown.append(f"{_row_kind(request)} AS {ROW_KIND}")
    ctes = ",\n".join(f"{quoted(name)} AS (\n{text}\n)" for name, text in found.ctes)
    lines = [f"WITH {ctes}", f"SELECT {', '.join(shown)}", f"FROM {quoted(found.name)}"]
    if chosen := [_compared(quoted(header(h.metric, request)), h) for h in request.having]:
        also = f"{KIND} <> 0 OR " if KIND in found.keys else ""
        lines.append(f"WHERE {also}({' AND '.join(chosen)})")
    lines += _end(request, found)
    estimates = tuple(header(metric, request) for metric in request.metrics if _estimate(metric, model))
    return Compiled(
        "\n".join(lines),
        found.routes,
        found.reads,
        tuple(f"{name}{ending}" for name in estimates for ending in (_BESIDE if request.compare else ("",))),
    )


def _answer(model: Model, request: MetricRequest, ranges: Ranges, sourcer: Sourcer) -> Relation:
    """The relation of the request, without gaps, and with what was before beside it, where asked for."""
    now = relation(model, request, ranges, sourcer)
    if request.compare is None:
        return now.then("all buckets", fill_sql(now, request, ranges, model)) if request.fill else now
    found = comparison(request, ranges, model)
    top = TOP if request.top else None
    then = relation(model, request, found.ranges, sourcer, prefix="earlier ", top=top)
    both = replace(now, ctes=(*now.ctes, *then.ctes))
    if request.fill:
        both = both.then("all buckets", fill_sql(now, request, ranges, model, then))
    text = compare_sql(both, then, found)
    return Relation(
        (*both.ctes, ("now and before", text)),
        "now and before",
        now.keys,
        tuple(
            replace(column, header=f"{column.header}{ending}") for column in now.metrics for ending in _BESIDE
        ),
        now.routes + then.routes,
        now.reads | then.reads,
    )


def _plain(request: MetricRequest, model: Model) -> bool:
    """Whether one block answers it: people read it, and marts that answer in aggregates only take it."""
    if request.top or request.totals or request.fill or request.compare or len(by_mart(request, model)) > 1:
        return False
    metrics = (*request.metrics, *(having.metric for having in request.having))
    spelled = [expression(metric, model) for metric in metrics]
    found = facts([part for e in spelled for part in e.parts], model)
    return len(found) == 1 and not found[0].cumulative and found[0].last is None


def _one_block(model: Model, request: MetricRequest, ranges: Ranges, sourcer: Sourcer) -> Compiled:
    metrics = tuple(dict.fromkeys((*request.metrics, *(having.metric for having in request.having))))
    spelled = {metric: expression(metric, model) for metric in metrics}
    (fact,) = facts([part for e in spelled.values() for part in e.parts], model)
    block: Block = replace(fact_block(fact, model, request, ranges))
    rows = block_rows(block, model, sourcer)

    def value(part: Metric) -> str:
        return part_formula(part, model).sql(rows.leaves.__getitem__)

    texts = {metric: spelled[metric].sql(value) for metric in metrics}
    shown = [f"{text} AS {quoted(a.header)}" for text, a in zip(rows.axes, request.by, strict=True)]
    shown += [f"{texts[metric]} AS {quoted(header(metric, request))}" for metric in request.metrics]
    lines = [f"SELECT {', '.join(shown)}", f"FROM {rows.table}{rows.where}"]
    positions = ", ".join(str(index) for index, _ in enumerate(request.by, 1))
    if positions:
        lines.append(f"GROUP BY {positions}")
    elif not any(part_formula(part, model).leaves for part in fact.parts):
        lines.append("GROUP BY ()")
    if request.having:
        lines.append("HAVING " + " AND ".join(_compared(texts[h.metric], h) for h in request.having))
    lines += _end(request, None)
    estimates = tuple(header(m, request) for m in request.metrics if _estimate(m, model))
    return Compiled("\n".join(lines), (rows.route,), frozenset(rows.reads), estimates)


def _compared(text: str, having: Having) -> str:
    op = "<>" if having.op == "!=" else having.op
    return f"{text} {op} {having.value!r}"


def _row_kind(request: MetricRequest) -> str:
    if not has_kinds(request):
        return "'group'"
    sets = enumerate(grouping_sets(request))
    words = {2 * index: "subtotal" if kept else "total" for index, kept in sets if index}
    if request.top and request.top.other:
        words |= {kind + 1: word for kind, word in words.items()} | {1: "other"}
    cases = " ".join(f"WHEN {kind} THEN '{word}'" for kind, word in sorted(words.items()))
    return f"CASE {KIND} {cases} ELSE 'group' END"


def _end(request: MetricRequest, found: Relation | None) -> list[str]:
    """ORDER BY and LIMIT. A block's columns have numbers, as their names may be those of the mart's."""
    headers = [axis.header for axis in request.by]
    headers += [header(metric, request) for metric in request.metrics]

    def column(name: str) -> str:
        return quoted(name) if found else str(headers.index(name) + 1)

    kinds = found is not None and KIND in found.keys
    keys = [f"{KIND} // 2"] if kinds else []
    keys += [f"{column(o.header)} {'DESC' if o.descending else 'ASC'} NULLS LAST" for o in request.order]
    asked = {order.header for order in request.order}
    keys += [f"{column(axis.header)} NULLS LAST" for axis in request.by if axis.header not in asked]
    keys += [KIND] if kinds else []
    lines = [f"ORDER BY {', '.join(keys)}"] if keys and request.by else []
    if request.limit is None:
        return lines
    if not (kinds and request.totals):
        return [*lines, f"LIMIT {request.limit}"]
    place = f"row_number() OVER (PARTITION BY {KIND} // 2 ORDER BY {', '.join(keys)})"
    return [f"QUALIFY {KIND} // 2 <> 0 OR {place} <= {request.limit}", *lines]


def _estimate(metric: Metric, model: Model) -> bool:
    return any(part.approximate for part in expression(metric, model).parts)
