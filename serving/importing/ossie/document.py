"""An Apache Ossie document (core specification 0.2.0.dev0) as typed values."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from serving.errors import SluiceError

VERSION = "0.2.0.dev0"
VENDOR = "SLUICE"
_READABLE = re.compile(r"0\.[12](\.\d+)?(\.dev\d+|-\w+)?")


class Part(BaseModel):
    """A mapping of the document; keys that the specification does not have are kept aside."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    def strange(self, place: str) -> Iterator[str]:
        """Where keys stand that the specification does not have, here and below."""
        yield from (f"{place}.{key}".lstrip(".") for key in self.model_extra or {})
        for key in type(self).model_fields:
            value = getattr(self, key)
            for each in value if isinstance(value, tuple) else (value,):
                if isinstance(each, Part):
                    yield from each.strange(f"{place}.{getattr(each, 'name', key)}".lstrip("."))


class AiContext(Part):
    instructions: str = ""
    synonyms: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()


def _context(value: Any) -> Any:
    return {"instructions": value} if isinstance(value, str) else value


Context = Annotated[AiContext, BeforeValidator(_context)]


class Extension(Part):
    vendor_name: str
    data: str


class DialectText(Part):
    dialect: str
    expression: str


class Expression(Part):
    dialects: tuple[DialectText, ...] = Field(min_length=1)


class Thing(Part):
    """What most parts of a document have."""

    name: str
    description: str = ""
    ai_context: Context = AiContext()
    custom_extensions: tuple[Extension, ...] = ()

    def own(self) -> Mapping[str, Any]:
        """What an export of Sluice put aside here; raises SluiceError where that is not JSON."""
        for extension in self.custom_extensions:
            if extension.vendor_name.upper() == VENDOR:
                try:
                    data = json.loads(extension.data)
                except ValueError as error:
                    words = f"the {VENDOR} extension of '{self.name}' is not JSON: {error}"
                    raise SluiceError(
                        words, hint="export the model again, or remove the extension"
                    ) from error
                if isinstance(data, dict):
                    return data
        return {}


class Role(Part):
    is_time: bool | None = None


class FieldSpec(Thing):
    expression: Expression
    dimension: Role | None = None
    label: str = ""
    datatype: str = ""


class Dataset(Thing):
    source: str
    primary_key: tuple[str, ...] = ()
    unique_keys: tuple[tuple[str, ...], ...] = ()
    fields_: tuple[FieldSpec, ...] = Field(default=(), alias="fields")


class Relationship(Thing):
    from_: str = Field(alias="from")
    to: str
    from_columns: tuple[str, ...] = Field(min_length=1)
    to_columns: tuple[str, ...] = Field(min_length=1)


class MetricSpec(Thing):
    expression: Expression
    datatype: str = ""


class SemanticModel(Thing):
    datasets: tuple[Dataset, ...] = Field(min_length=1)
    relationships: tuple[Relationship, ...] = ()
    metrics: tuple[MetricSpec, ...] = ()


def read_document(path: Path) -> tuple[tuple[SemanticModel, ...], str]:
    """The models in a file (YAML or JSON), and the form it has; raises SluiceError.

    Today's form is one model at the top of the document; older ones hold a list under `semantic_model`.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SluiceError(f"{path} cannot be read: {error.strerror}", hint="give an Ossie file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SluiceError(f"{path} is neither YAML nor JSON: {error}", hint="give an Ossie file") from error
    if not isinstance(data, dict):
        raise SluiceError(f"{path} holds no model", hint="an Ossie file says version, name and datasets")
    version = str(data.pop("version", ""))
    if not _READABLE.fullmatch(version):
        shown = f"version {version}" if version else "no version"
        raise SluiceError(f"{path} is of {shown}; known are 0.1 and 0.2", hint=f"write version: {VERSION}")
    form, models = f"Ossie {version}", [data]
    if "semantic_model" in data:
        held = data.pop("semantic_model")
        models = held if isinstance(held, list) else [held]
        form += ", the older form with semantic_model"
    try:
        return tuple(SemanticModel.model_validate(_without_nulls(model)) for model in models), form
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SluiceError(f"{path}: {place}: {first['msg']}", hint="see Ossie's core-spec/spec.md") from error


def _without_nulls(value: Any) -> Any:
    """Empty keys are absent ones."""
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value
