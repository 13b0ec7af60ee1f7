"""The policy's files against each other and against marts and destinations: names, types, conflicts."""

import re
from collections.abc import Iterable, Iterator, Mapping

from serving.content.attributes import BUILT_IN, Clash, combined, values_of
from serving.content.model import Content
from serving.content.policy import Assignment, Attribute, Policy, PolicyFile, Role, Value
from serving.content.spec import KeyPath, Resource
from serving.content.validate import near
from serving.errors import Problem

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+")
_DOMAIN = re.compile(r"[^\s@]+")


def check_policy(content: Content, files: Mapping[str, PolicyFile]) -> Iterator[Problem]:
    """Everything wrong with the policy that can be seen without reading its row rules."""
    for file in files.values():
        yield from _attributes(file)
        yield from _roles(content, file)
        for index, entry in enumerate(file.assign):
            yield from _assignment(content.policy, file, index, entry)
        yield from _rules(content, file)
        yield from _egress(content, file)
    yield from _clashes(content.policy)


def unknown(
    resource: Resource, path: KeyPath, kind: str, names: Iterable[str], known: Iterable[str]
) -> Iterator[Problem]:
    """A problem for each of the names that is not known."""
    known = list(known)
    for name in names:
        if name not in known:
            where = resource._where
            yield Problem(where.file, where.line(*path), f"there is no {kind} '{name}'", near(name, known))


def tags_of(content: Content, *, visible: bool) -> set[str]:
    """The tags that columns carry, of visible marts only or of all."""
    marts = [mart for mart in content.marts.values() if mart.visible or not visible]
    return {tag for mart in marts for column in mart.columns.values() for tag in column.tags}


def _at(file: Resource, path: KeyPath, message: str, hint: str = "") -> Problem:
    return Problem(file._where.file, file._where.line(*path), message, hint)


def _attributes(file: PolicyFile) -> Iterator[Problem]:
    for name in file.attributes:
        path = ("attributes", name)
        if name == BUILT_IN:
            yield _at(file, path, "user.email is built in", "leave it out: everybody has it, as a text")
        elif not _NAME.fullmatch(name):
            hint = "lower case letters, digits and _, starting with a letter"
            yield _at(file, path, f"'{name}' cannot be the name of an attribute", hint)


def _roles(content: Content, file: PolicyFile) -> Iterator[Problem]:
    roles, shown = content.policy.roles, _visible(content)
    for name, role in file.roles.items():
        yield from unknown(file, ("roles", name, "extends"), "role", role.extends, roles)
        granted = [mart for mart in role.marts if mart != "*"]
        yield from unknown(file, ("roles", name, "marts"), "visible mart", granted, shown)
        if name in _ancestors(roles, name):
            path = ("roles", name, "extends")
            yield _at(file, path, f"the role '{name}' extends itself", "break the circle")


def _assignment(policy: Policy, file: PolicyFile, index: int, entry: Assignment) -> Iterator[Problem]:
    yield from unknown(file, ("assign", index, "roles"), "role", entry.roles, policy.roles)
    groups = {other.group for other in policy.assign if other.group is not None}
    path: KeyPath = ("assign", index, "groups")
    if entry.groups and entry.email is None:
        yield _at(file, path, "'groups' goes with 'email'", "say of each person which groups they are in")
    yield from unknown(file, path, "assignment of the group", entry.groups, groups)
    if entry.email is not None and not _ADDRESS.fullmatch(entry.email.strip()):
        yield _at(file, ("assign", index, "email"), f"{entry.email!r} is no e-mail address", "name@domain")
    if entry.domain is not None and not _DOMAIN.fullmatch(entry.domain):
        hint = "write what stands after the @, like example.com"
        yield _at(file, ("assign", index, "domain"), f"{entry.domain!r} is no mail domain", hint)
    for name, given in entry.attributes.items():
        yield from _given(policy, file, ("assign", index, "attributes", name), name, given)


def _given(
    policy: Policy, file: PolicyFile, path: KeyPath, name: str, given: Value | tuple[Value, ...]
) -> Iterator[Problem]:
    if name == BUILT_IN:
        yield _at(file, path, "user.email is built in", "leave it out: it is the person's own address")
    elif name not in policy.attributes:
        hint = near(name, policy.attributes) or f"declare it: `attributes: {{{name}: text}}`"
        yield _at(file, path, f"the attribute '{name}' is not declared", hint)
    elif values_of(given, policy.attributes[name]) is None:
        declared = policy.attributes[name]
        yield _at(file, path, _misfit(name, given, declared), _remedy(given, declared))


def _misfit(name: str, given: Value | tuple[Value, ...], declared: Attribute) -> str:
    if isinstance(given, tuple) and not declared.many:
        return f"'{name}' is one {declared.type}, here is a list"
    many = given if isinstance(given, tuple) else (given,)
    wrong = next(value for value in many if values_of(value, declared) is None)
    shown = str(wrong) if not isinstance(wrong, str) else repr(wrong)
    return f"'{name}' is declared as {declared.type}; {shown} is none"


def _remedy(given: Value | tuple[Value, ...], declared: Attribute) -> str:
    if isinstance(given, tuple) and not declared.many:
        return f"declare it as a list: {{type: {declared.type}, many: true}}"
    return {
        "text": "put it in quotes",
        "number": "write digits without quotes",
        "boolean": "write true or false",
        "date": "write 2026-01-31",
        "timestamp": "write 2026-01-31 12:00, without a zone",
    }[declared.type]


def _rules(content: Content, file: PolicyFile) -> Iterator[Problem]:
    roles, shown = content.policy.roles, _visible(content)
    for index, row in enumerate(file.rows):
        yield from unknown(file, ("rows", index, "mart"), "visible mart", [row.mart], shown)
        yield from unknown(file, ("rows", index, "except"), "role", row.exempt, roles)
    for index, column in enumerate(file.columns):
        yield from unknown(file, ("columns", index, "except"), "role", column.exempt, roles)
        if column.tag is not None:
            yield from _tag(content, file, ("columns", index, "tag"), column.tag)
        if column.column is not None:
            mart = column.column.split(".")[0]
            yield from unknown(file, ("columns", index, "column"), "visible mart", [mart], shown)
    seen = [rule.mart for rule in content.policy.aggregates]
    for index, rule in enumerate(file.aggregates):
        path: KeyPath = ("aggregates", index, "mart")
        yield from unknown(file, path, "visible mart", [rule.mart], shown)
        yield from unknown(file, ("aggregates", index, "except"), "role", rule.exempt, roles)
        columns = content.marts[rule.mart].columns if rule.mart in content.marts else {}
        if rule.of is not None and columns:
            kind = f"column of {rule.mart}"
            yield from unknown(file, ("aggregates", index, "of"), kind, [rule.of], columns)
        if seen.count(rule.mart) > 1:
            message = f"there is more than one aggregate rule for '{rule.mart}'"
            yield _at(file, path, message, "one a mart: keep the stricter")
    for index, limit in enumerate(file.limits):
        yield from unknown(file, ("limits", index, "role"), "role", [limit.role], roles)
        if limit.model_fields_set <= {"role"}:
            hint = "add rows, megabytes, seconds, concurrent or queued"
            yield _at(file, ("limits", index), f"this limits nothing of '{limit.role}'", hint)


def _tag(content: Content, file: PolicyFile, path: KeyPath, tag: str) -> Iterator[Problem]:
    known = tags_of(content, visible=True)
    if tag not in known and tag in tags_of(content, visible=False):
        message = f"the rule reaches no column: only building blocks carry the tag '{tag}'"
        yield _at(file, path, message, "tag the columns of visible marts, or remove the rule")
    else:
        yield from unknown(file, path, "column with the tag", [tag], known)


def _egress(content: Content, file: PolicyFile) -> Iterator[Problem]:
    known = tags_of(content, visible=False)
    for index, rule in enumerate(file.egress):
        path: KeyPath = ("egress", index, "destination")
        yield from unknown(file, path, "destination", [rule.destination], content.destinations)
        for tag in rule.allow:
            if tag != "*" and not any(covers(tag, other) for other in known):
                yield from unknown(file, ("egress", index, "allow"), "column with the tag", [tag], known)


def covers(allowed: str, tag: str) -> bool:
    """Whether an egress rule's word allows a tag: the tag itself, what it is a part of, or `*`."""
    return allowed in ("*", tag) or tag.startswith(f"{allowed}.")


def _clashes(policy: Policy) -> Iterator[Problem]:
    """Attributes for which one address is given two values of the same rank."""
    people: dict[str, list[Assignment]] = {}
    groups: dict[str, list[Assignment]] = {}
    domains: dict[str, list[Assignment]] = {}
    for entry in policy.assign:
        if entry.email is not None:
            people.setdefault(entry.email.strip().lower(), []).append(entry)
        elif entry.group is not None:
            groups.setdefault(entry.group, []).append(entry)
        elif entry.domain is not None:
            domains.setdefault(f"@{entry.domain.lower()}", []).append(entry)
    for subject, same in (people | groups | domains).items():
        for clash in combined(policy.attributes, same)[1]:
            yield _clash(same[-1]._at, subject, clash)
    for email, own in people.items():
        mine = dict.fromkeys(group for entry in own for group in entry.groups)
        theirs = [entry for group in mine for entry in groups.get(group, ())]
        overruled = {name for entry in own for name in entry.attributes}
        for clash in combined(policy.attributes, theirs)[1]:
            if clash.attribute not in overruled and clash.first.group != clash.second.group:
                yield _clash(own[0]._at, email, clash)


def _clash(at: str, subject: str, clash: Clash) -> Problem:
    file, _, line = at.rpartition(":")
    message = f"{subject} is given two values of '{clash.attribute}': {clash.first._at}, {clash.second._at}"
    hint = "give the person a value of their own, or declare the attribute with many: true"
    return Problem(file, int(line), message, hint)


def _visible(content: Content) -> list[str]:
    return [name for name, mart in content.marts.items() if mart.visible]


def _ancestors(roles: Mapping[str, Role], name: str) -> set[str]:
    found: set[str] = set()
    todo = list(roles[name].extends) if name in roles else []
    while todo:
        role = todo.pop()
        if role not in found:
            found.add(role)
            todo += roles[role].extends if role in roles else ()
    return found
