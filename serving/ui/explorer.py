"""The frame around all pages: which project, which pages, who looks.

`app.py` opens the explorer once for the process; the script then runs for every look at a page.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from serving.children import ChildState
from serving.errors import NotPublished, SluiceError
from serving.identity import User
from serving.project import Project
from serving.ui.look import STYLE
from serving.ui.parts import plain, safe
from serving.ui.sight import sight

HERE = Path(__file__).resolve().parent
PERSON = "as"  # the URL's key of the person


@dataclass(frozen=True)
class View:
    """What a page draws from: the project as one person may see it."""

    project: Project
    user: User
    pages: Mapping[str, st.Page]  # by path, for links between pages
    children: Callable[[], tuple[ChildState, ...]]

    def key(self, name: str) -> str:
        """A widget key that no two people share: a choice made as one is not kept as another."""
        return f"{self.user.email}/{name}"


@dataclass(frozen=True)
class Page:
    """One entry of the navigation."""

    title: str
    path: str
    icon: str
    draw: Callable[[View], None]


@dataclass(frozen=True)
class Explorer:
    """Everything the script needs."""

    project: Project
    pages: Sequence[Page]
    children: Callable[[], tuple[ChildState, ...]] = tuple


_opened: list[Explorer] = []


def open_explorer(explorer: Explorer) -> None:
    """Serve this project from now on; one per process."""
    _opened[:] = [explorer]


def draw() -> None:
    """One run of the script: navigation, who looks, then the page."""
    explorer = _opened[0]
    project = explorer.project
    title = f"{project.content.project.name} · Sluice"
    st.set_page_config(page_title=title, page_icon=str(HERE / "mark.svg"), layout="wide")
    st.logo(str(HERE / "wordmark.svg"))
    st.html(STYLE)
    project.refresh()
    found: dict[str, st.Page] = {}
    entries = []
    for page in explorer.pages:
        entry = st.Page(
            _drawer(explorer, page, found),
            title=page.title,
            icon=page.icon,
            url_path=page.path,
            default=page is explorer.pages[0],
        )
        found[page.path] = entry
        entries.append(entry)
    st.navigation(entries, position="top").run()


def _drawer(explorer: Explorer, page: Page, found: Mapping[str, st.Page]) -> Callable[[], None]:
    def run() -> None:
        project = explorer.project
        user = _top(project, page)
        if user is None:
            return
        _problems(project)
        try:
            page.draw(View(project, user, found, explorer.children))
        except NotPublished as failure:
            st.info(failure.problem, icon=":material/inventory_2:")
            st.caption(failure.hint)
        except SluiceError as failure:
            refusal(failure)

    return run


def _top(project: Project, page: Page) -> User | None:
    """Title on the left, the person on the right; the choice stands in the URL."""
    people = {person.email: person for person in project.people()}
    if not people:
        st.warning("The policy assigns nobody by e-mail", icon=":material/person_off:")
        st.caption("Add an assignment under `assign:` in models/policies/.")
        return None
    asked = st.query_params.get(PERSON, "").lower()
    kept = st.session_state.get("view_as")
    start = asked if asked in people else None if asked else next(iter(people))
    st.session_state["view_as"] = kept if kept in people else start  # said again: pages forget each other's
    with st.container(key="top", horizontal=True, vertical_alignment="center", gap="medium"):
        st.html(f'<div class="title"><small>{safe(project.content.project.name)}</small>{page.title}</div>')
        with st.container(key="person", width=340, gap=None):
            email = st.selectbox(
                "View as",
                list(people),
                index=None,
                required=True,
                key="view_as",
                format_func=lambda email: people[email].label,
                placeholder="Choose a person",
                icon=":material/visibility:",
                label_visibility="collapsed",
                filter_mode=None,
            )
            words = sight(project, people[email]) if email else "nobody yet"
            st.html(f'<div class="sight">View as · {safe(words)}</div>')
    if email is None:  # a link that names a stranger shows nothing, rather than somebody else's view
        st.info("Choose a person to look as", icon=":material/person:")
        return None
    if st.query_params.get(PERSON) != email:
        st.query_params[PERSON] = email
    return people[email]


def _problems(project: Project) -> None:
    if not project.problems:
        return
    count = len(project.problems)
    st.error(
        f"{count} {'problem' if count == 1 else 'problems'} in the content; the last good reading serves on",
        icon=":material/error:",
    )
    with st.expander("What to correct"):
        st.code("\n".join(str(problem) for problem in project.problems), language=None, wrap_lines=True)


def refusal(failure: SluiceError) -> None:
    """A failure in place: what is wrong, then what to do."""
    hint = f"\n\n{failure.hint}" if failure.hint else ""
    st.error(plain(failure.problem) + plain(hint), icon=":material/block:")
