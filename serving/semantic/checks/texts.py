"""The SQL that authors write into a mart's YAML: is it one expression, and which columns does it read?"""

from dataclasses import dataclass
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

_STATEMENTS = (exp.Query, exp.DDL, exp.DML, exp.Command, exp.Set, exp.Use, exp.Drop, exp.Values)
_ASIDE = (exp.Alias, exp.Aliases, exp.Star, exp.Tuple, exp.Ordered)
# aggregates that the parser takes for functions of one row
_AGGREGATES = frozenset(
    """
    arbitrary arg_max_null arg_max_nulls_last arg_min_null arg_min_nulls_last bitstring_agg combine_aggr
    count_star decimal_average entropy favg fsum histogram histogram_exact kahan_sum kurtosis_pop lttb mad
    mean product reservoir_quantile sem sum_no_overflow sumkahan variant_group_object
    """.split()
)


@dataclass(frozen=True)
class TextProblem:
    """Why a text cannot stand where it stands."""

    words: str
    hint: str = ""


@lru_cache(maxsize=10_000)
def text_problem(text: str) -> TextProblem | None:
    """Why the text is no expression over the columns of one row; None where it is one."""
    try:
        trees = sqlglot.parse(text, dialect="duckdb")
        commented = any(token.comments for token in sqlglot.tokenize(text, read="duckdb"))
    except (SqlglotError, RecursionError):
        return TextProblem("is not an SQL expression", "an expression such as: price * quantity")
    tree = trees[0] if len(trees) == 1 else None
    if tree is None or isinstance(tree, (*_STATEMENTS, *_ASIDE)):
        return TextProblem("is not one SQL expression", "an expression such as: price * quantity")
    if commented:
        return TextProblem("holds an SQL comment", "say it in 'description', or behind # in the file")
    if tree.find(exp.Query, exp.Values):
        return TextProblem("holds a subquery", "add what it looks up to the mart's SQL as a column")
    if tree.find(exp.Window, exp.RowNumber):
        return TextProblem("holds a window function", "compute it in the mart's SQL as a column")
    if tree.find(exp.Placeholder, exp.Parameter):
        return TextProblem("holds a parameter", "write the value")
    if (call := _aggregate(tree)) is not None:
        return TextProblem(
            f"holds the aggregate {call}()", "'agg' says how it is aggregated: agg: sum, expr: amount"
        )
    return None


def columns_read(text: str, mart: str) -> tuple[str, ...]:
    """The columns of the mart that a readable expression names, in order; `mart.column` counts, too."""
    tree = _parsed(text)
    bound = {
        name.name
        for each in tree.find_all(exp.Comprehension)
        for name in each.expression.find_all(exp.Column)
    }
    found = dict.fromkeys(_column(node, mart) for node in tree.find_all(exp.Column))
    return tuple(name for name in found if name not in bound)


def names_read(text: str) -> tuple[str, ...]:
    """The measures that a readable derived expression names: `revenue`, `tickets.tickets`."""
    nodes = _parsed(text).find_all(exp.Column)
    return tuple(dict.fromkeys(".".join(part.name for part in node.parts) for node in nodes))


def estimates(text: str) -> bool:
    """Whether a readable derived expression asks for an estimate: `revenue / ~buyers`."""
    return _parsed(text).find(exp.BitwiseNot) is not None


def _column(node: exp.Column, mart: str) -> str:
    names = [part.name for part in node.parts]  # of `a.b`, `a` is the mart, or a column that is a struct
    return names[1] if len(names) > 1 and names[0] == mart else names[0]


def _aggregate(tree: exp.Expr) -> str | None:
    for node in tree.walk():
        if isinstance(node, exp.AggFunc):
            return node.sql_name().lower()
        if isinstance(node, exp.Anonymous) and node.name.lower() in _AGGREGATES:
            return node.name.lower()
    return None


@lru_cache(maxsize=10_000)
def _parsed(text: str) -> exp.Expr:
    return sqlglot.parse_one(text, dialect="duckdb")
