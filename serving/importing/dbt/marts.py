"""A dbt relation's descriptions, tags and constraints as a mart."""

from collections.abc import Iterator, Mapping
from typing import Any

from serving.content.model import Column, Relationship
from serving.importing.dbt.manifest import Constraint, DbtColumn, Manifest, Node
from serving.importing.dbt.select import Relation
from serving.importing.expressions import row_expression
from serving.importing.findings import Finding, NotCarried
from serving.importing.sketch import Sketch


def mart_sketch(relation: Relation, manifest: Manifest) -> tuple[Sketch, list[Finding]]:
    """The mart over a relation, with what dbt says of it and of its columns."""
    node, findings = relation.node, list[Finding]()
    columns: dict[str, Column] = {}
    for column in node.columns.values():
        tags, odd = _tags(column)
        columns[column.name] = Column(description=_prose(column.description), tags=tags)
        findings += [
            Finding("left", f"meta '{key}' of column {node.name}.{column.name}", _NO_META) for key in odd
        ]
    sketch = Sketch(
        relation.mart,
        relation.source.name,
        listed=tuple(columns) if node.config.contract.enforced else (),  # then these are all there are
        description=_prose(node.description),
        owner=_owner(node, manifest),
        columns=columns,
    )
    if node.tags:
        tags_of = f"tags of {node.resource_type} {node.name}"
        findings.append(Finding("left", tags_of, "marts have no tags; columns do"))
    findings += [
        Finding("left", f"meta '{key}' of {node.resource_type} {node.name}", _NO_META)
        for key in sorted({**node.meta, **node.config.meta}.keys() - {"owner"})
    ]
    return sketch, findings


_NO_META = "has no meaning to Sluice: say it in the description, or as a tag"


def add_constraints(relation: Relation, sketch: Sketch, marts: Mapping[str, str]) -> Iterator[Finding]:
    """The relation's constraints as tests; `marts`: names of imported relations -> mart."""
    node = relation.node
    for constraint in node.constraints:
        yield from _constraint(node, sketch, constraint, constraint.columns, marts)
    for column in node.columns.values():
        for constraint in column.constraints:
            yield from _constraint(node, sketch, constraint, (column.name,), marts)


def _constraint(
    node: Node, sketch: Sketch, constraint: Constraint, columns: tuple[str, ...], marts: Mapping[str, str]
) -> Iterator[Finding]:
    what = f"constraint {constraint.type} of {node.name}{'.' + columns[0] if len(columns) == 1 else ''}"
    match constraint.type:
        case "not_null":
            for column in columns:
                sketch.test(column, "not_null")
        case "unique" if len(columns) == 1:
            sketch.test(columns[0], "unique")
        case "primary_key" if columns:
            sketch.grain = tuple(sketch.known(column) for column in columns)
        case "foreign_key" if len(columns) == len(constraint.to_columns) == 1:
            there = marts.get(constraint.to.replace('"', "").split(".")[-1])
            if there is None:
                yield Finding("left", what, f"{constraint.to} is not imported")
                return
            sketch.test(columns[0], Relationship(relationship=f"{there}.{constraint.to_columns[0]}"))
        case "check" if constraint.expression:
            try:
                text = row_expression(constraint.expression)
            except NotCarried as reason:
                yield Finding("left", what, str(reason))
                return
            sketch.tests.append(f"select * from {sketch.name} where not ({text})")
        case _:
            yield Finding("left", what, "has no test of its kind here")


def add_users(
    manifest: Manifest, relations: Mapping[str, Relation], sketches: Mapping[str, Sketch]
) -> list[Finding]:
    """Exposures, as words in the descriptions of the marts that they use."""
    findings = []
    for exposure in manifest.exposures.values():
        title = exposure.label or exposure.name
        about = ", ".join(word for word in (exposure.type, exposure.owner.words, exposure.url) if word)
        users = [relations[name].mart for name in exposure.depends_on.nodes if name in relations]
        for mart in users:
            text = f"Used by {title}{f' ({about})' if about else ''}."
            sketches[mart].description = " ".join(filter(None, [sketches[mart].description, text]))
        if users:
            words = f"is named in the description of {', '.join(users)}; dashboards are files of their own"
            findings.append(Finding("changed", f"exposure {exposure.name}", words))
        else:
            findings.append(Finding("left", f"exposure {exposure.name}", "uses no relation that is imported"))
    return findings


def _owner(node: Node, manifest: Manifest) -> str:
    said = node.config.meta.get("owner", node.meta.get("owner"))
    if isinstance(said, str):
        return said
    group = next((each for each in manifest.groups.values() if each.name == node.group), None)
    return group.owner.words if group else ""


def _prose(text: str) -> str:
    return " ".join(text.split())


def _tags(column: DbtColumn) -> tuple[tuple[str, ...], list[str]]:
    """Tags and meta of a column as tags (`pii: email` -> pii.email, `secret: true` -> secret); odd keys."""
    tags = [*column.tags, *column.config.tags]
    odd = []
    for key, value in {**column.meta, **column.config.meta}.items():
        found = _tags_of(str(key), value)
        if found is None:
            odd.append(str(key))
        else:
            tags += found
    return tuple(dict.fromkeys(tags)), odd


def _tags_of(key: str, value: Any) -> list[str] | None:
    if isinstance(value, bool):
        return [key] if value else []
    if isinstance(value, str) and value.replace("_", "").replace("-", "").isalnum():
        return [value] if key == "tags" else [f"{key}.{value}"]
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return list(value) if key == "tags" else [f"{key}.{each}" for each in value]
    return None
