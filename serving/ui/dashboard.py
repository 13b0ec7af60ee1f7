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
)
from serving.errors import QueryRefused
from serving.semantic.asking.time import is_range
from serving.ui.explorer import View
from serving.ui.figures import label
from serving.ui.metric_look import request_look
from serving.ui.parts import download, html_table, plain, quiet, safe, what_ran
from serving.ui.picture import MOST_ROWS, draw_chart, draw_number, draw_table

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
        return not any(mart in visible for tile in board.tiles for mart in tile.marts)

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
            _head(view, tile, found, key)
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
    futures = [executor.submit(answer_tile, view.project, tile, choices, view.user) for tile in tiles]
    executor.shutdown(wait=False)

    def waited(future: Future[TileAnswer]) -> TileAnswer | QueryRefused:
        try:
            return future.result()
        except QueryRefused as refusal:
            return refusal

    return [partial(waited, future) for future in futures]


def _head(view: View, tile: Tile, found: TileAnswer | QueryRefused, key: str) -> None:
    notes = [tile.description] if tile.description else []
    if isinstance(found, TileAnswer):
        if found.unfiltered:
            notes.append(f"not filtered by {' and '.join(label(name).lower() for name in found.unfiltered)}")
        notes += found.notes
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
                _further(view, found)
                what_ran(found.answer.receipt)


def _further(view: View, found: TileAnswer) -> None:
    """The way to the same numbers on the page Metrics."""
    page = view.pages.get("metrics")
    if found.shown is None or page is None:
        return
    try:
        look = request_look(found.shown.request, found.tile.chart)
    except QueryRefused:  # what that page has no place for
        return
    query = {**look.link(), "as": view.user.email}
    st.page_link(page, label="Open in Metrics", icon=":material/query_stats:", query_params=query)


def _body(found: TileAnswer, key: str) -> None:
    tile, shown = found.tile, found.shown
    if shown is not None and tile.chart == "number":
        draw_number(shown, shown.measures[0])
    elif found.table.num_rows == 0:
        quiet("No rows for these filters")
    elif shown is None:
        _sql_table(found)
    elif tile.chart == "table" or len(shown.dimensions) not in (1, 2):
        draw_table(shown)
    else:
        draw_chart(shown, tile.chart, tile.title, key)


def _sql_table(found: TileAnswer) -> None:
    st.html(html_table(found.table, approximate=found.answer.receipt.approximate))
    if found.table.num_rows > MOST_ROWS:
        quiet(f"first {MOST_ROWS} of {found.table.num_rows:,} rows")
