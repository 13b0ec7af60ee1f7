"""Metrics of an Ossie document as measures: one aggregate each, or a formula over such."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from serving.content.semantics import Measure
from serving.importing.expressions import DUCKDB, row_expression
from serving.importing.findings import Finding, NotCarried
from serving.importing.names import free_name, renamed, sluice_name
from serving.importing.ossie.aggregates import is_aggregate, measure_of, short_name
from serving.importing.ossie.document import MetricSpec
from serving.importing.ossie.sql import digest
from serving.importing.ossie.texts import duckdb_text
from serving.importing.sketch import Sketch


@dataclass(frozen=True)
class Read:
    """A dataset that became a mart: its fields are what metrics name."""

    sketch: Sketch
    texts: Mapping[str, str]  # field, in lower case -> DuckDB SQL over the table's columns


@dataclass
class Metrics:
    """The measures of all marts while metrics are put to them."""

    reads: Mapping[str, Read]  # by the dataset's name, in lower case
    findings: list[Finding] = field(default_factory=list)
    _names: dict[str, tuple[str, str]] = field(default_factory=dict)  # metric -> mart, measure

    def add_all(self, metrics: tuple[MetricSpec, ...]) -> None:
        """Every metric: single aggregates first, since formulas may be made of them."""
        todo = [(spec, tree) for spec in metrics if (tree := self._tree(spec)) is not None]
        for spec, tree in sorted(todo, key=lambda pair: not is_aggregate(pair[1])):
            before = {name: dict(read.sketch.measures) for name, read in self.reads.items()}
            try:
                self._add(spec, tree)
            except NotCarried as reason:
                for name, read in self.reads.items():
                    read.sketch.measures = before[name]
                self._left(spec, str(reason))

    def _left(self, spec: MetricSpec, reason: str) -> None:
        self.findings.append(Finding("left", f"metric {spec.name}", reason))

    def _tree(self, spec: MetricSpec) -> exp.Expr | None:
        """The metric's expression; None where it is settled already: exported from here, or unreadable."""
        try:
            text = duckdb_text(spec.expression)
            if self._own(spec, text):
                return None
            return sqlglot.parse_one(text, dialect=DUCKDB)
        except NotCarried as reason:
            self._left(spec, str(reason))
        except (SqlglotError, RecursionError):
            self._left(spec, "its expression is not SQL that can be understood")
        return None

    def _own(self, spec: MetricSpec, text: str) -> bool:
        """Put a measure back as it was exported, unless its expression was edited since."""
        aside = dict(spec.own())
        mart, name, of = (str(aside.pop(key, "")) for key in ("mart", "measure", "of"))
        read = self.reads.get(mart)
        if read is None or not name:
            return False
        if digest(text) != of:
            words = "was edited since its export: its expression counts"
            self.findings.append(Finding("changed", f"metric {spec.name}", words))
            return False
        read.sketch.measures[name] = Measure.model_validate(
            {**aside, "description": spec.description, "synonyms": spec.ai_context.synonyms}
        )
        self._names[spec.name.lower()] = (mart, name)
        return True

    def _add(self, spec: MetricSpec, tree: exp.Expr) -> None:
        about = {"description": spec.description, "synonyms": spec.ai_context.synonyms}
        if is_aggregate(tree):
            mart, made = self._measure(tree, self._datasets(tree))
            self._put(spec, mart, made.model_copy(update=about))
            return
        if tree.find(exp.Window, exp.Query):
            raise NotCarried("is more than arithmetic over aggregates")
        aggregates = list(_outermost(tree))
        datasets = {name for each in aggregates for name in self._datasets(each)}
        parts: dict[int, tuple[str, str]] = {}  # by the node that stands for an aggregate
        for each in aggregates:
            stand_in = exp.column("part")
            parts[id(stand_in)] = self._part(spec, each, self._datasets(each) or datasets)
            each.replace(stand_in)
        columns = list(tree.find_all(exp.Column))
        used = [parts.get(id(node)) or self._other(node) for node in columns]
        if not used or isinstance(tree, exp.Column):
            raise NotCarried("is no arithmetic over aggregates or metrics")
        home = used[0][0]
        for node, (mart, name) in zip(columns, used, strict=True):
            node.replace(exp.column(name, None if mart == home else mart))
        text = row_expression(tree.sql(DUCKDB, comments=False))
        self._put(spec, home, Measure.model_validate({"expr": text, **about}))

    def _other(self, node: exp.Column) -> tuple[str, str]:
        """The measure of another metric that is named outside of aggregates."""
        if not node.table and node.name.lower() in self._names:
            return self._names[node.name.lower()]
        raise NotCarried(f"uses {node.sql(DUCKDB)} outside of an aggregate")

    def _part(self, spec: MetricSpec, tree: exp.Expr, datasets: set[str]) -> tuple[str, str]:
        """A measure for one aggregate of a formula: one that is there, or a new one."""
        mart, made = self._measure(tree, datasets)
        measures = self._sketch(mart).measures
        for name, each in measures.items():
            if each.model_copy(update=_WORDLESS) == made:
                return mart, name
        wanted = short_name(made) or f"{sluice_name(spec.name)}_part"
        name = free_name(wanted, measures)
        measures[name] = made
        return mart, name

    def _measure(self, tree: exp.Expr, datasets: set[str]) -> tuple[str, Measure]:
        if len(datasets) > 1:
            raise NotCarried(f"aggregates over {' and '.join(sorted(datasets))} at once")
        if not datasets and len(self.reads) > 1:
            raise NotCarried(f"{tree.sql(DUCKDB)} does not say of which dataset")
        read = self.reads[next(iter(datasets or self.reads))]
        tree = tree.copy()
        for node in list(tree.find_all(exp.Column)):
            text = read.texts.get(node.name.lower())
            inner = sqlglot.parse_one(text, dialect=DUCKDB) if text else exp.column(node.this.copy())
            if not isinstance(inner, exp.Column):
                inner = exp.paren(inner)
            else:
                read.sketch.known(inner.name)
            node.replace(inner)
        return read.sketch.name, measure_of(tree)

    def _datasets(self, tree: exp.Expr) -> set[str]:
        """The datasets whose fields are named; a bare name must be a field of one dataset only."""
        found = set()
        for node in tree.find_all(exp.Column):
            if node.table:
                owners = [node.table.lower()] if node.table.lower() in self.reads else []
            elif len(self.reads) == 1:
                owners = list(self.reads)
            else:
                owners = [name for name, read in self.reads.items() if node.name.lower() in read.texts]
            if len(owners) != 1:
                why = f"a field of {' and '.join(owners)}" if owners else "in no dataset that is imported"
                raise NotCarried(f"uses {node.sql(DUCKDB)}, which is {why}")
            found.add(owners[0])
        return found

    def _put(self, spec: MetricSpec, mart: str, measure: Measure) -> None:
        measures = self._sketch(mart).measures
        name = free_name(sluice_name(spec.name), measures)
        self.findings += renamed(f"metric {spec.name}", spec.name, name)
        measures[name] = measure
        self._names[spec.name.lower()] = (mart, name)

    def _sketch(self, mart: str) -> Sketch:
        return next(read.sketch for read in self.reads.values() if read.sketch.name == mart)


_WORDLESS = {"label": "", "description": "", "synonyms": (), "format": ""}


def _outermost(tree: exp.Expr) -> Iterator[exp.Expr]:
    """The aggregates that stand in no other."""
    todo: list[exp.Expr] = [tree]
    while todo:
        node = todo.pop(0)
        if is_aggregate(node):
            yield node
        else:
            todo += list(node.iter_expressions())
