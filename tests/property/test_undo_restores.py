"""A run and its undo leave the destination as it was; what others did in between survives."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from connectors.protocol import Change
from reverse_etl.errors import UndoRefused
from tests.spec.undo_rig import Person, Rig

EXAMPLES = 8 if os.environ.get("CI") else 5
SETTINGS = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])

KEYS = "abcdefgh"
CITIES = st.sampled_from(["Oslo", "Rome", "Zoë's 'Ø'", "", None])
SCORES = st.sampled_from([1, 2, -(2**63), 9_007_199_254_740_993, None])
SOURCES = st.dictionaries(st.sampled_from(KEYS), st.tuples(CITIES, SCORES)).map(
    lambda rows: [(key, *values) for key, values in rows.items()]
)
REFUSED = st.sampled_from(["", "", "^a$", "^[b-e]$"])
MODES: list[Mapping[str, object]] = [
    {"mode": "mirror", "on_removed": "delete"},
    {"mode": "mirror", "on_removed": "archive"},
    {"mode": "mirror", "on_removed": "clear"},
    {"mode": "mirror", "on_removed": "keep"},
    {"mode": "upsert", "on_removed": "keep"},
    {"mode": "upsert", "on_removed": "keep", "send": "changed"},
    {"mode": "insert", "on_removed": "keep"},
    {"mode": "update", "on_removed": "keep"},
]
EDIT = st.tuples(
    st.sampled_from(KEYS),
    st.sampled_from(["city", "score", "phone", "archive", "delete"]),
    st.integers(90, 99),
)


def scene(
    folder: str, mode: Mapping[str, object], before: Sequence[Person], after: Sequence[Person], refused: str
) -> tuple[Rig, dict[str, dict[str, Any]], set[str], int]:
    """A first run, what the CRM holds then, and a second run."""
    rig = Rig(Path(folder), mode)
    if mode["mode"] == "update":  # the sync makes no records: somebody else did
        for key in KEYS:
            rig.edit(key, city="Kiel")
    rig.run(before)
    held, archived = rig.records(), rig.archived()
    rig.faults(**({"reject_ids_matching": refused} if refused else {}))
    run = rig.run(after)
    rig.faults()
    return rig, held, archived, run


@SETTINGS
@example(MODES[0], [("a", "Oslo", 1)], [("a", "Rome", 1), ("b", "Rome", 2)], "")
@given(st.sampled_from(MODES), SOURCES, SOURCES, REFUSED)
def test_run_then_undo_leaves_the_records_as_they_were(
    mode: Mapping[str, object], before: list[Person], after: list[Person], refused: str
) -> None:
    """Undoing that, too, brings the run's own work back."""
    with tempfile.TemporaryDirectory() as folder:
        rig, held, archived, run = scene(folder, mode, before, after, refused)
        done = rig.records(), rig.archived()
        try:
            plan = rig.undo(run)
        except UndoRefused:
            assert done == (held, archived)
            return
        unknown = {group.example["id"] for group in plan.left}
        if mode["mode"] == "update":  # what it found there it did not know
            assert {group.reason for group in plan.left} <= {"the values that the record had are not known"}
        else:
            assert not unknown
            assert (rig.records(), rig.archived()) == (held, archived)
            undo = rig.number
            rig.undo(undo)
            assert (rig.records(), rig.archived()) == done
        rig.close()


@SETTINGS
@given(st.sampled_from(MODES), SOURCES, SOURCES, st.lists(EDIT, max_size=6))
def test_what_others_did_between_a_run_and_its_undo_survives(
    mode: Mapping[str, object], before: list[Person], after: list[Person], edits: list[tuple[str, str, int]]
) -> None:
    """Their values stay, their removals and returns too; the rest is as before, or as the run left it."""
    with tempfile.TemporaryDirectory() as folder:
        rig, held, _, run = scene(folder, mode, before, after, "")
        done = rig.records()
        for key, what, value in edits:
            if what in ("archive", "delete"):
                rig.send([Change(0, what, {"id": key})])  # type: ignore[arg-type]
            elif what != "phone" or key in done:
                rig.edit(key, **{what: value})
        edited = rig.records()
        try:
            rig.undo(run)
        except UndoRefused:
            assert rig.records() == edited
            return
        found = rig.records()
        for key in KEYS:
            wanted = merged(held.get(key), done.get(key), edited.get(key))
            left_alone = mode["mode"] == "update" and found.get(key) == edited.get(key)
            assert found.get(key) == wanted or left_alone, key
        rig.close()


Record = dict[str, Any] | None


def merged(held: Record, done: Record, edited: Record) -> Record:
    """What must stand there in the end: the record before the run, with what others did to it since."""
    if edited == done:
        return held
    if edited is None or done is None:  # others removed it, or brought it back after the run removed it
        return edited
    theirs = {name for name in {*done, *edited} if done.get(name) != edited.get(name)}
    if held is None:  # created: deleted again, unless somebody worked on what the sync wrote
        return edited if theirs & {"city", "score"} else None
    ours = {name: value for name, value in held.items() if name not in theirs}
    return ours | {name: edited[name] for name in theirs if name in edited}
