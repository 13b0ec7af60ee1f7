"""The SQL page: ask, wait or cancel, look, export, and see what ran."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import streamlit as st

from serving.answer import Answer
from serving.audit import Asked
from serving.catalog import readable_columns
from serving.content.model import In, Mart
from serving.errors import QueryStopped, SluiceError
from serving.export import unique_names
from serving.identity import User
from serving.project import Project
from serving.running import Running
from serving.semantic.dimension import dimension_sql
from serving.semantic.leaves import measure_sql
from serving.store import utc_now
from serving.ui.charts import bar_chart, bar_height, guessed, is_number, lies, line_chart
from serving.ui.editor import Draft, sql_editor
from serving.ui.explorer import View
from serving.ui.figures import ago, bucket, counted, label, span
from serving.ui.parts import answer_grid, download, plain, quiet, what_ran

LINK_LENGTH = 1_500  # longer questions do not fit into a link
AT_ONCE = 0.4  # seconds to wait before showing that a question runs
MOST_DRAWN = 2_000


@dataclass
class Desk:
    """What lies on one browser tab's desk: the draft, the question under way, the last answer."""

    draft: Draft = field(default_factory=lambda: Draft(0, ""))
    running: Running | None = None
    asked: str = ""  # the text of the last question
    person: str = ""  # who asked it
    outcome: Answer | SluiceError | None = None

    def show(self, text: str, *, insert: bool = False) -> None:
        """Put a text into the editor."""
        self.draft = Draft(self.draft.number + 1, text, insert)

    def start(self, project: Project, user: User, text: str) -> None:
        """Ask; a question still under way is cancelled first."""
        if self.running is not None:
            self.running.cancel()
        self.asked, self.person, self.outcome = text, user.email, None
        self.running = Running(project, text, user, "sql")

    def settle(self) -> None:
        """Take the outcome once it is there."""
        if self.running is not None and self.running.done:
            self.outcome, self.running = self.running.result(), None


def draw(view: View) -> None:
    """Editor above, answer below."""
    desk = _desk(view)
    asked = sql_editor(desk.draft, _words(view), key="editor")
    if asked:
        desk.draft = Draft(desk.draft.number, asked)  # what the editor shows when one comes back
        desk.start(view.project, view.user, asked)
    elif desk.asked and desk.person != view.user.email:  # the same question through other eyes
        desk.start(view.project, view.user, desk.asked)
    _shelf(view, desk)
    _link(desk)
    if desk.running is not None:
        desk.running.wait(AT_ONCE)
        desk.settle()
    if desk.running is not None:
        _waiting(desk)
    elif desk.outcome is not None:
        _outcome(desk.outcome)


def _desk(view: View) -> Desk:
    """The desk of this tab; a link with another question than the last one is asked at once."""
    desk: Desk | None = st.session_state.get("desk")
    if desk is None:
        desk = st.session_state["desk"] = Desk()
        if examples := example_questions(view.project, view.user):
            desk.show(examples[0][1])
    given = st.query_params.get("sql", "")
    if given and given != desk.asked:
        desk.show(given)
        desk.start(view.project, view.user, given)
    return desk


def _link(desk: Desk) -> None:
    """Let the URL lead back to the question, where it fits."""
    if len(desk.asked) > LINK_LENGTH:
        st.query_params.pop("sql", None)
    elif desk.asked and st.query_params.get("sql") != desk.asked:
        st.query_params["sql"] = desk.asked


def _words(view: View) -> list[str]:
    readable = readable_columns(view.project, view.user)
    return [*readable, *dict.fromkeys(column for columns in readable.values() for column in columns)]


def _shelf(view: View, desk: Desk) -> None:
    with st.container(horizontal=True, gap="small", key="shelf"):
        with st.popover("Marts", icon=":material/table:", type="tertiary"):
            _reference(view, desk)
        with st.popover("Examples", icon=":material/lightbulb:", type="tertiary"):
            for number, (title, text) in enumerate(example_questions(view.project, view.user)):
                if st.button(title, key=f"example-{number}", type="tertiary"):
                    _ask_shown(view, desk, text)
        with st.popover("My questions", icon=":material/history:", type="tertiary"):
            _history(view, desk)


def _reference(view: View, desk: Desk) -> None:
    readable = readable_columns(view.project, view.user)
    if not readable:
        quiet("No mart is visible to this person")
        return
    name = st.selectbox("Mart", list(readable), key=view.key("mart"), label_visibility="collapsed")
    mart = view.project.content.marts[name]
    if mart.description:
        quiet(mart.description)
    with st.container(horizontal=True, gap="xsmall"):
        for column in (name, *readable[name]):
            if st.button(column, key=view.key(f"{name}.{column}"), help=_told(mart, column)):
                desk.show(f" {column}", insert=True)
                st.rerun()


def _told(mart: Mart, column: str) -> str | None:
    return plain(mart.columns[column].description) or None if column in mart.columns else "The mart's name"


def _history(view: View, desk: Desk) -> None:
    now = utc_now()
    questions = _distinct(view.project.audit.recent(60, view.user.email, "sql"))[:12]
    if not questions:
        quiet("Nothing asked yet")
    for question in questions:
        text = " ".join(question.sql.split())
        title = text if len(text) <= 70 else f"{text[:69]}…"
        mark = {"answered": "", "refused": " ⊘", "failed": " ⚠", "stopped": " ◼"}.get(question.outcome, "")
        if st.button(
            f"`{title.replace('`', ' ')}`{mark}  {ago(question.at, now)}",
            key=f"asked-{question.id}",
            type="tertiary",
        ):
            _ask_shown(view, desk, question.sql)


def _distinct(questions: list[Asked]) -> list[Asked]:
    return list({question.sql: question for question in reversed(questions)}.values())[::-1]


def _ask_shown(view: View, desk: Desk, text: str) -> None:
    desk.show(text)
    desk.start(view.project, view.user, text)
    _link(desk)
    st.rerun()


@st.fragment(run_every=0.3)
def _waiting(desk: Desk) -> None:
    desk.settle()
    running = desk.running
    if running is None:
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center", key="waiting"):
        st.markdown(f":material/hourglass_top: Running for {span(running.seconds)}")
        if st.button("Cancel", icon=":material/stop_circle:", key="cancel"):
            running.cancel()


def _outcome(outcome: Answer | SluiceError) -> None:
    if isinstance(outcome, SluiceError):
        hint = f"\n\n{plain(outcome.hint)}" if outcome.hint else ""
        kind = st.warning if isinstance(outcome, QueryStopped) else st.error
        kind(plain(outcome.problem) + hint, icon=":material/block:")
        return
    receipt = outcome.receipt
    took = f"{receipt.seconds * 1000:.0f} ms" if receipt.seconds < 0.1 else span(receipt.seconds)
    notes = [counted(receipt.rows, "row"), took]
    notes += [counted(len(receipt.policies), "rule") + " applied"] if receipt.policies else []
    with st.container(horizontal=True, vertical_alignment="center", key="result-bar", gap="small"):
        quiet(" · ".join(notes))
        download(outcome, "csv", "answer", "csv", "CSV")
        download(outcome, "parquet", "answer", "parquet", "Parquet")
    if receipt.truncated:
        st.warning(f"Cut at {receipt.rows:,} rows, this person's limit", icon=":material/content_cut:")
    rows, chart, ran = st.tabs(["Rows", "Chart", "What ran"])
    with rows:
        if receipt.rows:
            answer_grid(outcome, key=f"answer-{receipt.question_id}")
        else:
            quiet("No rows")
    with chart:
        _chart(outcome)
    with ran:
        what_ran(receipt)


def _chart(answer: Answer) -> None:
    table = unique_names(answer.table)
    guess = guessed(table)
    if guess is None:
        quiet("A chart needs two rows and a column of numbers")
        return
    kind, x, y = guess
    numbers = [item.name for item in table.schema if is_number(item.type)]
    with st.container(horizontal=True, key="chart-bar"):
        kind = (
            st.segmented_control("Kind", ["line", "bar"], default=kind, required=True, key="chart-kind")
            or kind
        )
        x = st.selectbox(
            "Across", table.column_names, index=table.column_names.index(x), key="chart-x", width=220
        )
        y = st.multiselect("Up", numbers, default=y, key="chart-y", width=320) or y
    table = table.slice(0, MOST_DRAWN)
    if kind == "line":
        st.echarts_chart(
            line_chart(table, x, y, None, ""), height=340, key="quick", alt="Chart of the answer"
        )
    else:
        names = [bucket(value, "") for value in dict.fromkeys(table.column(x).to_pylist())]
        height = max(340, bar_height(len(names), lies(names)))
        st.echarts_chart(
            bar_chart(table, x, y, None, ""), height=height, key="quick", alt="Chart of the answer"
        )
    if answer.table.num_rows > MOST_DRAWN:
        quiet(f"drawn from the first {MOST_DRAWN:,} rows")


def example_questions(project: Project, user: User) -> list[tuple[str, str]]:
    """Titles and texts of questions that this person may ask, made from the marts' measures."""
    readable = readable_columns(project, user)
    marts = sorted((project.content.marts[name] for name in readable), key=lambda mart: -len(mart.measures))
    found = []
    for mart in marts:
        group, measure = _group(mart, readable[mart.name]), _measure(mart, readable[mart.name])
        if group is not None and measure is not None:
            asked = f"{dimension_sql(mart, group)} as {group}, {measure_sql(mart, measure)} as {measure}"
            text = f"select {_bare(asked)}\nfrom {mart.name}\ngroup by 1\norder by 2 desc\nlimit 20"
            found.append((f"{label(measure)} by {label(group).lower()}, from {mart.name}", text))
    rows = [(f"First rows of {mart.name}", f"select *\nfrom {mart.name}\nlimit 100") for mart in marts[:2]]
    return found[:5] + rows


def _group(mart: Mart, readable: Sequence[str]) -> str | None:
    """A column whose values are few, as one of its tests lists them."""
    for name, column in mart.columns.items():
        if name in readable and any(isinstance(test, In) for test in column.tests):
            return name
    return None


def _measure(mart: Mart, readable: Sequence[str]) -> str | None:
    """The first measure that needs no column beyond these."""
    missing = mart.columns.keys() - set(readable)
    return next(
        (n for n in mart.measures if missing.isdisjoint(re.findall(r"\w+", measure_sql(mart, n)))), None
    )


def _bare(sql: str) -> str:
    """Without the quotes around names that need none."""
    return re.sub(r'"([a-z_][a-z0-9_]*)"', r"\1", sql)
