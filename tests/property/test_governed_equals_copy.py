"""Promise 1: governed(query, everything) == query(a copy that holds only what the person may see).

Rows, names, types, order where ordered, or the class of the failure; with poison in every hidden cell,
which may stand in no answer, header, failure, receipt, audit entry or log. docs/oracle.md says more.
SLUICE_ORACLE_QUERIES and SLUICE_ORACLE_SEED make it longer, or different.
"""

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving import open_project
from tests.conftest import SHOP, write_files
from tests.oracle.choices import Choices, replayed, seeded, shrunk
from tests.oracle.corpus import read_corpus
from tests.oracle.generate import question, schema_of
from tests.oracle.judge import BAD, Tally
from tests.oracle.outcome import Asked
from tests.oracle.run import Job, Judge, asking, run_all
from tests.oracle.scan import left_behind
from tests.oracle.tables import Schema
from tests.projects.tpch.make import make

ROOT = Path(__file__).parent.parent
ADVERSARY = ROOT / "oracle" / "adversary"
TPCH = ROOT / "projects" / "tpch"
QUERIES = int(os.environ.get("SLUICE_ORACLE_QUERIES", "20000"))
SEED = int(os.environ.get("SLUICE_ORACLE_SEED", "1"))
PROCESSES = 2
pytestmark = pytest.mark.alone
BATCHES = 2  # jobs a person, so that no process waits for the other's last person


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], tuple[Path, list[str]]]:
    """Build a project once: its state folder, and its people."""
    done: dict[Path, tuple[Path, list[str]]] = {}

    def build(models: Path) -> tuple[Path, list[str]]:
        if models not in done:
            var = tmp_path_factory.mktemp("oracle") / "var"
            project = open_project(models, var=var)
            project.build()
            done[models] = var, [user.email for user in project.people()]
            project.close()
        return done[models]

    return build


def total(jobs: list[Job], capsys: pytest.CaptureFixture[str]) -> Tally:
    """Run the jobs, say how they ended, and let nothing pass that should not."""
    found = Tally()
    for _, tally in run_all(jobs, PROCESSES):
        found.merge(tally)
    with capsys.disabled():
        print(f"\n{found}")
    return found


@pytest.mark.timeout(1_200 + QUERIES // 10)
def test_generated_questions_cannot_tell_the_two_worlds_apart(
    built: Callable[[Path], tuple[Path, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    var, people = built(ADVERSARY)
    known = tuple(read_corpus(ROOT / "oracle" / "found.sql"))
    each = -(-QUERIES // (len(people) * BATCHES))
    jobs = [
        Job(ADVERSARY, var, email, known if batch == 0 else (), each, SEED * 1_000 + number * BATCHES + batch)
        for number, email in enumerate(people)
        for batch in range(BATCHES)
    ]
    found = total(jobs, capsys)
    assert found.clean, str(found)
    answered = found.kinds["equal"] / sum(found.kinds.values())
    assert answered > 0.6, f"only {answered:.0%} of the questions could be answered: mend the grammar"
    assert found.kinds["both failed"] > QUERIES / 100, "too few questions fail to say anything about failures"


@pytest.mark.timeout(600)
def test_tpc_h_answers_alike_for_everybody(
    built: Callable[[Path], tuple[Path, list[str]]],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not Path(sys.executable).with_name("tpchgen-cli").is_file() and not os.environ.get("TPCH_DATA"):
        pytest.skip("tpchgen-cli is not installed: pip install -r tests/requirements.txt")
    if not os.environ.get("TPCH_DATA"):
        scale = float(os.environ.get("SLUICE_TPCH_SCALE", "0.1"))
        monkeypatch.setenv("TPCH_DATA", str(make(tmp_path_factory.mktemp("tpch"), scale)))
    var, people = built(TPCH / "models")
    queries = tuple(Asked(path.read_text("utf-8")) for path in sorted((TPCH / "queries").glob("q*.sql")))
    found = total([Job(TPCH / "models", var, email, queries) for email in people], capsys)
    assert found.clean, str(found)
    # a hidden column that one of them reads does not exist in either world
    assert found.kinds["equal"] + found.kinds["both refused"] == 22 * len(people), str(found)
    assert found.kinds["both refused"] < len(people), str(found)


@pytest.mark.timeout(300)
def test_every_attack_is_refused_or_answers_as_the_copy_does(
    built: Callable[[Path], tuple[Path, list[str]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = write_files(tmp_path / "models", SHOP)
    var, _ = built(models)
    own = next((var / "marts").glob("orders-*.duckdb"))
    lines = (ROOT / "attacks.txt").read_text("utf-8").splitlines()
    attacks = tuple(
        Asked(line.encode().decode("unicode_escape") if "\\u" in line else line.replace("{own}", str(own)))
        for line in lines
        if line and not line.startswith("#")
    )
    jobs = [Job(models, var, email, attacks) for email in ("emil@example.com", "nobody@example.com")]
    found = total(jobs, capsys)
    assert found.clean, str(found)


@pytest.fixture(scope="module")
def masked(
    built: Callable[[Path], tuple[Path, list[str]]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Schema, Judge]]:
    """One person's two worlds in this process."""
    var, _ = built(ADVERSARY)
    project = open_project(ADVERSARY, var=var)
    schema = schema_of(project)
    with asking(project, "masked@example.com", tmp_path_factory.mktemp("masked") / "world") as (_, judge):
        project.close()
        yield schema, judge


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_hypothesis_finds_no_question_either(masked: tuple[Schema, Judge], data: st.DataObject) -> None:
    schema, judge = masked
    asked = question(Choices(lambda n: data.draw(st.integers(0, n - 1))), schema)
    verdict = judge(asked)
    assert verdict.kind not in BAD, str(verdict)


def test_a_forgotten_mask_is_found_and_made_small(
    built: Callable[[Path], tuple[Path, list[str]]], tmp_path: Path
) -> None:
    """The oracle itself: where the product forgets one rule, few questions suffice to notice."""
    var, _ = built(ADVERSARY)
    weaker = tmp_path / "models"
    shutil.copytree(ADVERSARY, weaker)
    policy = weaker / "policies" / "access.yml"
    text = policy.read_text("utf-8")
    policy.write_text(text.replace("mask: {bucket: 10}", "mask: {bucket: 5}"), "utf-8")
    assert policy.read_text("utf-8") != text
    project = open_project(ADVERSARY, var=var)
    schema = schema_of(project)
    with asking(project, "masked@example.com", tmp_path / "world", asked_of=weaker) as (_, judge):
        project.close()
        made = (seeded(seed) for seed in range(2_000))
        first = next(c for c in made if judge(question(c, schema)).kind in BAD)
        small = shrunk(first.made, lambda choices: judge(question(replayed(choices), schema)).kind in BAD)
        asked = question(replayed(small), schema)
    assert "sales" in asked.sql
    assert len(asked.sql) < 40, asked.sql


def test_a_forgotten_row_rule_lets_poison_out(
    built: Callable[[Path], tuple[Path, list[str]]], tmp_path: Path
) -> None:
    var, _ = built(ADVERSARY)
    weaker = tmp_path / "models"
    shutil.copytree(ADVERSARY, weaker)
    policy = weaker / "policies" / "access.yml"
    policy.write_text(policy.read_text("utf-8").replace("rate > 100", "rate > -100"), "utf-8")
    project = open_project(ADVERSARY, var=var)
    with asking(project, "ent@example.com", tmp_path / "world", asked_of=weaker) as (_, judge):
        project.close()
        assert judge(Asked("select day from rates")).kind == "poison"
        assert judge(Asked("select count(*) from rates")).kind == "mismatch"
        assert judge(Asked("select 1 from rates where day > date '9000-01-01'")).kind == "mismatch"


def test_poison_that_is_left_behind_is_found_and_peoples_own_words_are_not(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "audit.sqlite")) as audit:
        audit.execute("create table entries (text, reason)")
        audit.execute("insert into entries values ('select POISONmine', 'cannot cast POISON77')")
        audit.commit()
    (tmp_path / "worker.log").write_text("rows of 6660666000012 were read\n")
    found = left_behind(tmp_path, "select POISONmine")
    assert found == ["audit.sqlite entries: poison77", "worker.log: 6660666000012"]
