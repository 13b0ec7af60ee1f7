"""Data tests: each is one SELECT whose rows are failures."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import duckdb

from serving.content.model import Content, In, Mart, Relationship, Source
from serving.content.semantics import Join
from serving.content.validate import near
from serving.errors import Problem
from serving.marts.artifact import MartFile, literal, quoted, show_mart, show_source
from serving.marts.graph import parse_select, tables_read
from serving.semantic.model import Claim
from serving.unsound import AVOID

SAMPLE = 5  # failing rows shown


@dataclass(frozen=True)
class DataTest:
    """A question whose answer must be empty."""

    mart: str  # or the source it belongs to
    name: str  # "order_id is unique"
    at: str  # file:line
    sql: str
    reads: tuple[str, ...]  # marts and sources
    timeless: bool = True  # the same files give the same result
    warns: bool = False  # failing rows are worth a word, and hold nothing up
    claim: Claim | None = None  # what is known of the mart's rows where it is green


@dataclass(frozen=True)
class Tested:
    """How a data test ended; `sample` holds up to five failing rows."""

    test: DataTest
    failures: int
    columns: tuple[str, ...] = ()
    sample: tuple[tuple[object, ...], ...] = ()
    error: str = ""

    @property
    def passed(self) -> bool:
        """No failing row, and the test could run."""
        return self.failures == 0 and not self.error


def data_tests(content: Content) -> list[DataTest]:
    """Every test: grain, columns and SQL of marts; freshness of marts and sources."""
    tests = [test for mart in content.marts.values() if not mart.built_in for test in _tests(mart, content)]
    return tests + [test for source in content.sources.values() for test in _freshness(source)]


def test_problems(content: Content) -> list[Problem]:
    """SQL tests that cannot be read, or that read what there is not."""
    known = content.marts.keys() | content.sources.keys()
    problems = []
    for mart in content.marts.values():
        for index, sql in enumerate(mart.tests):
            file, line = mart._where.file, mart._where.line("tests", index)
            try:
                reads = {table.name for table in tables_read(parse_select(sql))}
            except ValueError as error:
                problems.append(Problem(file, line, str(error)))
                continue
            problems += [
                Problem(file, line, f"the test reads '{name}': no mart or source", near(name, known))
                for name in sorted(reads - known)
            ]
    return problems


def _freshness(subject: Mart | Source) -> Iterator[DataTest]:
    if subject.freshness is None:
        return
    column = quoted(subject.freshness.column)
    newest = f"SELECT max({column})::TIMESTAMP AS newest FROM {quoted(subject.name)}"
    for level, age in (("error", subject.freshness.error), ("warn", subject.freshness.warn)):
        if age is not None:
            old = f"newest < now()::TIMESTAMP - CAST({literal(age)} AS INTERVAL)"
            sql = f"SELECT newest FROM ({newest}) WHERE newest IS NULL OR {old}"
            at = subject.at("freshness", level)
            yield DataTest(
                subject.name, f"newer than {age}", at, sql, (subject.name,), False, level == "warn"
            )


def _tests(mart: Mart, content: Content) -> Iterator[DataTest]:
    for found in (_grain(mart), _columns(mart), _joins(mart, content)):
        for each in found:
            yield _made(mart, content, each)
    yield from _freshness(mart)
    for index, sql in enumerate(mart.tests):
        others = sorted({node.name for node in tables_read(parse_select(sql))})
        words = f"no rows: {' '.join(sql.split())}"
        yield _made(mart, content, _Promise(words, mart.at("tests", index), sql, tuple(others)))


@dataclass(frozen=True)
class _Promise:
    """What a file says of a mart's rows, and the rows that break it."""

    name: str
    at: str
    sql: str
    others: tuple[str, ...] = ()  # marts and sources that it reads beside the mart
    claim: Claim | None = None


def _made(mart: Mart, content: Content, each: _Promise) -> DataTest:
    timeless = not any(other in content.sources for other in each.others)  # sources change without a build
    reads = tuple(sorted({mart.name, *each.others}))
    return DataTest(mart.name, each.name, each.at, each.sql, reads, timeless, claim=each.claim)


def _grain(mart: Mart) -> Iterator[_Promise]:
    """No two rows of one grain, and none without."""
    if not mart.grain:
        return
    table, shown = quoted(mart.name), ", ".join(mart.grain)
    keys = ", ".join(quoted(key) for key in mart.grain)
    missing = " OR ".join(f"{quoted(key)} IS NULL" for key in mart.grain)
    unique = f"SELECT {keys}, count(*) AS rows FROM {table} GROUP BY ALL HAVING count(*) > 1"
    at, grain = mart.at("grain"), frozenset(mart.grain)
    yield _Promise(f"grain: {shown} is unique", at, unique, (), Claim(mart.name, grain, "unique"))
    null = f"SELECT * FROM {table} WHERE {missing}"
    yield _Promise(f"grain: {shown} is never null", at, null, (), Claim(mart.name, grain, "not_null"))


def _columns(mart: Mart) -> Iterator[_Promise]:
    """What each column promises."""
    table = quoted(mart.name)
    for column, spec in mart.columns.items():
        name = quoted(column)
        counted = f"SELECT {name}, count(*) AS rows FROM {table}"
        for index, test in enumerate(spec.tests):
            at = mart.at("columns", column, "tests", index)
            match test:
                case "unique":
                    sql = f"{counted} WHERE {name} IS NOT NULL GROUP BY ALL HAVING count(*) > 1"
                    alone = Claim(mart.name, frozenset({column}), "unique")
                    yield _Promise(f"{column} is unique", at, sql, (), alone)
                case "not_null":
                    sql = f"SELECT * FROM {table} WHERE {name} IS NULL"
                    there = Claim(mart.name, frozenset({column}), "not_null")
                    yield _Promise(f"{column} is never null", at, sql, (), there)
                case In(allowed=allowed):
                    values = ", ".join(literal(value) for value in allowed)
                    sql = f"{counted} WHERE {name} NOT IN ({values}) GROUP BY ALL"
                    yield _Promise(f"{column} is one of {', '.join(map(str, allowed))}", at, sql)
                case Relationship(to=to):
                    other, _, key = to.partition(".")
                    match_there = f"FROM {quoted(other)} AS there WHERE there.{quoted(key)} = here.{name}"
                    sql = f"{counted} AS here WHERE {name} IS NOT NULL"
                    sql += f" AND NOT EXISTS ({match_there}) GROUP BY ALL"
                    yield _Promise(f"{column} stands in {to}", at, sql, (other,))


def _joins(mart: Mart, content: Content) -> Iterator[_Promise]:
    """Every row is matched at most once."""
    for name, join in mart.joins.items():
        for owner, columns, sql in _repeated(mart, join, content):
            words = f"join {name}: {', '.join(columns)} is unique in {owner}"
            claim = Claim(owner, frozenset(columns), "unique")
            yield _Promise(words, mart.at("joins", name), sql, (owner,), claim)


def _repeated(mart: Mart, join: Join, content: Content) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """For each side whose rows must be matched at most once: its mart, the keys, those that repeat.

    A key with a NULL in it equals nothing, so it may repeat. What another test says is not said again.
    """
    sides = [(content.marts[join.mart], tuple(join.on.values()))]
    if join.kind == "one_to_one":
        sides.append((mart, tuple(join.on)))
    for side, columns in sides:
        if _known_unique(side, columns):
            continue
        keys = ", ".join(quoted(key) for key in columns)
        there = " AND ".join(f"{quoted(key)} IS NOT NULL" for key in columns)
        counted = f"SELECT {keys}, count(*) AS rows FROM {quoted(side.name)} WHERE {there}"
        yield side.name, columns, f"{counted} GROUP BY ALL HAVING count(*) > 1"


def _known_unique(mart: Mart, columns: tuple[str, ...]) -> bool:
    """Whether another test says already that no two rows agree in all of these columns."""
    alone = {name for name, spec in mart.columns.items() if "unique" in spec.tests}
    return bool(mart.grain and set(mart.grain) <= set(columns)) or not alone.isdisjoint(columns)


def question_key(test: DataTest, files: Mapping[str, MartFile]) -> str:
    """The same key: the same question over the same files."""
    parts = [test.sql, *(files[name].fingerprint for name in test.reads if name in files)]
    return hashlib.blake2b("\0".join(parts).encode()).hexdigest()[:32]


def run_tests(tests: list[DataTest], files: Mapping[str, MartFile], content: Content) -> Iterator[Tested]:
    """Run each test over the built files, and over sources where it names one."""
    with duckdb.connect(":memory:") as connection:
        connection.execute(AVOID)
        connection.execute(f"SET TimeZone = {literal(content.project.timezone)}")
        for file in files.values():
            show_mart(connection, file)
        for name in sorted({name for test in tests for name in test.reads} & content.sources.keys()):
            show_source(connection, content.sources[name])
        for test in tests:
            yield _run(connection, test)


def _run(connection: duckdb.DuckDBPyConnection, test: DataTest) -> Tested:
    body = test.sql.rstrip().rstrip(";")
    try:
        (failures,) = connection.execute(f"SELECT count(*) FROM (\n{body}\n)").fetchone() or (0,)
        if not failures:
            return Tested(test, 0)
        sample = connection.execute(f"SELECT * FROM (\n{body}\n) LIMIT {SAMPLE}")
        columns = tuple(item[0] for item in sample.description or ())
        return Tested(test, failures, columns, tuple(sample.fetchall()))
    except duckdb.Error as error:
        return Tested(test, 0, error=str(error))


def explain(result: Tested) -> str:
    """A red test in words: where, how many rows, and what the first ones hold."""
    if result.error:
        return (
            f"{result.test.at}: {result.test.mart}: the test '{result.test.name}' cannot run: {result.error}"
        )
    rows = "row" if result.failures == 1 else "rows"
    lines = [f"{result.test.at}: {result.test.mart}: {result.test.name}: {result.failures:,} failing {rows}"]
    lines += [
        "    " + ", ".join(f"{name}={value}" for name, value in zip(result.columns, row, strict=True))
        for row in result.sample
    ]
    return "\n".join(lines)
