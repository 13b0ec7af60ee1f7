"""Tags that a mart's columns have from the columns they are made of.

By name and in doubt too many: a column of the mart inherits the tags of every tagged column
of the marts read that its expression names, through CTEs, subqueries and aliases. `count`
tells no value, so nothing is inherited through it. Tags written in the mart's own file,
`tags: []` too, are the author's word and count instead.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from serving.content.model import Content, Mart


@dataclass(frozen=True)
class Tagged:
    """The tags of one column, and the column (`mart.column`) they come from, if not its own."""

    tags: tuple[str, ...]
    origin: str = ""


Columns = Mapping[str, Tagged]  # lower-case name -> its tags


def tagged_columns(content: Content) -> Mapping[str, Columns]:
    """Every mart's tagged columns, with their own tags or inherited ones."""
    known: dict[str, Columns] = {}
    for name in content.marts:
        _mart(content, name, known)
    return known


def _mart(content: Content, name: str, known: dict[str, Columns]) -> Columns:
    if name in known:
        return known[name]
    known[name] = {}  # marts in a circle are reported elsewhere
    mart = content.marts[name]
    found = {} if mart.built_in else dict(_inherited(content, mart.sql, known))
    for column, spec in mart.columns.items():
        if spec.tags:
            found[column.lower()] = Tagged(spec.tags)
        elif "tags" in spec.model_fields_set:
            found.pop(column.lower(), None)
    known[name] = found
    return found


def _inherited(content: Content, sql: str, known: dict[str, Columns]) -> Columns:
    tree = _parsed(sql)
    if tree is None:
        return {}
    marts = {mart.lower(): mart for mart in content.marts}
    read = {marts[t.name.lower()] for t in tree.find_all(exp.Table) if t.name.lower() in marts}
    tagged: dict[str, Tagged] = {}
    for mart in sorted(read):
        for column, has in _mart(content, mart, known).items():
            origin = has.origin or f"{mart}.{column}"
            tagged[column] = _both(tagged.get(column), Tagged(has.tags, origin))
    if not tagged:
        return {}
    tables = {name.lower() for t in tree.find_all(exp.Table) for name in (t.name, t.alias)}
    tables -= {name for mart in read for name in _column_names(content.marts[mart])}  # a column goes first
    made = list(_made(tree))
    while True:
        before = dict(tagged)
        for name, expression in made:
            for column in _named(expression, tagged, tables):
                tagged[name] = _both(tagged.get(name), tagged[column])
        if tagged == before:
            return tagged


def _made(tree: exp.Expr) -> Iterator[tuple[str, exp.Expr]]:
    """Each new name of a column with the expression that it stands for."""
    for alias in tree.find_all(exp.Alias):
        yield alias.alias.lower(), alias.this
    for named in tree.find_all(exp.TableAlias):
        for column in named.columns:  # `t(a, b)`: which is which is not worth the risk
            yield column.name.lower(), tree


def _column_names(mart: Mart) -> set[str]:
    tree = _parsed(mart.sql)
    declared = {column.lower() for column in mart.columns}
    return declared if tree is None else declared | {name.lower() for name in tree.named_selects}


def _named(expression: exp.Expr, tagged: Mapping[str, Tagged], tables: set[str]) -> set[str]:
    """The tagged columns whose values may be in the expression's."""
    found: set[str] = set()
    for column in expression.find_all(exp.Column):
        if column.find_ancestor(exp.Count) is not None:
            continue
        if column.name.lower() in tagged:
            found.add(column.name.lower())
        elif not column.table and column.name.lower() in tables:  # a whole row
            found |= tagged.keys()
    return found


def _both(one: Tagged | None, other: Tagged) -> Tagged:
    if one is None:
        return other
    return Tagged(tuple(sorted({*one.tags, *other.tags})), one.origin or other.origin)


def _parsed(sql: str) -> exp.Query | None:
    try:
        trees = [tree for tree in sqlglot.parse(sql, dialect="duckdb") if tree is not None]
    except (SqlglotError, RecursionError):
        return None  # reported where the mart's SQL is read
    return trees[0] if len(trees) == 1 and isinstance(trees[0], exp.Query) else None
