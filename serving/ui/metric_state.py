"""What the widgets of the page Metrics remember: seeded from the link, and kept while it stays."""

from collections.abc import Sequence

import streamlit as st

STATE = "metrics-look"  # the look that page and link show
_WIDGETS = "metrics/"
_SEEN = "metrics-seen"  # what the widgets held at the end of the last look


def widget(name: str, start: object) -> str:
    """The key of a widget, which begins with `start` where it has no value yet."""
    key = f"{_WIDGETS}{name}"
    if key not in st.session_state:
        st.session_state[key] = start
    return key


def several(name: str, start: Sequence[object], options: Sequence[object]) -> str:
    """The same of a widget that holds several of the options; those that are gone are dropped."""
    key = widget(name, list(start))
    kept = [value for value in st.session_state[key] if value in options]
    if kept != st.session_state[key]:
        st.session_state[key] = kept
    return key


def single(name: str, start: object, options: Sequence[object]) -> str:
    """The same of a widget that holds one of the options: the first, where its own is gone."""
    key = widget(name, start)
    if st.session_state[key] not in options:
        st.session_state[key] = start if start in options else options[0]
    return key


def touched() -> bool:
    """Whether somebody changed a widget since the last look: then a link that lags behind says nothing."""
    seen = st.session_state.get(_SEEN, {})
    return any(st.session_state[key] != seen[key] for key in seen if key in st.session_state)


def settle() -> None:
    """Remember what the widgets hold now."""
    st.session_state[_SEEN] = {
        key: value for key, value in st.session_state.items() if str(key).startswith(_WIDGETS)
    }


def forget() -> None:
    """Let all widgets start anew: the link says something else."""
    for key in [key for key in st.session_state if str(key).startswith(_WIDGETS)]:
        del st.session_state[key]
    st.session_state.pop("metrics-chart", None)
