"""The page Metrics: choose numbers, break them down, filter, compare; take the request along."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import streamlit as st

from serving.errors import QueryRefused, QueryStopped, SluiceError
from serving.receipts import short_notes
from serving.semantic.asking.request import MetricRequest, Order
from serving.semantic.asking.words import metric
from serving.semantic.compile.askable import AskableMart, askable_dimensions, askable_marts, marts_read
from serving.semantic.compile.facts import header
from serving.shown import Shown, in_aggregates, show_metrics
from serving.ui.explorer import View
from serving.ui.figures import counted, span
from serving.ui.metric_choices import choose, leave_out
from serving.ui.metric_look import KEYS, Look, command_line, read_look, rest_body, tile_yaml
from serving.ui.metric_state import STATE, forget, settle, touched
from serving.ui.parts import answer_grid, download, plain, quiet, safe, what_ran
from serving.ui.picture import draw_chart, draw_number, draw_table, heads

FITS: dict[str, Callable[[MetricRequest], bool]] = {
    "line": lambda request: 0 < len(request.by) < 3 and request.by[0].grain is not None,
    "bar": lambda request: 0 < len(request.by) < 3,
    "number": lambda request: not request.by,
    "table": lambda request: True,
}
ICONS = {"line": "show_chart", "bar": "bar_chart", "number": "pin", "table": "table_rows"}


def draw(view: View) -> None:
    """Choices above, the answer below; all of it stands in the link."""
    marts = askable_marts(view.project.model(view.user))
    if not marts:
        quiet("No mart that this person may read has measures")
        return
    try:
        look = _look(marts)
    except QueryRefused as refusal:
        _refused(refusal)
        look = _start(marts)
    chosen = choose(view, marts, look)
    settle()
    _keep(chosen)
    if not chosen.metrics:
        quiet("Choose a metric: what you see here starts with a number")
        return
    try:
        request = _sorted(chosen.request())
        shown = show_metrics(view.project, request, view.user, "metrics", lenient=True)
    except SluiceError as failure:
        _refused(failure)
        _nearest(view, chosen)
        return
    _answer(view, chosen, shown)


def _look(marts: Sequence[AskableMart]) -> Look:
    """What the link says, where it is another than the page's own; what was chosen last; or a start."""
    link = {key: tuple(st.query_params.get_all(key)) for key in KEYS if key in st.query_params}
    known: Look | None = st.session_state.get(STATE)
    if link and (known is None or (link != known.link() and not touched())):
        forget()
        look = read_look(link)
    else:
        look = known or _start(marts)
    st.session_state[STATE] = look
    return look


def _start(marts: Sequence[AskableMart]) -> Look:
    """The first number of the mart that has most of them, over time."""
    mart = max(marts, key=lambda one: len(one.metrics))
    over = mart.time or ""
    return Look((mart.metrics[0].name,), over, "last 12 months" if over else "", "month" if over else "")


def _keep(chosen: Look) -> None:
    """Let the link, and the next visit, show the same."""
    st.session_state[STATE] = chosen
    link = chosen.link()
    for key in KEYS:
        if key not in link:
            st.query_params.pop(key, None)
        elif tuple(st.query_params.get_all(key)) != link[key]:
            st.query_params[key] = list(link[key])


def _sorted(request: MetricRequest) -> MetricRequest:
    """Categories by size, where nothing else is said."""
    if request.order or not request.by or any(axis.grain for axis in request.by):
        return request
    return replace(request, order=(Order(header(request.metrics[0], request), descending=True),))


def _answer(view: View, look: Look, shown: Shown) -> None:
    kinds = [kind for kind, fits in FITS.items() if fits(shown.request)]
    with st.container(horizontal=True, vertical_alignment="center", key="result-bar", gap="small"):
        st.html(f'<div class="quiet">{safe(_told(shown))}</div>')
        kind = _chart_kind(look, kinds)
        download(shown.answer, "csv", "metrics", "csv", "CSV")
        download(shown.answer, "parquet", "metrics", "parquet", "Parquet")
    for note in shown.notes:
        quiet(note)
    if shown.answer.receipt.truncated:
        st.warning(
            f"Cut at {shown.answer.receipt.rows:,} rows, this person's limit", icon=":material/content_cut:"
        )
    title = _title(shown)
    picture, rows, words, ran = st.tabs(["Picture", "Rows", "Take along", "What ran"])
    with picture, st.container(key="tile-metrics", gap="xsmall"):
        st.html(f'<div class="tile-title">{safe(title)}</div>')
        _picture(shown, kind, title)
    with rows:
        if shown.answer.receipt.rows:
            answer_grid(shown.answer, key=f"answer-{shown.answer.receipt.question_id}")
        else:
            quiet("No rows")
    with words:
        _take_along(view, shown, kind, title)
    with ran:
        what_ran(shown.answer.receipt)


def _told(shown: Shown) -> str:
    receipt = shown.answer.receipt
    took = f"{receipt.seconds * 1000:.0f} ms" if receipt.seconds < 0.1 else span(receipt.seconds)
    rules = [counted(len(receipt.policies), "rule") + " applied"] if receipt.policies else []
    period = [shown.period] if shown.period else []
    return " · ".join([*period, counted(receipt.rows, "row"), took, *short_notes(receipt), *rules])


def _chart_kind(look: Look, kinds: Sequence[str]) -> str:
    start = look.chart if look.chart in kinds else kinds[0]
    if st.session_state.get("metrics-chart") not in kinds:
        st.session_state["metrics-chart"] = start

    def chosen() -> None:
        picked = st.session_state["metrics-chart"]
        st.session_state[STATE] = replace(st.session_state[STATE], chart=picked)
        st.query_params["chart"] = picked

    return (
        st.segmented_control(
            "Show as",
            kinds,
            format_func=lambda kind: f":material/{ICONS[kind]}: {kind}",
            key="metrics-chart",
            required=True,
            label_visibility="collapsed",
            on_change=chosen,
        )
        or start
    )


def _title(shown: Shown) -> str:
    names = heads(shown)
    measures = " and ".join(names[name] for name in shown.measures)
    by = [
        axis.grain or (names[name] if axis.path else names[name].lower())
        for axis, name in zip(shown.request.by, shown.dimensions, strict=True)
    ]
    return f"{measures} by {' and '.join(by)}" if by else measures


def _picture(shown: Shown, kind: str, title: str) -> None:
    if not shown.rows.num_rows:
        quiet("No rows for these choices")
    elif kind == "number":
        grid = st.grid(columns=4, min_column_width=190, gap="small")
        for measure in shown.measures:
            with grid.cell():
                if len(shown.measures) > 1:
                    st.html(f'<div class="tile-note">{safe(heads(shown)[measure])}</div>')
                draw_number(shown, measure)
    elif kind == "table":
        draw_table(shown)
    else:
        draw_chart(shown, kind, title, "metrics", 360)


def _take_along(view: View, shown: Shown, kind: str, title: str) -> None:
    request = shown.request
    model = view.project.model(view.user)
    if not in_aggregates(view.project, request, view.user, model):
        plan = view.project.explain(metrics=request, user=view.user, rollups=False)
        if st.button("Open as SQL", icon=":material/terminal:", type="tertiary"):
            st.switch_page(view.pages["sql"], query_params={"sql": plan.sql, "as": view.user.email})
    quiet("A tile of a dashboard, in models/dashboards/")
    st.code(tile_yaml(request, kind, title), language="yaml", wrap_lines=True)
    quiet("In a terminal")
    st.code(command_line(request, view.user.email), language="bash", wrap_lines=True)
    quiet("POST /api/v1/metrics")
    st.code(rest_body(request), language="json", wrap_lines=True)


def _nearest(view: View, look: Look) -> None:
    """The request without what the numbers cannot be broken down by."""
    model = view.project.model(view.user)
    try:
        read = marts_read(model, [metric(name) for name in look.metrics])
    except QueryRefused:
        return
    known = {one.name for one in askable_dimensions(model, read)}
    if out := [name for name in look.by if name not in known]:
        st.button(f"Leave out {' and '.join(out)}", icon=":material/remove:", on_click=leave_out, args=(out,))


def _refused(failure: SluiceError) -> None:
    hint = f"\n\n{plain(failure.hint)}" if failure.hint else ""
    kind = st.warning if isinstance(failure, QueryStopped) else st.error
    kind(plain(failure.problem) + hint, icon=":material/block:")
