"""The first opinion: what sqlglot sees a query read."""

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from serving.errors import QueryRefused

_FORBIDDEN = (exp.Command, exp.DDL, exp.DML, exp.Set, exp.Into, exp.Placeholder, exp.Parameter)


def parse_question(sql: str) -> exp.Query:
    """The one SELECT of the text; raises QueryRefused for anything else."""
    try:
        trees = [tree for tree in sqlglot.parse(sql, dialect="duckdb") if tree is not None]
    except SqlglotError as error:
        raise QueryRefused(
            f"the query cannot be parsed: {_position(error)}", hint="check the text near there"
        ) from error
    except RecursionError as error:
        raise QueryRefused("the query is nested too deeply", hint="split it with CTEs") from error
    if len(trees) != 1:
        raise QueryRefused(f"{len(trees)} statements were given; one is allowed", hint="ask them one by one")
    tree = trees[0]
    if not isinstance(tree, exp.Query):
        raise QueryRefused("only SELECT is allowed", hint="marts are read here; they are written by `build`")
    forbidden = next(
        (node for node in tree.walk() if isinstance(node, _FORBIDDEN) and not isinstance(node, exp.Query)),
        None,
    )
    if forbidden is not None:
        raise QueryRefused(
            f"{type(forbidden).__name__.upper()} is not allowed in a query", hint="only SELECT is"
        )
    return tree


def table_names(tree: exp.Query) -> frozenset[str]:
    """Every bare name that stands where a table may stand, CTE names included, in lower case.

    Raises QueryRefused for qualified names, files and table functions that sqlglot
    gives a name of their own.
    """
    names: set[str] = set()
    for table in tree.find_all(exp.Table):
        if isinstance(table.this, exp.Func | exp.Anonymous):
            continue  # table functions are judged by DuckDB's own tree
        if not isinstance(table.this, exp.Identifier):
            raise QueryRefused("only marts can be read, by their bare name", hint="the catalog lists them")
        if table.args.get("db") or table.args.get("catalog"):
            raise QueryRefused(
                f"{table.sql('duckdb')!r} names a schema or a database", hint="write the mart's bare name"
            )
        names.add(table.name.lower())
    return frozenset(names)


def _position(error: SqlglotError) -> str:
    details = getattr(error, "errors", None)
    if details:
        first = details[0]
        place = f"line {first.get('line')}, column {first.get('col')}"
        return f"{first.get('description', 'unexpected text')} ({place})"
    return str(error).splitlines()[0]
