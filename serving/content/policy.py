"""The typed form of models/policies/: who may see what."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, PrivateAttr, Tag, model_validator

from serving.content.spec import Names, Resource, Scalar, Spec

Family = Literal["text", "number", "boolean", "date", "timestamp"]
Grain = Literal["year", "quarter", "month", "week", "day", "hour"]
Value = Scalar | datetime | date  # of an attribute: YAML knows dates, too


class Attribute(Spec):
    """What assignments may say about a person, and row rules may compare with."""

    type: Family
    many: bool = False  # a list of such values
    description: str = ""


def _type_or_attribute(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


AttributeSpec = Annotated[
    Attribute, BeforeValidator(_type_or_attribute, json_schema_input_type=Family | Attribute)
]


class Role(Spec):
    """What holders of a role may see: deny by default, `*` is every visible mart."""

    marts: Names = ()
    extends: Names = ()
    description: str = ""
    _at: str = PrivateAttr(default="")


def _plain(value: object) -> object:
    many = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(one, str | int | float | bool | date) for one in many):
        raise ValueError("must be a text, number, boolean, date or timestamp, or a list of them")
    return value


class Assignment(Spec):
    """Gives roles and attributes to a person, to a group, or to everybody of a mail domain."""

    email: str | None = None
    group: str | None = None
    domain: str | None = None
    name: str = ""  # how the explorer calls the person
    groups: tuple[str, ...] = ()  # groups an e-mail belongs to, where no directory says so
    roles: Names = ()
    attributes: Mapping[str, Annotated[Value | tuple[Value, ...], BeforeValidator(_plain)]] = {}
    _at: str = PrivateAttr(default="")

    @model_validator(mode="after")
    def _one_subject(self) -> "Assignment":
        if sum(subject is not None for subject in (self.email, self.group, self.domain)) != 1:
            raise ValueError("needs exactly one of 'email', 'group', 'domain'")
        return self


class RowRule(Spec):
    """Only rows that fulfil `where` exist for everybody but the holders of `except`."""

    mart: str
    where: str
    exempt: Names = Field(default=(), alias="except")
    _at: str = PrivateAttr(default="")


class Constant(Spec):
    """The same value in every row."""

    constant: Scalar


class Keep(Spec):
    """How many characters stay at either end."""

    first: int = Field(default=0, ge=0, le=100)
    last: int = Field(default=0, ge=0, le=100)

    @model_validator(mode="after")
    def _some(self) -> "Keep":
        if not self.first and not self.last:
            raise ValueError("needs 'first' or 'last'")
        return self


class Partial(Spec):
    """A text's ends; `***` stands for the rest, and for all of a text that is no longer than its ends."""

    partial: Keep


class Bucket(Spec):
    """A number, rounded down to a multiple of `bucket`."""

    bucket: float = Field(gt=0)


class Truncate(Spec):
    """A date or timestamp, cut down to the start of its year, month, …"""

    truncate: Grain


_MASK_KEYS = ("constant", "partial", "bucket", "truncate")


def _mask_kind(value: object) -> str:
    if isinstance(value, Spec):
        return next(iter(type(value).model_fields))
    if isinstance(value, Mapping):
        key = str(next(iter(value), ""))
        return next(iter(get_close_matches(key, _MASK_KEYS, n=1)), "constant")
    return "word"


def _one_mask(value: object) -> object:
    if isinstance(value, Mapping) and len(value) > 1:
        raise ValueError(f"must be one mask, here are {' and '.join(map(str, value))}")
    return "null" if value is None else value  # YAML reads `mask: null` as nothing


MaskWord = Literal["hide", "hash", "null"]
Mask = Annotated[
    Annotated[MaskWord, Tag("word")]
    | Annotated[Constant, Tag("constant")]
    | Annotated[Partial, Tag("partial")]
    | Annotated[Bucket, Tag("bucket")]
    | Annotated[Truncate, Tag("truncate")],
    Discriminator(_mask_kind),
    BeforeValidator(_one_mask),
]


class ColumnRule(Spec):
    """A mask on the columns that carry `tag`, or on the one named `mart.column`."""

    tag: str | None = None
    column: str | None = Field(default=None, pattern=r"^\w+\.\w+$")
    mask: Mask
    exempt: Names = Field(default=(), alias="except")
    _at: str = PrivateAttr(default="")

    @model_validator(mode="after")
    def _one_subject(self) -> "ColumnRule":
        if (self.tag is None) == (self.column is None):
            raise ValueError("needs either 'tag' or 'column'")
        return self


class AggregateRule(Spec):
    """The mart answers in aggregates only, over at least `min_group` different values of `of` (or rows)."""

    mart: str
    min_group: int = Field(ge=2)
    of: str | None = None
    exempt: Names = Field(default=(), alias="except")
    _at: str = PrivateAttr(default="")


class EgressRule(Spec):
    """Columns with these tags may be sent to the destination; a tagged column goes nowhere else."""

    destination: str
    allow: Names
    _at: str = PrivateAttr(default="")


class LimitRule(Spec):
    """How much a role's holder may ask for; of several roles the widest limit counts."""

    role: str
    rows: int | None = Field(default=None, ge=1)
    megabytes: float | None = Field(default=None, gt=0)  # of one answer
    seconds: float | None = Field(default=None, gt=0)  # of one question
    concurrent: int | None = Field(default=None, ge=1)  # questions of one person that run at once
    queued: int | None = Field(default=None, ge=0)  # and that wait for their turn
    _at: str = PrivateAttr(default="")


class PolicyFile(Resource):
    """models/policies/NAME.yml; all files together are the policy."""

    attributes: Mapping[str, AttributeSpec] = {}
    roles: Mapping[str, Role] = {}
    assign: tuple[Assignment, ...] = ()
    rows: tuple[RowRule, ...] = ()
    columns: tuple[ColumnRule, ...] = ()
    aggregates: tuple[AggregateRule, ...] = ()
    egress: tuple[EgressRule, ...] = ()
    limits: tuple[LimitRule, ...] = ()


@dataclass(frozen=True)
class Policy:
    """All policy files as one."""

    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=dict)
    assign: tuple[Assignment, ...] = ()
    rows: tuple[RowRule, ...] = ()
    columns: tuple[ColumnRule, ...] = ()
    aggregates: tuple[AggregateRule, ...] = ()
    egress: tuple[EgressRule, ...] = ()
    limits: tuple[LimitRule, ...] = ()


def mask_word(mask: Any) -> str:
    """A mask as people read it: `hash`, `partial (first 1, last 2)`, `bucket 10`, `truncate month`."""
    match mask:
        case Constant(constant=value):
            return f"constant {value!r}"
        case Partial(partial=keep):
            ends = [
                f"{side} {count}" for side, count in (("first", keep.first), ("last", keep.last)) if count
            ]
            return f"partial ({', '.join(ends)})"
        case Bucket(bucket=size):
            return f"bucket {size:g}"
        case Truncate(truncate=grain):
            return f"truncate {grain}"
    return str(mask)
