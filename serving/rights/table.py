"""The access of everybody as plain values: what is recorded at a publish, and compared with later."""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from serving.content.model import Content
from serving.errors import SluiceError
from serving.governance.access import limits_for, visible_marts
from serving.identity import User
from serving.rights.grants import value_text
from serving.rights.report import limit_values
from serving.rights.rules import Built, aggregate_access, column_access, column_names, row_access


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Group(_Plain):
    """The smallest group that an aggregate-only mart answers for."""

    min_group: int
    of: str  # column; empty: rows


class MartRights(_Plain):
    """What somebody sees of a mart."""

    columns: dict[str, str]  # name -> `seen`, `hidden`, or the mask
    rows: tuple[str, ...]  # the rules that apply, with the person's values in them; all must hold
    aggregate: Group | None


class Rights(_Plain):
    """What somebody may do, whoever said so."""

    name: str
    roles: tuple[str, ...]
    attributes: dict[str, str]
    every_mart: bool  # also those to come; holders may act on syncs
    marts: dict[str, MartRights]
    limits: dict[str, float | None]


class AccessTable(_Plain):
    """Everybody's rights; the key is the e-mail, `group:NAME` or `*@domain`."""

    format: Literal[1] = 1
    people: dict[str, Rights]

    def text(self) -> str:
        """The same rights are the same text."""
        ordered = {email: self.people[email] for email in sorted(self.people)}
        return AccessTable(people=ordered).model_dump_json()


def access_table(content: Content, built: Built, people: Iterable[User]) -> AccessTable:
    """The effective rights of these people; columns that no build has yet come from the mart's file."""
    columns: dict[tuple[tuple[str, ...], str], dict[str, str]] = {}  # they are the same for the same roles
    found = {}
    for user in people:
        marts = {}
        for mart in visible_marts(content, user):
            if (user.roles, mart) not in columns:
                columns[user.roles, mart] = {
                    name: column_access(content, mart, name, user).shown
                    for name in column_names(content, mart, built)
                }
            marts[mart] = _mart(content, user, mart, columns[user.roles, mart])
        found[user.email] = _rights(content, user, marts)
    return AccessTable(people=found)


def read_table(text: str) -> AccessTable:
    """A recorded table; raises SluiceError where another release wrote it."""
    try:
        return AccessTable.model_validate_json(text)
    except ValidationError as error:
        hint = "run `python -m serving build` once to record it again"
        raise SluiceError("the published access was recorded in another form", hint=hint) from error


def _rights(content: Content, user: User, marts: dict[str, MartRights]) -> Rights:
    return Rights(
        name=user.name,
        roles=user.roles,
        attributes={name: value_text(user.attributes[name]) for name in sorted(user.attributes)},
        every_mart=any("*" in content.policy.roles[role].marts for role in user.roles),
        marts=marts,
        limits=dict(limit_values(limits_for(content, user))),
    )


def _mart(content: Content, user: User, mart: str, columns: dict[str, str]) -> MartRights:
    rule = aggregate_access(content, mart, user)
    return MartRights(
        columns=columns,
        rows=tuple(rule.bound for rule in row_access(content, mart, user) if not rule.exempt),
        aggregate=Group(min_group=rule.min_group, of=rule.of) if rule and not rule.exempt else None,
    )
