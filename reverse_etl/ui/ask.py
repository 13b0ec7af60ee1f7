"""What a person asks of the worker from a page, and what became of it."""

import streamlit as st

from reverse_etl.overview import SyncOverview
from reverse_etl.requests import find_request, request_run
from serving.ui.explorer import View
from serving.ui.parts import plain, quiet

ASKED = "sync-request"  # session: (sync, number of the request)


def ask_for(
    view: View,
    sync: str,
    *,
    approval: str | None = None,
    plan: int | None = None,
    retry_of: int | None = None,
    undo_of: int | None = None,
) -> None:
    """Put a run into the worker's queue and draw the page anew, which then follows the run."""
    by = view.user.email
    number = request_run(view.project, sync, by, approval, retry_of=retry_of, undo_of=undo_of, plan=plan)
    st.session_state[ASKED] = (sync, number)
    st.rerun()


def refused(view: View, sync: str) -> None:
    """Say why the worker did not take what was asked last."""
    asked = st.session_state.get(ASKED)
    if asked is None or asked[0] != sync:
        return
    found = find_request(view.project, asked[1])
    if found is not None and found.state == "refused":
        problem, _, hint = found.message.partition("\n  hint: ")
        st.error(plain(problem), icon=":material/block:")
        if hint:
            quiet(hint)


def became(view: View, sync: SyncOverview) -> int | None:
    """The run that was asked for, once: when it has ended and is there to be looked at."""
    asked = st.session_state.get(ASKED)
    if asked is None or asked[0] != sync.name or sync.queued or sync.running_by is not None:
        return None
    found = find_request(view.project, asked[1])
    if found is None or found.run is None:
        return None
    del st.session_state[ASKED]
    ended = sync.last_run is not None and sync.last_run.id == found.run and sync.last_run.state != "guarded"
    return found.run if ended else None
