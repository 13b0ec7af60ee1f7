"""Whether a policy fits the columns that were built, so that no rule can fail when somebody asks."""

from collections.abc import Iterator, Mapping

from sqlglot import exp

from serving.content.attributes import BUILT_IN
from serving.content.model import Content
from serving.content.policy import Attribute, Family, mask_word
from serving.content.validate import near
from serving.errors import Problem
from serving.governance.access import columns_under
from serving.governance.constants import RuleInvalid, family_of, may_compare, one_of
from serving.governance.entitlements import Built, Entitlement, key_problem, read_entitlement
from serving.governance.masks import mask_problem
from serving.governance.row_rules import conditions, literal_value, parse_rule, values_in

Types = Mapping[str, str]


def type_problems(content: Content, built: Built) -> list[Problem]:
    """Every rule that does not fit the built marts; what is not built is not judged."""
    found = [*_rows(content, built), *_masks(content, built), *_aggregates(content, built)]
    return sorted({_problem(place, message, hint) for place, message, hint in found})


def _problem(place: str, message: str, hint: str) -> Problem:
    file, _, line = place.rpartition(":")
    return Problem(file, int(line), message, hint)


def _rows(content: Content, built: Built) -> Iterator[tuple[str, str, str]]:
    for rule in content.policy.rows:
        if rule.mart not in built:
            continue
        try:
            tree = parse_rule(rule.where)
        except RuleInvalid:  # reported with the files
            continue
        for words, hint in _rule(content, tree, rule.mart, built):
            yield rule._at, words, hint


def _rule(content: Content, tree: exp.Expr, mart: str, built: Built) -> Iterator[tuple[str, str]]:
    types = built[mart]
    for node in conditions(tree):
        name = node.this.name
        if name not in types:
            yield f"the built mart '{mart}' has no column '{name}'", near(name, types)
        elif isinstance(node, exp.In) and node.args.get("query") is not None:
            yield from _entitlement(content, read_entitlement(node), types[name], built)
        else:
            yield from _condition(content.policy.attributes, node, types[name])


def _entitlement(content: Content, found: Entitlement, kind: str, built: Built) -> Iterator[tuple[str, str]]:
    if found.mart not in built:
        yield f"the entitlement mart '{found.mart}' is not built", f"build {found.mart}, too"
        return
    types = built[found.mart]
    if found.key not in types:
        yield f"the built mart '{found.mart}' has no column '{found.key}'", near(found.key, types)
    elif (problem := key_problem(found.column, kind, found.key, types[found.key])) is not None:
        yield problem, "cast one of them in its mart"
    if found.where is not None:
        yield from _rule(content, found.where, found.mart, built)


def _condition(declared: Mapping[str, Attribute], node: exp.Expr, kind: str) -> Iterator[tuple[str, str]]:
    name = node.this.name
    for value in values_in(node):
        if isinstance(value, exp.Column):
            family: Family | None = "text" if value.name == BUILT_IN else None
            if value.name in declared:
                family = declared[value.name].type
            if family is not None and not may_compare(family, kind):
                message = f"'{name}' is {kind}, which user.{value.name} ({family}) cannot be compared with"
                yield message, f"declare the attribute as {family_of(kind)}" if family_of(kind) else _CAST
            continue
        try:
            one_of(exp.column(name), [literal_value(value)], kind)
        except RuleInvalid as error:
            yield f"'{name}': {error}", "" if family_of(kind) else _CAST


_CAST = "cast the column in the mart: rules compare text, numbers, booleans, dates and timestamps"


def _masks(content: Content, built: Built) -> Iterator[tuple[str, str, str]]:
    for rule in content.policy.columns:
        for name, types in built.items():
            if name not in content.marts or not content.marts[name].visible:
                continue
            for column in columns_under(rule, content.marts[name]):
                if column not in types:
                    message = f"the built mart '{name}' has no column '{column}'"
                    yield rule._at, message, near(column, types)
                elif (problem := mask_problem(rule.mask, types[column])) is not None:
                    words = f"'{mask_word(rule.mask)}' does not fit '{name}.{column}': {problem}"
                    yield rule._at, words, "null and hide fit every type"


def _aggregates(content: Content, built: Built) -> Iterator[tuple[str, str, str]]:
    for rule in content.policy.aggregates:
        types = built.get(rule.mart)
        if types is not None and rule.of is not None and rule.of not in types:
            yield rule._at, f"the built mart '{rule.mart}' has no column '{rule.of}'", near(rule.of, types)
