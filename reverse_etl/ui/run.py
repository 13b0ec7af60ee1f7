"""One run: the sum that must hold, reasons, the rows behind them, retry and undo."""

import streamlit as st

from connectors.protocol import Verdict
from reverse_etl import history
from reverse_etl.history import RunRow
from reverse_etl.overview import SyncOverview
from reverse_etl.row_files import ReasonGroup
from reverse_etl.ui import undo
from reverse_etl.ui.ask import ask_for
from reverse_etl.ui.bars import pill, verdict_bar, verdict_sum
from reverse_etl.ui.rows import RecordLink, key_html, search_box
from reverse_etl.ui.words import KINDS, key_words, plan_words, run_look, run_words
from serving.store import utc_now
from serving.ui.explorer import View
from serving.ui.figures import counted, span
from serving.ui.parts import plain, quiet, safe

ROWS = 200
MOST_REASONS = 20
REASONS = "run-reasons"  # session: (run, its reasons)
ORDER: tuple[Verdict, ...] = ("rejected", "deferred", "unknown", "accepted")  # what needs a person first


def draw(view: View, sync: SyncOverview, run: RunRow, problem: str) -> None:
    """All there is to know about one run."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="run-head"):
        if st.button("", icon=":material/arrow_back:", type="tertiary", key="all-runs", help="All runs"):
            st.query_params.pop("run", None)
            st.rerun()
        st.html(_head(run), width="stretch")
    with st.container(gap="xsmall", key="run-facts"):
        summary(run)
        lines = (" · ".join(_facts(run)), f"Plan: {plan_words(run.counts)}")
        facts = "".join(f'<div class="quiet">{safe(line)}</div>' for line in lines)
        special = "".join(
            f'<div class="fact"><b>{safe(word)}</b>: {safe(rest)}</div>' for word, rest in _special(run)
        )
        st.html(facts + special)
    if run.ended_at is None:
        return
    _actions(view, sync, run, problem)
    if problem:
        quiet("The rows themselves are shown to those who may run the sync")
        return
    _reasons(view, run)
    _outcomes(view, run)


def summary(run: RunRow) -> None:
    """How the planned rows ended, or why none left."""
    if run.verdicts.total:
        st.html(verdict_bar(run.verdicts) + verdict_sum(run.verdicts))
    elif run.state == "done":
        st.html(verdict_sum(run.verdicts))
    if run.error:
        st.error(plain(run.error), icon=":material/error:")


def _head(run: RunRow) -> str:
    words = run_words(run, utc_now())
    return f'<div class="sync-head"><h2>Run {run.id}</h2>{pill(words, run_look(run))}</div>'


def _facts(run: RunRow) -> list[str]:
    facts = [
        run.started_at.astimezone().strftime("%-d %b %Y %H:%M:%S"),
        f"{run.trigger} by {run.requested_by}",
        f"marts version {run.version}" if run.version is not None else "no version",
        counted(run.calls, "call"),
    ]
    return facts if run.seconds is None else [*facts, span(run.seconds)]


def _special(run: RunRow) -> list[tuple[str, str]]:
    """Guard, approval, and what this run has to do with others: a word, then the rest."""
    lines = [("Guard", trip) for trip in run.trips]
    if run.state == "guarded":
        words = "Nothing was sent. The Plan tab shows what would be sent now, and takes the approval"
        lines.append(("Held", words))
    if run.approval:
        said = f"Approved by {run.approved_by}" if run.approved_by else f"Reason of {run.requested_by}"
        lines.append((said, run.approval))
    if run.replanned:
        lines.append(("Planned again", f"{run.replanned}, so it is not the plan that was looked at"))
    if run.retry_of is not None:
        lines.append(("Retry", f"of the rows of run {run.retry_of} that were not accepted"))
    if run.undo_of is not None:
        lines.append(("Undo", f"of run {run.undo_of}"))
    return lines


def _actions(view: View, sync: SyncOverview, run: RunRow, problem: str) -> None:
    left = run.verdicts.rejected + run.verdicts.deferred + run.verdicts.unknown
    busy = sync.queued or sync.running_by is not None
    can_retry, can_undo = left > 0 and run.undo_of is None, run.verdicts.accepted > 0
    if not can_retry and not can_undo:
        return
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="run-actions"):
        if can_retry:
            paused = f"paused by {sync.paused_by}: resume it first" if sync.paused_by else ""
            retry = st.button(
                f"Retry {counted(left, 'row')}",
                icon=":material/replay:",
                disabled=bool(problem or paused) or busy,
                help=problem or paused or None,
                key=f"retry-{run.id}",
            )
            if retry:
                ask_for(view, sync.name, retry_of=run.id)
        if can_undo:
            asked = st.button(
                "Undo this run …",
                icon=":material/undo:",
                disabled=bool(problem) or busy,
                help=problem or "Shows first what would be restored; nothing is sent",
                key=f"undo-{run.id}",
            )
            if asked:
                undo.look(run.id)
    if can_retry:
        quiet(
            "A retry is a run that also sends these rows again, parked ones too, with the values of now; "
            "without it they come back by themselves, less and less often"
        )
    if undo.looked_at(run.id) and not problem and not busy:
        undo.draw(view, sync, run)


def _reasons(view: View, run: RunRow) -> None:
    groups = _groups(view, run)
    if not groups:
        return
    lines = "".join(
        f"<tr><td class=n><b>{group.rows:,}</b></td><td class={group.verdict}>{group.verdict}</td>"
        f"<td>{safe(group.reason)}</td><td class=kind>{safe(key_words(group.example))}</td></tr>"
        for group in groups[:MOST_REASONS]
    )
    head = "<tr><th class=n>Rows</th><th>Verdict</th><th>Reason</th><th>For instance</th></tr>"
    table = f'<div class="scroll"><table class="grid reasons">{head}{lines}</table></div>'
    st.html(f'<div class="tile-title">Why rows were not accepted</div>{table}')
    if len(groups) > MOST_REASONS:
        quiet(f"the {MOST_REASONS} most frequent of {len(groups):,} reasons")


def _groups(view: View, run: RunRow) -> tuple[ReasonGroup, ...]:
    """Read once per look at a run: it has ended, and a search draws the page anew with each letter."""
    known = st.session_state.get(REASONS)
    if known is None or known[0] != run.id:
        known = (run.id, history.reasons(view.project, run.id))
        st.session_state[REASONS] = known
    found: tuple[ReasonGroup, ...] = known[1]
    return found


def _outcomes(view: View, run: RunRow) -> None:
    verdicts = [verdict for verdict in ORDER if getattr(run.verdicts, verdict)]
    if not verdicts:
        return
    st.html('<div class="tile-title">Rows</div>')
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key=f"bar-run-{run.id}"):
        chosen = st.segmented_control(
            "Verdict",
            verdicts,
            default=verdicts[0],
            format_func=lambda verdict: f"{verdict.capitalize()} · {getattr(run.verdicts, verdict):,}",
            required=True,
            key=f"verdict-{run.id}",
            label_visibility="collapsed",
        )
        wanted = search_box(f"search-run-{run.id}")
    verdict = chosen or verdicts[0]
    rows = history.row_outcomes(view.project, run.id, verdict=verdict, search=wanted, limit=ROWS)
    if not rows:
        expired = "" if wanted else "The row files of this run were removed; its numbers stay"
        quiet(expired or "No key contains that text")
        return
    link = RecordLink(run.sync, view.user.email)
    lines = "".join(
        f"<tr><td class=key>{key_html(row.key, link)}</td>"
        f"<td class=kind>{safe(KINDS.get(row.kind, row.kind))}</td>"
        f"<td class=kind>{safe(row.op or 'not sent')}</td><td>{safe(row.reason or '–')}</td></tr>"
        for row in rows
    )
    head = "<tr><th>Key</th><th>Planned as</th><th>Sent as</th><th>Reason</th></tr>"
    st.html(f'<div class="scroll plan rows"><table class="grid">{head}{lines}</table></div>')
    total = getattr(run.verdicts, verdict)
    if len(rows) == ROWS and total > ROWS:
        quiet(f"first {ROWS} of {counted(total, 'row')}; search to find others")
