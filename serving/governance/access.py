"""What one user may see of one mart: the governed view that its name stands for."""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from serving.answer import Limits
from serving.content.model import Content, Mart
from serving.content.policy import AggregateRule, ColumnRule
from serving.content.validate import near
from serving.errors import Problem, QueryRefused, UnknownUser
from serving.governance.row_rules import (
    NoRows,
    RuleInvalid,
    attributes_of,
    bind_rule,
    columns_of,
    parse_rule,
)
from serving.identity import User, inherited

# stands for the mart's own table until the engine knows where that is; no column can be called so,
# since nobody can guess it
BASE = f"base_{secrets.token_hex(8)}"
_PLACE = f'"{BASE}"."{BASE}"'


@dataclass(frozen=True)
class View:
    """A mart as one user sees it."""

    mart: str
    body: str  # selects from the table called BASE, in a schema called BASE
    shown: str  # the definition as a person may read it
    columns: tuple[str, ...]
    policies: tuple[str, ...] = ()
    masked: Mapping[str, str] = field(default_factory=dict)  # column -> mask
    unsaid: tuple[str, ...] = ()  # for the audit only: hidden columns, and why a rule hides everything
    secure: bool = False  # a row rule holds a subquery: only the engine's SECURE VIEW keeps it safe
    aggregate: AggregateRule | None = None  # answers in aggregates only

    def over(self, alias: str) -> str:
        """The body over the mart's own table in the database of that alias."""
        return self.body.replace(_PLACE, f'"{alias}"."{self.mart}"')


def visible_marts(content: Content, user: User) -> tuple[str, ...]:
    """The marts that a role of the user grants, in the order of the files."""
    granted = {mart for role in user.roles for mart in content.policy.roles[role].marts}
    return tuple(
        name for name, mart in content.marts.items() if mart.visible and (name in granted or "*" in granted)
    )


def limits_for(content: Content, user: User) -> Limits:
    """The widest limits of the user's roles; the defaults where no role has any."""
    mine = [rule for rule in content.policy.limits if rule.role in user.roles]
    default = Limits()
    rows = [rule.rows for rule in mine if rule.rows is not None]
    seconds = [rule.seconds for rule in mine if rule.seconds is not None]
    return Limits(max(rows, default=default.rows or 0), max(seconds, default=default.seconds))


def governed_view(content: Content, mart: str, types: Mapping[str, str], user: User, mask_key: str) -> View:
    """The view behind `mart` for this user; `types` are the built columns in their order.

    Raises QueryRefused where the policy cannot be applied to the built mart: a rule that
    does not fit hides the mart, it never falls away.
    """
    masks = _masks(content, content.marts[mart], user)
    for name in masks:
        if name not in types:
            raise QueryRefused(
                f"the policy masks '{mart}.{name}', which the built mart does not have", hint=_ASK
            )
    seen = [name for name in types if masks.get(name) != "hide"]
    if not seen:
        raise QueryRefused(f"every column of '{mart}' is hidden from you", hint=_ASK)
    body = exp.select(*(_column(name, types[name], masks.get(name), mask_key) for name in seen)).from_(
        exp.table_(exp.to_identifier(BASE, quoted=True), db=exp.to_identifier(BASE, quoted=True))
    )
    shown = exp.select(*(_column(name, types[name], masks.get(name), None) for name in seen)).from_(
        exp.to_identifier(mart)
    )
    policies: list[str] = []
    unsaid = [f"column {mart}.{name}: hide" for name, mask in masks.items() if mask == "hide"]
    for rule in content.policy.rows:
        if rule.mart != mart or set(rule.exempt) & set(user.roles):
            continue
        try:
            predicate = bind_rule(parse_rule(rule.where), user, types)
        except RuleInvalid as error:
            raise QueryRefused(
                f"{rule._at}: the row rule of '{mart}' cannot be applied: {error}", hint=_ASK
            ) from error
        if isinstance(predicate, NoRows):
            unsaid.append(predicate.reason)
            predicate = exp.false()
        policies.append(f"rows of {mart}: {rule.where}")
        body, shown = body.where(predicate), shown.where(predicate)
    masked = {name: mask for name, mask in masks.items() if mask != "hide"}
    policies += [f"column {mart}.{name}: {mask}" for name, mask in masked.items()]
    return View(
        mart,
        body.sql("duckdb", comments=False),
        shown.sql("duckdb", pretty=True),
        tuple(seen),
        tuple(policies),
        masked,
        tuple(unsaid),
    )


def policy_problems(content: Content) -> list[Problem]:
    """What is wrong with the policy beyond unknown names."""
    return [*_row_problems(content), *_mask_problems(content), *_sync_problems(content)]


_ASK = "ask the mart's owner; `python -m serving check` tells more"


def _masks(content: Content, mart: Mart, user: User) -> dict[str, str]:
    masks: dict[str, str] = {}
    for rule in content.policy.columns:
        if set(rule.exempt) & set(user.roles):
            continue
        for name in _columns_of(rule, mart):
            if name in masks:
                raise QueryRefused(f"{rule._at}: a second mask on '{mart.name}.{name}'", hint=_ASK)
            masks[name] = rule.mask
    return masks


def _columns_of(rule: ColumnRule, mart: Mart) -> Iterator[str]:
    if rule.column is not None:
        name, _, column = rule.column.partition(".")
        if name == mart.name:
            yield column
    else:
        yield from (name for name, column in mart.columns.items() if rule.tag in column.tags)


def _column(name: str, kind: str, mask: str | None, mask_key: str | None) -> exp.Expr:
    """The column as the user gets it: same name, same type. Without a key: for display."""
    column = exp.column(exp.to_identifier(name, quoted=True))
    if mask is None:
        return column
    if mask == "null":
        return exp.alias_(exp.cast(exp.null(), kind, dialect="duckdb"), name, quoted=True)
    if mask != "hash":
        raise QueryRefused(f"unknown mask {mask!r}", hint=_ASK)
    if kind != "VARCHAR":
        raise QueryRefused(
            f"the mask 'hash' needs a text column; '{name}' is {kind}", hint="use null or hide"
        )
    if mask_key is None:
        return exp.alias_(exp.Anonymous(this="keyed_hash", expressions=[column]), name, quoted=True)
    key = exp.Literal.string(mask_key)
    inner = exp.Anonymous(this="sha256", expressions=[exp.DPipe(this=key, expression=column)])
    outer = exp.Anonymous(this="sha256", expressions=[exp.DPipe(this=key.copy(), expression=inner)])
    return exp.alias_(
        exp.Anonymous(this="left", expressions=[outer, exp.Literal.number(32)]), name, quoted=True
    )


def _row_problems(content: Content) -> Iterator[Problem]:
    for rule in content.policy.rows:
        file, _, line = rule._at.rpartition(":")
        try:
            tree = parse_rule(rule.where)
        except RuleInvalid as error:
            yield Problem(file, int(line), str(error))
            continue
        mart = content.marts.get(rule.mart)
        for name in sorted(columns_of(tree)):
            if mart is not None and mart.columns and name not in mart.columns:
                message = f"'{rule.mart}' describes no column '{name}'"
                yield Problem(file, int(line), message, near(name, mart.columns))


def _mask_problems(content: Content) -> Iterator[Problem]:
    for mart in content.marts.values():
        first: dict[str, ColumnRule] = {}
        for rule in content.policy.columns:
            file, _, line = rule._at.rpartition(":")
            for name in _columns_of(rule, mart):
                if mart.columns and name not in mart.columns:
                    message = f"'{mart.name}' describes no column '{name}'"
                    yield Problem(file, int(line), message, near(name, mart.columns))
                if name in first:
                    message = f"'{mart.name}.{name}' has a mask already, at {first[name]._at}"
                    yield Problem(file, int(line), message, "one mask a column: remove one")
                first.setdefault(name, rule)


def _sync_problems(content: Content) -> Iterator[Problem]:
    """Syncs whose roles see no row at all: a rule asks for an attribute, and a sync has none."""
    for sync in content.syncs.values():
        try:
            roles = set(inherited(content.policy, sync.run_as))
        except UnknownUser:  # reported where the role is named
            continue
        for rule in content.policy.rows:
            if rule.mart != sync.source or roles & set(rule.exempt):
                continue
            try:
                wanted = attributes_of(parse_rule(rule.where))
            except RuleInvalid:  # reported at the rule itself
                continue
            if wanted:
                where = sync._where
                message = f"sees no row of '{sync.source}': {rule._at} asks for user.{min(wanted)}"
                hint = f"add {' or '.join(sync.run_as)} to that rule's 'except', or give it a mart of its own"
                yield Problem(where.file, where.line("run_as"), message, hint)
