"""Answers as files: every type the engine has finds a form, or a word for it."""

import io
import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from serving import Project
from serving.export import show_table, to_bytes

ODD = """select 'infinity'::date as far, 'nan'::double as nan, [1, null] as list,
{'a': date '2026-01-01'} as struct, 1.50::decimal(4,2) as money, interval 3 month as months,
'x'::blob as bytes, null as nothing, 1 as one, 2 as one,
timestamptz '2026-01-01 00:00:00+00' as at, '\u00e9' as word"""


@pytest.fixture(scope="module")
def odd(shop: Project) -> pa.Table:
    return shop.ask(ODD, user="ana@example.com").table


def test_json_holds_every_value_and_is_json(odd: pa.Table) -> None:
    (row,) = json.loads(to_bytes(odd, "json"), parse_constant=pytest.fail)
    assert (row["nan"], row["money"], row["list"]) == ("nan", 1.5, [1, None])
    assert (row["one"], row["one_2"], row["nothing"], row["word"]) == (1, 2, None, "\u00e9")
    assert row["struct"] == {"a": "2026-01-01"}
    assert row["at"] == "2026-01-01T00:00:00+00:00"
    assert "out of range" in row["far"]


def test_arrow_and_parquet_keep_the_engines_types(odd: pa.Table) -> None:
    stream = pa.ipc.open_stream(to_bytes(odd, "arrow")).read_all()
    assert stream.schema.types == odd.schema.types
    table = pyarrow.parquet.read_table(io.BytesIO(to_bytes(odd, "parquet")))
    assert table.column("months").to_pylist() == ["3 months"]  # Parquet has no such interval
    assert table.schema.field("money").type == pa.decimal128(4, 2)


def test_csv_writes_nested_values_as_json(shop: Project) -> None:
    table = shop.ask(
        "select [1, 2] as l, {'a': 1} as s, 'a,b' as t, interval 36 hour as i", user="ana@example.com"
    ).table
    assert to_bytes(table, "csv").decode().splitlines()[1] == '"[1, 2]","{""a"": 1}","a,b","129600 seconds"'


def test_text_tables_say_how_many_rows_there_are_more(shop: Project) -> None:
    table = shop.ask("from range(5)", user="ana@example.com").table
    assert show_table(table, rows=3).endswith("… 2 more rows")
    assert show_table(table).endswith("(5 rows)")


def test_a_table_without_columns_or_rows_is_written_too(shop: Project) -> None:
    table = shop.ask("select 1 as x where false", user="ana@example.com").table
    assert json.loads(to_bytes(table, "json")) == []
    assert to_bytes(table, "csv").decode().splitlines() == ['"x"']
