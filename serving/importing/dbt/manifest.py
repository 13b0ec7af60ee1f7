"""The parts of a dbt manifest (schema v10 to v12) that say something about relations and metrics.

dbt adds keys from version to version, and those it adds do not change what the others mean: unknown keys
are ignored here. Unknown *values* (a metric's type, an aggregation) are refused by whoever reads them.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from serving.errors import SluiceError

KNOWN = range(10, 13)  # schema versions


class Part(BaseModel):
    """A mapping of the manifest; what is null there is absent here."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            return {key: value for key, value in data.items() if value is not None}
        return data


def _words(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _filters(value: Any) -> Any:
    """Filters of all versions: a text, one template, or a list of them."""
    if isinstance(value, Mapping):
        value = value.get("where_filters", value)
    many = value if isinstance(value, list) else [value]
    return [each["where_sql_template"] if isinstance(each, Mapping) else each for each in many]


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _window(value: Any) -> Any:
    return f"{value['count']} {value['granularity']}" if isinstance(value, Mapping) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
Filters = Annotated[tuple[str, ...], BeforeValidator(_filters)]
Window = Annotated[str, BeforeValidator(_window)]


class Constraint(Part):
    type: str
    expression: str = ""
    columns: tuple[str, ...] = ()
    to: str = ""
    to_columns: tuple[str, ...] = ()


class ColumnConfig(Part):
    meta: Mapping[str, Any] = {}
    tags: Words = ()


class DbtColumn(Part):
    name: str
    description: str = ""
    data_type: str = ""
    meta: Mapping[str, Any] = {}
    tags: Words = ()
    config: ColumnConfig = ColumnConfig()
    constraints: tuple[Constraint, ...] = ()


class Contract(Part):
    enforced: bool = False


class Config(Part):
    enabled: bool = True
    materialized: str = ""
    access: str = ""
    location: str = ""  # of an external relation
    where: str = ""  # of a test
    severity: str = "error"
    meta: Mapping[str, Any] = {}
    contract: Contract = Contract()


class TestMetadata(Part):
    name: str
    namespace: str = ""
    kwargs: Mapping[str, Any] = {}


class DependsOn(Part):
    nodes: tuple[str, ...] = ()


class Owner(Part):
    name: str = ""
    email: Words = ()

    @property
    def words(self) -> str:
        """An address, or a name."""
        return ", ".join(self.email) or self.name


class Node(Part):
    """A model, seed, snapshot, test, analysis or operation."""

    unique_id: str
    resource_type: str
    name: str
    package_name: str = ""
    path: str = ""
    fqn: tuple[str, ...] = ()
    db_schema: str = Field(default="", alias="schema")
    alias: str = ""
    description: str = ""
    columns: Mapping[str, DbtColumn] = {}
    tags: Words = ()
    meta: Mapping[str, Any] = {}
    config: Config = Config()
    access: str = ""
    group: str = ""
    version: int | float | str | None = None
    latest_version: int | float | str | None = None
    constraints: tuple[Constraint, ...] = ()
    time_spine: Mapping[str, Any] = {}
    test_metadata: TestMetadata | None = None
    attached_node: str = ""
    column_name: str = ""
    depends_on: DependsOn = DependsOn()


class Entity(Part):
    name: str
    type: str
    expr: str = ""
    description: str = ""
    label: str = ""

    @property
    def text(self) -> str:
        """Its SQL."""
        return self.expr or self.name


class DimensionTypeParams(Part):
    time_granularity: str = "day"


class DbtDimension(Part):
    name: str
    type: str
    expr: str = ""
    description: str = ""
    label: str = ""
    type_params: DimensionTypeParams = DimensionTypeParams()

    @property
    def text(self) -> str:
        """Its SQL."""
        return self.expr or self.name


class AggParams(Part):
    percentile: float | None = None
    use_discrete_percentile: bool = False
    use_approximate_percentile: bool = False


class NonAdditive(Part):
    name: str
    window_choice: str = "min"
    window_groupings: tuple[str, ...] = ()


class DbtMeasure(Part):
    """An aggregation: a measure, or what a simple metric of the newer spec says itself."""

    name: str = ""
    agg: str
    expr: Annotated[str, BeforeValidator(str)] = ""
    description: str = ""
    label: str = ""
    agg_params: AggParams = AggParams()
    agg_time_dimension: str = ""
    non_additive_dimension: NonAdditive | None = None
    semantic_model: str = ""


class Defaults(Part):
    agg_time_dimension: str = ""


class NodeRelation(Part):
    alias: str = ""
    schema_name: str = ""


class SemanticModel(Part):
    unique_id: str
    name: str
    description: str = ""
    label: str = ""
    node_relation: NodeRelation = NodeRelation()
    depends_on: DependsOn = DependsOn()
    defaults: Defaults = Defaults()
    primary_entity: str = ""
    entities: tuple[Entity, ...] = ()
    dimensions: tuple[DbtDimension, ...] = ()
    measures: tuple[DbtMeasure, ...] = ()

    @property
    def prefix(self) -> str:
        """The entity that its dimensions are named by: `order__status`."""
        found = [entity.name for entity in self.entities if entity.type == "primary"]
        return found[0] if found else self.primary_entity


class Input(Part):
    """A metric or measure that a metric is made of."""

    name: str
    alias: str = ""
    filter: Filters = ()
    offset_window: Window = ""
    offset_to_grain: str = ""
    join_to_timespine: bool = False
    fill_nulls_with: int | None = None


Named = Annotated[Input, BeforeValidator(_named)]


class CumulativeParams(Part):
    window: Window = ""
    grain_to_date: str = ""
    period_agg: str = "first"
    metric: Named | None = None


class TypeParams(Part):
    measure: Named | None = None
    metric_aggregation_params: DbtMeasure | None = None
    numerator: Named | None = None
    denominator: Named | None = None
    expr: Annotated[str, BeforeValidator(str)] = ""
    window: Window = ""
    grain_to_date: str = ""
    metrics: tuple[Named, ...] = ()
    cumulative_type_params: CumulativeParams = CumulativeParams()
    join_to_timespine: bool = False
    fill_nulls_with: int | None = None
    is_private: bool = False


class Metric(Part):
    unique_id: str
    name: str
    type: str
    label: str = ""
    description: str = ""
    type_params: TypeParams = TypeParams()
    filter: Filters = ()


class Exposure(Part):
    unique_id: str
    name: str
    type: str = ""
    label: str = ""
    url: str = ""
    owner: Owner = Owner()
    depends_on: DependsOn = DependsOn()


class Group(Part):
    name: str
    owner: Owner = Owner()


class Metadata(Part):
    dbt_schema_version: str = ""
    dbt_version: str = ""
    project_name: str = ""
    adapter_type: str = "duckdb"

    @property
    def version(self) -> int:
        """The schema's number; 0 where there is none."""
        found = re.search(r"/manifest/v(\d+)\.json", self.dbt_schema_version)
        return int(found[1]) if found else 0


class Manifest(Part):
    """target/manifest.json"""

    metadata: Metadata
    nodes: Mapping[str, Node] = {}
    sources: Mapping[str, Any] = {}
    disabled: Mapping[str, Any] = {}
    exposures: Mapping[str, Exposure] = {}
    groups: Mapping[str, Group] = {}
    semantic_models: Mapping[str, SemanticModel] = {}
    metrics: Mapping[str, Metric] = {}
    saved_queries: Mapping[str, Any] = {}
    unit_tests: Mapping[str, Any] = {}


def read_manifest(path: Path) -> Manifest:
    """The manifest in that file; raises SluiceError where it is none, or of a version not known here."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        hint = "`dbt parse` or `dbt build` writes target/manifest.json"
        raise SluiceError(f"{path} cannot be read: {error.strerror}", hint=hint) from error
    except ValueError as error:
        raise SluiceError(f"{path} is no JSON: {error}", hint="let dbt write it again") from error
    try:
        found = Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        words = f"{path} is no manifest that can be read: {place or 'the file'}: {first['msg']}"
        raise SluiceError(words, hint="give the target/manifest.json of dbt 1.6 or newer") from error
    if found.metadata.version not in KNOWN:
        shown = found.metadata.dbt_schema_version or "no schema version"
        words = f"{path} is a manifest of {shown}; known are v{KNOWN[0]} to v{KNOWN[-1]}"
        raise SluiceError(words, hint="dbt 1.6 to 1.12 write these: parse the project with one of them")
    return found
