"""The Plan tab: what a run would do, what it costs, and the button that delivers exactly that.

Numbers are for everybody; rows, files and buttons for those who may run the sync.
"""

import streamlit as st

from connectors.protocol import DestinationStopped
from reverse_etl import row_files
from reverse_etl.journal import Order
from reverse_etl.overview import SyncOverview
from reverse_etl.plans import SavedPlan, moved, open_plan
from reverse_etl.price import Price
from reverse_etl.propose import plan_sync
from reverse_etl.ui.ask import ask_for
from reverse_etl.ui.bars import Figure, aside, figures
from reverse_etl.ui.download import downloads
from reverse_etl.ui.rows import PAGE, SENT, RecordLink, planned_table
from reverse_etl.ui.words import KINDS, MEANINGS, key_words, lasting
from serving.errors import SluiceError
from serving.store import utc_now
from serving.ui.explorer import View
from serving.ui.figures import ago, counted
from serving.ui.parts import plain, quiet, safe

ALWAYS = ("create", "update", "remove", "unchanged")
BEHIND = tuple(kind for kind in KINDS if kind not in (*SENT, *ALWAYS, "rejected"))  # neither sent nor equal
AT_ONCE = 500_000  # rows of a source that a look at the page may plan by itself
REMADE = "plan-remade"  # session: (plan, why the one before did not hold)


def draw(view: View, sync: SyncOverview, problem: str) -> None:
    """The plan that waits to be delivered; a new one where it does not hold any more."""
    if sync.queued or sync.running_by is not None:
        quiet("A run is under way; the next plan can be made when it has ended")
        return
    found = open_plan(view.project, sync.name)
    why = "" if found is None else moved(view.project, found)
    if (found is None or why) and not problem and _small(sync):
        found, why = _made(view, sync, found, why), ""
        if found is None:
            return
    if found is None:
        quiet("There is no plan yet")
        if not problem and st.button("Plan now", icon=":material/edit_note:", type="primary"):
            _plan_again(view, sync, "")
        return
    _document(view, sync, found, problem, why)


def _small(sync: SyncOverview) -> bool:
    return sync.last_run is None or sync.last_run.counts.wanted <= AT_ONCE


def _made(view: View, sync: SyncOverview, before: SavedPlan | None, why: str) -> SavedPlan | None:
    """A plan of this moment; says in place why there can be none."""
    try:
        with st.spinner("Comparing the source with what the destination has"):
            order = Order(view.user.email, trigger="request")
            made = plan_sync(view.project, sync.name, order, now=utc_now())
    except (SluiceError, DestinationStopped) as failure:
        st.error(plain(failure.problem), icon=":material/block:")
        quiet(failure.hint)
        return None
    if before is not None and why:
        st.session_state[REMADE] = (
            made.id,
            f"Plan {before.id} does not hold any more ({why}): planned again",
        )
    return made


def _plan_again(view: View, sync: SyncOverview, why: str) -> None:
    if _made(view, sync, None, why) is not None:
        st.rerun()


def _document(view: View, sync: SyncOverview, plan: SavedPlan, problem: str, why: str) -> None:
    now = utc_now()
    made = f"made by {plan.made_by} {ago(plan.made_at, now)} from version {plan.version} of the marts"
    st.html(f'<div class="quiet"><b>Plan {plan.id}</b> · {safe(", ".join([made, *_special(plan)]))}</div>')
    if why:
        st.warning(f"It does not hold any more: {plain(why)}", icon=":material/history:")
    elif (remade := st.session_state.get(REMADE)) is not None and remade[0] == plan.id:
        st.info(plain(remade[1]), icon=":material/history:")
    cost = _cost(plan.price) if plan.counts.to_send else ""
    st.html(f'<div class="document">{_numbers(plan)}{cost}</div>{_beside(plan)}')
    _actions(view, sync, plan, problem, stale=bool(why))
    if problem:
        quiet("The rows themselves are shown to those who may run the sync")
        return
    planned_table(plan.folder, plan.counts, f"plan-{plan.id}", RecordLink(sync.name, view.user.email))
    _rejects(plan)


def _special(plan: SavedPlan) -> list[str]:
    basis = plan.basis
    words = ["everything again"] if basis.full else []
    words += ["with what the destination already holds"] if basis.adopt else []
    return words + ([f"retry of run {basis.retry_of}"] if basis.retry_of is not None else [])


def _numbers(plan: SavedPlan) -> str:
    counts = plan.counts
    large = [kind for kind in (*SENT, "rejected", "unchanged") if getattr(counts, kind) or kind in ALWAYS]
    shown = [
        Figure(
            KINDS[kind],
            f"{getattr(counts, kind):,}",
            MEANINGS[kind],
            kind if getattr(counts, kind) else "zero",
        )
        for kind in large
    ]
    return figures(shown)


def _beside(plan: SavedPlan) -> str:
    """What stays behind, and why."""
    return aside(
        Figure(KINDS[kind], f"{number:,}", MEANINGS[kind])
        for kind in BEHIND
        if (number := getattr(plan.counts, kind))
    )


def _cost(price: Price) -> str:
    shown = [
        Figure("calls", f"{price.calls:,}", "every call full, none repeated", "words"),
        Figure("time, at the account's limit", lasting(price.seconds), "at least this long", "words"),
    ]
    if price.per_day is not None and price.share is not None:
        shown.append(
            Figure("share of the day's calls", f"{price.share:.1%} of {price.per_day:,}", "", "words")
        )
    shown.append(Figure("used today by the account", counted(price.used_today, "call"), "", "words"))
    return figures(shown)


def _actions(view: View, sync: SyncOverview, plan: SavedPlan, problem: str, *, stale: bool) -> None:
    if plan.price.exceeds:
        st.warning("The day's calls do not suffice; the rest is deferred", icon=":material/hourglass_top:")
    why_not = problem or (f"paused by {sync.paused_by}: resume it first" if sync.paused_by else "")
    if plan.trips:
        _approval(view, sync, plan, why_not, stale=stale)
    elif plan.counts.planned == 0:
        quiet(_nothing(plan))
    with st.container(horizontal=True, gap="small", key="plan-bar"):
        if not plan.trips and plan.counts.planned:
            blocked = bool(why_not) or stale
            run = st.button(
                "Run this plan",
                icon=":material/play_arrow:",
                type="primary",
                disabled=blocked,
                help=why_not or "Delivers exactly these rows",
            )
            if run:
                ask_for(view, sync.name, plan=plan.id)
        again = st.button(
            "Plan again", icon=":material/refresh:", disabled=bool(problem), help=problem or None
        )
        if again:
            _plan_again(view, sync, "")
        if not problem and plan.counts.to_send:
            downloads(plan)


def _nothing(plan: SavedPlan) -> str:
    behind = [kind for kind in BEHIND if getattr(plan.counts, kind)]
    return "Nothing to send now" if behind else "Nothing to send: the destination has what the source has"


def _approval(view: View, sync: SyncOverview, plan: SavedPlan, why_not: str, *, stale: bool) -> None:
    """The numbers that trip the guard, and a person's word that they are right."""
    with st.container(key="tile-guard", gap="xsmall"):
        st.markdown(
            "**:material/front_hand: The guard holds this plan until somebody says that it is right**"
        )
        st.markdown("\n".join(f"- {plain(trip.message)}" for trip in plan.trips))
        with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="approve-bar"):
            reason = st.text_input(
                "Why is this right?",
                key=f"why-{plan.id}",
                placeholder="For instance: closed the shop in Poland",
                disabled=bool(why_not),
                live=True,
                width=420,
            )
            said = (reason or "").strip()
            approve = st.button(
                "Approve and run",
                type="primary",
                icon=":material/task_alt:",
                disabled=bool(why_not) or stale or not said,
                help=why_not or None,
                key="approve",
            )
        quiet(
            why_not or f"Good for this one run, and recorded with the reason as approved by {view.user.email}"
        )
        if approve:
            ask_for(view, sync.name, approval=said, plan=plan.id)


def _rejects(plan: SavedPlan) -> None:
    if not plan.counts.rejected:
        return
    title = f"{counted(plan.counts.rejected, 'row')} of the source cannot be sent"
    with st.expander(title, icon=":material/block:"):
        lines = "".join(
            f"<tr><td class=key><b>{safe(key_words(row.key))}</b></td><td>{safe(row.reason)}</td></tr>"
            for row in row_files.source_rejects(plan.folder, limit=PAGE)
        )
        st.html(f'<div class="scroll rows"><table class="grid">{lines}</table></div>')
        if plan.counts.rejected > PAGE:
            quiet(f"first {PAGE} of {plan.counts.rejected:,}")
