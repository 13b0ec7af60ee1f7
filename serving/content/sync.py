"""The typed form of models/destinations/ and models/syncs/: what goes where, as whom, when."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from serving.content.spec import Names, Resource, Scalar, Spec


class AccountLimits(Spec):
    """Tightens the connector's own limits, for all syncs of this account."""

    per_second: float | None = Field(default=None, gt=0)
    concurrent: int | None = Field(default=None, ge=1)


class Destination(Resource):
    """models/destinations/NAME.yml: an account of an operational tool.

    Keys beyond these are the connector's own options and are checked by its model.
    """

    connector: str
    limits: AccountLimits = AccountLimits()
    description: str = ""
    options: Mapping[str, Any] = {}  # the connector's own keys, secrets still references


class Field_(Spec):
    """One field of the destination, from a column, a constant or a template."""

    column: str | None = None
    value: Scalar | None = None
    template: str | None = None  # "Ordered {orders} times"
    map: Mapping[Scalar, Scalar] | None = None
    default: Scalar | None = None  # what `map` gives for a value it does not name

    @model_validator(mode="after")
    def _one_origin(self) -> "Field_":
        given = [name for name in ("column", "value", "template") if name in self.model_fields_set]
        if len(given) != 1:
            raise ValueError("needs exactly one of 'column', 'value', 'template'")
        if self.column is None and (self.map is not None or "default" in self.model_fields_set):
            raise ValueError("'map' and 'default' go with 'column'")
        return self


def _column_or_field(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


FieldSpec = Annotated[Field_, BeforeValidator(_column_or_field)]


class Guard(Spec):
    """When a plan must wait for a person: shares as `10%` or 0.1."""

    deletes: float = Field(default=0.10, ge=0, le=1)
    changes: float = Field(default=1.0, ge=0, le=1)
    min_rows: int = Field(default=1, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _percent(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        return {
            key: float(value[:-1]) / 100 if isinstance(value, str) and value.endswith("%") else value
            for key, value in data.items()
        }


class Schedule(Spec):
    """When a sync runs by itself: exactly one of the three."""

    cron: str | None = None
    every: str | None = None  # "15 minutes", "2 hours", "1 day"
    after: Literal["build"] | None = None
    timezone: str | None = None  # of `cron`; default: the project's

    @model_validator(mode="after")
    def _one_trigger(self) -> "Schedule":
        if sum(trigger is not None for trigger in (self.cron, self.every, self.after)) != 1:
            raise ValueError("needs exactly one of 'cron', 'every', 'after'")
        return self


class Sync(Resource):
    """models/syncs/NAME.yml: which rows go where, seen through whose eyes."""

    source: str | None = None  # a mart
    sql: str | None = None  # or a governed query
    run_as: Names = Field(min_length=1)
    destination: str
    object: str
    key: Mapping[str, str] = Field(min_length=1)  # destination field: source column
    fields: Mapping[str, FieldSpec] = {}
    mode: Literal["upsert", "mirror"] = "upsert"
    on_removed: Literal["keep", "clear", "archive", "delete"] = "keep"
    guard: Guard = Guard()
    schedule: Schedule | None = None
    description: str = ""

    @model_validator(mode="after")
    def _whole(self) -> "Sync":
        if (self.source is None) == (self.sql is None):
            raise ValueError("needs either 'source' or 'sql'")
        if self.mode == "upsert" and self.on_removed != "keep":
            raise ValueError("'on_removed' goes with mode: mirror")
        if both := sorted(self.key.keys() & self.fields.keys()):
            raise ValueError(f"{both[0]!r} is both a key and a field")
        return self
