"""SQL of other tools as DuckDB's, where that is certain to mean the same."""

import re
from functools import lru_cache

import sqlglot
from sqlglot import ErrorLevel, exp
from sqlglot.errors import SqlglotError

from serving.importing.findings import NotCarried
from serving.semantic.checks.texts import text_problem

DUCKDB = "duckdb"
_WORD = re.compile(r"[A-Za-z_]\w*")
_PORTABLE = frozenset(
    "athena bigquery databricks duckdb mysql postgres redshift snowflake spark sqlite trino tsql".split()
)


def quoted(name: str) -> str:
    """A column's name as SQL: in quotes only where it needs them."""
    return exp.to_identifier(name).sql(DUCKDB)


def row_expression(text: str, read: str = DUCKDB) -> str:
    """The text as an expression over the columns of one row; raises NotCarried where it is none."""
    text = text.strip()
    if _WORD.fullmatch(text) and text.lower() not in ("true", "false", "null"):
        return quoted(text)  # a column may be called `order`
    if read != DUCKDB and plain_column(text) is None:
        text = translated(text, read)
    if (found := text_problem(text)) is not None:
        raise NotCarried(f"`{_short(text)}` {found.words}")
    return text


def translated(text: str, read: str) -> str:
    """The text of another dialect in DuckDB's; raises NotCarried where that is not certain."""
    if read not in _PORTABLE:
        raise NotCarried(f"`{_short(text)}` is written for {read}, which is not known here")
    try:
        tree = sqlglot.parse_one(text, dialect=read)
        strange = sorted({call.name for call in tree.find_all(exp.Anonymous)})
        if strange:
            raise NotCarried(f"`{_short(text)}` calls {strange[0]}(), a function of {read}")
        return tree.sql(DUCKDB, unsupported_level=ErrorLevel.RAISE, comments=False)
    except (SqlglotError, RecursionError) as error:
        raise NotCarried(f"`{_short(text)}` of {read} has no certain form in DuckDB") from error


@lru_cache(maxsize=10_000)
def plain_column(text: str) -> str | None:
    """The column that the text names, where it is nothing more."""
    try:
        tree = sqlglot.parse_one(text, dialect=DUCKDB)
    except (SqlglotError, RecursionError):
        return None
    return tree.name if isinstance(tree, exp.Column) and len(tree.parts) == 1 else None


def substituted(text: str, names: dict[str, str]) -> str:
    """A formula over metrics with the names replaced; raises NotCarried where one is not known."""
    try:
        tree = sqlglot.parse_one(text, dialect=DUCKDB)
    except (SqlglotError, RecursionError) as error:
        raise NotCarried(f"`{_short(text)}` is not an SQL expression") from error
    if tree.find(exp.AggFunc, exp.Window, exp.Query):
        raise NotCarried(f"`{_short(text)}` is more than arithmetic over metrics")
    known = {name.lower(): new for name, new in names.items()}

    def named(node: exp.Expr) -> exp.Expr:
        if not isinstance(node, exp.Column):
            return node
        if node.name.lower() not in known or node.table:
            raise NotCarried(f"`{_short(text)}` uses '{node.sql()}', which is none of its metrics")
        return exp.column(*reversed(known[node.name.lower()].split(".")))

    return tree.transform(named).sql(DUCKDB, comments=False)


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 80 else f"{words[:77]}…"
