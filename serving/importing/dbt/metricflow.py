"""Semantic models and metrics as a manifest holds them, of the older and the newer spec."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator

from serving.importing.dbt.part import DependsOn, Filters, Part, Window, named


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
    validity_params: Mapping[str, bool] = {}


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
    fill_nulls_with: int | float | None = None


Named = Annotated[Input, BeforeValidator(named)]


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
    fill_nulls_with: int | float | None = None
    is_private: bool = False


class Metric(Part):
    unique_id: str
    name: str
    type: str
    label: str = ""
    description: str = ""
    type_params: TypeParams = TypeParams()
    filter: Filters = ()
