"""Dashboards: filters, and tiles that answer or say why not."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import streamlit as st

from serving.content.model import Dashboard, Tile
from serving.content.spec import Scalar
from serving.dashboard import (
    ALL,
    Choice,
    TileAnswer,
    answer_tile,
    default_choices,
    filter_values,
    newest_days,
)
from serving.errors import QueryRefused
from serving.semantic.dimension import GRAINS
from serving.semantic.time import is_range
from serving.ui.charts import bar_chart, bar_height, last_is_partial, lies, line_chart
from serving.ui.explorer import View
from serving.ui.figures import NOTHING, bucket, change, figure, label
from serving.ui.parts import download, html_table, plain, quiet, safe, what_ran

AT_ONCE = 3  # tiles asked side by side
RANGES = (
    "last 30 days",
    "last 90 days",
    "last 12 months",
    "last 24 months",
    "this month",
    "this quarter",
    "this year",
    ALL,
)


def draw(view: View) -> None:
    """One dashboard, chosen in the URL."""
    boards = view.project.content.dashboards
    if not boards:
        st.info("There is no dashboard yet", icon=":material/dashboard:")
        st.caption("A file under models/dashboards/ is one.")
        return
    name = _chosen(view)
    board = boards[name]
    if board.description:
        quiet(board.description)
    choices = _filters(view, board)
    period = st.empty()
    words = _tiles(view, name, board, choices)
    if words:
        period.html(f'<div class="quiet">{safe(words)}</div>')


def ordered_boards(view: View) -> list[str]:
    """The dashboards in their order; those without any answer for this person come last."""
    visible = view.project.visible_marts(view.user)

    def mute(board: Dashboard) -> bool:
        return not any(metric.partition(".")[0] in visible for tile in board.tiles for metric in tile.metrics)

    boards = view.project.content.dashboards
    return sorted(boards, key=lambda name: mute(boards[name]))


def _chosen(view: View) -> str:
    boards = view.project.content.dashboards
    names = ordered_boards(view)
    if len(names) == 1:
        return names[0]
    if st.session_state.get("board") not in names:
        asked = st.query_params.get("board", "")
        st.session_state["board"] = asked if asked in names else names[0]
    chosen = st.segmented_control(
        "Dashboard",
        names,
        format_func=lambda name: boards[name].title,
        key="board",
        label_visibility="collapsed",
        required=True,
    )
    name = chosen or names[0]
    if st.query_params.get("board") != name:
        st.query_params["board"] = name
    return name


def _filters(view: View, board: Dashboard) -> dict[str, Choice]:
    choices: dict[str, Choice] = {}
    if not board.filters:
        return choices
    with st.container(horizontal=True, key="filters", gap="small", vertical_alignment="top"):
        for name, value in default_choices(board).items():
            if is_range(value):
                choices[name] = _time(name, str(value))
            else:
                choices[name] = _values(view, board, name, value)
    return choices


def _time(name: str, default: str) -> Choice:
    ranges = list(dict.fromkeys((default, *RANGES)))
    ranges = [text for text in RANGES if text in ranges] if default in RANGES else ranges
    chosen = st.selectbox(
        label(name),
        ranges,
        index=ranges.index(default),
        format_func=lambda text: "all time" if text == ALL else text,
        accept_new_options=True,
        key=name,
        width=230,
        bind="query-params",
        help="Pick a range or write one: `last 6 weeks`, `this year`, `2026-01-01..2026-03-31`",
    )
    text = " ".join(str(chosen or default).lower().split())
    if text in (ALL, "all time"):
        return ALL
    if not is_range(text):
        st.warning(
            f"{plain(text)} is no time range; write for instance `last 6 weeks` or `2026-01-01..2026-03-31`"
        )
        return default
    return text


def _values(view: View, board: Dashboard, name: str, default: Choice) -> Choice:
    options: list[Scalar] = [
        value for value in filter_values(view.project, board, name, view.user) if value is not None
    ]
    start = (
        []
        if default == ALL
        else [v for v in ((default,) if isinstance(default, str) else default) if v in options]
    )
    if not options:
        return ALL
    chosen = st.multiselect(
        label(name),
        options,
        default=start,
        placeholder="All",
        key=name,
        width=300,
        bind="query-params",
    )
    return tuple(chosen) or ALL


def _tiles(view: View, name: str, board: Dashboard, choices: dict[str, Choice]) -> str:
    """Draw the tiles; the period they show, in words."""
    period = ""
    grid, small = None, False
    answers = answer_all(view, board.tiles, choices)
    for number, (tile, answer) in enumerate(zip(board.tiles, answers, strict=True)):
        is_small = tile.chart == "number" and tile.width == 1
        if grid is None or is_small != small:  # numbers stand two in a row on a phone
            grid, small = st.grid(columns=4, min_column_width=150 if is_small else 230, gap="small"), is_small
        key = f"{name}-{number}"
        with grid.cell(column_span=tile.width), st.container(key=f"tile-{key}", gap="xsmall"):
            found = answer()
            _head(tile, found, key)
            if isinstance(found, QueryRefused):
                hint = f" — {found.hint}" if found.hint else ""
                st.html(f'<div class="quiet">⊘ {safe(found.problem)}{safe(hint)}</div>')
                continue
            _body(found, key)
            period = period or found.period
    return period


def answer_all(
    view: View, tiles: Sequence[Tile], choices: dict[str, Choice]
) -> list[Callable[[], TileAnswer | QueryRefused]]:
    """Ask all tiles at once; each call waits for its own answer, or gives the refusal."""
    executor = ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="tile")
    newest = newest_days(view.project, tiles, choices, view.user)
    futures = [executor.submit(answer_tile, view.project, tile, choices, view.user, newest) for tile in tiles]
    executor.shutdown(wait=False)

    def waited(future: Future[TileAnswer]) -> TileAnswer | QueryRefused:
        try:
            return future.result()
        except QueryRefused as refusal:
            return refusal

    return [partial(waited, future) for future in futures]


def _head(tile: Tile, found: TileAnswer | QueryRefused, key: str) -> None:
    notes = [tile.description] if tile.description else []
    if isinstance(found, TileAnswer):
        if found.unfiltered:
            notes.append(f"not filtered by {' and '.join(label(name).lower() for name in found.unfiltered)}")
        if found.answer.receipt.truncated:
            notes.append("cut at the row limit")
    note = f'<div class="tile-note">{safe(" · ".join(notes))}</div>' if notes else ""
    with st.container(horizontal=True, vertical_alignment="top", wrap=False, gap="xsmall"):
        st.html(f'<div class="tile-title">{safe(tile.title)}</div>{note}')
        if isinstance(found, TileAnswer):
            with st.popover(
                "", icon=":material/more_horiz:", type="tertiary", key=f"menu-{key}", help="Source and export"
            ):
                download(found.answer, "csv", key, f"csv-{key}", "Download CSV")
                what_ran(found.answer.receipt)


def _body(found: TileAnswer, key: str) -> None:
    tile, table = found.tile, found.table
    if tile.chart == "number":
        _number(found)
    elif table.num_rows == 0:
        quiet("No rows for these filters")
    elif tile.chart == "table" or not found.dimensions:
        heads = {
            found.dimensions[n]: label(by) for n, by in enumerate(_asked(tile)) if n < len(found.dimensions)
        }
        st.html(html_table(table, found.formats, found.dimensions, heads=heads))
        if table.num_rows > 200:
            quiet(f"first 200 of {table.num_rows:,} rows")
    else:
        _chart(found, key)


def _asked(tile: Tile) -> list[str]:
    return [by.replace(".", " by ") for by in (*tile.by, *((tile.split,) if tile.split else ()))]


def _number(found: TileAnswer) -> None:
    measure = found.measures[0]
    form = found.formats.get(measure, "")
    value = found.table.column(measure)[0].as_py() if found.table.num_rows else None
    shown = figure(value, form)
    delta = change(None if value is None else float(value), found.before)
    below = ""
    if found.tile.compare is not None and found.before is not None:  # all of time has no period before
        arrow = "" if delta is None else "▲ " if delta > 0 else "▼ " if delta < 0 else ""
        size = NOTHING if delta is None else f"{abs(delta):.1%}"
        before = f"vs {figure(found.before, form)}, {found.tile.compare}"
        below = f'<div class="delta">{arrow}{size} <span>{safe(before)}</span></div>'
    st.html(f'<div class="big-figure" data-value="{safe(value)}">{safe(shown)}</div>{below}')


def _chart(found: TileAnswer, key: str) -> None:
    tile, table = found.tile, found.table
    grain = tile.by[0].partition(".")[2] if tile.by else ""
    x, split = found.dimensions[0], found.dimensions[1] if tile.split and len(found.dimensions) > 1 else None
    form = found.formats.get(found.measures[0], "")
    alt = f"{tile.title}, {tile.chart} chart"
    if tile.chart == "line":
        st.echarts_chart(
            line_chart(table, x, found.measures, split, form, grain), height=260, key=f"chart-{key}", alt=alt
        )
        if note := _partial(found, grain):
            st.html(f'<div class="tile-note">{safe(note)}</div>')
        return
    names = [bucket(value, grain) for value in dict.fromkeys(table.column(x).to_pylist())]
    st.echarts_chart(
        bar_chart(table, x, found.measures, split, form, grain),
        height=bar_height(len(names), lies(names)),
        key=f"chart-{key}",
        alt=alt,
    )


def _partial(found: TileAnswer, grain: str) -> str:
    """`Nov 2026 counts up to the 15th`, where the last point is not a whole period."""
    known = next((name for name in GRAINS if name == grain), None)
    if found.span is None or known is None or not last_is_partial(found.span.last, known):
        return ""
    return f"The last {grain} counts up to {figure(found.span.last)}"
