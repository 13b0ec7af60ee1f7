"""What is wrong with a policy beyond unknown names: everything that needs its rules to be read."""

from collections.abc import Iterator

from sqlglot import exp

from serving.content.attributes import BUILT_IN
from serving.content.model import Content, Mart
from serving.content.policy import ColumnRule, Policy, RowRule
from serving.content.spec import KeyPath
from serving.content.validate import near
from serving.errors import Problem, UnknownUser
from serving.governance.access import columns_under
from serving.governance.constants import RuleInvalid
from serving.governance.egress import egress_problems
from serving.governance.entitlements import Built, Entitlement, read_entitlement
from serving.governance.never import never_true
from serving.governance.row_rules import (
    attributes_of,
    columns_of,
    conditions,
    entitlements_of,
    parse_rule,
    values_in,
)
from serving.governance.type_check import type_problems
from serving.identity import inherited


def policy_problems(content: Content, built: Built | None = None) -> list[Problem]:
    """All problems that the files alone show; with the `built` columns also those of types."""
    return [
        *_row_problems(content),
        *_mask_problems(content),
        *_aggregate_problems(content),
        *_sync_problems(content),
        *egress_problems(content),
        *type_problems(content, built or {}),
    ]


def at(place: str, message: str, hint: str = "") -> Problem:
    """A problem at `file:line`."""
    file, _, line = place.rpartition(":")
    return Problem(file, int(line), message, hint)


def _row_problems(content: Content) -> Iterator[Problem]:
    for rule in content.policy.rows:
        try:
            tree = parse_rule(rule.where)
        except RuleInvalid as error:
            yield at(rule._at, str(error))
            continue
        yield from _columns(content, rule, rule.mart, columns_of(tree))
        yield from _attributes(content.policy, rule, tree)
        for found in entitlements_of(tree):
            yield from _entitlement(content, rule, found, negated=_under_not(tree, found))
        if never_true(tree):
            hint = "mend it, or take the mart from the role"
            yield at(rule._at, f"no row can fulfil the rule {rule.where!r}", hint)


def _columns(content: Content, rule: RowRule, mart: str, names: set[str]) -> Iterator[Problem]:
    described = content.marts[mart].columns if mart in content.marts else {}
    for name in sorted(names):
        if described and name not in described:
            yield at(rule._at, f"'{mart}' describes no column '{name}'", near(name, described))


def _attributes(policy: Policy, rule: RowRule, tree: exp.Expr) -> Iterator[Problem]:
    for name in sorted(attributes_of(tree) - policy.attributes.keys() - {BUILT_IN}):
        hint = near(name, policy.attributes) or f"declare it: `attributes: {{{name}: text}}`"
        yield at(rule._at, f"the attribute '{name}' is not declared", hint)
    lists = {name for name, declared in policy.attributes.items() if declared.many}
    for node in [
        *conditions(tree),
        *(n for e in entitlements_of(tree) if e.where for n in conditions(e.where)),
    ]:
        if isinstance(node, exp.In | exp.EQ | exp.NEQ):
            continue
        for value in values_in(node):
            if isinstance(value, exp.Column) and value.name in lists:
                message = f"'user.{value.name}' is a list; {node.sql('duckdb')!r} needs one value"
                yield at(rule._at, message.replace('"user".', "user."), "use IN, = or <>")


def _entitlement(content: Content, rule: RowRule, found: Entitlement, *, negated: bool) -> Iterator[Problem]:
    mart = content.marts.get(found.mart)
    if mart is None:
        yield at(rule._at, f"there is no mart '{found.mart}'", near(found.mart, content.marts))
        return
    if mart.built_in:
        message = f"'{found.mart}' holds what happened, and no entitlements"
        yield at(rule._at, message, "keep them in a mart of their own")
        return
    inner = columns_of(found.where) if found.where is not None else set()
    yield from _columns(content, rule, found.mart, {found.key} | inner)
    column = mart.columns.get(found.key)
    sure = found.key in mart.grain or (column is not None and "not_null" in column.tests)
    if negated and not sure:
        message = f"'{found.mart}.{found.key}' may be NULL, and NOT IN then shows no row at all"
        yield at(rule._at, message, f"give the column the test: `{found.key}: {{tests: [not_null]}}`")


def _under_not(tree: exp.Expr, found: Entitlement) -> bool:
    return any(
        isinstance(node, exp.In) and node.args.get("query") is not None and read_entitlement(node) == found
        for negation in tree.find_all(exp.Not)
        for node in conditions(negation.this)
    )


def _mask_problems(content: Content) -> Iterator[Problem]:
    for mart in content.marts.values():
        first: dict[str, list[ColumnRule]] = {}
        for rule in content.policy.columns:
            for name in columns_under(rule, mart):
                if mart.columns and name not in mart.columns:
                    message = f"'{mart.name}' describes no column '{name}'"
                    yield at(rule._at, message, near(name, mart.columns))
                for other in first.get(name, []):
                    roles = _unexempted(content.policy, mart, {*rule.exempt, *other.exempt})
                    if roles:
                        message = f"'{mart.name}.{name}' has a mask already, at {other._at}"
                        hint = f"one mask a column: '{roles[0]}' gets both; add 'except' to one"
                        yield at(rule._at, message, hint)
                first.setdefault(name, []).append(rule)


def _unexempted(policy: Policy, mart: Mart, exempt: set[str]) -> list[str]:
    """The roles that see the mart and hold no exempt role; further roles could only exempt more."""
    found = []
    for name in policy.roles:
        try:
            held = inherited(policy, [name])
        except UnknownUser:  # reported where the role is named
            continue
        granted = {granted for role in held for granted in policy.roles[role].marts}
        wanted = {mart.name} if mart.built_in else {mart.name, "*"}
        if mart.visible and granted & wanted and not exempt & set(held):
            found.append(name)
    return found


def _aggregate_problems(content: Content) -> Iterator[Problem]:
    """Groups are counted by a column that somebody under the rule does not get values of."""
    for rule in content.policy.aggregates:
        mart = content.marts.get(rule.mart)
        if mart is None or rule.of is None:
            continue
        for other in content.policy.columns:
            blind = other.mask in ("hide", "null") or hasattr(other.mask, "constant")
            if blind and rule.of in columns_under(other, mart):
                roles = _unexempted(content.policy, mart, {*rule.exempt, *other.exempt})
                if roles:
                    message = f"groups are counted by '{rule.of}', which {other._at} takes from '{roles[0]}'"
                    yield at(rule._at, message, "count by another column, or mask this one with hash")


def _sync_problems(content: Content) -> Iterator[Problem]:
    """Syncs whose roles see no row at all: a rule asks for an attribute, and a sync has none."""
    for sync in content.syncs.values():
        try:
            roles = set(inherited(content.policy, sync.run_as))
        except UnknownUser:  # reported where the role is named
            continue
        path: KeyPath = ("run_as",)
        line = sync._where.line(*path)
        who = " or ".join(sync.run_as)
        for rule in content.policy.rows:
            if rule.mart != sync.source or roles & set(rule.exempt):
                continue
            try:
                wanted = attributes_of(parse_rule(rule.where))
            except RuleInvalid:  # reported at the rule itself
                continue
            if wanted:
                message = f"sees no row of '{sync.source}': {rule._at} asks for user.{min(wanted)}"
                hint = f"add {who} to that rule's 'except', or give it a mart of its own"
                yield Problem(sync._where.file, line, message, hint)
        for aggregate in content.policy.aggregates:
            if aggregate.mart == sync.source and not roles & set(aggregate.exempt):
                message = f"sees no single row of '{sync.source}': {aggregate._at} gives aggregates only"
                yield Problem(sync._where.file, line, message, f"add {who} to that rule's 'except'")
