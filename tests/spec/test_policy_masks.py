"""Masks: the same type, never an error, NULL stays NULL, for every value a type knows."""

from collections.abc import Iterator, Mapping

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from serving.content.policy import Bucket, Constant, Keep, Mask, Partial, Truncate, mask_word
from serving.governance.constants import SIGNED, UNSIGNED, RuleInvalid
from serving.governance.masks import mask_problem, masked

_NINES = {(4, 2): "99.99", (18, 18): f".{'9' * 18}", (38, 0): "9" * 38, (38, 10): f"{'9' * 28}.{'9' * 10}"}
_NINES |= {(38, 38): f".{'9' * 38}", (1, 0): "9", (2, 2): ".99", (9, 9): f".{'9' * 9}"}
_TIMES = ("infinity", "-infinity", "1970-01-01 00:00:00", "2024-03-31 02:30:59.5", "0044-03-15 (BC) 12:00:00")
_ENDS = ("290309-12-22 (BC) 00:00:00", "294247-01-10 04:00:54")
EXTREMES: Mapping[str, tuple[str, ...]] = {
    "VARCHAR": ("", "a", "abc", "abcdef", "ä😀🤦🏼‍♂️", "x" * 10_000, "'", "a\0b"),
    "BOOLEAN": ("true", "false"),
    "DATE": ("infinity", "-infinity", "5877642-06-25 (BC)", "5881580-07-10", "0001-01-01 (BC)", "2024-02-29"),
    "FLOAT": ("nan", "inf", "-inf", "3.4028235e38", "-3.4028235e38", "-0.0", "1e-45", "7.5"),
    "DOUBLE": ("nan", "inf", "-inf", "1.7976931348623157e308", "-1.79e308", "-0.0", "5e-324", "7.5"),
    **{kind: (str(-(2 ** (b - 1))), str(2 ** (b - 1) - 1), "0", "-7", "7") for kind, b in SIGNED.items()},
    **{kind: (str(2**b - 1), "0", "7") for kind, b in UNSIGNED.items()},
    **{f"DECIMAL({p},{s})": (nines, f"-{nines}", "0") for (p, s), nines in _NINES.items()},
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS"), (*_TIMES, *_ENDS)),
    "TIMESTAMP WITH TIME ZONE": (*_TIMES, "2024-11-03 05:30:00"),
    "TIMESTAMP_NS": (*_TIMES[:4], "1677-09-22 00:00:00", "2262-04-11 23:47:16"),
    "TIME": ("00:00:00", "23:59:59.999999"),
    "UUID": ("00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
    "BLOB": ("", "\\x00"),
    "INTERVAL": ("-1 month", "1000000 days"),
    "INTEGER[]": ("[]", "[1, NULL]"),
    'STRUCT(a INTEGER, "b c" VARCHAR)': ("{'a': 1, 'b c': x}",),
    "MAP(VARCHAR, INTEGER)": ("{a=1}",),
    "ENUM('a', 'b''c')": ("a",),
}
CONSTANTS = (0, -1, 1.5, 127, 10**20, 1e39, 0.1, "x", "", "it's", True, "2026-01-31", "2026-01-31 12:30:00.5")
MASKS: tuple[Mask, ...] = (
    "null",
    "hash",
    *(Partial(partial=keep) for keep in (Keep(first=1), Keep(last=4), Keep(first=2, last=2))),
    *(Bucket(bucket=size) for size in (1, 7, 10, 100, 0.5, 0.01, 0.3, 1e15, 1e-7)),
    *(Truncate(truncate=grain) for grain in ("year", "quarter", "month", "week", "day", "hour")),
    *(Constant(constant=value) for value in CONSTANTS),
)
CASES = [(kind, mask) for kind in EXTREMES for mask in MASKS if mask_problem(mask, kind) is None]


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as connection:
        connection.execute("set timezone = 'America/New_York'")
        yield connection


def apply(engine: duckdb.DuckDBPyConnection, kind: str, mask: Mask, texts: list[str | None]) -> list[object]:
    """The masked values as texts, in their order; the type must be the column's own."""
    expression = masked(exp.column("c", quoted=True), kind, mask, "key").sql("duckdb")
    engine.execute(
        f"create or replace temp table raw as select i, v::{kind} as c from (select unnest(range("
        f"len(?::varchar[]))) as i, unnest(?::varchar[]) as v)",
        [texts, texts],
    )
    assert str(engine.sql(f"select {expression} as c from raw").types[0]) == kind
    found = engine.execute(f"select ({expression})::varchar from raw order by i").fetchall()
    return [value for (value,) in found]


@pytest.mark.parametrize(
    ("kind", "mask"), CASES, ids=lambda value: value if isinstance(value, str) else mask_word(value)
)
def test_a_mask_keeps_the_type_and_null_and_never_fails(
    engine: duckdb.DuckDBPyConnection, kind: str, mask: Mask
) -> None:
    found = apply(engine, kind, mask, [*EXTREMES[kind], None])
    if isinstance(mask, Constant):
        assert None not in found
        assert len(set(found)) == 1
    else:
        assert found[-1] is None


@pytest.mark.parametrize(
    ("kind", "mask", "given", "seen"),
    [
        ("VARCHAR", Partial(partial=Keep(first=1, last=2)), "abcdef", "a***ef"),
        ("VARCHAR", Partial(partial=Keep(first=1, last=2)), "abc", "***"),
        ("VARCHAR", Partial(partial=Keep(last=4)), "", "***"),
        ("VARCHAR", Constant(constant="it's"), "abc", "it's"),
        ("INTEGER", Bucket(bucket=10), "-7", "-10"),
        ("INTEGER", Bucket(bucket=10), "-10", "-10"),
        ("INTEGER", Bucket(bucket=10), "2147483647", "2147483640"),
        ("TINYINT", Bucket(bucket=100), "99", "0"),
        ("TINYINT", Bucket(bucket=10), "-128", None),
        ("UTINYINT", Bucket(bucket=10), "255", "250"),
        ("DECIMAL(4,2)", Bucket(bucket=0.5), "99.99", "99.50"),
        ("DECIMAL(4,2)", Bucket(bucket=0.5), "-0.01", "-0.50"),
        ("DOUBLE", Bucket(bucket=0.5), "7.9", "7.5"),
        ("DOUBLE", Bucket(bucket=10), "nan", "nan"),
        ("DATE", Truncate(truncate="month"), "2026-11-21", "2026-11-01"),
        ("DATE", Truncate(truncate="week"), "2026-11-22", "2026-11-16"),
        ("DATE", Truncate(truncate="year"), "infinity", "infinity"),
        ("DATE", Truncate(truncate="year"), "5877642-06-25 (BC)", None),
        ("TIMESTAMP_NS", Truncate(truncate="hour"), "2026-11-21 10:59:59", "2026-11-21 10:00:00"),
        ("INTEGER", Constant(constant=0), "5", "0"),
        ("DATE", Constant(constant="1970-01-01"), "2026-11-21", "1970-01-01"),
    ],
)
def test_a_value_becomes_what_the_mask_says(
    engine: duckdb.DuckDBPyConnection, kind: str, mask: Mask, given: str, seen: str | None
) -> None:
    assert apply(engine, kind, mask, [given]) == [seen]


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(st.text(), min_size=1, max_size=20), first=st.integers(0, 5), last=st.integers(1, 5))
def test_a_partial_mask_shows_nothing_but_the_ends(texts: list[str], first: int, last: int) -> None:
    with duckdb.connect(":memory:") as engine:
        found = apply(engine, "VARCHAR", Partial(partial=Keep(first=first, last=last)), [*texts])
    for text, seen in zip(texts, found, strict=True):
        expected = f"{text[:first]}***{text[-last:]}" if len(text) > first + last else "***"
        assert seen == expected


@settings(max_examples=150, deadline=None)
@given(
    numbers=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20),
    size=st.integers(1, 10**15),
)
def test_a_bucket_is_the_floor_to_a_multiple(numbers: list[int], size: int) -> None:
    with duckdb.connect(":memory:") as engine:
        found = apply(engine, "BIGINT", Bucket(bucket=size), [str(number) for number in numbers])
    floors = [number // size * size for number in numbers]
    assert found == [str(floor) if floor >= -(2**63) else None for floor in floors]


@pytest.mark.parametrize(
    ("kind", "mask", "words"),
    [
        ("INTEGER", "hash", "the mask 'hash' needs a text column, not INTEGER"),
        ("DATE", Partial(partial=Keep(first=1)), "needs a text column, not DATE"),
        ("VARCHAR", Bucket(bucket=10), "needs a number column, not VARCHAR"),
        ("INTEGER", Bucket(bucket=0.5), "a bucket of 0.5 is finer than the type INTEGER"),
        ("DECIMAL(12,2)", Bucket(bucket=0.001), "a bucket of 0.001 is finer than the type DECIMAL(12,2)"),
        ("TINYINT", Bucket(bucket=1000), "a bucket of 1000 is larger than all values of the type TINYINT"),
        ("BIGINT", Bucket(bucket=1e16), "too large"),
        ("VARCHAR", Truncate(truncate="month"), "needs a date or timestamp column, not VARCHAR"),
        ("DATE", Truncate(truncate="hour"), "a DATE has no hours"),
        ("TIME", Truncate(truncate="hour"), "needs a date or timestamp column, not TIME"),
        ("INTEGER", Constant(constant="x"), "the constant 'x' is no value of a column of type INTEGER"),
        ("INTEGER", Constant(constant=1.5), "the constant 1.5 does not exist in the type INTEGER"),
        ("TINYINT", Constant(constant=128), "the constant 128 does not exist in the type TINYINT"),
        ("FLOAT", Constant(constant=1e39), "does not exist in the type FLOAT"),
        ("INTEGER[]", Constant(constant=1), "is no value of a column of type INTEGER[]"),
    ],
)
def test_a_mask_that_does_not_fit_its_column_is_refused_with_the_reason(
    kind: str, mask: Mask, words: str
) -> None:
    assert words in (mask_problem(mask, kind) or "")
    with pytest.raises(RuleInvalid):
        masked(exp.column("c"), kind, mask, "key")
