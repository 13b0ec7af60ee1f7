"""The catalog: every mart this person may read, and what there is to know about it."""

import pyarrow as pa
import streamlit as st

from serving.catalog import CatalogEntry, describe, lineage
from serving.store import utc_now
from serving.ui.explorer import View
from serving.ui.figures import ago, counted
from serving.ui.lineage import around, arrows, flowchart
from serving.ui.meaning import described, dimensions, measure_table, rollup_table, ways
from serving.ui.parts import html_table, plain, quiet, safe


def draw(view: View) -> None:
    """The list, or one mart, by the URL."""
    entries = {entry.mart: entry for entry in describe(view.project, view.user)}
    chosen = st.query_params.get("mart", "")
    if chosen in entries:
        _mart(view, entries[chosen])
        return
    if chosen:
        st.warning(f"There is no mart {plain(repr(chosen))} for this person", icon=":material/search_off:")
    if not entries:
        quiet("The policy shows no mart to this person")
        return
    _list(view, list(entries.values()))


def _list(view: View, entries: list[CatalogEntry]) -> None:
    wanted = st.text_input(
        "Search",
        key="search",
        placeholder="Search marts, columns, measures",
        icon=":material/search:",
        label_visibility="collapsed",
        live=True,
        width=420,
    )
    found = [entry for entry in entries if _matches(entry, (wanted or "").lower())]
    quiet(counted(len(found), "mart") + ("" if wanted else " this person may read"))
    grid = st.grid(columns=3, min_column_width=290, gap="small")
    for entry in found:
        with grid.cell(), st.container(key=f"tile-mart-{entry.mart}", gap="xsmall"):
            _card(entry)
    chart = flowchart(
        arrows(view.project.content, lineage(view.project, view.user), [e.mart for e in entries])
    )
    if chart:
        with st.expander("How they hang together", icon=":material/account_tree:"):
            st.mermaid_chart(chart, alt="Lineage of all marts")


def _card(entry: CatalogEntry) -> None:
    if st.button(entry.mart, key=f"open-{entry.mart}", type="tertiary", icon=":material/table:"):
        st.query_params["mart"] = entry.mart
        st.rerun()
    st.html(f'<div class="quiet clamp">{safe(entry.description or "No description yet")}</div>')
    facts = [
        counted(len(entry.columns), "column"),
        *([counted(entry.rows, "row")] if entry.rows is not None else []),
    ]
    facts.append(_tests(entry))
    if entry.policies:
        facts.append("a part of the rows" if entry.rows is None else "masked columns")
    st.html(f'<div class="tile-note">{safe(" · ".join(facts))}</div>')


def _tests(entry: CatalogEntry) -> str:
    red = sum(test.state == "red" for test in entry.tests)
    if red:
        return f"{counted(red, 'test')} red"
    green = sum(test.state == "green" for test in entry.tests)
    return f"{counted(green, 'test')} green" if green else "no tests run"


def _matches(entry: CatalogEntry, wanted: str) -> bool:
    texts = [entry.mart, entry.label, entry.description, *entry.synonyms]
    for things in (entry.columns, entry.meaning.dimensions, entry.meaning.measures):
        texts += [text for one in things for text in (one.name, one.label, one.description, *one.synonyms)]
    texts += [tag for column in entry.columns for tag in column.tags]
    return all(any(word in text.lower() for text in texts) for word in wanted.split())


def _mart(view: View, entry: CatalogEntry) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="mart-bar"):
        if st.button("All marts", icon=":material/arrow_back:", type="tertiary"):
            del st.query_params["mart"]
            st.rerun()
        if st.button("Ask this mart", icon=":material/terminal:", type="primary"):
            text = f"select *\nfrom {entry.mart}\nlimit 100"
            st.switch_page(view.pages["sql"], query_params={"sql": text, "as": view.user.email})
    st.subheader(entry.mart, anchor=False)
    st.html(f'<div class="quiet">{safe(entry.description or "No description yet")}</div>')
    if entry.synonyms:
        quiet(f"Also called {', '.join(entry.synonyms)}")
    _facts(entry)
    for policy in dict.fromkeys(entry.policies):
        st.markdown(f":small[:material/policy: {plain(policy)}]")
    columns, measures, rollups, tests, picture = st.tabs(
        [
            "Columns",
            f"Measures · {len(entry.meaning.measures)}",
            f"Rollups · {len(entry.meaning.rollups)}",
            f"Tests · {len(entry.tests)}",
            "Lineage",
        ]
    )
    with columns:
        st.html(f'<div class="meaning">{_columns(entry)}</div>')
        dimensions(entry.meaning)
        ways(entry.meaning)
    with measures:
        measure_table(entry.meaning)
    with rollups:
        rollup_table(entry.meaning)
    with tests:
        _test_table(entry)
    with picture:
        _lineage(view, entry)


def _lineage(view: View, entry: CatalogEntry) -> None:
    pairs = arrows(
        view.project.content, lineage(view.project, view.user), view.project.visible_marts(view.user)
    )
    chart = flowchart(around(pairs, entry.mart), entry.mart)
    if chart:
        st.mermaid_chart(chart, alt=f"What {entry.mart} is made of, and what uses it", width="content")
        quiet("Cylinders are sources, boxes marts, round shapes dashboards, hexagons syncs")
    else:
        quiet("Nothing that this person may see leads here, and nothing uses it yet")


def _facts(entry: CatalogEntry) -> None:
    now = utc_now()
    shown = {
        "Owner": entry.owner or "nobody",
        "One row per": " and ".join(entry.grain) or "not said",
        "Rows": _rows(entry),
        **({"Time": entry.meaning.time} if entry.meaning.time else {}),
        "Built": ago(entry.built_at, now)
        if entry.built_at
        else "as it is asked"
        if entry.live
        else "not yet",
        "Tests": _tests(entry),
    }
    cells = "".join(f"<div><small>{safe(name)}</small>{safe(value)}</div>" for name, value in shown.items())
    st.html(f'<div class="facts">{cells}</div>')


def _columns(entry: CatalogEntry) -> str:
    rows = [
        {
            "column": column.name,
            "type": column.kind.lower(),
            "meaning": described(column.description, column.synonyms),
            "tags": ", ".join(column.tags) or "",
            "this_person_sees": f"masked: {column.mask}" if column.mask else "the value",
        }
        for column in entry.columns
    ]
    used = {
        "tags": any(one.tags for one in entry.columns),
        "this_person_sees": any(one.mask for one in entry.columns),
    }
    rows = [{head: value for head, value in row.items() if used.get(head, True)} for row in rows]
    return html_table(pa.Table.from_pylist(rows), most=1_000) if rows else ""


def _test_table(entry: CatalogEntry) -> None:
    if not entry.tests:
        quiet("No tests yet: add `tests:` to its columns")
        return
    now = utc_now()
    order = {"red": 0, "not run": 1, "green": 2}
    rows = [
        {
            "state": {"green": "✓", "red": "✗ red", "not run": "not run"}[test.state],
            "test": test.name,
            "run": ago(test.at, now),
        }
        for test in sorted(entry.tests, key=lambda test: order[test.state])
    ]
    st.html(html_table(pa.Table.from_pylist(rows), most=1_000))


def _rows(entry: CatalogEntry) -> str:
    if entry.rows is not None:
        return f"{entry.rows:,}"
    return "those of the moment" if entry.live else "this person sees a part"
