"""Sluice content as an Apache Ossie document. What Ossie has no place for stands in SLUICE extensions."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml

from serving.content.model import Column, Content, Mart
from serving.content.semantics import Described, Dimension
from serving.content.spec import Spec
from serving.importing.expressions import quoted
from serving.importing.names import free_name
from serving.importing.ossie.document import VENDOR, VERSION
from serving.importing.ossie.sql import digest, elsewhere_wrong, measure_expression, portable

Mapped = dict[str, Any]
_ASIDE = ("label", "owner", "time", "hierarchies", "rollups", "tests", "freshness", "visible")


def ossie_text(content: Content) -> str:
    """The document as YAML."""
    document = ossie_document(content)
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=108)


def ossie_document(content: Content) -> Mapped:
    """The marts of files (those the program brings are left out) as one semantic model.

    Measures that another tool would compute wrongly (cumulative and semi-additive ones, and those made of
    them) are no metrics: they stand in the extension of their dataset only.
    """
    marts = {name: mart for name, mart in content.marts.items() if not mart.built_in}
    project = content.project
    return {
        "version": VERSION,
        "name": project.name,
        "datasets": [_dataset(mart, marts) for mart in marts.values()],
        **_filled({"relationships": _relationships(marts), "metrics": _metrics(marts)}),
        **_extension({"timezone": project.timezone, "week_starts": project.week_starts}),
    }


def hidden_measures(content: Content) -> list[str]:
    """The measures that other tools do not see in an export."""
    marts = {name: mart for name, mart in content.marts.items() if not mart.built_in}
    return [
        f"{mart.name}.{name}"
        for mart in marts.values()
        for name in mart.measures
        if elsewhere_wrong(marts, mart.name, name)
    ]


def _dataset(mart: Mart, marts: dict[str, Mart]) -> Mapped:
    spec = _plain(mart)
    aside = {key: spec[key] for key in _ASIDE if key in spec}
    hidden = {
        name: spec["measures"][name] for name in mart.measures if elsewhere_wrong(marts, mart.name, name)
    }
    unique = [[name] for name, column in mart.columns.items() if "unique" in column.tests]
    fields = [_column_field(mart, name, column) for name, column in mart.columns.items()]
    fields += [_computed_field(name, dimension) for name, dimension in mart.dimensions.items()]
    return {
        "name": mart.name,
        "source": mart.name,
        **_filled(
            {
                "primary_key": list(mart.grain),
                "unique_keys": unique,
                "description": mart.description,
                "ai_context": _filled({"synonyms": list(mart.synonyms)}),
                "fields": fields,
            }
        ),
        **_extension({**aside, **_filled({"measures": hidden})}),
    }


def _column_field(mart: Mart, name: str, column: Column) -> Mapped:
    spec = _plain(column)
    return {
        "name": name,
        "expression": _expression(quoted(name)),
        **({"dimension": {"is_time": True}} if mart.time == name else {}),
        **_about(column),
        **_extension({key: spec[key] for key in ("format", "tags", "tests") if key in spec}),
    }


def _computed_field(name: str, dimension: Dimension) -> Mapped:
    text = portable(dimension.expr)
    return {
        "name": name,
        "expression": _expression(text),
        **_about(dimension),
        **_extension({**_filled({"format": dimension.format}), "expr": dimension.expr, "of": digest(text)}),
    }


def _relationships(marts: Mapping[str, Mart]) -> list[Mapped]:
    found: list[Mapped] = []
    for mart in marts.values():
        for name, join in mart.joins.items():
            spec = _plain(join)
            aside: Mapped = {key: spec[key] for key in ("kind", "description") if key in spec}
            taken = {each["name"] for each in found}
            found.append(
                {
                    "name": free_name(f"{mart.name}_to_{name}", taken),
                    "from": mart.name,
                    "to": join.mart,
                    "from_columns": list(join.on),
                    "to_columns": list(join.on.values()),
                    **_extension({"join": name, **aside}),
                }
            )
    return found


def _metrics(marts: dict[str, Mart]) -> list[Mapped]:
    """One metric for each measure; by `mart_measure` where two marts have the name."""
    count = Counter(name for mart in marts.values() for name in mart.measures)
    taken: set[str] = set()
    found = []
    for mart in marts.values():
        for name, measure in mart.measures.items():
            if elsewhere_wrong(marts, mart.name, name):
                continue
            shown = free_name(name if count[name] == 1 else f"{mart.name}_{name}", taken)
            taken.add(shown)
            text = portable(measure_expression(marts, mart.name, name))
            spec = _plain(measure)
            aside = {key: value for key, value in spec.items() if key not in ("description", "synonyms")}
            found.append(
                {
                    "name": shown,
                    "expression": _expression(text),
                    **{key: value for key, value in _about(measure).items() if key != "label"},
                    **_extension({"mart": mart.name, "measure": name, **aside, "of": digest(text)}),
                }
            )
    return found


def _about(spec: Described) -> Mapped:
    words = {"label": spec.label, "description": spec.description}
    return _filled({**words, "ai_context": _filled({"synonyms": list(spec.synonyms)})})


def _expression(text: str) -> Mapped:
    return {"dialects": [{"dialect": "ANSI_SQL", "expression": text}]}


def _extension(data: Mapped) -> Mapped:
    if not data:
        return {}
    text = json.dumps(data, ensure_ascii=False)
    return {"custom_extensions": [{"vendor_name": VENDOR, "data": text}]}


def _filled(data: Mapped) -> Mapped:
    return {key: value for key, value in data.items() if value}


def _plain(spec: Spec) -> Mapped:
    found: Mapped = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return found
