"""A mart while it is put together, and the whole draft of a content folder."""

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from serving.content.model import Column, ColumnTest, Freshness, Mart, ProjectSpec, Source
from serving.content.semantics import Described, Dimension, Join, Measure, Rollup
from serving.importing.expressions import plain_column, quoted, row_expression
from serving.importing.findings import Finding, NotCarried
from serving.importing.names import free_name, renamed, sluice_name
from serving.semantic.checks.texts import columns_read
from serving.semantic.dimension import GRAINS


@dataclass(frozen=True)
class MartDraft:
    """A mart's two files."""

    mart: Mart
    sql: str


@dataclass(frozen=True)
class Draft:
    """A content folder that is not written yet, and what is to be said about it."""

    origin: str  # as the report calls it
    project: ProjectSpec
    sources: tuple[Source, ...]
    marts: tuple[MartDraft, ...]
    findings: tuple[Finding, ...]

    @property
    def counts(self) -> Mapping[str, int]:
        """How much of what was carried over."""
        marts = [draft.mart for draft in self.marts]
        return {
            "marts": len(marts),
            "columns": sum(len(mart.columns) for mart in marts),
            "dimensions": sum(len(mart.dimensions) for mart in marts),
            "measures": sum(len(mart.measures) for mart in marts),
            "joins": sum(len(mart.joins) for mart in marts),
            "tests": sum(
                len(mart.tests) + sum(len(c.tests) for c in mart.columns.values()) for mart in marts
            ),
        }


@dataclass
class Sketch:
    """What is known of one mart so far."""

    name: str
    source: str
    listed: tuple[str, ...] = ()  # all columns of the source, where they are known
    added: dict[str, str] = field(default_factory=dict)  # columns that the SQL computes
    label: str = ""
    description: str = ""
    synonyms: tuple[str, ...] = ()
    owner: str = ""
    grain: tuple[str, ...] = ()
    time: str | None = None
    columns: dict[str, Column] = field(default_factory=dict)
    dimensions: dict[str, Dimension] = field(default_factory=dict)
    measures: dict[str, Measure] = field(default_factory=dict)
    joins: dict[str, Join] = field(default_factory=dict)
    hierarchies: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rollups: dict[str, Rollup] = field(default_factory=dict)
    tests: list[str] = field(default_factory=list)
    freshness: Freshness | None = None
    visible: bool = True
    notes: list[Finding] = field(default_factory=list)  # what happened to names

    def known(self, column: str) -> str:
        """The column, from now on among those that are described; by the case it was first written in."""
        for name in self.columns:
            if name.lower() == column.lower():
                return name
        if column.lower() == "time" and self.time is not None:
            return column  # it stays, but nothing is said of it: in requests, 'time' is the mart's own
        if (clash := sluice_name(column)) in self.dimensions:
            new = free_name(f"{clash}_computed", self.dimensions)
            self.dimensions[new] = self.dimensions.pop(clash)
            self.notes += renamed(f"dimension {self.name}.{clash}", clash, new)
        self.columns[column] = Column()
        return column

    def test(self, column: str, *tests: ColumnTest) -> None:
        """Add tests of a column; one that is there is not added again."""
        name = self.known(column)
        spec = self.columns[name]
        new = tuple(test for test in tests if test not in spec.tests)
        self.columns[name] = spec.model_copy(update={"tests": (*spec.tests, *new)})

    def column_of(self, text: str, name: str) -> str:
        """The column that the text is; a text that is more becomes a column of the mart's SQL."""
        if (column := plain_column(text)) is not None:
            return self.known(column)
        about = self.dimensions.get(name)
        taken = about is not None and about.expr != text
        if taken or (name in self.columns and self.added.get(name) != text):
            raise NotCarried(f"`{text}` would be the column '{name}', which is another one")
        self.added[name] = text
        self.dimensions.pop(name, None)
        column = self.known(name)
        if about is not None:
            self.describe(column, about)
        return column

    def dimension(self, what: str, name: str, text: str, about: Dimension) -> Iterator[Finding]:
        """Add a dimension: words about a column, or a computed one."""
        column = plain_column(text)
        if column is not None and column.lower() == name.lower():
            self.describe(self.known(column), about)
            return
        self.expect([text], [name])
        new = sluice_name(name)
        if new in {known.lower() for known in self.columns}:
            new = f"{new}_computed"  # the column of that name stays what it is
        new = free_name(new, self.dimensions)
        yield from renamed(what, name, new)
        self.dimensions[new] = about.model_copy(update={"expr": row_expression(text)})

    def expect(self, texts: Iterable[str], names: Iterable[str]) -> None:
        """Know the columns that the texts read and that have one of these names: no dimension takes it."""
        wanted = {name.lower() for name in names}
        for text in texts:
            for column in columns_read(text, self.name):
                if column.lower() in wanted:
                    self.known(column)

    def taken(self) -> set[str]:
        """The names that a join cannot have."""
        named = (*self.columns, *self.dimensions, *self.joins)
        return {name.lower() for name in named} | {self.name, "time", *GRAINS}

    def describe(self, column: str, about: Dimension) -> None:
        """Words about a column, where it has none yet."""
        spec = self.columns[column]
        words = {key: getattr(about, key) for key in ("label", "description", "synonyms", "format")}
        new = {key: value for key, value in words.items() if value and not getattr(spec, key)}
        self.columns[column] = spec.model_copy(update=new)

    def settle_time(self) -> Iterator[Finding]:
        """Name no time where a column is called `time` and another one would be it."""
        named = {name.lower() for name in self.columns}
        if self.time is not None and self.time.lower() != "time" and "time" in named:
            yield Finding("left", f"time of {self.name}", f"is {self.time}, but a column is called time")
            self.time = None

    def settle_words(self) -> Generator[Finding, None, None]:
        """Keep each synonym for the first thing that it is said of: a word means one thing in a mart."""
        yield from self.notes
        meant = {name.casefold(): name for name in (*self.measures, *self.dimensions, *self.columns)}
        for name, measure in list(self.measures.items()):
            words = yield from self._words(f"measure {self.name}.{name}", name, measure, meant)
            self.measures[name] = measure.model_copy(update={"synonyms": words})
        for name, dimension in list(self.dimensions.items()):
            words = yield from self._words(f"dimension {self.name}.{name}", name, dimension, meant)
            self.dimensions[name] = dimension.model_copy(update={"synonyms": words})
        for name, column in list(self.columns.items()):
            words = yield from self._words(f"column {self.name}.{name}", name, column, meant)
            self.columns[name] = column.model_copy(update={"synonyms": words})

    def _words(
        self, what: str, name: str, spec: Described, meant: dict[str, str]
    ) -> Generator[Finding, None, tuple[str, ...]]:
        kept = []
        for word in spec.synonyms:
            other = meant.setdefault(word.casefold().replace(" ", "_"), name)
            if other == name:
                kept.append(word)
            else:
                yield Finding("left", f"synonym '{word}' of {what}", f"means '{other}' already")
        return tuple(kept)

    def sql(self) -> str:
        """The mart's SELECT."""
        shown = [quoted(name) for name in self.listed] or ["*"]
        shown += [f"{text} as {quoted(name)}" for name, text in self.added.items()]
        text = ", ".join(shown)
        if len(text) > 80:
            return "select\n    " + ",\n    ".join(shown) + f"\nfrom {self.source}\n"
        return f"select {text} from {self.source}\n"

    def draft(self) -> MartDraft:
        """The mart and its SQL."""
        mart = Mart(
            name=self.name,
            label=self.label,
            description=self.description,
            synonyms=self.synonyms,
            owner=self.owner,
            grain=self.grain,
            time=self.time,
            columns=self.columns,
            dimensions=self.dimensions,
            measures=self.measures,
            joins=self.joins,
            hierarchies=self.hierarchies,
            rollups=self.rollups,
            tests=tuple(self.tests),
            freshness=self.freshness,
            visible=self.visible,
        )
        return MartDraft(mart, self.sql())
