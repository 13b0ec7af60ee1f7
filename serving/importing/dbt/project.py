"""A dbt project's manifest as a draft of a content folder."""

from collections.abc import Sequence
from pathlib import Path

from serving.content.model import ProjectSpec
from serving.errors import SluiceError
from serving.importing.dbt.manifest import Manifest, read_manifest
from serving.importing.dbt.marts import add_constraints, add_users, mart_sketch
from serving.importing.dbt.metrics import metric_findings
from serving.importing.dbt.select import Relation, chosen_nodes, relations_of, untouched
from serving.importing.dbt.semantic import Modelled, add_joins, add_meaning
from serving.importing.dbt.tests import add_tests, settle_grain
from serving.importing.findings import Finding
from serving.importing.place import Place
from serving.importing.sketch import Draft, Sketch


def import_dbt(path: Path, place: Place, select: Sequence[str] = ()) -> Draft:
    """The marts of the project whose manifest stands at `path`, over the relations that dbt built.

    Raises SluiceError where the manifest cannot be read, and where nothing of it can become a mart.
    """
    return dbt_draft(read_manifest(path), place, select)


def dbt_draft(manifest: Manifest, place: Place, select: Sequence[str] = ()) -> Draft:
    """The same of a manifest that was read."""
    meta = manifest.metadata
    read = meta.adapter_type.lower()
    nodes, findings = chosen_nodes(manifest, select)
    relations, wrong = relations_of(nodes, place, meta.project_name)
    findings += wrong
    if not relations:
        hint = (
            "; ".join(sorted({each.words for each in findings})[:2]) or "dbt lists its models with `dbt ls`"
        )
        raise SluiceError("the project has no relation that can become a mart", hint=hint)
    sketches: dict[str, Sketch] = {}
    for relation in relations.values():
        sketches[relation.mart], more = mart_sketch(relation, manifest)
        findings += more
    marts = {relation.node.alias or relation.node.name: relation.mart for relation in relations.values()}
    for relation in relations.values():
        findings += add_constraints(relation, sketches[relation.mart], marts)
    findings += add_tests(manifest, relations, sketches, read)
    findings += _meaning(manifest, relations, sketches, read)
    for sketch in sketches.values():
        settle_grain(sketch)
        findings += sketch.settle_words()
    findings += [*add_users(manifest, relations, sketches), *untouched(manifest)]
    name = meta.project_name or "dbt"
    return Draft(
        origin=f"the dbt project {name} (manifest v{meta.version}, dbt {meta.dbt_version or 'unknown'})",
        project=ProjectSpec(name=name),
        sources=tuple(relation.source for relation in relations.values()),
        marts=tuple(sketch.draft() for sketch in sketches.values()),
        findings=tuple(dict.fromkeys(findings)),
    )


def _meaning(
    manifest: Manifest, relations: dict[str, Relation], sketches: dict[str, Sketch], read: str
) -> list[Finding]:
    """Semantic models and metrics."""
    findings: list[Finding] = []
    models: dict[str, Modelled] = {}
    for spec in manifest.semantic_models.values():
        relation = next((relations[node] for node in spec.depends_on.nodes if node in relations), None)
        if relation is None:
            findings.append(Finding("left", f"semantic model {spec.name}", "its relation is not imported"))
            continue
        models[spec.name] = Modelled(spec, sketches[relation.mart], read)
    for model in models.values():
        settle_grain(model.sketch)
        findings += [*add_meaning(model), *model.sketch.settle_time()]
    findings += add_joins(models)
    findings += metric_findings(manifest, models)
    return findings
