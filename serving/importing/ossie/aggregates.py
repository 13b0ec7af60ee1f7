"""One aggregate call as a measure."""

from sqlglot import exp

from serving.content.semantics import Aggregate, Measure
from serving.importing.expressions import DUCKDB, plain_column, row_expression
from serving.importing.findings import NotCarried
from serving.importing.names import sluice_name

_PLAIN: dict[type[exp.Expr], Aggregate] = {
    exp.Sum: "sum",
    exp.Avg: "avg",
    exp.Min: "min",
    exp.Max: "max",
    exp.Median: "median",
}


def is_aggregate(tree: exp.Expr) -> bool:
    """Whether the whole expression is one aggregate call."""
    return isinstance(tree, exp.AggFunc | exp.WithinGroup | exp.Filter)


def measure_of(tree: exp.Expr) -> Measure:
    """The aggregate call over columns of one mart as a measure; raises NotCarried where there is none."""
    only = None
    if isinstance(tree, exp.Filter):
        only, tree = row_expression(_text(tree.expression.this)), tree.this
    if isinstance(tree, exp.CountIf):
        held = row_expression(_text(tree.this))
        both = f"({only}) and ({held})" if only else held
        return Measure(agg="count", filter=both)
    agg, inner, part = _call(tree)
    text = row_expression(_text(inner)) if inner is not None else None
    return Measure(agg=agg, expr=text, filter=only, quantile=part)


def short_name(measure: Measure) -> str | None:
    """`sum_amount`, `distinct_customer_id`, `rows`; None where no short name says it."""
    if measure.filter is not None:
        return None
    if measure.expr is None:
        return "rows"
    column = plain_column(measure.expr)
    words = {"count_distinct": "distinct"}.get(str(measure.agg), str(measure.agg))
    return sluice_name(f"{words}_{column}") if column else None


def _call(tree: exp.Expr) -> tuple[Aggregate, exp.Expr | None, float | None]:
    """The aggregate, what it is over (None: rows), and the part that a quantile is of."""
    if isinstance(tree, exp.Count):
        return _count(tree)
    if isinstance(tree, exp.WithinGroup) and isinstance(tree.this, exp.PercentileCont):
        order = tree.expression.expressions[0]
        if order.args.get("desc"):
            raise NotCarried("takes a percentile from the largest value down")
        return _quantile(order.this, tree.this.this)
    if isinstance(tree, exp.Quantile) and not isinstance(tree.args.get("quantile"), exp.Array):
        return _quantile(tree.this, tree.args["quantile"])
    for kind, agg in _PLAIN.items():
        if type(tree) is kind and not isinstance(tree.this, exp.Distinct) and not tree.expressions:
            return agg, tree.this, None
    raise NotCarried(f"no measure is made by {tree.sql(DUCKDB)}")


def _count(tree: exp.Count) -> tuple[Aggregate, exp.Expr | None, float | None]:
    inner = tree.this
    if isinstance(inner, exp.Distinct):
        if len(inner.expressions) != 1:
            raise NotCarried(f"counts several columns at once: {tree.sql(DUCKDB)}")
        return "count_distinct", inner.expressions[0], None
    if inner is None or isinstance(inner, exp.Star | exp.Literal):
        return "count", None, None
    return "count", inner, None


def _quantile(over: exp.Expr, part: exp.Expr) -> tuple[Aggregate, exp.Expr, float | None]:
    if not isinstance(part, exp.Literal) or part.is_string:
        raise NotCarried("takes a percentile that is no number")
    value = float(part.name)
    return ("median", over, None) if value == 0.5 else ("quantile", over, value)


def _text(tree: exp.Expr) -> str:
    return tree.sql(DUCKDB, comments=False)
