"""Which mart reads what, found by parsing its SQL."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import traverse_scope

from serving.content.model import Content, Mart
from serving.content.validate import near
from serving.errors import Problem

_GENERATORS = (exp.GenerateSeries, exp.Unnest, exp.UDTF, exp.Values)
_VOLATILE = {"now", "current_date", "current_timestamp", "today", "random", "uuid", "get_current_timestamp"}


@dataclass(frozen=True)
class Reads:
    """What the SQL of a mart depends on beside its own text."""

    inputs: tuple[str, ...]  # sources and marts, sorted
    settings: tuple[str, ...]  # of project.yml, read with getvariable
    volatile: bool  # calls now(), random() or the like: never the same twice


@dataclass(frozen=True)
class Graph:
    """All marts in an order in which they can be built."""

    order: tuple[str, ...]
    reads: Mapping[str, Reads]

    def upstream(self, names: Iterable[str]) -> set[str]:
        """The named marts and every mart they are built from."""
        found: set[str] = set()
        todo = list(names)
        while todo:
            name = todo.pop()
            if name not in found and name in self.reads:
                found.add(name)
                todo += self.reads[name].inputs
        return found

    def downstream(self, name: str) -> tuple[str, ...]:
        """The marts that read this mart or source directly."""
        return tuple(mart for mart in self.order if name in self.reads[mart].inputs)


def mart_graph(content: Content) -> tuple[Graph, list[Problem]]:
    """The graph of all marts, and what is wrong with their SQL."""
    reads: dict[str, Reads] = {}
    problems: list[Problem] = []
    for mart in content.marts.values():
        if mart.built_in:
            continue
        found, wrong = _reads(mart, content)
        reads[mart.name] = found
        problems += wrong
    sorter = TopologicalSorter({name: [i for i in r.inputs if i in reads] for name, r in reads.items()})
    try:
        return Graph(tuple(sorter.static_order()), reads), problems
    except CycleError as error:
        circle: list[str] = error.args[1]
        files = " -> ".join(content.marts[name].sql_file for name in circle)
        first = content.marts[min(circle)]
        problems.append(
            Problem(first.sql_file, 1, f"marts read each other in a circle: {files}", "break the circle")
        )
        return Graph((), {}), problems


def parse_select(sql: str) -> exp.Query:
    """The one SELECT that `sql` is; raises ValueError with a sentence that says what it is instead."""
    try:
        trees = [tree for tree in sqlglot.parse(sql, dialect="duckdb") if tree is not None]
    except (SqlglotError, RecursionError) as error:
        raise ValueError(f"this is not SQL that can be understood: {_first_line(error)}") from error
    if len(trees) != 1 or not isinstance(trees[0], exp.Query):
        raise ValueError("exactly one SELECT is expected here")
    return trees[0]


def tables_read(tree: exp.Query) -> list[exp.Table]:
    """The tables outside the query: CTEs and their aliases are left out."""
    found: dict[int, exp.Table] = {}
    for scope in traverse_scope(tree):
        for source in scope.sources.values():
            if isinstance(source, exp.Table):
                found[id(source)] = source
    return list(found.values())


def _reads(mart: Mart, content: Content) -> tuple[Reads, list[Problem]]:
    try:
        tree = parse_select(mart.sql)
    except ValueError as error:
        return Reads((), (), False), ([Problem(mart.sql_file, 1, str(error))] if mart.sql else [])
    known = content.sources.keys() | content.marts.keys()
    inputs: set[str] = set()
    problems: list[Problem] = []
    for table in tables_read(tree):
        line = _line(table, mart.sql)
        if not isinstance(table.this, exp.Identifier):
            if not isinstance(table.this, _GENERATORS) and _function(table) not in (
                "range",
                "generate_series",
            ):
                hint = "declare the file in models/sources/ and read it by its name"
                problems.append(
                    Problem(mart.sql_file, line, f"reads {table.this.sql('duckdb')} directly", hint)
                )
        elif table.db or table.name not in known:
            problems.append(
                Problem(
                    mart.sql_file,
                    line,
                    f"reads '{table.sql('duckdb')}': no source or mart",
                    near(table.name, known),
                )
            )
        else:
            inputs.add(table.name)
    calls = {_name(call) for call in tree.find_all(exp.Func)}
    settings = {
        call.expressions[0].name
        for call in tree.find_all(exp.Anonymous)
        if call.name.lower() == "getvariable" and call.expressions
    }
    for setting in sorted(settings - content.project.settings.keys()):
        message = f"reads the setting '{setting}', which project.yml does not define"
        problems.append(Problem(mart.sql_file, 1, message, near(setting, content.project.settings)))
    return Reads(tuple(sorted(inputs)), tuple(sorted(settings)), bool(calls & _VOLATILE)), problems


def _name(call: exp.Func) -> str:
    return (call.name if isinstance(call, exp.Anonymous) else call.sql_name()).lower()


def _function(table: exp.Table) -> str:
    return _name(table.this) if isinstance(table.this, exp.Func) else ""


def _line(node: exp.Expr, sql: str) -> int:
    identifier = node.find(exp.Identifier)
    start = identifier.meta.get("start") if identifier is not None else None
    return sql.count("\n", 0, start) + 1 if start is not None else 1


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
