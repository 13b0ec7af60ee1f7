"""The typed form of models/policies/: who may see what."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field, PrivateAttr, model_validator

from serving.content.spec import Names, Resource, Scalar, Spec


class Role(Spec):
    """What holders of a role may see: deny by default, `*` is every visible mart."""

    marts: Names = ()
    extends: Names = ()
    description: str = ""


class Assignment(Spec):
    """Gives roles and attributes to a person or a group."""

    email: str | None = None
    group: str | None = None
    name: str = ""  # how the explorer calls the person
    groups: tuple[str, ...] = ()  # groups an e-mail belongs to, where no directory says so
    roles: Names = ()
    attributes: Mapping[str, Scalar | tuple[Scalar, ...]] = {}

    @model_validator(mode="after")
    def _one_subject(self) -> "Assignment":
        if (self.email is None) == (self.group is None):
            raise ValueError("needs either 'email' or 'group'")
        return self


class RowRule(Spec):
    """Only rows that fulfil `where` exist for everybody but the holders of `except`."""

    mart: str
    where: str
    exempt: Names = Field(default=(), alias="except")
    _at: str = PrivateAttr(default="")


class ColumnRule(Spec):
    """A mask on the columns that carry `tag`, or on the one named `mart.column`."""

    tag: str | None = None
    column: str | None = Field(default=None, pattern=r"^\w+\.\w+$")
    mask: Literal["hide", "hash", "null"]
    exempt: Names = Field(default=(), alias="except")
    _at: str = PrivateAttr(default="")

    @model_validator(mode="after")
    def _one_subject(self) -> "ColumnRule":
        if (self.tag is None) == (self.column is None):
            raise ValueError("needs either 'tag' or 'column'")
        return self


class LimitRule(Spec):
    """How much a question of a role's holder may cost; the widest role counts."""

    role: str
    rows: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, gt=0)


class PolicyFile(Resource):
    """models/policies/NAME.yml; all files together are the policy."""

    roles: Mapping[str, Role] = {}
    assign: tuple[Assignment, ...] = ()
    rows: tuple[RowRule, ...] = ()
    columns: tuple[ColumnRule, ...] = ()
    limits: tuple[LimitRule, ...] = ()


@dataclass(frozen=True)
class Policy:
    """All policy files as one."""

    roles: Mapping[str, Role] = field(default_factory=dict)
    assign: tuple[Assignment, ...] = ()
    rows: tuple[RowRule, ...] = ()
    columns: tuple[ColumnRule, ...] = ()
    limits: tuple[LimitRule, ...] = ()
