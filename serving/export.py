"""Answers as files and as text."""

import io
import json
import math
from collections.abc import Collection
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from rich import box
from rich.console import Console
from rich.table import Table

FORMATS = ("csv", "json", "arrow", "parquet")


def write_table(table: pa.Table, form: str, target: Path | IO[bytes]) -> None:
    """Write a table as csv, json (a list of objects), arrow (IPC stream) or parquet."""
    if isinstance(target, Path):
        with target.open("wb") as file:
            write_table(table, form, file)
        return
    match form:
        case "csv":
            pa.csv.write_csv(_flat(intervals_as_text(table)), target)
        case "json":
            names = unique_names(table).column_names
            columns = [json_values(column) for column in table.columns]
            rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
            text = json.dumps(rows, default=json_value, ensure_ascii=False)
            target.write(text.encode() + b"\n")
        case "arrow":
            with pa.ipc.new_stream(target, table.schema) as writer:
                writer.write_table(table)
        case "parquet":
            pa.parquet.write_table(unique_names(intervals_as_text(table)), target)
        case _:
            raise ValueError(form)
    target.flush()


def to_bytes(table: pa.Table, form: str) -> bytes:
    """The file that `write_table` writes, in memory."""
    buffer = io.BytesIO()
    write_table(table, form, buffer)
    return buffer.getvalue()


def marked(table: pa.Table, approximate: Collection[str]) -> pa.Table:
    """The table with `approximate: true` in the metadata of columns that are estimates.

    Arrow and Parquet files carry it, and their headers stay as they are.
    """
    fields = [
        field.with_metadata({**(field.metadata or {}), b"approximate": b"true"})
        if field.name in approximate
        else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields, table.schema.metadata)) if approximate else table


def show_table(table: pa.Table, rows: int = 200, approximate: Collection[str] = ()) -> str:
    """A text table of the first rows; columns that are estimates are marked."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for field in table.schema:
        name = f"≈ {field.name}" if field.name in approximate else field.name
        shown.add_column(name, justify="right" if _numeric(field.type) else "left", overflow="fold")
    for values in zip(*(python_values(column) for column in table.slice(0, rows).columns), strict=True):
        shown.add_row(*("" if value is None else str(value) for value in values))
    console = Console(width=200, no_color=True, highlight=False, markup=False)
    with console.capture() as capture:
        console.print(shown)
    left = table.num_rows - rows
    more = (
        f"… {left:,} more rows"
        if left > 0
        else f"({table.num_rows:,} row{'s' if table.num_rows != 1 else ''})"
    )
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + f"\n{more}"


def python_values(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column; text where Python has no such date."""
    try:
        return list(column.to_pylist())
    except (OverflowError, ValueError):
        return list(column.cast(pa.string()).to_pylist())


def json_values(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column for JSON, which knows neither NaN nor infinity: they become text."""
    found = python_values(column)
    if not pa.types.is_floating(column.type):
        return found
    return [value if value is None or math.isfinite(value) else str(value) for value in found]


def json_value(value: Any) -> Any:
    """A value that JSON has no word for, as the API and exports write it."""
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes():
            return value.hex()
        case pa.MonthDayNano():
            return interval_text(value)
    return str(value)


def interval_text(value: pa.MonthDayNano) -> str:
    """An interval as DuckDB reads it back: `3 months 2 days`."""
    parts = {"months": value.months, "days": value.days, "seconds": value.nanoseconds / 1e9}
    return " ".join(f"{number:g} {unit}" for unit, number in parts.items() if number) or "0 seconds"


def intervals_as_text(table: pa.Table) -> pa.Table:
    """The table with texts instead of intervals, for readers that know no months."""
    for place, field in enumerate(table.schema):
        if pa.types.is_interval(field.type):
            values = (
                None if value is None else interval_text(value) for value in table.column(place).to_pylist()
            )
            table = table.set_column(place, field.name, pa.array(values, pa.string()))
    return table


def unique_names(table: pa.Table) -> pa.Table:
    """The table with repeated headers numbered (`a`, `a_2`), for formats that need distinct ones."""
    seen: dict[str, int] = {}
    names = []
    for name in table.column_names:
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return table.rename_columns(names)


def _flat(table: pa.Table) -> pa.Table:
    """Nested columns as JSON text: CSV has no word for them."""
    columns = [
        pa.array(
            [None if v is None else json.dumps(v, default=json_value) for v in python_values(column)],
            pa.string(),
        )
        if pa.types.is_nested(column.type)
        else column
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names) if columns else table


def _numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
