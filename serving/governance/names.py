"""The first opinion: what sqlglot sees a query read."""

import logging

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.parsers.duckdb import DuckDBParser
from sqlglot.tokenizer_core import Token, TokenType

from serving.governance.refusal import NotAllowed, Reason

logging.getLogger("sqlglot").setLevel(logging.CRITICAL)  # it would log people's own texts
_FORBIDDEN = (exp.Command, exp.DDL, exp.DML, exp.Set, exp.Into, exp.Show)
_ROOTS = (exp.Query, exp.Describe, exp.Summarize, exp.Pivot)
_SHOWN = frozenset({TokenType.VAR, TokenType.IDENTIFIER, TokenType.L_PAREN, TokenType.TABLE})
_DUCKDB = Dialect.get_or_raise("duckdb")


class _Parser(DuckDBParser):
    """Also reads what DuckDB 2.0 can and sqlglot 30.30 does not know yet."""

    def _parse_wrapped_id_vars(self, optional: bool = False) -> list[exp.Expr]:
        if self._prev is not None and self._prev.text.upper() == "KEY":  # … USING KEY (k, min(v))
            return self._parse_wrapped_csv(self._parse_expression)
        return super()._parse_wrapped_id_vars(optional=optional)

    def _parse_simplified_pivot(self, is_unpivot: bool | None = None) -> exp.Pivot:
        pivot = super()._parse_simplified_pivot(is_unpivot=is_unpivot)
        for name, part in (("order", self._parse_order()), ("limit", self._parse_limit())):
            if part is not None:
                pivot.set(name, part)
        return pivot

    def _parse_unpivot_columns(self) -> exp.UnpivotColumns | None:
        if not self._match(TokenType.INTO):
            return None
        name = self._parse_column() if self._match_text_seq("NAME") else None
        values = self._parse_csv(self._parse_column) if self._match_texts(("VALUE", "VALUES")) else []
        return self.expression(exp.UnpivotColumns(this=name, expressions=values))

    def _parse_escape(self, this: exp.Expr | None) -> exp.Expr | None:
        if not self._match(TokenType.ESCAPE):
            return this
        return self.expression(exp.Escape(this=this, expression=self._parse_bitwise()))


def parse_question(sql: str) -> exp.Expr:
    """The one question of the text; raises NotAllowed for what sqlglot cannot model.

    DuckDB's own tree is read first and is the authority on what the statement is; this
    side only has to see the same tables.
    """
    try:
        parsed = _Parser(dialect=_DUCKDB).parse(_described(_DUCKDB.tokenize(sql)), sql)
    except SqlglotError as error:
        problem = f"the query cannot be parsed: {_position(error)}"
        raise NotAllowed(Reason.SYNTAX, problem, hint="write that part in another way") from error
    except RecursionError as error:
        problem = "the query is nested too deeply"
        raise NotAllowed(Reason.SYNTAX, problem, hint="split it with CTEs") from error
    trees = [tree for tree in parsed if tree is not None and not isinstance(tree, exp.Semicolon)]
    if len(trees) != 1:
        problem = f"{len(trees)} statements were given; one is allowed"
        raise NotAllowed(Reason.STATEMENT, problem, hint="ask them one by one")
    tree = trees[0]
    if not isinstance(tree, _ROOTS):
        hint = "marts are read here; they are written by `build`"
        raise NotAllowed(Reason.STATEMENT, "only SELECT is allowed", hint=hint)
    return tree


def table_names(tree: exp.Expr) -> frozenset[str]:
    """Every bare name that stands where a table may stand, CTE names included, in lower case.

    Raises NotAllowed for qualified names, files, and statements inside the question.
    """
    names: set[str] = set()
    for node in _nodes(tree):
        if isinstance(node, exp.Table):
            if isinstance(node.this, exp.Func | exp.Anonymous):
                continue  # DuckDB's own tree judges table functions
            name = _name(node)
            if name != "tables" or not isinstance(node.parent, exp.Describe):  # DESCRIBE tables lists them
                names.add(name)
        elif isinstance(node, _FORBIDDEN) and not isinstance(node, exp.Query):
            problem = f"{type(node).__name__.upper()} is not allowed in a query"
            raise NotAllowed(Reason.CONSTRUCT, problem, hint="only SELECT is")
    return frozenset(names)


def _nodes(tree: exp.Expr) -> list[exp.Expr]:
    """Every node, in no order: sqlglot's own walk keeps one, and costs four times as much."""
    found = [tree]
    for node in found:
        for value in node.args.values():
            if isinstance(value, exp.Expr):
                found.append(value)
            elif type(value) is list:
                found += [child for child in value if isinstance(child, exp.Expr)]
    return found


def _name(table: exp.Table) -> str:
    if not isinstance(table.this, exp.Identifier):
        problem, hint = "only marts can be read, by their bare name", "the catalog lists them"
        raise NotAllowed(Reason.NAME, problem, hint=hint)
    if table.args.get("db") or table.args.get("catalog"):
        problem = f"{table.sql('duckdb')!r} names a schema or a database"
        raise NotAllowed(Reason.NAME, problem, hint="write the mart's bare name")
    return table.name.lower()


def _described(tokens: list[Token]) -> list[Token]:
    """SHOW and DESCRIBE are one thing to DuckDB, but sqlglot only models DESCRIBE."""
    for place, token in enumerate(tokens[:-1]):
        first = place == 0 or tokens[place - 1].token_type == TokenType.L_PAREN
        if first and token.token_type == TokenType.SHOW and tokens[place + 1].token_type in _SHOWN:
            tokens[place] = Token(TokenType.DESCRIBE, token.text, token.line, token.col)
    return tokens


def _position(error: SqlglotError) -> str:
    details = getattr(error, "errors", None)
    if details:
        first = details[0]
        place = f"line {first.get('line')}, column {first.get('col')}"
        return f"{first.get('description', 'unexpected text')} ({place})"
    return str(error).splitlines()[0]
