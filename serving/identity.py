"""Who is asking: roles and attributes, resolved from the policy's assignments."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from serving.content.attributes import combined
from serving.content.policy import Assignment, Policy, Value
from serving.errors import UnknownUser

Attribute = Value | tuple[Value, ...]
_ADDRESS = re.compile(r"[^\s\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+")


@dataclass(frozen=True)
class User:
    """A person, or a sync that acts in the name of roles."""

    email: str
    roles: tuple[str, ...]  # inherited ones included, sorted
    attributes: Mapping[str, Attribute] = field(default_factory=dict)  # without the built-in user.email
    name: str = ""

    @property
    def label(self) -> str:
        """How pages call the person."""
        return self.name or self.email


@dataclass(frozen=True)
class Entries:
    """The assignments that reach one address, by rank: own ones win over groups', these over the domain's."""

    own: tuple[Assignment, ...] = ()
    groups: tuple[Assignment, ...] = ()
    domain: tuple[Assignment, ...] = ()

    @property
    def all(self) -> tuple[Assignment, ...]:
        """Every one of them, the strongest first."""
        return (*self.own, *self.groups, *self.domain)


def entries_for(policy: Policy, email: str) -> Entries:
    """The address' own assignments, those of its groups, and those of its exact domain (no sub-domain)."""
    wanted = email.strip().lower()
    own = tuple(e for e in policy.assign if e.email is not None and e.email.strip().lower() == wanted)
    names = {group for entry in own for group in entry.groups}
    groups = tuple(entry for entry in policy.assign if entry.group in names)
    host = wanted.rpartition("@")[2] if _ADDRESS.fullmatch(wanted) else ""
    domain = tuple(e for e in policy.assign if host and e.domain is not None and e.domain.lower() == host)
    return Entries(own, groups, domain)


def people(policy: Policy) -> tuple[User, ...]:
    """Everybody the policy assigns by e-mail, in the order of the files."""
    emails = dict.fromkeys(entry.email.strip().lower() for entry in policy.assign if entry.email is not None)
    return tuple(find_user(policy, email) for email in emails)


def principals(policy: Policy) -> tuple[User, ...]:
    """Every kind of subject the policy names: its people, then one representative of each group and domain.

    A representative holds what the group (`group:NAME`) or the domain (`*@DOMAIN`) alone gives.
    """
    groups = dict.fromkeys(entry.group for entry in policy.assign if entry.group is not None)
    domains = dict.fromkeys(entry.domain.lower() for entry in policy.assign if entry.domain is not None)
    members = [
        _user(policy, f"group:{name}", Entries(groups=tuple(e for e in policy.assign if e.group == name)))
        for name in groups
    ]
    anybody = [_user(policy, f"*@{host}", entries_for(policy, f"*@{host}")) for host in domains]
    return (*people(policy), *members, *anybody)


def find_user(policy: Policy, email: str) -> User:
    """The person with this e-mail; raises UnknownUser for anybody without an assignment."""
    entries = entries_for(policy, email)
    if not entries.all:
        raise UnknownUser(f"nobody called {email!r} is assigned a role", hint="see models/policies/")
    return _user(policy, email.strip().lower(), entries)


def service_user(policy: Policy, name: str, roles: Iterable[str]) -> User:
    """A sync or another program that acts with `roles` and no attributes."""
    return User(name, inherited(policy, roles))


def inherited(policy: Policy, roles: Iterable[str]) -> tuple[str, ...]:
    """The roles and everything they extend; raises UnknownUser for a role without definition."""
    found: set[str] = set()
    todo = list(roles)
    while todo:
        role = todo.pop()
        if role in found:
            continue
        if role not in policy.roles:
            raise UnknownUser(f"there is no role {role!r}", hint="roles are defined in models/policies/")
        found.add(role)
        todo.extend(policy.roles[role].extends)
    return tuple(sorted(found))


def _user(policy: Policy, email: str, entries: Entries) -> User:
    attributes: dict[str, Attribute] = {}
    for rank in (entries.domain, entries.groups, entries.own):  # the later ones win
        values, clashes = combined(policy.attributes, rank)
        for name in {clash.attribute for clash in clashes}:
            attributes.pop(name, None)
        attributes |= {
            name: value if policy.attributes[name].many else value[0] for name, value in values.items()
        }
    roles = inherited(policy, (role for entry in entries.all for role in entry.roles))
    name = next((entry.name for entry in entries.own if entry.name), "")
    return User(email, roles, attributes, name)
