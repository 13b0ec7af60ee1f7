"""Which roles somebody holds, by which assignment, and which of them grants a mart."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from serving.content.model import Content
from serving.content.policy import Assignment, Policy, Role
from serving.identity import Entries, User, entries_for, principals, service_user

GROUP, DOMAIN, SYNC = "group:", "*@", "sync:"  # how a principal that is no single person is called


@dataclass(frozen=True)
class Step:
    """One reason of a chain, and the line that says so."""

    words: str
    at: str


@dataclass(frozen=True)
class Holding:
    """A role somebody holds, and how they came by it: the reason nearest to the role first."""

    role: str
    steps: tuple[Step, ...]  # `emea extends analyst`, `given to group sales`


@dataclass(frozen=True)
class Grant:
    """A role that shows a mart to somebody, and how they came by it."""

    role: str
    steps: tuple[Step, ...]  # `analyst names it`, then those of the holding


@dataclass(frozen=True)
class AttributeValue:
    """An attribute of somebody, and the assignment that gives it."""

    name: str
    value: str
    subject: str
    at: str


def everybody(content: Content) -> tuple[User, ...]:
    """All principals: people, groups, domains, and the syncs, which are users like any other."""
    policy = content.policy
    syncs = (service_user(policy, SYNC + name, sync.run_as) for name, sync in content.syncs.items())
    return (*principals(policy), *syncs)


def entries_of(policy: Policy, email: str) -> Entries:
    """The assignments that make up a principal, by rank; none for a sync."""
    if email.startswith(SYNC):
        return Entries()
    if email.startswith(GROUP):
        name = email.removeprefix(GROUP)
        return Entries(groups=tuple(entry for entry in policy.assign if entry.group == name))
    return entries_for(policy, email)


def subject_of(entry: Assignment) -> str:
    """Whom an assignment speaks of."""
    if entry.email is not None:
        return entry.email
    return f"group {entry.group}" if entry.group is not None else f"domain {entry.domain}"


def holdings(content: Content, user: User) -> tuple[Holding, ...]:
    """Every role of the user, once for each assignment it comes from; their own come first."""
    roles = content.policy.roles
    return tuple(
        Holding(chain[-1], (*_inherited(roles, chain), source))
        for given, source in _given(content, user.email)
        for chain in _chains(roles, given)
        if chain[-1] in user.roles
    )


def _given(content: Content, email: str) -> Iterator[tuple[tuple[str, ...], Step]]:
    """Roles that are given to a principal, and where."""
    sync = content.syncs.get(email.removeprefix(SYNC)) if email.startswith(SYNC) else None
    if sync is not None:
        yield sync.run_as, Step(f"given to the sync {sync.name}", sync.at("run_as"))
    for entry in entries_of(content.policy, email).all:
        yield entry.roles, Step(f"given to {subject_of(entry)}", entry._at)


def grants(content: Content, mart: str, held: tuple[Holding, ...]) -> tuple[Grant, ...]:
    """The held roles that show the mart; empty where it is not granted, or is nobody's to see."""
    if not content.marts[mart].visible:
        return ()
    found = []
    for holding in held:
        role = content.policy.roles[holding.role]
        if _names_of(content, mart) & set(role.marts):
            words = f"{holding.role} {'names it' if mart in role.marts else 'reads every mart'}"
            found.append(Grant(holding.role, (Step(words, role._at), *holding.steps)))
    return tuple(found)


def roles_granting(content: Content, mart: str) -> tuple[str, ...]:
    """The roles that would show the mart to their holder, those by inheritance included."""
    roles = content.policy.roles
    if not content.marts[mart].visible:
        return ()
    return tuple(
        name
        for name in roles
        if any(_names_of(content, mart) & set(roles[chain[-1]].marts) for chain in _chains(roles, (name,)))
    )


def _names_of(content: Content, mart: str) -> set[str]:
    """The words of a role that grant the mart: `*` grants none that comes with the program."""
    return {mart} if content.marts[mart].built_in else {mart, "*"}


def attributes(policy: Policy, user: User) -> tuple[AttributeValue, ...]:
    """The user's attributes, each with the assignments that have the last word."""
    entries = entries_of(policy, user.email)
    found = []
    for name in sorted(user.attributes):
        ranks = (
            [e for e in rank if name in e.attributes]
            for rank in (entries.own, entries.groups, entries.domain)
        )
        givers = next((rank for rank in ranks if rank), [])
        subjects, places = [subject_of(e) for e in givers], [e._at for e in givers]
        value = value_text(user.attributes[name])
        found.append(AttributeValue(name, value, " and ".join(subjects), ", ".join(places)))
    return tuple(found)


def value_text(value: object) -> str:
    """An attribute as people read it: `EMEA`, `EMEA or AMER`."""
    return " or ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def told(steps: Iterable[Step]) -> str:
    """A chain of reasons with its lines, as one text."""
    return ", ".join(f"{step.words} ({step.at})" for step in steps)


def _inherited(roles: Mapping[str, Role], chain: tuple[str, ...]) -> Iterator[Step]:
    for lower, upper in reversed(list(pairwise(chain))):
        yield Step(f"{lower} extends {upper}", roles[lower]._at)


def _chains(roles: Mapping[str, Role], given: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The shortest way from a given role to each role it implies."""
    todo: list[tuple[str, ...]] = [(role,) for role in given]
    seen: set[str] = set()
    while todo:
        chain = todo.pop(0)
        if chain[-1] in seen or chain[-1] not in roles:
            continue
        seen.add(chain[-1])
        yield chain
        todo += [(*chain, role) for role in roles[chain[-1]].extends]
