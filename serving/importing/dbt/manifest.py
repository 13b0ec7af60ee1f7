"""The parts of a dbt manifest (schema v10 to v12) that say something about relations and metrics."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, Field, ValidationError

from serving.errors import SluiceError
from serving.importing.dbt.metricflow import Metric, SemanticModel
from serving.importing.dbt.part import DependsOn, Part, Words

KNOWN = (10, 11, 12, 20)  # schema versions; dbt Fusion calls v12 v20


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
    given: Mapping[str, Any] = Field(default={}, validation_alias=AliasChoices("kwargs"))


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
        words = f"{path} is a manifest of {shown}; known are {', '.join(f'v{number}' for number in KNOWN)}"
        raise SluiceError(words, hint="dbt 1.6 to 1.12 write these: parse the project with one of them")
    return found
