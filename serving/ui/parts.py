"""Pieces that several pages draw."""

import html
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import streamlit as st

from serving.answer import Answer, Receipt
from serving.export import intervals_as_text, marked, to_bytes, unique_names
from serving.receipts import ESTIMATE, miss_lines, route_words
from serving.ui.charts import is_number
from serving.ui.figures import NO_VALUE, counted, figure, label, span

MOST_PREVIEW = 2_000


def safe(text: object) -> str:
    """Text inside HTML."""
    return html.escape(str(text))


def plain(text: str) -> str:
    """Text as it is, not as Markdown."""
    return "".join(f"\\{sign}" if sign in "\\`*_$[]<>~#:|" else sign for sign in text)


def quiet(text: str) -> None:
    """One line that does not ask for attention."""
    st.html(f'<div class="quiet">{safe(text)}</div>')


def html_table(
    table: pa.Table,
    formats: Mapping[str, str] | None = None,
    dimensions: Sequence[str] = (),
    most: int = 200,
    heads: Mapping[str, str] | None = None,
    approximate: Collection[str] = (),
    kinds: Sequence[str] = (),
) -> str:
    """A small table, numbers to the right; estimates are marked, rows that are no groups set apart."""
    formats, heads = formats or {}, heads or {}
    numeric = {f.name for f in table.schema if is_number(f.type) and f.name not in dimensions}
    head = "".join(
        f"<th{' class=n' if name in numeric else ''}>{safe(_head(name, heads, approximate))}</th>"
        for name in table.column_names
    )
    lines = []
    columns = [table.column(place).slice(0, most).to_pylist() for place in range(table.num_columns)]
    formats = {**_even(table, columns), **formats}
    for place, row in enumerate(zip(*columns, strict=True)):
        cells = (
            _cell(name, value, formats.get(name, ""), name in numeric, name in dimensions)
            for name, value in zip(table.column_names, row, strict=True)
        )
        kind = f' class="{kinds[place]}"' if kinds and kinds[place] != "group" else ""
        lines.append(f"<tr{kind}>{''.join(cells)}</tr>")
    return f'<div class="scroll"><table class="grid"><tr>{head}</tr>{"".join(lines)}</table></div>'


def _head(name: str, heads: Mapping[str, str], approximate: Collection[str]) -> str:
    words = heads.get(name) or label(name)
    return f"{ESTIMATE} {words}" if name in approximate else words


def _even(table: pa.Table, columns: Sequence[Sequence[object]]) -> dict[str, str]:
    """Formats for columns that come without: as many places in every row."""
    found = {}
    for field, values in zip(table.schema, columns, strict=True):
        numbers = [value for value in values if isinstance(value, float | Decimal)]
        if is_number(field.type) and numbers:
            found[field.name] = ",.0f" if all(value == int(value) for value in numbers) else ",.2f"
    return found


def _cell(name: str, value: object, form: str, numeric: bool, dimension: bool) -> str:
    if value is None:
        return f'<td class="none{" n" if numeric else ""}">{NO_VALUE if dimension else "–"}</td>'
    shown = figure(value, form)
    if numeric and not form and isinstance(value, int) and "year" in name:
        shown = str(value)
    return f"<td{' class=n' if numeric else ''}>{safe(shown)}</td>"


def answer_grid(answer: Answer, key: str, height: int | None = None) -> None:
    """The rows of an answer in a grid that sorts and scrolls."""
    table = shown_table(unique_names(answer.table))
    marks = {name: f"{ESTIMATE} {name}" for name in answer.receipt.approximate}
    config: dict[str, Any] = {
        field.name: st.column_config.NumberColumn(marks.get(field.name), format=_grid_format(field))
        if is_number(field.type)
        else st.column_config.Column(marks[field.name])
        for field in table.schema
        if is_number(field.type) or field.name in marks
    }
    rows = min(table.num_rows, 14)
    st.dataframe(
        table,
        hide_index=True,
        height=height or 38 + 35 * max(rows, 1),
        column_config=config,
        key=key,
        alt="Answer to the question",
    )


def _grid_format(field: pa.Field) -> str:
    """The grid's own `plain` writes 1000002 as 1000001.9999999999, so whole numbers say that they are."""
    if pa.types.is_decimal(field.type):
        return f"%,.{min(max(field.type.scale, 0), 6)}f"
    if not pa.types.is_integer(field.type):
        return "localized"
    return "%d" if _is_code(field.name) else "%,d"


def shown_table(table: pa.Table) -> pa.Table:
    """The table with texts instead of what the grid has no word for: intervals and bytes."""
    for place, field in enumerate(table.schema):
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            texts = [None if value is None else value.hex() for value in table.column(place).to_pylist()]
            table = table.set_column(place, field.name, pa.array(texts, pa.string()))
    return intervals_as_text(table)


def what_ran(receipt: Receipt) -> None:
    """The receipt: what each name meant, by which rules, how long it took."""
    facts = [
        f"version {receipt.version}",
        counted(receipt.rows, "row") + (" (cut at the limit)" if receipt.truncated else ""),
        span(receipt.seconds) if receipt.seconds >= 0.1 else f"{receipt.seconds * 1000:.0f} ms",
        *(["from the cache"] if receipt.cached else []),
        f"question {receipt.question_id} in the audit",
    ]
    quiet(" · ".join(facts))
    if receipt.approximate:
        quiet(f"{ESTIMATE} estimates: {', '.join(receipt.approximate)}")
    for route in dict.fromkeys(receipt.routes):
        st.markdown(f":small[:material/bolt: {plain(route_words(route))}]")
        for line in miss_lines(route):
            quiet(f"passed over {line}")
    for policy in dict.fromkeys(receipt.policies):
        st.markdown(f":small[:material/policy: {plain(policy)}]")
    if receipt.masked:
        masks = ", ".join(f"{column} ({mask})" for column, mask in receipt.masked.items())
        st.markdown(f":small[:material/visibility_off: {plain(masks)}]")
    st.code(receipt.sql, language="sql", wrap_lines=True)
    for mart, body in receipt.views.items():
        quiet(f"What the name {mart} meant")
        st.code(body, language="sql", wrap_lines=True)


def download(answer: Answer, form: str, name: str, key: str, text: str = "") -> None:
    """A button that writes the file only when somebody clicks it."""
    st.download_button(
        text or f"{form.upper() if form == 'csv' else form.capitalize()}",
        _writer(marked(answer.table, answer.receipt.approximate), form),
        file_name=f"{name}.{form}",
        mime="text/csv" if form == "csv" else "application/vnd.apache.parquet",
        key=key,
        icon=":material/download:",
        on_click="ignore",
    )


def _writer(table: pa.Table, form: str) -> Callable[[], bytes]:
    return lambda: to_bytes(table, form)


def _is_code(name: str) -> bool:
    """Numbers that are names: no thousands separators."""
    return name in ("year", "id") or name.endswith(("_id", "_year", "_no"))
