"""The typed form of everything under models/; what each key means to its author.

One class a kind of file. Unknown keys are errors, values are immutable, and every
spec can say at which file and line one of its keys stands (`at`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    model_validator,
)

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Where:
    """Where the keys of one file stand: key path -> line, counting from 1."""

    file: str
    lines: Mapping[KeyPath, int] = field(default_factory=dict)

    def line(self, *path: str | int) -> int:
        """The line of the key, or of the nearest key around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def _one_or_many(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


Names = Annotated[tuple[str, ...], BeforeValidator(_one_or_many)]
Scalar = str | int | float | bool


class Spec(BaseModel):
    """A mapping in a file under models/: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Resource(Spec):
    """A file under models/: its name is the file's name."""

    name: str
    _where: Where = PrivateAttr(default_factory=lambda: Where(""))

    def at(self, *path: str | int) -> str:
        """`file:line` of a key of this resource."""
        return f"{self._where.file}:{self._where.line(*path)}"


class ProjectSpec(Resource):
    """models/project.yml"""

    timezone: str = "UTC"
    week_starts: Literal["monday", "sunday"] = "monday"
    keep_versions: int = Field(default=5, ge=1)
    settings: Mapping[str, Scalar] = {}  # mart SQL reads them with getvariable('name')


class Freshness(Spec):
    """How old the newest value of `column` may be, as DuckDB interval texts."""

    column: str
    warn: str | None = None
    error: str | None = None


class Source(Resource):
    """models/sources/NAME.yml: a named input file that marts read by its name."""

    path: str
    description: str = ""
    table: str | None = None  # which table of a DuckDB file; default: the source's name
    options: Mapping[str, Any] = {}  # passed to read_csv / read_parquet / read_json
    freshness: Freshness | None = None


class In(Spec):
    """Test: the column holds only these values (NULLs are for not_null to judge)."""

    allowed: tuple[Scalar, ...] = Field(alias="in")


class Relationship(Spec):
    """Test: every value that is not NULL stands in that column of another mart."""

    to: str = Field(alias="relationship", pattern=r"^\w+\.\w+$")


def _test_kind(value: object) -> str:
    if isinstance(value, Mapping):
        return "relationship" if "relationship" in value else "in"
    return "word" if isinstance(value, str) else type(value).__name__.lower()


ColumnTest = Annotated[
    Annotated[Literal["unique", "not_null"], Tag("word")]
    | Annotated[In, Tag("in")]
    | Annotated[Relationship, Tag("relationship")],
    Discriminator(_test_kind),
]


class Column(Spec):
    """What people and policies need to know about a column."""

    description: str = ""
    tags: tuple[str, ...] = ()
    tests: tuple[ColumnTest, ...] = ()


class Dimension(Spec):
    """A computed dimension: an expression over the mart's columns."""

    expr: str
    description: str = ""


class Measure(Spec):
    """An aggregate (`agg` over `expr`), or an expression over other measures (no `agg`)."""

    agg: Literal["sum", "count", "count_distinct", "avg", "min", "max"] | None = None
    expr: str | None = None
    format: str = ""
    description: str = ""

    @model_validator(mode="after")
    def _complete(self) -> "Measure":
        if self.expr is None and self.agg != "count":
            raise ValueError("needs 'expr' (only agg: count goes without)")
        return self


class Mart(Resource):
    """models/marts/NAME.yml beside NAME.sql: a curated table."""

    description: str = ""
    owner: str = ""
    grain: Names = ()  # tested unique and not null
    columns: Mapping[str, Column] = {}
    dimensions: Mapping[str, Dimension] = {}
    measures: Mapping[str, Measure] = {}
    tests: tuple[str, ...] = ()  # each a SELECT; rows returned are failures
    freshness: Freshness | None = None
    visible: bool = True  # false: a building block, shown to nobody
    _sql: str = PrivateAttr(default="")
    _sql_file: str = PrivateAttr(default="")

    @property
    def sql(self) -> str:
        """The text of NAME.sql."""
        return self._sql

    @property
    def sql_file(self) -> str:
        """The path of NAME.sql, as messages print it."""
        return self._sql_file


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


class Tile(Spec):
    """One picture of a dashboard: metrics of one mart, or a governed SQL query."""

    title: str
    description: str = ""
    metrics: Names = ()  # mart.measure
    by: Names = ()  # column or column.grain (day, week, month, quarter, year)
    split: str | None = None
    sql: str | None = None
    chart: Literal["number", "line", "bar", "table"] = "table"
    compare: Literal["previous period", "previous year"] | None = None
    order: Literal["value", "label"] | None = None  # bars: by size, or by name
    limit: int | None = Field(default=None, ge=1)
    width: int = Field(default=1, ge=1, le=4)

    @model_validator(mode="after")
    def _one_question(self) -> "Tile":
        if bool(self.metrics) == (self.sql is not None):
            raise ValueError("needs either 'metrics' or 'sql'")
        return self


class Dashboard(Resource):
    """models/dashboards/NAME.yml"""

    title: str
    description: str = ""
    filters: Mapping[str, Scalar | tuple[Scalar, ...]] = {}
    tiles: tuple[Tile, ...] = Field(min_length=1)


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


@dataclass(frozen=True)
class Content:
    """A whole models/ folder, checked."""

    root: Path
    project: ProjectSpec
    sources: Mapping[str, Source]
    marts: Mapping[str, Mart]
    policy: Policy
    dashboards: Mapping[str, Dashboard]
    destinations: Mapping[str, Destination]
    syncs: Mapping[str, Sync]
