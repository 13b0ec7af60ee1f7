"""Egress: a tagged column leaves only for the destinations that the policy names for its tags."""

import re
from collections.abc import Iterator, Mapping
from string import Formatter

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from serving.content.model import Content
from serving.content.policy_check import covers
from serving.content.sync import Field_, Sync
from serving.errors import Problem
from serving.governance.inherited import Columns, Tagged, tagged_columns
from serving.semantic.leaves import formula

KeyPath = tuple[str | int, ...]
Sent = Iterator[tuple[KeyPath, str, Tagged]]


def egress_problems(content: Content) -> Iterator[Problem]:
    """Every field of a sync that would send a tagged column to where its tags may not go."""
    tagged = tagged_columns(content)
    for sync in content.syncs.values():
        allowed = [
            tag
            for rule in content.policy.egress
            if rule.destination == sync.destination
            for tag in rule.allow
        ]
        for path, column, has in _sent(content, tagged, sync):
            missing = [tag for tag in has.tags if not any(covers(word, tag) for word in allowed)]
            if missing:
                yield _problem(sync, path, column, has.origin, missing)
    for sync in content.syncs.values():
        if sync.sql is not None and _parsed(sync.sql) is None:
            message = "this SQL cannot be read, so nobody knows whether it sends tagged columns"
            yield Problem(sync._where.file, sync._where.line("sql"), message, "write it more plainly")


def _problem(sync: Sync, path: KeyPath, column: str, origin: str, missing: list[str]) -> Problem:
    made = f" (made of {origin})" if origin else ""
    message = f"sends {column}{made} to '{sync.destination}', where {', '.join(missing)} may not go"
    rule = f"- {{destination: {sync.destination}, allow: [{', '.join(missing)}]}}"
    hint = f"if it may, add `{rule}` under egress: in models/policies/"
    if origin:
        hint += f"; if {column} tells nothing of it, give the column `tags: []`"
    return Problem(sync._where.file, sync._where.line(*path), message, hint)


def _sent(content: Content, tagged: Mapping[str, Columns], sync: Sync) -> Sent:
    """Where a sync names a tagged column (key path), which (`mart.column`), and its tags."""
    if sync.sql is not None:
        for column, has in _in_sql(content, tagged, sync.sql):
            yield ("sql",), column, has
        return
    if sync.source is None or sync.source not in content.marts:
        return  # reported where the source is named
    own = tagged[sync.source]
    for field, column in sync.key.items():
        yield from _named(own, sync.source, ("key", field), [column])
    for field, spec in sync.fields.items():
        yield from _named(own, sync.source, ("fields", field), _columns(spec))


def _columns(spec: Field_) -> list[str]:
    if spec.column is not None:
        return [spec.column]
    try:
        parts = list(Formatter().parse(spec.template or ""))
    except ValueError:  # reported when the sync is planned
        return re.findall(r"\w+", spec.template or "")
    return [re.split(r"[.\[]", name)[0] for _, name, _, _ in parts if name]


def _named(tagged: Columns, mart: str, path: KeyPath, names: list[str]) -> Sent:
    wanted = {name.lower() for name in names}
    for column, has in tagged.items():
        if column in wanted:
            yield path, f"{mart}.{column}", has


def _parsed(sql: str) -> exp.Expr | None:
    try:
        trees = [tree for tree in sqlglot.parse(sql, dialect="duckdb") if tree is not None]
    except (SqlglotError, RecursionError):
        return None
    return trees[0] if len(trees) == 1 and isinstance(trees[0], exp.Query) else None


def _in_sql(content: Content, tagged: Mapping[str, Columns], sql: str) -> Iterator[tuple[str, Tagged]]:
    """The tagged columns that the text may give: named, in a measure, or meant by `*` or a whole row."""
    tree = _parsed(sql)
    if tree is None:
        return
    marts = {table.name.lower() for table in tree.find_all(exp.Table)}
    names = {identifier.name.lower() for identifier in tree.find_all(exp.Identifier)}
    measured = _in_measures(content, tree)
    names |= measured or set()
    every = measured is None or _means_every_column(tree)
    for mart, columns in tagged.items():
        if mart.lower() in marts:
            for column, has in columns.items():
                if every or column in names:
                    yield f"{mart}.{column}", has


def _in_measures(content: Content, tree: exp.Expr) -> set[str] | None:
    """The columns behind every MEASURE(…) of the text, whichever mart's it is; None: nobody can say."""
    found: set[str] = set()
    for call in tree.find_all(exp.Anonymous):
        if call.name.lower() != "measure":
            continue
        asked = {column.name for column in call.find_all(exp.Column)}
        marts = [mart for mart in content.marts.values() if asked & mart.measures.keys()]
        if len(asked) != 1 or not marts:
            return None
        try:
            leaves = [leaf for mart in marts for name in asked for leaf in formula(mart, name).leaves]
            texts = [text for leaf in leaves for text in (leaf.expr, leaf.filter) if text]
            parsed = [sqlglot.parse_one(text, dialect="duckdb") for text in texts]
        except (SqlglotError, ValueError, KeyError):  # of other marts, in a circle, no SQL
            return None
        found |= {name.name.lower() for text in parsed for name in text.find_all(exp.Identifier)}
    return found


def _means_every_column(tree: exp.Expr) -> bool:
    """Whether something may stand for columns without naming them; in doubt it does."""
    tables = {name.lower() for table in tree.find_all(exp.Table) for name in (table.name, table.alias)}
    for node in tree.walk():
        if isinstance(node, exp.Star) and not isinstance(node.parent, exp.Count):
            return True
        if isinstance(node, exp.Columns | exp.Pivot | exp.PositionalColumn):
            return True
        if isinstance(node, exp.Column) and not node.table and node.name.lower() in tables:
            return True
        if isinstance(node, exp.TableAlias) and node.columns:
            return True
    return False
