"""MetricFlow's aggregations as measures of one mart's rows."""

from collections.abc import Sequence

from serving.content.semantics import Aggregate, Measure
from serving.importing.dbt.filters import all_of, condition
from serving.importing.dbt.metricflow import DbtMeasure
from serving.importing.dbt.semantic import Modelled
from serving.importing.expressions import plain_column, row_expression
from serving.importing.findings import NotCarried

_AGGREGATES: dict[str, Aggregate] = {
    "sum": "sum",
    "sum_boolean": "sum",
    "count": "count",
    "count_distinct": "count_distinct",
    "average": "avg",
    "min": "min",
    "max": "max",
    "median": "median",
    "percentile": "quantile",
}


def aggregate(spec: DbtMeasure, filters: Sequence[str], model: Modelled) -> Measure:
    """The aggregation over the rows that pass all filters; raises NotCarried where it has no such form."""
    if spec.agg not in _AGGREGATES:
        raise NotCarried(f"its aggregation '{spec.agg}' is not known here")
    if spec.agg_params.use_discrete_percentile:
        raise NotCarried("takes a discrete percentile: a quantile here lies between two values")
    if spec.agg == "percentile" and spec.agg_params.percentile is None:
        raise NotCarried("does not say which percentile")
    text: str | None = row_expression(spec.expr or spec.name, model.read)
    for column in [plain_column(text or "")]:
        if column is not None:
            model.sketch.known(column)
    if spec.agg == "sum_boolean":
        text = f"cast({text} as integer)"
    if spec.agg == "count" and (text or "").isdigit():
        text = None  # count(1) counts rows
    conditions = list(dict.fromkeys(condition(each, model) for each in filters))
    return Measure(
        agg=_AGGREGATES[spec.agg],
        expr=text,
        filter=all_of(conditions),
        quantile=spec.agg_params.percentile if spec.agg == "percentile" else None,
        **_semi_additive(spec, model),
    )


def differences(spec: DbtMeasure, model: Modelled) -> list[str]:
    """In what the measure differs from what MetricFlow computes."""
    found = []
    default = model.spec.defaults.agg_time_dimension
    if spec.agg_time_dimension and default and spec.agg_time_dimension != default:
        found.append(f"runs along {spec.agg_time_dimension} in dbt: ask by that, 'time' is the mart's own")
    if spec.agg_params.use_approximate_percentile:
        found.append("is exact here; ask for it with ~ to have it estimated")
    if spec.non_additive_dimension is not None:
        found.append(
            "is taken at the last (first) time of each group that a request asks for, and of its"
            " 'per'; MetricFlow takes it of all rows of the window_groupings"
        )
    return found


def _semi_additive(spec: DbtMeasure, model: Modelled) -> dict[str, object]:
    rule = spec.non_additive_dimension
    if rule is None:
        return {}
    if rule.window_choice not in ("min", "max"):
        raise NotCarried(f"its window_choice '{rule.window_choice}' is not known here")
    entities = {entity.name: entity for entity in model.spec.entities}
    per = []
    for name in rule.window_groupings:
        if name not in entities:
            raise NotCarried(f"its window_groupings name '{name}', which is no entity of {model.spec.name}")
        text = row_expression(entities[name].text, model.read)
        per.append(model.sketch.column_of(text, name))
    take = "last" if rule.window_choice == "max" else "first"
    return {"semi_additive": model.time(rule.name), "take": take, "per": tuple(per)}
