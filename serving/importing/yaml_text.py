"""Specs as the YAML that a person would write: no defaults, short mappings on one line."""

from typing import Any

import yaml
from yaml.representer import SafeRepresenter

from serving.content.spec import Spec

WIDE = 108  # characters of a line


def spec_yaml(spec: Spec) -> str:
    """The file of a resource: the keys that are not their defaults, in the order that people know."""
    data = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"name"})
    return mapping_yaml(_short(data))


def mapping_yaml(data: dict[str, Any]) -> str:
    """Any mapping in that form."""
    if not data:
        return "{}\n"
    node = SafeRepresenter(sort_keys=False).represent_data(data)
    for _, value in node.value:
        _flow(value)
        if isinstance(value, yaml.MappingNode):
            value.flow_style = not any(isinstance(each, yaml.MappingNode) for _, each in value.value)
    return yaml.serialize(node, Dumper=yaml.SafeDumper, width=WIDE, allow_unicode=True)


def _short(value: Any) -> Any:
    """Lists of one name as the name, where the key takes either."""
    if not isinstance(value, dict):
        return [_short(item) for item in value] if isinstance(value, list) else value
    found = {key: _short(item) for key, item in value.items()}
    grain = found.get("grain")
    if isinstance(grain, list) and len(grain) == 1:
        found["grain"] = grain[0]
    return found


def _flow(node: yaml.Node) -> bool:
    """Put what is short and holds nothing long on one line; returns whether it is so."""
    if isinstance(node, yaml.ScalarNode):
        return "\n" not in node.value
    if isinstance(node, yaml.SequenceNode):
        items = [_flow(item) for item in node.value]
        node.flow_style = all(items) and _length(node) <= WIDE - 10
        return node.flow_style
    if not isinstance(node, yaml.MappingNode):
        return False
    flat = [_flow(value) for _, value in node.value]
    for key, _ in node.value:
        if key.value == "on":
            key.tag = "tag:yaml.org,2002:bool"  # `on:` needs no quotes: as a key, the word is meant
    node.flow_style = all(flat) and _length(node) <= WIDE - 20
    return bool(node.flow_style)


def _length(node: yaml.Node) -> int:
    if isinstance(node, yaml.ScalarNode):
        return len(node.value) + 2
    if isinstance(node, yaml.MappingNode):
        return sum(_length(key) + _length(value) + 2 for key, value in node.value)
    return sum(_length(item) + 2 for item in node.value)
