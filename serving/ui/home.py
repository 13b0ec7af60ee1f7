"""Home: what there is, how fresh it is, where this person left off."""

from collections.abc import Callable
from dataclasses import dataclass, field

import streamlit as st

from serving.catalog import CatalogEntry, describe
from serving.content.model import Dashboard
from serving.dashboard import TileAnswer, default_choices
from serving.receipts import ESTIMATE
from serving.store import utc_now
from serving.ui.dashboard import answer_all, ordered_boards
from serving.ui.explorer import View
from serving.ui.figures import ago, change, counted, figure
from serving.ui.parts import quiet, safe

HEADLINES = 4
LINK_LENGTH = 1_500  # longer questions do not fit into a link


@dataclass(frozen=True)
class Notice:
    """One line that another part of the program shows on the home page."""

    title: str
    state: str
    good: bool = True


@dataclass
class HomePage:
    """The page; `notices` is what the sync side adds, under the given title and page."""

    notices: Callable[[View], list[Notice]] = field(default=lambda view: [])
    notices_title: str = "Syncs"
    notices_page: str = "syncs"

    def draw(self, view: View) -> None:
        """Headlines of the first dashboard, then three short lists."""
        boards = {name: view.project.content.dashboards[name] for name in ordered_boards(view)}
        if boards:
            _headlines(view, next(iter(boards.values())))
        grid = st.grid(columns=3, min_column_width=290, gap="small")
        with grid.cell(), st.container(key="tile-home-boards", gap="xsmall"):
            _heading("Dashboards")
            for name, board in boards.items():
                st.page_link(
                    view.pages["dashboards"],
                    label=board.title,
                    icon=":material/monitoring:",
                    query_params={"board": name, "as": view.user.email},
                )
                if board.description:
                    st.html(f'<div class="tile-note">{safe(board.description)}</div>')
            if not boards:
                quiet("None yet")
        with grid.cell(), st.container(key="tile-home-marts", gap="xsmall"):
            _heading("Marts")
            _marts(view)
        with grid.cell(), st.container(key="tile-home-syncs", gap="xsmall"):
            _heading(self.notices_title)
            _notices(view, self.notices(view), self.notices_page)
        _recent(view)
        _served(view)


def _headlines(view: View, board: Dashboard) -> None:
    tiles = [tile for tile in board.tiles if tile.chart == "number"][:HEADLINES]
    told = [answer() for answer in answer_all(view, tiles, default_choices(board))]
    answers = [one for one in told if isinstance(one, TileAnswer)]  # the dashboard says why one is refused
    if not answers:
        return
    grid = st.grid(columns=4, min_column_width=150, gap="small")
    for number, found in enumerate(answers):
        measure = found.measures[0]
        value = found.table.column(measure)[0].as_py()
        delta = change(None if value is None else float(value), found.before)
        arrow = "" if not delta else "▲ " if delta > 0 else "▼ "
        below = "" if delta is None else f'<div class="delta">{arrow}{abs(delta):.1%}</div>'
        mark = f"{ESTIMATE} " if measure in found.answer.receipt.approximate else ""
        shown = mark + figure(value, found.formats.get(measure, ""))
        with grid.cell(), st.container(key=f"tile-head-{number}", gap=None):
            st.html(
                f'<div class="tile-title">{safe(found.tile.title)}</div>'
                f'<div class="big-figure">{safe(shown)}</div>{below}'
            )
    words = f"{board.title}, {answers[0].period}" if answers[0].period else board.title
    st.html(f'<div class="tile-note">{safe(words)}</div>')


def _heading(text: str) -> None:
    st.html(f'<div class="tile-title">{safe(text)}</div>')


def _marts(view: View) -> None:
    entries = describe(view.project, view.user)
    now = utc_now()
    for entry in entries:
        st.page_link(
            view.pages["catalog"],
            label=entry.mart,
            icon=":material/table:" if not _red(entry) else ":material/error:",
            query_params={"mart": entry.mart, "as": view.user.email},
        )
    if not entries:
        quiet("The policy shows none to this person")
        return
    newest = max((entry.built_at for entry in entries if entry.built_at), default=None)
    tests = sum(len(entry.tests) for entry in entries)
    red = sum(_red(entry) for entry in entries)
    state = f"{red} of {tests} tests red" if red else f"all {tests} tests green"
    st.html(f'<div class="tile-note">{safe(f"Newest built {ago(newest, now)} · {state}")}</div>')


def _red(entry: CatalogEntry) -> int:
    return sum(test.state == "red" for test in entry.tests)


def _notices(view: View, notices: list[Notice], page: str) -> None:
    for notice in notices:
        st.page_link(
            view.pages[page],
            label=notice.title,
            icon=":material/sync:" if notice.good else ":material/sync_problem:",
            query_params={"sync": notice.title, "as": view.user.email},
        )
        st.html(f'<div class="tile-note">{safe(notice.state)}</div>')
    if not notices:
        quiet("None yet")


def _recent(view: View) -> None:
    recent = view.project.audit.recent(40, view.user.email, "sql")
    asked = {question.sql: question for question in reversed(recent) if len(question.sql) <= LINK_LENGTH}
    newest = sorted(asked.values(), key=lambda question: -question.id)[:5]
    if not newest:
        return
    now = utc_now()
    with st.container(key="tile-home-recent", gap="xsmall"):
        _heading("Asked lately")
        for question in newest:
            text = " ".join(question.sql.split())
            st.page_link(
                view.pages["sql"],
                label=f"`{text[:90].replace('`', ' ')}{'…' if len(text) > 90 else ''}`",
                icon=":material/terminal:",
                query_params={"sql": question.sql, "as": view.user.email},
            )
            rows = counted(question.rows, "row") if question.rows is not None else question.outcome
            st.html(f'<div class="tile-note">{safe(f"{rows} · {ago(question.at, now)}")}</div>')


def _served(view: View) -> None:
    version = view.project.current_version()
    if version is not None:
        quiet(f"Version {version.number} serves {counted(len(version.marts), 'mart')}")
    else:
        quiet("Nothing is published yet: run `python -m serving build`")
