"""Replay the engine's own test queries twice: plainly, and as the product runs them."""

import gzip
import json
import re
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa

from serving.governance.names import parse_question, table_names
from serving.governance.refusal import NotAllowed, Reason
from serving.governance.screen import screen
from serving.governance.tree import Reading, read_tree
from serving.governance.vocabulary import TABLE_FUNCTIONS
from serving.unsound import AVOID

ROWS = 10_000_000  # the row limit of the product's wrapper; no query of the corpus makes more
_TEMPORARY = re.compile(r"^(\s*CREATE\s+(?:OR\s+REPLACE\s+)?)TEMP(?:ORARY)?\s", re.IGNORECASE)


@dataclass(frozen=True)
class Case:
    """One file of the corpus: setups and queries in their order."""

    file: str
    steps: tuple[tuple[str, str], ...]


@dataclass
class Tally:
    """What came of a replay."""

    asked: int = 0
    equal: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)  # accepted, and not what plain DuckDB says
    strayed: list[str] = field(default_factory=list)  # whose plan reads more than both parsers see
    skipped: list[str] = field(default_factory=list)  # files whose setup does not fit marts

    @property
    def accepted(self) -> float:
        """The share of queries that the product answers."""
        return 1 - self.refused.total() / max(1, self.asked)

    def say(self) -> str:
        """The measurement in one line."""
        classes = ", ".join(f"{reason} {count}" for reason, count in self.refused.most_common())
        return f"{self.asked:,} asked, {self.accepted:.2%} accepted, {self.equal:,} equal; refused: {classes}"


@dataclass(frozen=True)
class Outcome:
    """An answer as people see it."""

    names: list[str]
    types: list[str]
    table: pa.Table

    def rows(self) -> list[str]:
        """The rows as text: NaN equals NaN, 1 differs from 1.0."""
        return [repr(row) for row in zip(*map(_values, self.table.columns), strict=True)]


@dataclass(frozen=True)
class Checked:
    """A text that the checks let through."""

    text: str
    reading: Reading
    ordered: bool  # the outermost query says in which order its rows come


def read_cases(path: Path) -> Iterator[Case]:
    """The files of the corpus."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            yield Case(record["file"], tuple((kind, text) for kind, text in record["steps"]))


class Stage:
    """One file's tables in an attached database with an unknown name, seen plainly and through views."""

    def __init__(self, engine: duckdb.DuckDBPyConnection) -> None:
        self.alias = f"x{secrets.token_hex(8)}"
        self.plain, self.governed = engine.cursor(), engine.cursor()
        self.plain.execute(f"ATTACH ':memory:' AS {self.alias}")
        self.plain.execute(f"USE {self.alias}")
        self.columns: dict[str, list[str] | None] = {}
        self.viewed: set[str] = set()
        self.bases: dict[str, frozenset[str]] = {}

    def close(self) -> None:
        """Let the tables go."""
        self.governed.close()
        self.plain.execute("USE memory")
        self.plain.execute(f"DETACH {self.alias}")
        self.plain.close()

    def set_up(self, statement: str) -> None:
        """Run a setup; marts are never temporary, so temporary tables become plain ones."""
        self.plain.execute(_TEMPORARY.sub(r"\1", statement)).fetchall()
        self.columns, self.viewed, self.bases = {}, set(), {}

    def check(self, sql: str) -> Checked:
        """The product's checks, in the product's order; raises QueryRefused."""
        text = screen(sql)
        (tree,) = self.governed.execute("SELECT json_serialize_sql(?::VARCHAR)", [text]).fetchall()[0]
        statement = json.loads(tree)
        reading = read_tree(statement)
        if table_names(parse_question(text)) != reading.tables:
            raise NotAllowed(Reason.TWO_READINGS, "the query can be read in two ways")
        for name in reading.tables - reading.ctes:
            if self.mart(name) is None:
                raise NotAllowed(Reason.NAME, f"there is no mart '{name}' for you")
        modifiers = statement["statements"][0]["node"]["modifiers"]
        ordered = any(modifier["type"] == "ORDER_MODIFIER" for modifier in modifiers)
        return Checked(text, reading, ordered)

    def mart(self, name: str) -> list[str] | None:
        """The columns of a table or view that the setups made; None where they made none."""
        if name not in self.columns:
            try:
                found = self.plain.sql(f"FROM {self.alias}.main.{_quoted(name)}").columns
            except duckdb.CatalogException:
                self.columns[name] = None
            else:
                self.columns[name] = list(found)
        return self.columns[name]

    def bind_names(self, reading: Reading) -> None:
        """Let each mart's name mean its governed view, as the door does."""
        wanted = set(reading.tables)
        if reading.shows_tables:
            found = self.plain.execute("SELECT name FROM (SHOW TABLES)").fetchall()
            wanted |= {name.lower() for (name,) in found}
        for name in sorted(wanted - self.viewed):
            if columns := self.mart(name):
                body = f"SELECT {', '.join(map(_quoted, columns))} FROM {self.alias}.main.{_quoted(name)}"
                self.governed.execute(f"CREATE OR REPLACE TEMP VIEW {_quoted(name)} AS {body}").fetchall()
            self.viewed.add(name)

    def ask_plainly(self, sql: str) -> Outcome:
        """What DuckDB says."""
        return _outcome(self.plain.sql(sql))

    def ask(self, text: str) -> Outcome:
        """What the product says: headers from the text itself, rows from the text in its row limit."""
        names = list(self.governed.sql(text).columns)
        relation = self.governed.sql(f"SELECT * FROM ({text}\n) LIMIT {ROWS + 1}")
        return _outcome(relation, names)

    def scans(self, text: str) -> frozenset[str]:
        """What the governed plan reads: tables with their database, and functions."""
        (found,) = self.governed.execute(f"EXPLAIN (FORMAT json) {text}").fetchall()
        return frozenset(_scans(json.loads(found[1])))

    def may_scan(self, reading: Reading) -> frozenset[str]:
        """What the marts of a reading are made of: themselves, or what a view of the setup reads."""
        found = set(TABLE_FUNCTIONS)
        for name in reading.tables:
            if name not in self.bases and self.mart(name) is not None:
                (row,) = self.plain.execute(f"EXPLAIN (FORMAT json) FROM {_quoted(name)}").fetchall()
                self.bases[name] = frozenset(_scans(json.loads(row[1])))
            found |= self.bases.get(name, frozenset())
        return frozenset(found)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _outcome(relation: duckdb.DuckDBPyRelation, names: list[str] | None = None) -> Outcome:
    types = [str(kind) for kind in relation.types]
    table = relation.to_arrow_reader(50_000).read_all()
    return Outcome(names or list(relation.columns), types, table)


def _values(column: pa.ChunkedArray) -> list[object]:
    try:
        found: list[object] = column.to_pylist()
    except (OverflowError, ValueError):  # Python has no dates BC, and none after 9999
        return column.cast(pa.string()).to_pylist()  # type: ignore[no-any-return]
    return found


def _scans(plan: object) -> Iterator[str]:
    if isinstance(plan, list):
        for part in plan:
            yield from _scans(part)
    elif isinstance(plan, dict):
        info = plan.get("extra_info")
        if isinstance(info, dict) and ("Table" in info or "Function" in info):
            yield str(info.get("Table") or info["Function"].lower())
        yield from _scans(plan.get("children", []))


def start_engine() -> duckdb.DuckDBPyConnection:
    """An engine for many files, one after the other."""
    engine = duckdb.connect(":memory:")
    engine.execute(AVOID)
    engine.execute("SET threads = 1")  # both sides then meet the rows in the same order
    return engine


def replay(case: Case, tally: Tally, engine: duckdb.DuckDBPyConnection) -> None:
    """Ask every query of one file both ways."""
    stage = Stage(engine)
    try:
        for kind, sql in case.steps:
            if kind == "s":
                try:
                    stage.set_up(sql)
                except duckdb.CatalogException:  # it needs the name of the main database: no marts are there
                    tally.skipped.append(case.file)
                    return
            else:
                tally.asked += 1
                _compare(stage, case, sql, tally)
    finally:
        stage.close()


def _compare(stage: Stage, case: Case, sql: str, tally: Tally) -> None:
    try:
        checked = stage.check(sql)
    except NotAllowed as refusal:
        tally.refused[refusal.reason.value] += 1
        return
    text, reading = checked.text, checked.reading
    bound = False
    try:
        stage.bind_names(reading)
        bound = True
        governed = stage.ask(text)
    except duckdb.Error as error:
        if isinstance(error, duckdb.BinderException) and "rowid" in str(error).lower():
            tally.refused["rowid"] += 1  # a governed relation has no row numbers
        elif isinstance(error, duckdb.CatalogException) and not bound:
            tally.asked -= 1  # a column computed by a macro of the setup: no mart has one
            tally.skipped.append(case.file)
        else:
            tally.wrong.append(f"{case.file}: {sql}\n  {error}")
        return
    plain = stage.ask_plainly(sql)
    if difference := _difference(governed, plain, ordered=checked.ordered):
        tally.wrong.append(f"{case.file}: {sql}\n  {difference}")
        return
    tally.equal += 1
    # fewer scans than marts are right: the planner drops what it can prove empty or unused, and a
    # mart's name that a CTE shadows is bound but not read; one more would be an escape
    if not reading.shows_tables and (more := stage.scans(text) - stage.may_scan(reading)):
        tally.strayed.append(f"{case.file}: {sql}\n  reads {sorted(more)}")


def _difference(governed: Outcome, plain: Outcome, *, ordered: bool) -> str:
    if (governed.names, governed.types) != (plain.names, plain.types):
        return f"{governed.names} {governed.types} instead of {plain.names} {plain.types}"
    if governed.table.equals(plain.table):
        return ""
    ours, theirs = governed.rows(), plain.rows()
    if ours != theirs and (ordered or sorted(ours) != sorted(theirs)):
        return f"{ours[:3]} instead of {theirs[:3]}"
    return ""
