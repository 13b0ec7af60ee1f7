"""All 22 queries of TPC-H pass the checks, and both parsers see the same tables in them."""

import json
from pathlib import Path

import duckdb
import pytest

from serving.governance.names import parse_question, table_names
from serving.governance.screen import screen
from serving.governance.tree import read_tree

QUERIES = sorted((Path(__file__).parents[1] / "projects/tpch/queries").glob("q*.sql"))


def test_all_of_them_are_here() -> None:
    assert len(QUERIES) == 22


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.stem)
def test_a_tpch_query_is_accepted(path: Path) -> None:
    text = screen(path.read_text(encoding="utf-8"))
    with duckdb.connect(":memory:") as engine:
        (row,) = engine.execute("SELECT json_serialize_sql(?::VARCHAR)", [text]).fetchall()
    reading = read_tree(json.loads(row[0]))
    assert table_names(parse_question(text)) == reading.tables
    assert reading.tables - reading.ctes
