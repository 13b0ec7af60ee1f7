"""The choices of the page Metrics: which numbers, over which time, by what, of which rows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain

import streamlit as st

from serving.content.spec import Scalar
from serving.dashboard import place_values
from serving.errors import QueryRefused
from serving.semantic.asking.time import is_range
from serving.semantic.asking.words import axis, compare, condition, having, metric
from serving.semantic.compile.askable import (
    AskableDimension,
    AskableMart,
    AskableMetric,
    askable_dimensions,
    marts_read,
)
from serving.semantic.compile.axes import place
from serving.semantic.dimension import GRAINS
from serving.ui.dashboard import RANGES as BOARD_RANGES
from serving.ui.explorer import View
from serving.ui.figures import NO_VALUE
from serving.ui.metric_look import Look, typed
from serving.ui.metric_state import several, single, widget
from serving.ui.parts import plain, quiet

RANGES = (*BOARD_RANGES[:-1], "")
COMPARISONS = ("", "previous period", "previous year")
HITS = 8  # metrics that a search shows


def choose(view: View, marts: Sequence[AskableMart], look: Look) -> Look:
    """Draw the choices, as the look has them; what they are now."""
    look = replace(look, metrics=_metrics(marts, look))
    try:
        read = marts_read(view.project.model(view.user), [metric(name) for name in look.metrics])
    except QueryRefused:  # said where the answer would be
        read = ()
    known = {one.name: one for one in askable_dimensions(view.project.model(view.user), read)}
    look = _time(marts, read, known, look)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="by-bar"):
        look = _breakdown(known, look)
        look = _more(look)
    return _filters(view, read, known, look)


def _metrics(marts: Sequence[AskableMart], look: Look) -> tuple[str, ...]:
    """The chosen numbers; `~` ones are estimates. Names that this person has not stay, to be refused."""
    found = {one.name: one for mart in marts for one in mart.metrics}
    labels = {mart.mart: mart.label for mart in marts}
    options = list(chain.from_iterable(_spellings(one) for one in found.values()))
    options += [name for name in look.metrics if name not in options]

    def words(name: str) -> str:
        bare = found.get(name.removeprefix("~"))
        if bare is None:
            return name
        text = bare.label if len(labels) == 1 else f"{labels[bare.mart]} › {bare.label}"
        return f"≈ {text}" if name.startswith("~") else text

    key = several("metrics", look.metrics, options)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="metric-bar"):
        chosen = st.multiselect(
            "Metrics", options, key=key, format_func=words, placeholder="Choose numbers", select_all=False
        )
        with st.popover("Find", icon=":material/search:", help="Search names, meanings and other words"):
            _search(marts, key)
    return tuple(chosen)


def leave_out(names: Sequence[str]) -> None:
    """Take dimensions away again."""
    key = "metrics/by"
    st.session_state[key] = [name for name in st.session_state.get(key, ()) if name not in names]


def _spellings(one: AskableMetric) -> list[str]:
    return [one.name, f"~{one.name}"] if one.estimate else [one.name]


def _search(marts: Sequence[AskableMart], key: str) -> None:
    wanted = st.text_input(
        "Search",
        key="metrics-search",
        placeholder="turnover, satisfaction, …",
        icon=":material/search:",
        label_visibility="collapsed",
        live=True,
        width=380,
    )
    hits = [one for mart in marts for one in mart.metrics if _matches(mart, one, (wanted or "").lower())]

    def add(name: str) -> None:
        st.session_state[key] = [*st.session_state[key], name]

    for one in hits[:HITS]:
        st.button(
            f"{one.label} · {one.mart}",
            key=f"add-{one.name}",
            type="tertiary",
            icon=":material/add:",
            disabled=one.name in st.session_state[key],
            on_click=add,
            args=(one.name,),
        )
        also = f" · also called {', '.join(one.synonyms)}" if one.synonyms else ""
        quiet((one.description or one.computed) + also)
    if not hits:
        quiet("Nothing is called so")
    elif len(hits) > HITS:
        quiet(f"and {len(hits) - HITS} more")


def _matches(mart: AskableMart, one: AskableMetric, wanted: str) -> bool:
    texts = (one.name, one.label, one.description, mart.label, *one.synonyms)
    return all(any(word in text.lower() for text in texts) for word in wanted.split())


def _time(
    marts: Sequence[AskableMart], read: Sequence[str], known: Mapping[str, AskableDimension], look: Look
) -> Look:
    """Which days, in which steps, compared with when."""
    times = [name for name, one in known.items() if one.time]
    if look.time and look.time not in times and not known:
        return look  # refused below, with its words
    if not times:
        return replace(look, time="", range="", grain="", compare="", fill=False)
    own = next((mart.time for mart in marts if mart.mart in read[:1] and len(read) == 1), None)
    first = own if own in times else times[0]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="time-bar"):
        key = single("time", look.time or first, times)
        if len(times) > 1:
            time = st.selectbox("Time", times, key=key, format_func=lambda name: known[name].label, width=210)
        else:
            time = times[0]
        words = _range(look)
        grains = ["", *GRAINS]
        grain = st.selectbox(
            "Step",
            grains,
            key=single("grain", look.grain, grains),
            format_func=lambda grain: f"by {grain}" if grain else "not over time",
            width=160,
        )
        against = _compare(look) if words else ""
    return replace(look, time=time, range=words, grain=grain, compare=against, fill=look.fill and bool(words))


def _range(look: Look) -> str:
    options = [*RANGES, *([look.range] if look.range not in RANGES else [])]
    chosen = st.selectbox(
        "Days",
        options,
        key=widget("range", look.range),
        format_func=lambda text: text or "all time",
        accept_new_options=True,
        width=210,
        help="Pick a range or write one: `last 6 weeks`, `this year`, `2026-01-01..2026-03-31`",
    )
    text = " ".join(str(chosen or "").lower().split())
    if text in ("", "all time"):
        return ""
    if not is_range(text):
        st.warning(f"{plain(text)} is no time range; write for instance `last 6 weeks`")
        return look.range
    return text


def _compare(look: Look) -> str:
    options = [*COMPARISONS, *([look.compare] if look.compare not in COMPARISONS else [])]
    chosen = st.selectbox(
        "Compared with",
        options,
        key=widget("compare", look.compare),
        format_func=lambda text: text or "nothing",
        accept_new_options=True,
        width=200,
        help="Or write: `3 months earlier`",
    )
    text = " ".join(str(chosen or "").lower().split())
    if text in ("", "nothing"):
        return ""
    try:
        return str(compare(text))
    except QueryRefused as refusal:
        st.warning(plain(refusal.problem))
        return ""


def _breakdown(known: Mapping[str, AskableDimension], look: Look) -> Look:
    options = [name for name, one in known.items() if not one.time]
    options += [name for name in look.by if name not in options]
    by = st.multiselect(
        "Break down by",
        options,
        key=several("by", look.by, options),
        format_func=lambda name: _called(known, name),
        placeholder="Nothing",
        select_all=False,
    )
    fields = [name for name, one in known.items() if not one.time]
    start = [name for name, _ in look.values]
    fields += [name for name in start if name not in fields]
    st.multiselect(
        "Filter",
        fields,
        key=several("filters", start, fields),
        format_func=lambda name: _called(known, name),
        placeholder="All rows",
        select_all=False,
    )
    return replace(look, by=tuple(by))


def _called(known: Mapping[str, AskableDimension], name: str) -> str:
    return known[name].label if name in known else name


def _filters(view: View, read: Sequence[str], known: Mapping[str, AskableDimension], look: Look) -> Look:
    """The values to keep, of every dimension that is filtered by."""
    names: list[str] = st.session_state["metrics/filters"]
    if not names:
        return replace(look, values=())
    start, found = dict(look.values), []
    with st.container(horizontal=True, gap="small", key="value-bar"):
        for name in names:
            kept = start.get(name, ())
            options = list(dict.fromkeys((*_values(view, read, name), *kept)))
            chosen = st.multiselect(
                _called(known, name),
                options,
                key=several(f"values-{name}", kept, options),
                format_func=lambda value: NO_VALUE if value is None else str(value),
                placeholder="All",
                select_all=False,
                width=300,
            )
            found.append((name, tuple(chosen)))
    return replace(look, values=tuple(found))


def _values(view: View, read: Sequence[str], name: str) -> list[Scalar]:
    """What a filter offers: values that this person may see."""
    model = view.project.model(view.user)
    there = place(axis(name), read[0], model) if read else None
    if there is None:
        return []
    try:
        values = place_values(view.project, there, view.user, "metrics")
    except QueryRefused:
        return []
    return [value if isinstance(value, str | int | float | bool) else str(value) for value in values]


def _more(look: Look) -> Look:
    """What is needed less often."""
    used = sum(map(bool, (look.top, look.totals, look.fill, look.conditions, look.having)))
    words = f"More · {used}" if used else "More"
    with st.popover(
        words, icon=":material/tune:", key="metrics-more", help="Totals, the largest, conditions"
    ):
        if look.by:
            top = st.number_input(
                "Only the largest", 0, 1_000, key=widget("top", look.top), help="0 shows all of them"
            )
            other = st.toggle("The rest in one row", key=widget("other", look.other), disabled=not top)
            look = replace(look, top=int(top or 0), other=bool(other and top))
        else:
            look = replace(look, top=0, other=False)
        if look.by or look.grain:
            look = replace(look, totals=st.toggle("Totals", key=widget("totals", look.totals)))
        else:
            look = replace(look, totals=False)
        if look.grain and look.range:
            look = replace(look, fill=st.toggle("Steps without rows, too", key=widget("fill", look.fill)))
        lines = st.text_area(
            "Other conditions, one a line",
            key=widget("conditions", "\n".join(look.conditions)),
            placeholder="country contains 'land'\nlist_amount >= 100",
            height=90,
        )
        having_lines = st.text_area(
            "Only groups where",
            key=widget("having", "\n".join(look.having)),
            placeholder="orders.revenue > 1000",
            height=70,
        )
        try:
            conditions, groups = typed(lines or "", condition), typed(having_lines or "", having)
        except QueryRefused as refusal:
            st.warning(plain(refusal.problem))
            return look
    return replace(look, conditions=conditions, having=groups)
