"""Access: what somebody sees and why, who sees a column, what the files change for whom.

Stewards may look at everybody; all others at what they see themselves.
"""

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import streamlit as st

from serving.access import changes, columns_there, explain_column, explain_own, explain_user, is_steward
from serving.rights.changes import Change, PersonChanges
from serving.rights.grants import DOMAIN, GROUP, SYNC, Step, everybody
from serving.rights.report import MartAccess, UserAccess
from serving.store import utc_now
from serving.ui.explorer import View
from serving.ui.figures import ago, label
from serving.ui.parts import html_table, plain, quiet, safe

SECTIONS = {"people": "People", "columns": "Columns", "changes": "Changes"}
LIMITS = {
    "rows": "Rows of an answer",
    "megabytes": "Megabytes of an answer",
    "seconds": "Seconds of a question",
    "concurrent": "Questions at once",
    "queued": "Questions waiting",
}
WORDS = {"wider": "more", "narrower": "less", "different": "other", "none": "same"}


def draw(view: View) -> None:
    """One of the three sections for stewards, their own access for everybody else; by the URL."""
    if not is_steward(view.project, view.user):
        quiet("What you may see, and why; whoever reads every mart sees here who else may")
        _person(explain_own(view.project, view.user))
        return
    match _picked("show", "Section", list(SECTIONS), SECTIONS):
        case "columns":
            _columns_section(view)
        case "changes":
            _changes_section(view)
        case _:
            _people_section(view)


def _picked(key: str, title: str, options: Sequence[str], names: Mapping[str, str], *, icon: str = "") -> str:
    """A choice that stands in the URL; a link that names none of the options gets the first one."""
    state = f"access-{key}"
    if st.session_state.get(state) not in options:
        asked = st.query_params.get(key, "")
        if asked and asked not in options:
            st.warning(f"There is no {title.lower()} {plain(repr(asked))} here", icon=":material/search_off:")
        st.session_state[state] = asked if asked in options else options[0]

    def named(option: str) -> str:
        return names.get(option, option)

    if not icon:
        st.segmented_control(
            title, options, format_func=named, key=state, label_visibility="collapsed", required=True
        )
    else:
        st.selectbox(
            title,
            options,
            format_func=named,
            key=state,
            label_visibility="collapsed",
            required=True,
            icon=icon,
            width=420,
        )
    chosen = st.session_state[state] or options[0]
    if st.query_params.get(key) != chosen:
        st.query_params[key] = chosen
    return str(chosen)


def _people_section(view: View) -> None:
    found = {user.email: user for user in everybody(view.project.content)}
    emails = sorted(found, key=lambda email: email != view.user.email)
    names = {user.email: _called(user.email, user.name) for user in found.values()}
    chosen = _picked("who", "Person", emails, names, icon=":material/person:")
    _person(explain_user(view.project, found[chosen]))


def _called(email: str, name: str) -> str:
    if email.startswith(GROUP):
        return f"Everybody of the group {email.removeprefix(GROUP)}"
    if email.startswith(DOMAIN):
        return f"Everybody with an address at {email.removeprefix(DOMAIN)}"
    return f"The sync {email.removeprefix(SYNC)}" if email.startswith(SYNC) else name or email


def _person(access: UserAccess) -> None:
    facts = {"Roles": ", ".join(dict.fromkeys(holding.role for holding in access.roles)) or "none"}
    facts |= {label(one.name): one.value for one in access.attributes}
    facts |= {LIMITS[one.kind]: _amount(one.value) for one in access.limits}
    cells = "".join(f"<div><small>{safe(name)}</small>{safe(value)}</div>" for name, value in facts.items())
    st.html(f'<div class="facts">{cells}</div>')
    granted = [mart for mart in access.marts if mart.granted]
    if granted:
        _table([_mart_row(mart) for mart in granted])
    else:
        quiet("No role grants a mart")
    if refused := [mart for mart in access.marts if not mart.granted]:
        offers = [f"{mart.mart} ({_offer(mart)})" for mart in refused]
        quiet(f"Not granted: {', '.join(offers)}")
    if granted:
        st.html('<div class="tile-title">Look into a mart</div>')
        names = [mart.mart for mart in granted]
        chosen = _picked("mart", "Mart", names, {})
        _mart(next(mart for mart in granted if mart.mart == chosen))


def _mart_row(mart: MartAccess) -> dict[str, str]:
    masked = [f"{column.name} {column.shown}" for column in mart.columns if column.state == "masked"]
    hidden = [f"{column.name} hidden" for column in mart.columns if column.state == "hidden"]
    only = f"; {mart.aggregate.words}" if mart.aggregate and mart.in_aggregates_only else ""
    return {
        "mart": mart.mart,
        "rows": (mart.problem or mart.rows_shown) + only,
        "columns": ", ".join([*masked, *hidden]) or "all as they are",
        "why": ", ".join(step.words for step in mart.grants[0].steps),
    }


def _offer(mart: MartAccess) -> str:
    return f"{' or '.join(mart.offered_by)} would grant it" if mart.offered_by else "no role grants it"


def _mart(mart: MartAccess) -> None:
    if mart.problem:
        st.warning(f"Nothing of it can be read: {plain(mart.problem)}", icon=":material/block:")
    reasons = [_reason("granted", *_chain(grant.steps)) for grant in mart.grants]
    if (group := mart.aggregate) is not None:
        reasons.append(_reason("aggregates only", group.words + _unless(group.exempt), group.at))
    for rule in mart.rows:
        here = "" if rule.exempt or rule.bound == rule.where else f", here: {rule.bound}"
        note = f" ({rule.note})" if rule.note else ""
        reasons.append(_reason("rows", rule.where + here + note + _unless(rule.exempt), rule.at))
    for column in mart.columns:
        if column.mask:
            places = filter(None, (column.at, column.tagged_at))
            reasons.append(_reason(f"{column.name}: {column.shown}", column.why, *places))
    _table(reasons)
    if plain_ones := [column.name for column in mart.columns if not column.mask]:
        quiet(f"No rule speaks of {', '.join(plain_ones)}")


def _reason(what: str, words: str, *places: str) -> dict[str, str]:
    return {"what": what, "why": words, "where": ", ".join(_short(at) for at in places)}


def _unless(exempt: Sequence[str]) -> str:
    return f"; does not apply to {' and '.join(exempt)}" if exempt else ""


def _columns_section(view: View) -> None:
    names = columns_there(view.project)
    if not names:
        quiet("There is no column yet")
        return
    chosen = _picked("column", "Column", names, {}, icon=":material/view_column:")
    sights = explain_column(view.project, chosen)
    seen = sum(one.shown == "seen" for one in sights)
    quiet(f"{seen} of {len(sights)} see its values")
    _table(
        {
            "who": _called(one.email, one.name),
            "sees": one.shown,
            "rows": "; ".join(filter(None, (one.rows, one.aggregate))),
            "why": one.why,
            "where": _short(one.at),
        }
        for one in sights
    )


def _changes_section(view: View) -> None:
    made = changes(view.project)
    since = f"the policy published with version {made.version}, {ago(made.at, utc_now())}"
    if not made.people:
        quiet(f"Nothing changes for anybody, against {since}")
        return
    gain, lose = len(made.gaining), len(made.losing)
    quiet(f"{gain} gain, {lose} lose, {made.unchanged} see the same, against {since}")
    for person in made.people:
        with st.container(key=f"tile-change-{person.email}", gap="xsmall"):
            _changed(person)


def _changed(person: PersonChanges) -> None:
    standing = {"new": "new", "gone": "gone from the policy", "stays": ""}[person.standing]
    name = _called(person.email, person.name) + (f": {standing}" if standing else "")
    st.html(f'<div class="tile-title">{safe(name)}</div>')
    st.html("".join(_line(change) for change in person.changes))


def _line(change: Change) -> str:
    return f'<div class="change {change.effect}"><b>{WORDS[change.effect]}</b> {safe(change.text)}</div>'


def _table(rows: Iterable[dict[str, str]]) -> None:
    st.html(f'<div class="access">{html_table(pa.Table.from_pylist(list(rows)), most=2_000)}</div>')


def _chain(steps: Sequence[Step]) -> tuple[str, ...]:
    """The words of all steps, then the line of each."""
    return (", ".join(step.words for step in steps), *(step.at for step in steps))


def _short(at: str) -> str:
    """`policies/access.yml:12` of a longer path."""
    return "/".join(at.split("/")[-2:])


def _amount(value: float | None) -> str:
    return "none" if value is None else f"{value:,g}"
