"""What the rules of the policy make of one mart for one person. Reads content only."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from serving.content.model import Content
from serving.content.policy import mask_word
from serving.governance.access import columns_under
from serving.identity import User
from serving.rights.grants import DOMAIN, GROUP

Built = Mapping[str, Mapping[str, str]]  # mart -> column -> type, of the version that serves
State = Literal["seen", "masked", "hidden"]
NO_ROWS = "no rows"


@dataclass(frozen=True)
class ColumnAccess:
    """A column as one person sees it, and the mask (if any) that decides."""

    name: str
    state: State
    mask: str = ""  # the rule's, also where the person is exempt from it
    at: str = ""  # where the rule stands
    tag: str = ""  # by which the rule found the column; empty where it names it
    tagged_at: str = ""
    exempt: tuple[str, ...] = ()  # the person's roles that the rule leaves alone

    @property
    def shown(self) -> str:
        """`seen`, `hidden`, or the mask."""
        return self.mask if self.state == "masked" else self.state

    @property
    def why(self) -> str:
        """The reason in words; empty where no rule speaks of the column."""
        if not self.mask:
            return ""
        found = f"by tag {self.tag}" if self.tag else "by name"
        if self.exempt:
            return f"{self.mask} {found} does not apply to {' and '.join(self.exempt)}"
        return f"{self.mask} {found}"


@dataclass(frozen=True)
class RowAccess:
    """A row rule of a mart, as it meets one person."""

    where: str
    at: str
    bound: str  # with the person's attributes in it; NO_ROWS where one is missing
    exempt: tuple[str, ...] = ()
    note: str = ""
    own_where: str = "a row rule"  # both as the person themselves may read them: without hidden names
    own_bound: str = "some rows"


@dataclass(frozen=True)
class AggregateAccess:
    """The rule that a mart answers in aggregates only."""

    min_group: int
    of: str  # column; empty: rows
    at: str
    exempt: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """`aggregates over at least 10 different customer_id`."""
        return f"aggregates over at least {self.min_group} {f'different {self.of}' if self.of else 'rows'}"


def column_names(content: Content, mart: str, built: Built) -> tuple[str, ...]:
    """The built columns in their order, then those that the mart's file describes and no build has yet."""
    return tuple(dict.fromkeys([*built.get(mart, {}), *content.marts[mart].columns]))


def column_access(content: Content, mart: str, name: str, user: User) -> ColumnAccess:
    """One column; the first rule that applies decides (a second one is a content error)."""
    exempted = None
    for rule in content.policy.columns:
        if name not in columns_under(rule, content.marts[mart]):
            continue
        exempt = tuple(role for role in rule.exempt if role in user.roles)
        hidden = rule.mask == "hide"
        state: State = "seen" if exempt else "hidden" if hidden else "masked"
        tagged = content.marts[mart].at("columns", name, "tags") if rule.tag else ""
        found = ColumnAccess(name, state, mask_word(rule.mask), rule._at, rule.tag or "", tagged, exempt)
        if not exempt:
            return found
        exempted = exempted or found
    return exempted or ColumnAccess(name, "seen")


def row_access(content: Content, mart: str, user: User) -> tuple[RowAccess, ...]:
    """Every row rule of the mart, those the person is exempt from included."""
    found = []
    for rule in content.policy.rows:
        if rule.mart != mart:
            continue
        exempt = tuple(role for role in rule.exempt if role in user.roles)
        bound, note = ("all rows", "") if exempt else _bound(rule.where, user)
        found.append(RowAccess(rule.where, rule._at, bound, exempt, note))
    return tuple(found)


def aggregate_access(content: Content, mart: str, user: User) -> AggregateAccess | None:
    """The mart's aggregate rule, whether or not the person is exempt from it."""
    for rule in content.policy.aggregates:
        if rule.mart == mart:
            exempt = tuple(role for role in rule.exempt if role in user.roles)
            return AggregateAccess(rule.min_group, rule.of or "", rule._at, exempt)
    return None


def _bound(where: str, user: User) -> tuple[str, str]:
    """The rule with the person's own values in it, and what to know about it; for people to read only."""
    parsed = _parsed(where)
    if parsed is None:
        return where, ""
    tree = exp.Paren(this=parsed.copy())  # so that the rule has a parent
    for node in list(tree.find_all(exp.Column)):
        if node.table != "user" or (node.name == "email" and _many_people(user)):
            continue
        values = _values(user, node.name)
        if not values:
            return NO_ROWS, f"has no attribute '{node.name}'"
        _put(node, values)
    return str(tree.this.sql("duckdb", comments=False)).replace('"user".', "user."), ""


@lru_cache(maxsize=1_000)
def _parsed(where: str) -> exp.Expr | None:
    try:
        return sqlglot.parse_one(where, dialect="duckdb")
    except SqlglotError:
        return None


def _put(node: exp.Column, values: tuple[object, ...]) -> None:
    literals = [exp.Literal.string(str(v)) if isinstance(v, date) else exp.convert(v) for v in values]
    around = node.parent
    if isinstance(around, exp.In) and node.arg_key == "expressions":
        others = [value for value in around.expressions if value is not node]
        around.set("expressions", [*others, *literals])
    elif isinstance(around, exp.EQ | exp.NEQ) and len(literals) > 1:
        inside = exp.In(this=around.this, expressions=literals)
        around.replace(inside if isinstance(around, exp.EQ) else exp.Not(this=inside))
    else:
        node.replace(literals[0])


def _values(user: User, name: str) -> tuple[object, ...]:
    given = user.email if name == "email" else user.attributes.get(name)
    return () if given is None else given if isinstance(given, tuple) else (given,)


def _many_people(user: User) -> bool:
    return user.email.startswith((GROUP, DOMAIN))
