"""A plan as a file to take away: Parquet as it is, CSV with one line per field."""

from collections.abc import Callable

import pyarrow as pa
import streamlit as st

from reverse_etl.plans import SavedPlan
from reverse_etl.row_files import planned_rows
from reverse_etl.ui.words import KINDS, key_words
from serving.export import to_bytes

MOST_CSV = 100_000  # rows; a larger plan is no spreadsheet
COLUMNS = ("key", "kind", "op", "field", "old", "new")


def downloads(plan: SavedPlan) -> None:
    """Buttons that write the file only when somebody clicks."""
    name = f"{plan.sync}-plan-{plan.id}"
    st.download_button(
        "Parquet",
        _parquet(plan),
        file_name=f"{name}.parquet",
        mime="application/vnd.apache.parquet",
        icon=":material/download:",
        on_click="ignore",
        help="The plan's own file: one line per row, fields as JSON",
    )
    large = plan.counts.to_send > MOST_CSV
    st.download_button(
        "CSV",
        _csv(plan),
        file_name=f"{name}.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
        disabled=large,
        help=f"Up to {MOST_CSV:,} rows; take Parquet" if large else "One line per field, old and new",
    )


def plan_table(plan: SavedPlan) -> pa.Table:
    """One line per field of each row that is sent; a row without fields has one line."""
    lines: list[tuple[str | None, ...]] = []
    for row in planned_rows(plan.folder, limit=MOST_CSV):
        head = (key_words(row.key), KINDS.get(row.kind, row.kind), row.op)
        if not row.changes:
            lines.append((*head, None, None, None))
        lines += [(*head, one.name, _text(one.old), _text(one.new)) for one in row.changes]
    columns = zip(*lines, strict=True) if lines else ([] for _ in COLUMNS)
    return pa.table(
        {name: pa.array(values, pa.string()) for name, values in zip(COLUMNS, columns, strict=True)}
    )


def _text(value: object) -> str | None:
    return None if value is None else value if isinstance(value, str) else str(value)


def _parquet(plan: SavedPlan) -> Callable[[], bytes]:
    return lambda: (plan.folder / "plan.parquet").read_bytes()


def _csv(plan: SavedPlan) -> Callable[[], bytes]:
    return lambda: to_bytes(plan_table(plan), "csv")
