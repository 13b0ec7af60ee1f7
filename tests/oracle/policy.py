"""The policy, read a second time: plainly, as SQL over raw tables, without the product's own code.

Whoever changes the policy language changes it here too; that two readings agree is the point.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlglot
from sqlglot import exp

from serving.content.model import Content
from serving.content.policy import Assignment, Policy

_TOKENS = re.compile(
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|(?P<operator>(?<![<>!])=|!=|<>)?\s*\buser\.(?P<name>\w+)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Person:
    """Somebody the policy names, with everything it gives them."""

    email: str
    roles: frozenset[str]
    attributes: Mapping[str, tuple[object, ...]]


@dataclass(frozen=True)
class Sight:
    """What a person may see of one mart: nothing at all, or these rows under these masks."""

    visible: bool
    where: str  # SQL over the mart's own columns and the raw marts' bare names
    masks: Mapping[str, object]  # column -> the policy's mask
    aggregate: bool  # answers in aggregates only: no copy can stand for it


def person(policy: Policy, email: str) -> Person:
    """Everything the assignments give to that address: own entries before groups before its domain."""
    email = email.lower()
    own = [a for a in policy.assign if a.email is not None and a.email.lower() == email]
    groups = {group for a in own for group in a.groups}
    of_groups = [a for a in policy.assign if a.group in groups and a.group is not None]
    domain = email.rpartition("@")[2]
    of_domain = [a for a in policy.assign if a.domain is not None and a.domain.lower() == domain]
    attributes: dict[str, tuple[object, ...]] = {"email": (email,)}
    for entries in (of_domain, of_groups, own):
        attributes |= _together(entries)
    roles: set[str] = set()
    todo = [role for a in (*own, *of_groups, *of_domain) for role in a.roles]
    while todo:
        role = todo.pop()
        if role not in roles:
            roles.add(role)
            todo += policy.roles[role].extends
    return Person(email, frozenset(roles), attributes)


def _together(entries: list[Assignment]) -> dict[str, tuple[object, ...]]:
    """Attributes of entries of one rank; what several of them give is one list."""
    found: dict[str, tuple[object, ...]] = {}
    for entry in entries:
        for name, value in entry.attributes.items():
            values = value if isinstance(value, tuple) else (value,)
            found[name] = tuple(dict.fromkeys((*found.get(name, ()), *values)))
    return found


def sight(content: Content, who: Person, mart: str) -> Sight:
    """What `who` may see of `mart`."""
    policy = content.policy
    granted = {name for role in who.roles for name in policy.roles[role].marts}
    rules = [r for r in policy.rows if r.mart == mart and not who.roles & set(r.exempt)]
    where = " AND ".join(f"({_bound(rule.where, who)})" for rule in rules)
    masks: dict[str, object] = {}
    for rule in policy.columns:
        if who.roles & set(rule.exempt):
            continue
        for name, column in content.marts[mart].columns.items():
            if rule.tag in column.tags or rule.column == f"{mart}.{name}":
                masks[name] = rule.mask
        if rule.column is not None and rule.column.startswith(f"{mart}."):
            masks[rule.column.partition(".")[2]] = rule.mask
    aggregate = any(r.mart == mart and not who.roles & set(r.exempt) for r in policy.aggregates)
    visible = content.marts[mart].visible and bool({mart, "*"} & granted)
    return Sight(visible, where, masks, aggregate)


def compared(content: Content) -> Mapping[str, frozenset[str]]:
    """Per mart the columns that any row rule compares or looks up: poison there would change the rule."""
    found: dict[str, set[str]] = {name: set() for name in content.marts}
    for rule in content.policy.rows:
        tree = sqlglot.parse_one(rule.where, dialect="duckdb")
        for mart, column in _columns(tree, rule.mart):
            found.setdefault(mart, set()).add(column)
    return {mart: frozenset(names) for mart, names in found.items()}


def _columns(tree: exp.Expr, mart: str) -> Iterator[tuple[str, str]]:
    for column in tree.find_all(exp.Column):
        if column.table == "user":
            continue
        inside = column.find_ancestor(exp.Select)
        table = inside.find(exp.Table) if inside is not None else None
        yield (mart if table is None else table.name), column.name


def _bound(where: str, who: Person) -> str:
    """The rule with every user.attribute as literals; `false` where the person has no such value."""
    if any(not who.attributes.get(match["name"]) for match in _TOKENS.finditer(where) if match["name"]):
        return "false"

    def place(match: re.Match[str]) -> str:
        if match["name"] is None:
            return match[0]
        operator, values = match["operator"] or "", who.attributes[match["name"]]
        text = ", ".join(_literal(value) for value in values)
        if operator and len(values) > 1:
            return f" {'IN' if operator == '=' else 'NOT IN'} ({text})"
        return f"{operator} {text}"

    return _TOKENS.sub(place, where)


def _literal(value: object) -> str:
    if isinstance(value, bool | int | float):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"
