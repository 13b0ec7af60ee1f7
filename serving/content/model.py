"""The typed form of sources, marts and dashboards, and of a whole models/ folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PrivateAttr, Tag, model_validator

from connectors.secrets import SecretRef
from serving.content.policy import Policy
from serving.content.semantics import Described, Dimension, Join, Measure, Rollup
from serving.content.spec import Names, Resource, Scalar, Spec
from serving.content.sync import Destination, Sync


class Mail(Spec):
    """`mail:` in models/project.yml: the server that alerts go through."""

    host: str = Field(min_length=1)
    port: int | None = Field(default=None, ge=1, le=65_535)  # default: 25, 587 or 465, by security
    security: Literal["none", "starttls", "tls"] = "starttls"
    user: str | None = None
    password: SecretRef | None = None
    sender: str = Field(pattern=r"^[^\s@<>]+@[^\s@<>]+$")

    @model_validator(mode="after")
    def _safe(self) -> "Mail":
        if (self.user is None) != (self.password is None):
            raise ValueError("needs both 'user' and 'password', or neither")
        if self.password is not None and self.security == "none":
            raise ValueError("sends no password in the clear: set 'security' to starttls or tls")
        return self

    @property
    def port_used(self) -> int:
        """The port that was given, or the usual one."""
        return self.port or {"none": 25, "starttls": 587, "tls": 465}[self.security]


class ProjectSpec(Resource):
    """models/project.yml"""

    timezone: str = "UTC"
    week_starts: Literal["monday", "sunday"] = "monday"
    keep_versions: int = Field(default=5, ge=1)
    cache_megabytes: int = Field(default=256, ge=0)  # of answers kept in memory; 0: none
    mail: Mail | None = None
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
    table: str | None = None  # which table (or schema.table) of a DuckDB file; default: the source's name
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


class Column(Described):
    """What people and policies need to know about a column."""

    tags: tuple[str, ...] = ()
    tests: tuple[ColumnTest, ...] = ()


class Mart(Resource):
    """models/marts/NAME.yml beside NAME.sql: a curated table."""

    label: str = ""
    description: str = ""
    synonyms: Names = ()
    owner: str = ""
    grain: Names = ()  # tested unique and not null
    time: str | None = None  # the column that `time.month` and the like mean in metric requests
    columns: Mapping[str, Column] = {}
    dimensions: Mapping[str, Dimension] = {}
    measures: Mapping[str, Measure] = {}
    joins: Mapping[str, Join] = {}
    hierarchies: Mapping[str, tuple[str, ...]] = {}  # from the whole to the part: [region, country]
    rollups: Mapping[str, Rollup] = {}
    tests: tuple[str, ...] = ()  # each a SELECT; rows returned are failures
    freshness: Freshness | None = None
    visible: bool = True  # false: a building block, shown to nobody
    _sql: str = PrivateAttr(default="")
    _sql_file: str = PrivateAttr(default="")

    @property
    def built_in(self) -> bool:
        """Whether the program brings this mart's rows, and no file makes them."""
        return not self._sql_file

    @property
    def sql(self) -> str:
        """The text of NAME.sql."""
        return self._sql

    @property
    def sql_file(self) -> str:
        """The path of NAME.sql, as messages print it."""
        return self._sql_file


class Tile(Spec):
    """One picture of a dashboard: a metric request in its words, or a governed SQL query."""

    title: str
    description: str = ""
    metrics: Names = ()  # mart.measure; ~mart.measure: an estimate will do
    by: Names = ()  # column, column.grain (day, week, month, quarter, year), or join.column
    split: str | None = None
    where: Names = ()  # conditions; the page's filters hold, too
    having: Names = ()
    sql: str | None = None
    chart: Literal["number", "line", "bar", "table"] = "table"
    compare: str | None = Field(
        default=None,
        pattern=r"^(previous (period|year)|[1-9]\d{0,3} (day|week|month|quarter|year)s? earlier)$",
    )
    top: str | None = None  # "5 country by orders.revenue, other"
    totals: bool = False  # a last row over everything
    fill: bool = True  # lines show every bucket of the range, also those without rows
    order: Names = ()  # value, label, or columns of the answer: -revenue
    limit: int | None = Field(default=None, ge=1)
    width: int = Field(default=1, ge=1, le=4)

    @model_validator(mode="after")
    def _one_question(self) -> "Tile":
        if bool(self.metrics) == (self.sql is not None):
            raise ValueError("needs either 'metrics' or 'sql'")
        if self.sql is not None and (self.where or self.having or self.top or self.totals):
            raise ValueError("asks SQL: 'where', 'having', 'top' and 'totals' belong to 'metrics'")
        if self.limit is not None and (self.totals or self.top):
            raise ValueError("has a 'limit', which may cut off its totals or the rest: write 'top' alone")
        return self

    @property
    def marts(self) -> tuple[str, ...]:
        """The marts whose measures it asks for."""
        return tuple(dict.fromkeys(metric.removeprefix("~").partition(".")[0] for metric in self.metrics))


class Dashboard(Resource):
    """models/dashboards/NAME.yml"""

    title: str
    description: str = ""
    filters: Mapping[str, Scalar | tuple[Scalar, ...]] = {}
    tiles: tuple[Tile, ...] = Field(min_length=1)


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
