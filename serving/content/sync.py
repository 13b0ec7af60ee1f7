"""The typed form of models/destinations/ and models/syncs/: what goes where, as whom, when."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from serving.content.spec import Names, Resource, Scalar, Spec

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_DURATION = re.compile(r"(?P<number>\d+)\s+(?P<unit>second|minute|hour|day|week)s?")


def duration(text: str) -> timedelta:
    """`15 minutes`, `1 day`; ValueError for anything else and for nothing."""
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None or int(found["number"]) == 0:
        raise ValueError(f'{text!r} is no span of time: write for example "15 minutes" or "1 day"')
    return timedelta(seconds=int(found["number"]) * _UNITS[found["unit"]])


def _span(value: object) -> object:
    return duration(value) if isinstance(value, str) else value


def _percent(value: object) -> object:
    if isinstance(value, str) and value.strip().endswith("%"):
        return float(value.strip()[:-1]) / 100
    return value


Duration = Annotated[timedelta, BeforeValidator(_span)]
Share = Annotated[float, BeforeValidator(_percent), Field(ge=0)]  # `10%` or 0.1


class AccountLimits(Spec):
    """Tightens the connector's own limits, for all syncs of this account together."""

    per_second: float | None = Field(default=None, gt=0)
    per_minute: int | None = Field(default=None, ge=1)
    per_day: int | None = Field(default=None, ge=1)  # counted from midnight UTC
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
    nulls: Literal["send", "skip", "clear"] = "send"  # skip: the destination keeps what it has
    round: int | None = Field(default=None, ge=0, le=12)  # decimals of what is sent and compared

    @model_validator(mode="after")
    def _one_origin(self) -> "Field_":
        given = [name for name in ("column", "value", "template") if name in self.model_fields_set]
        if len(given) != 1:
            raise ValueError("needs exactly one of 'column', 'value', 'template'")
        if self.column is None and (self.map is not None or "default" in self.model_fields_set):
            raise ValueError("'map' and 'default' go with 'column'")
        if self.round is not None and (self.column is None or self.map is not None):
            raise ValueError("'round' goes with a 'column' that has no 'map'")
        return self


def _column_or_field(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


FieldSpec = Annotated[Field_, BeforeValidator(_column_or_field)]


def _always(value: object) -> object:
    return {"always": True} if value == "always" else value


class Tolerance_(Spec):
    """Which changes of one field are no news: `{below: 1.00}`, `{share: 5%}` or `always`.

    A field that moved further, to or from null, or that has no tolerance, is news.
    """

    below: float | None = Field(default=None, gt=0)  # |new - old| < below
    share: Share | None = None  # |new - old| < share of |old|
    always: Literal[True] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Tolerance_":
        if sum(kind is not None for kind in (self.below, self.share, self.always)) != 1:
            raise ValueError("needs exactly one of 'below', 'share', 'always'")
        return self


Tolerance = Annotated[Tolerance_, BeforeValidator(_always)]


class Guard(Spec):
    """When a plan must wait for a person. Shares as `10%` or 0.1; 100% switches a share off."""

    deletes: Share = Field(default=0.10, le=1)  # removals among the rows the destination holds
    changes: Share = Field(default=0.50, le=1)  # updates and removals among them
    rows: Share = 0.50  # how far the number of rows may be from that of the last run; above 1 for growth
    nulls: Share = Field(default=0.20, le=1)  # by how much the share of nulls of a field may grow
    min_rows: int = Field(default=1, ge=0)
    red_tests: Literal["hold", "allow"] = "hold"


class AfterSync(Spec):
    """When another sync has ended well."""

    sync: str


class Notify(Spec):
    """Who hears of a change of state: names of destinations, or e-mail addresses."""

    on: tuple[Literal["failed", "guarded", "recovered", "rejects"], ...] = Field(min_length=1)
    to: Names = Field(min_length=1)
    rejects: Share = 0.05  # share of a run's rows from which on `rejects` speaks


class Schedule(Spec):
    """When a sync runs by itself: exactly one of the three."""

    cron: str | None = None
    every: str | None = None  # "15 minutes", "2 hours", "1 day"
    after: Literal["build"] | AfterSync | None = None
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
    mode: Literal["insert", "update", "upsert", "mirror"] = "upsert"
    on_removed: Literal["keep", "clear", "archive", "delete"] = "keep"
    send: Literal["all", "changed"] = "all"  # which fields an update carries
    ignore_changes: Mapping[str, Tolerance] = {}  # by destination field
    min_resend: Duration | None = None  # a row that was accepted is not updated again before
    park_after: int = Field(default=5, ge=1)  # rejections of the same change
    priority: Literal["high", "normal", "low"] = "normal"  # at the account's budget
    guard: Guard = Guard()
    schedule: Schedule | None = None
    notify: Notify | None = None
    description: str = ""

    @model_validator(mode="after")
    def _whole(self) -> "Sync":
        if (self.source is None) == (self.sql is None):
            raise ValueError("needs either 'source' or 'sql'")
        if self.mode != "mirror" and self.on_removed != "keep":
            raise ValueError("'on_removed' goes with mode: mirror")
        if both := sorted(self.key.keys() & self.fields.keys()):
            raise ValueError(f"{both[0]!r} is both a key and a field")
        if strangers := sorted(self.ignore_changes.keys() - self.fields.keys()):
            raise ValueError(f"'ignore_changes' names {strangers[0]!r}, which is no field of this sync")
        return self
