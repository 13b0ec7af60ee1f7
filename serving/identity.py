"""Who is asking: roles and attributes, resolved from the policy's assignments."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from serving.content.policy import Policy
from serving.content.spec import Scalar
from serving.errors import UnknownUser

Attribute = Scalar | tuple[Scalar, ...]


@dataclass(frozen=True)
class User:
    """A person, or a sync that acts in the name of roles."""

    email: str
    roles: tuple[str, ...]  # inherited ones included, sorted
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    name: str = ""

    @property
    def label(self) -> str:
        """How pages call the person."""
        return self.name or self.email


def people(policy: Policy) -> tuple[User, ...]:
    """Everybody the policy assigns by e-mail, in the order of the files."""
    emails = dict.fromkeys(entry.email for entry in policy.assign if entry.email is not None)
    return tuple(find_user(policy, email) for email in emails)


def find_user(policy: Policy, email: str) -> User:
    """The person with this e-mail; raises UnknownUser for anybody without an assignment."""
    wanted = email.strip().lower()
    own = [entry for entry in policy.assign if entry.email is not None and entry.email.lower() == wanted]
    if not own:
        raise UnknownUser(f"nobody called {email!r} is assigned a role", hint="see models/policies/")
    groups = {group for entry in own for group in entry.groups}
    entries = [entry for entry in policy.assign if entry.group in groups] + own
    attributes: dict[str, Attribute] = {}
    for entry in entries:  # the person's own values win over the groups'
        attributes.update(entry.attributes)
    roles = inherited(policy, (role for entry in entries for role in entry.roles))
    return User(wanted, roles, attributes, next((entry.name for entry in own if entry.name), ""))


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
