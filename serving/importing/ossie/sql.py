"""A measure as one aggregate expression over datasets, in SQL that other tools read."""

import hashlib

import sqlglot
from sqlglot import ErrorLevel, exp
from sqlglot.errors import SqlglotError

from serving.content.model import Mart
from serving.content.semantics import Measure
from serving.importing.expressions import DUCKDB, quoted
from serving.semantic.leaves import mark, safe_division

Marts = dict[str, Mart]


def digest(text: str) -> str:
    """Changes with the text: tells whether another tool has edited an expression."""
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def portable(text: str) -> str:
    """An expression of DuckDB as ANSI SQL, where it has such a form; else as it is."""
    try:
        tree = sqlglot.parse_one(text, dialect=DUCKDB)
        for within in tree.find_all(exp.WithinGroup):
            for ordered in within.find_all(exp.Ordered):
                ordered.set("nulls_first", True)  # NULLs do not count there: nothing need be said of them
        found = tree.sql("", unsupported_level=ErrorLevel.RAISE, comments=False)
        return found.replace(" AS DOUBLE)", " AS DOUBLE PRECISION)")
    except (SqlglotError, RecursionError):
        return text.strip()


def elsewhere_wrong(marts: Marts, mart: str, name: str) -> bool:
    """Whether no expression says what the measure is: windows, times never added up, rows of no name."""
    measure = marts[mart].measures[name]
    if measure.cumulative or measure.semi_additive:
        return True
    if measure.agg == "count" and not (
        measure.expr or measure.filter or marts[mart].grain or len(marts) == 1
    ):
        return True  # count(*) does not say of what
    return any(elsewhere_wrong(marts, home, other) for home, other in _used(measure, mart))


def measure_expression(marts: Marts, mart: str, name: str) -> str:
    """The measure over rows of `mart`, columns named `mart.column`, as DuckDB's SQL."""
    measure = marts[mart].measures[name]
    if measure.agg is not None:
        text = _aggregate(measure, marts[mart])
    else:
        text, names = safe_division(measure.expr or "")
        parts = [measure_expression(marts, home, other) for home, other in _used(measure, mart)]
        for place in reversed(range(len(names))):
            text = text.replace(mark(place), f"({parts[place]})")
        text = _told(text)
    if measure.fill_nulls_with is not None:
        text = f"COALESCE({text}, {measure.fill_nulls_with})"
    return text


def qualified(text: str, mart: str) -> str:
    """The expression with each column of the mart's rows named `mart.column`."""
    tree = sqlglot.parse_one(text, dialect=DUCKDB)
    bound = {name.name for each in tree.find_all(exp.Lambda) for name in each.expressions}
    bound |= {
        name.name
        for each in tree.find_all(exp.Comprehension)
        for name in each.expression.find_all(exp.Column)
    }

    def named(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Column) and not node.table and node.name not in bound:
            node.set("table", exp.to_identifier(mart))
        return node

    return tree.transform(named).sql(DUCKDB, comments=False)


def _used(measure: Measure, mart: str) -> list[tuple[str, str]]:
    """Mart and name of each measure that a derived one is made of."""
    if measure.agg is not None or measure.expr is None:
        return []
    pairs = (name.rpartition(".") for name in safe_division(measure.expr)[1])
    return [(home or mart, other) for home, _, other in pairs]


def _aggregate(measure: Measure, mart: Mart) -> str:
    value = qualified(measure.expr, mart.name) if measure.expr is not None else None
    if measure.filter is not None:
        value = f"CASE WHEN {qualified(measure.filter, mart.name)} THEN {value or 1} END"
    if value is None and mart.grain:
        value = qualified(quoted(mart.grain[0]), mart.name)  # never null, and says of which dataset
    match measure.agg:
        case "count":
            return f"COUNT({value or '*'})"
        case "count_distinct":
            return f"COUNT(DISTINCT {value})"
        case "median":
            return f"PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY {value})"
        case "quantile":
            return f"PERCENTILE_CONT({measure.quantile}) WITHIN GROUP (ORDER BY {value})"
        case aggregate:
            return f"{str(aggregate).upper()}({value})"


def _told(text: str) -> str:
    """A formula whose quotients are no whole numbers anywhere, without needless brackets."""
    tree = sqlglot.parse_one(text, dialect=DUCKDB)
    for held in list(tree.find_all(exp.Paren)):
        if isinstance(held.this, exp.AggFunc | exp.WithinGroup | exp.Coalesce | exp.Paren):
            held.replace(held.this)
    for quotient in tree.find_all(exp.Div):
        if not isinstance(quotient.this, exp.Cast):
            quotient.set("this", exp.cast(quotient.this, "DOUBLE"))
    return tree.sql(DUCKDB)
