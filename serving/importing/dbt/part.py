"""What all parts of a manifest have in common.

dbt adds keys from version to version, and those it adds do not change what the others mean: unknown keys
are ignored here. Unknown *values* (a metric's type, an aggregation) are refused by whoever reads them.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator


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
    return [each.get("where_sql_template") if isinstance(each, Mapping) else each for each in many]


def named(value: Any) -> Any:
    """A name alone is a mapping with that name."""
    return {"name": value} if isinstance(value, str) else value


def _window(value: Any) -> Any:
    return f"{value.get('count')} {value.get('granularity')}" if isinstance(value, Mapping) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
Filters = Annotated[tuple[str, ...], BeforeValidator(_filters)]
Window = Annotated[str, BeforeValidator(_window)]


class DependsOn(Part):
    nodes: tuple[str, ...] = ()
