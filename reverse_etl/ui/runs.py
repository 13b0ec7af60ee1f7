"""Past runs: numbers that add up, reasons, and the rows behind them."""

import pyarrow as pa
import streamlit as st

from connectors.protocol import Verdict
from reverse_etl import history
from reverse_etl.history import RunRow
from reverse_etl.overview import SyncOverview
from reverse_etl.ui.words import KINDS, STATES, key_words, plan_words, run_words, verdict_words
from serving.store import utc_now
from serving.ui.explorer import View
from serving.ui.figures import counted, span
from serving.ui.parts import html_table, plain, quiet, safe

RUNS = 30
ROWS = 200
VERDICTS: tuple[Verdict, ...] = ("rejected", "deferred", "unknown", "accepted")


def draw(view: View, sync: SyncOverview, problem: str) -> None:
    """The newest runs, and the one that is chosen."""
    found = history.list_runs(view.project, sync.name, limit=RUNS)
    if not found:
        quiet("No run yet")
        return
    numbers = [run.id for run in found]
    asked = st.query_params.get("run", "")
    first = int(asked) if asked.isdigit() and int(asked) in numbers else numbers[0]
    by_number = {run.id: run for run in found}
    number = st.selectbox(
        "Run",
        numbers,
        index=numbers.index(first),
        format_func=lambda number: f"Run {number}, {_when(by_number[number])}",
        key=f"run-{sync.name}-{numbers[0]}",
        label_visibility="collapsed",
        width=360,
    )
    run = by_number[number]
    if st.query_params.get("run") != str(number) and number != numbers[0]:
        st.query_params["run"] = str(number)
    _detail(view, run, problem, newest=number == numbers[0])
    with st.expander("All runs", icon=":material/list:"):
        _list(found)


def _when(run: RunRow) -> str:
    return run.started_at.astimezone().strftime("%-d %b %H:%M:%S")


def summary(run: RunRow) -> None:
    """One run in two lines."""
    st.html(f"<div><b>Run {run.id} {safe(run_words(run, utc_now()))}</b></div>")
    if run.state != "guarded":
        st.html(f'<div class="quiet fig">{safe(verdict_words(run.verdicts))}</div>')
    if run.error:
        st.error(plain(run.error), icon=":material/error:")


def _detail(view: View, run: RunRow, problem: str, *, newest: bool) -> None:
    if not newest:  # the newest one is summed up above the tabs
        summary(run)
    facts = [
        f"{run.trigger} by {run.requested_by}",
        f"marts version {run.version}",
        counted(run.calls, "call"),
    ]
    if run.seconds is not None:
        facts.append(span(run.seconds))
    quiet(" · ".join(facts))
    quiet(f"Plan: {plan_words(run.counts)}")
    for trip in run.trips:
        st.markdown(f":material/front_hand: {plain(trip)}")
    if run.approval:
        st.markdown(f":material/task_alt: Approved: {plain(run.approval)}")
    if run.ended_at is None:
        return
    if problem:
        quiet("The rows themselves are shown to those who may run the sync")
        return
    _reasons(view, run)
    _outcomes(view, run)


def _reasons(view: View, run: RunRow) -> None:
    groups = history.reasons(view.project, run.id)
    if not groups:
        return
    rows = [
        {
            "rows": group.rows,
            "verdict": group.verdict,
            "reason": group.reason,
            "example": key_words(group.example),
        }
        for group in groups[:20]
    ]
    st.html(html_table(pa.Table.from_pylist(rows)))


def _outcomes(view: View, run: RunRow) -> None:
    verdicts = [verdict for verdict in VERDICTS if getattr(run.verdicts, verdict)]
    if not verdicts:
        return
    verdict = verdicts[0]
    if len(verdicts) > 1:
        chosen = st.segmented_control(
            "Rows",
            verdicts,
            default=verdicts[0],
            format_func=lambda verdict: f"{verdict} · {getattr(run.verdicts, verdict):,}",
            required=True,
            key=f"verdict-{run.id}",
            label_visibility="collapsed",
        )
        verdict = chosen or verdict
    rows = history.row_outcomes(view.project, run.id, verdict=verdict, limit=ROWS)
    table = pa.table(
        {
            "Key": [key_words(row.key) for row in rows],
            "Planned as": [KINDS.get(row.kind, row.kind) for row in rows],
            "Sent as": [row.op or "not sent" for row in rows],
            "Reason": [row.reason or "–" for row in rows],
        }
    )
    st.dataframe(table, hide_index=True, height=min(38 + 35 * len(rows), 420), key=f"rows-{run.id}-{verdict}")
    total = getattr(run.verdicts, verdict)
    if total > len(rows):
        quiet(f"first {len(rows)} of {counted(total, 'row')}")


def _list(found: tuple[RunRow, ...]) -> None:
    rows = [
        {
            "run": str(run.id),
            "started": _when(run),
            "state": STATES.get(run.state, run.state),
            "by": run.requested_by,
            "accepted": run.verdicts.accepted,
            "rejected": run.verdicts.rejected,
            "deferred": run.verdicts.deferred,
            "unknown": run.verdicts.unknown,
        }
        for run in found
    ]
    st.html(html_table(pa.Table.from_pylist(rows)))
