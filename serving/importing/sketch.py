"""A mart while it is put together, and the whole draft of a content folder."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from serving.content.model import Column, ColumnTest, Mart, Source
from serving.content.semantics import Dimension, Join, Measure, Rollup
from serving.importing.expressions import plain_column, quoted, row_expression
from serving.importing.findings import Finding, NotCarried
from serving.importing.names import free_name, renamed, sluice_name


@dataclass(frozen=True)
class MartDraft:
    """A mart's two files."""

    mart: Mart
    sql: str


@dataclass(frozen=True)
class Draft:
    """A content folder that is not written yet, and what is to be said about it."""

    origin: str  # as the report calls it
    project: str
    timezone: str
    week_starts: str
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
            "tests": sum(len(mart.tests) + sum(len(c.tests) for c in mart.columns.values()) for mart in marts),
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

    def known(self, column: str) -> str:
        """The column, from now on among those that are described; by the case it was first written in."""
        for name in self.columns:
            if name.lower() == column.lower():
                return name
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
        if name in self.columns and self.added.get(name) != text:
            raise NotCarried(f"`{text}` would be the column '{name}', which is another one")
        self.added[name] = text
        return self.known(name)

    def dimension(self, what: str, name: str, text: str, about: Dimension) -> Iterator[Finding]:
        """Add a dimension: words about a column, or a computed one."""
        column = plain_column(text)
        if column is not None and column.lower() == name.lower():
            self.describe(self.known(column), about)
            return
        new = sluice_name(name)
        if new in {known.lower() for known in self.columns}:
            new = f"{new}_computed"  # the column of that name stays what it is
        new = free_name(new, self.dimensions)
        yield from renamed(what, name, new)
        self.dimensions[new] = about.model_copy(update={"expr": row_expression(text)})

    def describe(self, column: str, about: Dimension) -> None:
        """Words about a column, where it has none yet."""
        spec = self.columns[column]
        words = {key: getattr(about, key) for key in ("label", "description", "synonyms", "format")}
        new = {key: value for key, value in words.items() if value and not getattr(spec, key)}
        self.columns[column] = spec.model_copy(update=new)

    def sql(self) -> str:
        """The mart's SELECT."""
        shown = [quoted(name) for name in self.listed] or ["*"]
        shown += [f"{text} as {quoted(name)}" for name, text in self.added.items()]
        text = ", ".join(shown)
        if len(text) > 90:
            text = "\n    " + ",\n    ".join(shown)
        return f"select {text}\nfrom {self.source}\n" if "\n" in text else f"select {text} from {self.source}\n"

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
        )
        return MartDraft(mart, self.sql())
