"""Which relations of a dbt project become marts, and what they are called and read from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from serving.content.model import Source
from serving.errors import SluiceError
from serving.importing.dbt.manifest import Manifest, Node
from serving.importing.findings import Finding
from serving.importing.names import free_name, renamed, sluice_name, source_name
from serving.importing.place import Place

RELATIONS = ("model", "seed", "snapshot")


@dataclass(frozen=True)
class Relation:
    """A relation that becomes a mart."""

    node: Node
    mart: str
    source: Source


def chosen_nodes(manifest: Manifest, patterns: Sequence[str]) -> tuple[list[Node], list[Finding]]:
    """The nodes that become marts, and all other relations with the reason why not.

    Without patterns these are the public models, those in a folder called `marts`, and those with a
    semantic model; where there are none of them, all models. A pattern is a name (`fct_*`), `tag:NAME`,
    `folder:NAME`, `access:NAME` or `all`. Raises SluiceError where a pattern finds nothing.
    """
    relations = [node for node in manifest.nodes.values() if node.resource_type in RELATIONS]
    buildable = [node for node in relations if node.config.materialized != "ephemeral"]
    if patterns:
        found = [node for node in buildable if any(_matches(node, pattern) for pattern in patterns)]
        for pattern in patterns:
            if not any(_matches(node, pattern) for node in found):
                hint = "a name such as fct_*, tag:NAME, folder:NAME, access:public, or all"
                raise SluiceError(f"--select {pattern} finds no relation of the project", hint=hint)
        why = "not selected by --select"
    else:
        models = [node for node in buildable if node.resource_type == "model" and not node.time_spine]
        measured = {name for each in manifest.semantic_models.values() for name in each.depends_on.nodes}
        curated = [node for node in buildable if node.unique_id in measured or _curated(node)]
        found = curated or models
        why = "neither public, nor in a folder 'marts', nor with a semantic model; name it with --select"
    left = [
        Finding("left", _shown(node), why if node in buildable else "is ephemeral: dbt builds nothing for it")
        for node in relations
        if node not in found
    ]
    return found, left


def relations_of(
    nodes: Sequence[Node], place: Place, project: str
) -> tuple[dict[str, Relation], list[Finding]]:
    """The relations by their dbt ids; raises SluiceError where it is not said where they were built."""
    found: dict[str, Relation] = {}
    findings: list[Finding] = []
    taken: set[str] = set()
    for node in sorted(nodes, key=lambda node: (node.package_name != project, node.unique_id)):
        source = _source(node, place)
        if source is None:
            findings.append(Finding("left", _shown(node), _missing(node, place)))
            continue
        old = _versioned(node)
        mart = free_name(sluice_name(old), taken)
        name = source_name(mart, {*taken, mart})
        taken |= {mart, name}
        findings += renamed(_shown(node), old, mart)
        found[node.unique_id] = Relation(node, mart, Source(name=name, **source))
    return found, findings


def _matches(node: Node, pattern: str) -> bool:
    method, colon, value = pattern.partition(":")
    if not colon:
        return pattern == "all" or fnmatchcase(node.name, pattern)
    match method:
        case "tag":
            return value in node.tags
        case "folder":
            return value in node.fqn[1:-1]
        case "access":
            return (node.access or node.config.access or "protected") == value
    raise SluiceError(f"--select {pattern}: '{method}' is no way to select", hint="tag, folder or access")


def _curated(node: Node) -> bool:
    if node.resource_type != "model" or node.time_spine:
        return False
    return "public" in (node.access, node.config.access) or "marts" in node.fqn[1:-1]


def _versioned(node: Node) -> str:
    newest = node.version is None or node.version == node.latest_version
    return node.name if newest else f"{node.name}_v{node.version}"


def _source(node: Node, place: Place) -> dict[str, str] | None:
    """Path and table of the relation; None where there is no such file."""
    if node.config.materialized == "external" and place.parquet is None:
        return {"path": node.config.location} if node.config.location else None
    return place.source(node.alias or node.name, node.db_schema)


def _missing(node: Node, place: Place) -> str:
    if place.parquet is not None:
        return f"there is no {node.alias or node.name}.parquet in the folder of --parquet"
    return "is external, and its config does not say where (location)"


def _shown(node: Node) -> str:
    return f"{node.resource_type} {node.name}"


def untouched(manifest: Manifest) -> Iterator[Finding]:
    """What a dbt project holds beside relations, tests and metrics, and Sluice has no place for."""
    for name in sorted(manifest.sources):
        yield Finding("left", name, "is read by dbt before it builds: marts read what was built")
    for name in sorted(manifest.saved_queries):
        yield Finding("left", name, "a saved query: ask the metrics, or make a dashboard of them")
    for name in sorted(manifest.unit_tests):
        yield Finding("left", name, "a unit test of a model's SQL: dbt runs it")
    for name in sorted(manifest.disabled):
        yield Finding("left", name, "is disabled")
    for node in manifest.nodes.values():
        if node.resource_type not in (*RELATIONS, "test"):
            yield Finding("left", node.unique_id, f"{node.resource_type}: nothing is built of it")
