"""A JSON Schema of every kind of file, so that editors complete and check models/."""

import json
from pathlib import Path
from typing import Any

from serving.content.load import FOLDERS
from serving.content.model import ProjectSpec
from serving.content.spec import Resource
from serving.content.sync import Destination


def write_schemas(folder: Path) -> list[Path]:
    """Write `<kind>.schema.json` for every kind of file; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, type[Resource]] = {"project": ProjectSpec, **FOLDERS}
    written = []
    for name, kind in kinds.items():
        schema = kind.model_json_schema(by_alias=True)
        if kind is not ProjectSpec:
            _without(schema, "name")  # the file's name is it
        if kind is Destination:
            _without(schema, "options")
            schema["additionalProperties"] = True  # the connector's own keys
        path = folder / f"{name}.schema.json"
        path.write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")
        written.append(path)
    return written


def _without(schema: dict[str, Any], key: str) -> None:
    schema["properties"].pop(key, None)
    schema["required"] = [name for name in schema.get("required", []) if name != key]
