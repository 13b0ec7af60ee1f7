"""Metrics drawn: numbers, lines, bars or a table."""

from collections.abc import Iterator, Sequence

import streamlit as st

from serving.content.semantics import Grain
from serving.receipts import ESTIMATE
from serving.shown import BESIDE, Shown
from serving.ui.charts import bar_chart, bar_height, last_is_partial, lies, line_chart
from serving.ui.figures import NOTHING, bucket, change, figure, label, shape, short
from serving.ui.parts import html_table, quiet, safe

MOST_ROWS = 200


def draw_number(shown: Shown, measure: str) -> None:
    """One figure, and what it was before."""
    table, form = shown.rows, shown.formats.get(measure, "")
    value = table.column(measure)[0].as_py() if table.num_rows else None
    mark = f"{ESTIMATE} " if measure in shown.answer.receipt.approximate else ""
    below = _delta(
        None if value is None else float(value), shown.befores.get(measure), form, _compared(shown)
    )
    st.html(
        f'<div class="big-figure" data-value="{safe(value)}">{mark}{safe(figure(value, form))}</div>{below}'
    )


def _delta(now: float | None, before: float | None, form: str, words: str) -> str:
    """How much it grew: a rate in points, anything else in percent and in its unit."""
    if before is None:  # all of time has no period before
        return ""
    then = f"vs {figure(before, form)}, {words}"
    rate, gained = change(now, before), None if now is None else now - before
    if gained is None:
        size, note = NOTHING, then
    elif shape(form).percent:
        size, note = f"{abs(gained) * 100:.1f} points", then
    else:
        size = NOTHING if rate is None else f"{abs(rate):.1%}"
        note = f"{'−' if gained < 0 else '+'}{short(abs(gained), form.replace('+', ''))} {then}"
    arrow = "" if not gained else "▲ " if gained > 0 else "▼ "
    return f'<div class="delta">{arrow}{size} <span>{safe(note)}</span></div>'


def _compared(shown: Shown) -> str:
    return str(shown.request.compare or "previous period")


def draw_table(shown: Shown) -> None:
    """The rows, totals set apart."""
    shape_ = html_table(
        shown.rows,
        shown.column_formats,
        shown.dimensions,
        heads=heads(shown),
        approximate=shown.answer.receipt.approximate,
        kinds=shown.kinds,
    )
    st.html(shape_)
    if shown.rows.num_rows > MOST_ROWS:
        quiet(f"first {MOST_ROWS} of {shown.rows.num_rows:,} rows")


def draw_chart(shown: Shown, kind: str, title: str, key: str, height: int = 260) -> None:
    """Lines or bars by the first dimension, split by the second; one chart for each unit of measure."""
    x, grain = shown.dimensions[0], shown.request.by[0].grain or ""
    split = shown.dimensions[1] if len(shown.dimensions) > 1 else None
    names = heads(shown, marked=True)
    groups = [[name] for name in shown.measures] if split else list(_same_unit(shown))
    for number, measures in enumerate(groups):
        if len(groups) > 1:
            st.html(f'<div class="tile-note">{safe(" and ".join(names[name] for name in measures))}</div>')
        faint = [f"{name}_before" for name in measures if f"{name}_before" in shown.groups.column_names]
        y = measures if split else [*measures, *faint]
        form = shown.formats.get(measures[0], "")
        chart = line_chart if kind == "line" else bar_chart
        values = dict.fromkeys(shown.groups.column(x).to_pylist())
        marks = [bucket(value, grain) for value in values]
        st.echarts_chart(
            chart(shown.groups, x, y, split, form, grain, names, faint),
            height=height if kind == "line" else max(bar_height(len(marks), lies(marks)), height - 60),
            key=f"chart-{key}-{number}" if number else f"chart-{key}",
            alt=f"{title}, {kind} chart",
        )
    if note := _partial(shown, shown.request.by[0].grain) if kind == "line" else "":
        st.html(f'<div class="tile-note">{safe(note)}</div>')


def heads(shown: Shown, *, marked: bool = False) -> dict[str, str]:
    """Every column in words; `marked`: with ≈ before estimates."""
    found = {name: shown.labels.get(name) or label(name) for name in (*shown.dimensions, *shown.measures)}
    estimates = shown.answer.receipt.approximate if marked else ()
    for name in shown.measures:
        for ending, word in BESIDE.items():
            before = _compared(shown) if marked and ending == "_before" else word
            points = (
                " in points" if ending == "_change" and shape(shown.formats.get(name, "")).percent else ""
            )
            found[f"{name}{ending}"] = f"{found[name]}, {before}{points}"
    return {name: f"{ESTIMATE} {text}" if name in estimates else text for name, text in found.items()}


def _same_unit(shown: Shown) -> Iterator[Sequence[str]]:
    """The measures that one axis can carry, together."""
    found: dict[tuple[str, bool], list[str]] = {}
    for name in shown.measures:
        how = shape(shown.formats.get(name, ""))
        found.setdefault((how.symbol, how.percent), []).append(name)
    yield from found.values()


def _partial(shown: Shown, grain: Grain | None) -> str:
    """`The last month counts up to 15 Nov 2026`, where the last point is not a whole period."""
    if shown.span is None or grain in (None, "hour") or not last_is_partial(shown.span.last, grain):
        return ""
    return f"The last {grain} counts up to {figure(shown.span.last)}"
