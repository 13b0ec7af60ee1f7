"""dbt's data tests as tests of columns, as the grain, or as a SELECT of the rows that fail."""

import re
from collections.abc import Mapping
from typing import Any

from serving.content.model import ColumnTest, In, Relationship
from serving.content.spec import Scalar
from serving.importing.dbt.manifest import Manifest, Node, TestMetadata
from serving.importing.dbt.select import Relation
from serving.importing.expressions import quoted, row_expression
from serving.importing.findings import Finding, NotCarried
from serving.importing.sketch import Sketch


def add_tests(
    manifest: Manifest, relations: Mapping[str, Relation], sketches: Mapping[str, Sketch], read: str
) -> list[Finding]:
    """Put each test to its mart; what cannot be put anywhere is found. `read`: the dialect of their SQL."""
    findings = []
    for node in manifest.nodes.values():
        if node.resource_type != "test":
            continue
        tested = node.attached_node or (node.depends_on.nodes[-1] if node.depends_on.nodes else "")
        try:
            if node.test_metadata is None:
                raise NotCarried("is a SELECT over dbt's names: write it under 'tests' of the mart")
            if tested not in relations:
                raise NotCarried("its relation is not imported")
            if node.config.severity.lower() != "error":
                raise NotCarried("only warns, and a red test stops the build here")
            _add(node, node.test_metadata, sketches[relations[tested].mart], relations, read)
        except NotCarried as reason:
            findings.append(Finding("left", f"test {node.name}", str(reason)))
    return findings


def settle_grain(sketch: Sketch) -> None:
    """Name the grain where a column is unique and never null, and say nothing twice."""
    if not sketch.grain:
        both = [name for name, spec in sketch.columns.items() if {"unique", "not_null"} <= set(spec.tests)]
        sketch.grain = tuple(both[:1])
    if len(sketch.grain) == 1:
        (key,) = sketch.grain
        spec = sketch.columns[key]
        kept = tuple(test for test in spec.tests if test not in ("unique", "not_null"))
        sketch.columns[key] = spec.model_copy(update={"tests": kept})


def _add(
    node: Node, test: TestMetadata, sketch: Sketch, relations: Mapping[str, Relation], read: str
) -> None:
    column = str(test.given.get("column_name") or node.column_name or "").strip('"`')
    full = f"{test.namespace}.{test.name}" if test.namespace else test.name
    where = node.config.where
    if "{{" in where:
        raise NotCarried("its 'where' holds Jinja")
    match full:
        case "unique" | "not_null" | "accepted_values" | "relationships" if not column:
            raise NotCarried("names no column")
        case "unique" | "not_null" | "accepted_values" if where:
            sketch.tests.append(_failing(full, column, test.given, sketch, row_expression(where, read)))
        case "relationships" if where:
            raise NotCarried("has a 'where', which the test of a relationship cannot take")
        case "unique" | "not_null":
            word: ColumnTest = "unique" if full == "unique" else "not_null"
            sketch.test(column, word)
        case "accepted_values":
            sketch.test(column, In.model_validate({"in": _values(test.given)}))
        case "relationships":
            sketch.test(column, Relationship(relationship=_other(node, test.given, relations)))
        case "dbt_utils.unique_combination_of_columns" if not where:
            names = test.given.get("combination_of_columns") or ()
            keys = ", ".join(quoted(sketch.known(str(name))) for name in names)
            sketch.tests.append(f"select {keys} from {sketch.name} group by all having count(*) > 1")
        case "dbt_utils.expression_is_true" if not where:
            text = f"{column} {test.given.get('expression', '')}".strip()
            sketch.tests.append(f"select * from {sketch.name} where not ({row_expression(text, read)})")
        case _:
            raise NotCarried(f"Sluice knows no test like {full}: write a SELECT of the rows that fail")


def _failing(kind: str, column: str, kwargs: Mapping[str, Any], sketch: Sketch, where: str) -> str:
    name = quoted(sketch.known(column))
    start = f"select {name} from {sketch.name} where ({where})"
    if kind == "not_null":
        return f"{start} and {name} is null"
    if kind == "unique":
        return f"{start} and {name} is not null group by all having count(*) > 1"
    values = ", ".join("'" + str(value).replace("'", "''") + "'" for value in _values(kwargs))
    return f"{start} and {name} not in ({values})"


def _values(kwargs: Mapping[str, Any]) -> list[Scalar]:
    """The accepted values as dbt compares them: texts, or with `quote: false` what they are in SQL."""
    values = kwargs.get("values")
    if not isinstance(values, list) or not values:
        raise NotCarried("names no values")
    if kwargs.get("quote", True):
        return [str(value) for value in values]
    if not all(isinstance(value, int | float | bool) for value in values):
        raise NotCarried("its values are SQL expressions (quote: false)")
    return values


def _other(node: Node, kwargs: Mapping[str, Any], relations: Mapping[str, Relation]) -> str:
    """`mart.column` of the relation that it refers to."""
    attached = node.attached_node
    others = [name for name in node.depends_on.nodes if name != attached] or list(node.depends_on.nodes)
    field = str(kwargs.get("field", "")).strip('"`')
    if not (others and others[0] in relations):
        raise NotCarried("refers to a relation that is not imported")
    if not re.fullmatch(r"\w+", field):
        raise NotCarried(f"refers to the column '{field}', which is no plain name")
    return f"{relations[others[0]].mart}.{field}"
