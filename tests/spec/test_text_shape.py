"""Texts of one shape have one reading, so the engine need not be asked again for another value."""

import json
import re
from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from serving.errors import QueryRefused
from serving.governance.screen import screen
from serving.governance.shape import shape
from serving.governance.tree import Reading, read_tree

CONDITIONS = st.sampled_from(
    [
        "region = {}",
        "region <> {}",
        "(amount <= {} OR amount IS NULL)",
        "day >= DATE {}",
        '"it\'s" = {}',
        '"=" = {} AND "b""c" > {}',
        "region IN ({}, {})",
        "list_aggregate([amount], {}) = 1",
        "list_aggregate([amount], name := {}) > {}",
        "format({}, region) = {}",
        "repeat(region, {}) = {}",
        "region || {} = {}",
        "region = {} 'more'",
        "region = E{}",
        "region = $${}$$",
        "/* {} */ region = {}",
        "region = {} -- {}\n",
        "EXISTS (FROM customers c WHERE c.region = {})",
        "{} = {}",
        "{} {}",
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        [
            "'sum'",
            "'{:9999999}'",
            "'-- '",
            "'a''b'",
            "'2026-01-01'",
            "''",
            "'\"'",
            "'$$'",
            "7",
            "-1.5",
            "99999999",
        ]
    ),
    st.text("ab'\"-\\$/*;=. 5", max_size=6).map(lambda value: "'" + value.replace("'", "''") + "'"),
)


def text_of(conditions: list[str], values: Iterator[str]) -> str:
    filled = [re.sub(r"\{\}", lambda _: next(values), condition) for condition in conditions]
    return f"SELECT 1 FROM orders WHERE {' AND '.join(filled)}"


def reading(connection: duckdb.DuckDBPyConnection, text: str) -> Reading | None:
    """What the text names; None where it is refused."""
    ((tree,),) = connection.execute("SELECT json_serialize_sql(?)", [text]).fetchall()
    try:
        return read_tree(json.loads(tree), ours=True)
    except QueryRefused:
        return None


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


@settings(max_examples=500, deadline=None)
@given(st.lists(CONDITIONS, min_size=1, max_size=3), *[st.lists(VALUES, min_size=6, max_size=6)] * 2)
def test_other_values_in_a_text_of_the_same_shape_read_the_same(
    connection: duckdb.DuckDBPyConnection, conditions: list[str], these: list[str], those: list[str]
) -> None:
    try:
        one, other = (screen(text_of(conditions, iter(values))) for values in (these, those))
    except QueryRefused:
        assume(False)
        raise
    if (first := shape(one)) is not None and first == shape(other):
        assert reading(connection, one) == reading(connection, other)


@pytest.mark.parametrize(
    "text",
    [
        "region = 'b'",
        "region <> 'b'",
        "day >= DATE '2026-01-01'",
        "day < DATE '2026-01-01'",
        "(region > 'b')",
    ],
)
def test_compared_values_are_no_part_of_the_shape(text: str) -> None:
    other = text.replace("'b'", "'it''s \"other\" -- $$'").replace("2026", "2025")
    assert other != text
    assert shape(text) == shape(other)


@pytest.mark.parametrize(
    "text",
    [
        "list_aggregate(x, 'b')",
        "list_aggregate(x, name := 'b')",
        "list_aggregate(x, name => 'b')",
        "date_trunc('b', day)",
        "format('b', day)",
        '"it\'s" = amount OR "b\'s"',
    ],
)
def test_other_texts_are_part_of_it(text: str) -> None:
    assert shape(text) != shape(text.replace("b", "c"))


@pytest.mark.parametrize("text", ["a = E'b'", "a = $$b$$", "a = 'b' -- c", "/* ' */ a = 'b'", "a = X'00'"])
def test_what_only_a_parser_tells_apart_has_no_shape(text: str) -> None:
    assert shape(text) is None
