"""Comparisons with constants: exact for every value of every type, and nothing that could fail."""

import operator
from collections.abc import Callable, Iterator
from datetime import date, datetime
from fractions import Fraction
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from serving.governance.constants import SIGNED, UNSIGNED, compared, number, one_of

HOW: dict[type[exp.Binary], Callable[[Any, Any], bool]] = {
    exp.EQ: operator.eq,
    exp.NEQ: operator.ne,
    exp.LT: operator.lt,
    exp.LTE: operator.le,
    exp.GT: operator.gt,
    exp.GTE: operator.ge,
}
COLUMN = exp.column("c", quoted=True)
SIZES: dict[str, tuple[int, int, int]] = {  # lowest, highest, digits behind the point
    **{kind: (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 0) for kind, bits in SIGNED.items()},
    **{kind: (0, 2**bits - 1, 0) for kind, bits in UNSIGNED.items()},
    **{
        f"DECIMAL({p},{s})": (1 - 10**p, 10**p - 1, s)
        for p, s in ((4, 2), (9, 9), (18, 0), (18, 3), (38, 0), (38, 10), (38, 19), (38, 20), (38, 38))
    },
}


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as connection:
        connection.execute("set timezone = 'America/New_York'")
        yield connection


def shown(units: int, scale: int) -> str:
    digits = str(abs(units)).rjust(scale + 1, "0")
    text = f"{digits[: len(digits) - scale]}.{digits[len(digits) - scale :]}" if scale else digits
    return f"-{text}" if units < 0 else text


@settings(max_examples=400, deadline=None)
@given(data=st.data(), kind=st.sampled_from(sorted(SIZES)), how=st.sampled_from(sorted(HOW, key=str)))
def test_a_comparison_with_any_number_is_exact_and_never_fails(
    engine: duckdb.DuckDBPyConnection, data: st.DataObject, kind: str, how: type[exp.Binary]
) -> None:
    low, high, scale = SIZES[kind]
    units = st.integers(low, high) | st.sampled_from([low, high, low + 1, high - 1, max(low, -1), 0, 1])
    column = data.draw(st.lists(units, min_size=1, max_size=8))
    near = st.sampled_from(column).map(lambda value: shown(value, scale))
    other = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40)
    text = data.draw(
        near | other.map(lambda value: f"{value:f}") | st.sampled_from(["1.5", "-0.5", "1e39", "1000"])
    )
    predicate = compared(COLUMN.copy(), how, number(text), kind).sql("duckdb")
    values = ", ".join(f"('{shown(value, scale)}'::{kind})" for value in column)
    found = engine.execute(f'select ({predicate}) from (values {values}, (null)) as t("c")').fetchall()
    wanted = [HOW[how](Fraction(value, 10**scale), Fraction(text)) for value in column]
    assert [answer for (answer,) in found] == [*wanted, None], predicate


TICKS = {
    "TIMESTAMP_S": "1969-12-31 23:59:59",
    "TIMESTAMP_MS": "1969-12-31 23:59:59.999",
    "TIMESTAMP": "infinity",
    "TIMESTAMP_NS": "2262-04-11 23:47:16",
    "DATE": "5881580-07-10",
    "TIMESTAMP WITH TIME ZONE": "-infinity",
    "VARCHAR": "a\0b",
    "DOUBLE": "nan",
    "FLOAT": "-inf",
}
MOMENTS = (
    "0001-01-01",
    "9999-12-31",
    "1969-12-31 23:59:59.9999",
    "9999-12-31 23:59:59.999999",
    "2400-01-01 12:00",
)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind in TICKS for value in TICKS.values()])
def test_no_value_of_a_column_makes_a_comparison_fail(
    engine: duckdb.DuckDBPyConnection, kind: str, value: str, how: type[exp.Binary]
) -> None:
    constants: tuple[object, ...] = MOMENTS
    if kind == "DATE":
        constants = MOMENTS[:2]
    elif kind in ("DOUBLE", "FLOAT"):
        constants = (number("1e300"), number("0.1"), 5, number("1e39"))
    for constant in constants:
        predicate = compared(COLUMN.copy(), how, constant, kind).sql("duckdb")
        engine.execute(
            f'select ({predicate}) from (select try_cast($1 as {kind}) as "c")', [value]
        ).fetchall()


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", ["TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP", "TIMESTAMP_NS"])
def test_times_are_compared_to_the_microsecond_whatever_the_columns_precision(
    engine: duckdb.DuckDBPyConnection, kind: str, how: type[exp.Binary]
) -> None:
    column = datetime(2026, 3, 4, 5, 6, 7)
    for constant in (
        column,
        column.replace(microsecond=1),
        column.replace(microsecond=999_999),
        date(2026, 3, 5),
    ):
        predicate = compared(COLUMN.copy(), how, constant, kind).sql("duckdb")
        (found,) = engine.execute(
            f'select ({predicate}) from (select $1::{kind} as "c")', [str(column)]
        ).fetchall()
        moment = constant if isinstance(constant, datetime) else datetime(2026, 3, 5)
        assert found == (HOW[how](column, moment),), predicate


@pytest.mark.parametrize(
    ("values", "kind", "text"),
    [
        ([1, 2.5, 300], "TINYINT", '"c" IN (1)'),
        ([300], "TINYINT", '"c" <> "c"'),
        ([], "TINYINT", "FALSE"),
        (["it's", ""], "VARCHAR", "\"c\" IN ('it''s', '')"),
        ([2**64 - 1], "UBIGINT", "\"c\" IN (CAST('18446744073709551615' AS UBIGINT))"),
    ],
)
def test_a_list_keeps_the_values_that_the_type_knows(values: list[object], kind: str, text: str) -> None:
    assert one_of(COLUMN.copy(), values, kind).sql("duckdb") == text


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_any_text_stays_a_value(text: str) -> None:
    with duckdb.connect(":memory:") as engine:
        predicate = compared(COLUMN.copy(), exp.EQ, text, "VARCHAR").sql("duckdb")
        found = engine.execute(f'select ({predicate}) from (select $1::varchar as "c")', [text]).fetchall()
    assert found == [(True,)]
