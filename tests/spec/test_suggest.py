"""`rollups suggest`: what the log's questions need, made aside, measured, and ready to paste."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from serving import Project, open_project
from serving.__main__ import app
from serving.semantic.asking.words import read_request
from serving.semantic.dimension import COARSER, GRAINS
from serving.semantic.leaves import Leaf
from serving.semantic.routing.routes import Days, Need, Reason
from serving.suggest.candidates import Want, choose_greedily, dimensions_for, together
from serving.suggest.propose import suggest, within
from serving.suggest.suggestion import Report, rollup_name
from tests.conftest import SHOP, write_files

ANA, EMIL = "ana@example.com", "emil@example.com"
BY_MONTH = {"metrics": ["orders.revenue"], "by": ["day.month"]}
BY_QUARTER = {"metrics": ["orders.aov"], "by": ["day.quarter", "kind"]}
ORDERS = """\
select i::bigint as id, (i % 900)::bigint as customer_id, if(i % 3 = 0, 'AMER', 'EMEA') as region,
  'kind ' || (i % 4) as kind, (i % 1000 / 7)::decimal(12, 2) as amount, (i / 3)::double as weight,
  date '2025-01-01' + (i % 500)::int as day, 'SECRET-' || i as note
from range(400000) t(i), (select count(*) from raw_orders)
"""
MEASURES = """\
description: One row per order
grain: id
time: day
measures:
  revenue: {agg: sum, expr: amount}
  orders: {agg: count}
  aov: {expr: revenue / orders}
  buyers: {agg: count_distinct, expr: customer_id}
  tons: {agg: sum, expr: weight}
"""
NEVER_USED = "rollups:\n  by_weight: {dimensions: [weight], measures: [orders]}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400,000 orders, and a log of what two people asked of them."""
    folder = tmp_path_factory.mktemp("suggest")
    own = {"marts/orders.sql": ORDERS, "marts/orders.yml": MEASURES + NEVER_USED}
    write_files(folder / "models", {**SHOP, **own})
    project = opened(folder)
    project.build()
    for _ in range(3):
        project.ask(metrics=read_request(BY_MONTH), user=ANA)
        project.ask(metrics=read_request(BY_QUARTER), user=EMIL)
    project.ask("select kind, sum(amount) as s from orders where kind <> 'SECRET' group by kind", user=ANA)
    project.ask(
        "select kind, count(distinct customer_id) from orders where day >= $d group by kind",
        user=ANA,
        parameters={"d": date(2025, 3, 1)},
    )
    project.ask(metrics=read_request({"metrics": ["orders.tons"], "by": ["region"]}), user=ANA)
    project.ask("select sum(amount + weight) from orders", user=ANA)
    project.close()
    return folder


@pytest.fixture(scope="module")
def report(folder: Path) -> Iterator[Report]:
    project = opened(folder)
    yield suggest(project)
    project.close()


def opened(folder: Path) -> Project:
    return open_project(folder / "models", var=folder / "var")


def test_one_finer_rollup_is_suggested_for_what_several_people_ask(report: Report) -> None:
    best = report.suggestions[0]
    assert best.dimensions == ("day.month", "kind", "region")  # region: of Emil's row rule
    assert set(best.measures) >= {"revenue", "orders"}
    assert best.people == 2
    assert best.questions == 7  # also the one in SQL
    assert best.rows == 17 * 4 * 2
    assert best.ratio == best.rows / 400_000
    assert best.seconds_a_day > 0
    assert best.times_faster > 1


def test_what_no_rollup_can_help_is_told_with_what_would(report: Report) -> None:
    told = {(one.reason, one.questions): one.words for one in report.beyond}
    assert "floating-point" in told[Reason.FLOAT, 1]
    assert told[Reason.DISTINCT, 1].endswith("ask for an estimate: ~buyers")
    assert told[Reason.MEASURE, 1] == "an aggregate that is no measure: name it in the mart's YAML"


def test_rollups_that_answered_nothing_are_named(report: Report) -> None:
    assert report.unused == ("orders.by_weight",)


def test_nothing_of_the_rows_or_of_the_questions_literals_is_printed(folder: Path) -> None:
    said = CliRunner().invoke(app, ["rollups", "suggest", *at(folder)])
    assert said.exit_code == 0, said.output
    assert "SECRET" not in said.output
    assert "@example.com" not in said.output
    assert "to paste:" in said.output


def test_pasted_yaml_builds_and_answers_the_questions_it_was_made_for(folder: Path, tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["rollups", "suggest", "--yaml", "--top", "1", *at(folder)])
    assert said.exit_code == 0, said.output
    first, *pasted = said.stdout.splitlines(keepends=True)
    assert first.endswith("marts/orders.yml\n")
    own = {"marts/orders.sql": ORDERS, "marts/orders.yml": MEASURES + "".join(pasted)}
    write_files(tmp_path / "models", {**SHOP, **own})
    project = opened(tmp_path)
    project.build()
    try:
        for user, words in ((ANA, BY_MONTH), (EMIL, BY_QUARTER)):
            (route,) = project.explain(metrics=read_request(words), user=user).routes
            assert route.rollup is not None
    finally:
        project.close()


def test_a_question_whose_asker_lost_the_right_is_counted_and_nothing_more(folder: Path) -> None:
    access = folder / "models/policies/access.yml"
    before = access.read_text()
    access.write_text(before.replace("emea: {extends: analyst}", "emea: {marts: [customers]}"))
    project = opened(folder)
    try:
        found = suggest(project)
        assert found.refused == 3
        assert all("region" not in one.dimensions for one in found.suggestions)
    finally:
        access.write_text(before)
        project.close()


def test_the_models_folder_is_left_as_it_was(folder: Path) -> None:
    before = {path: path.read_bytes() for path in (folder / "models").rglob("*") if path.is_file()}
    CliRunner().invoke(app, ["rollups", "suggest", *at(folder)])
    assert before == {path: path.read_bytes() for path in (folder / "models").rglob("*") if path.is_file()}


def test_a_budget_keeps_the_best_that_fit_together(report: Report) -> None:
    (one,) = report.suggestions[:1]
    several = [replace(one, name=name, bytes=size) for name, size in (("a", 6), ("b", 5), ("c", 4))]
    assert [each.name for each in within(several, 10)] == ["a", "c"]
    assert within(several, None) == several


def test_a_range_that_cuts_no_month_needs_months_only() -> None:
    whole = Days("day", date(2025, 1, 1), date(2025, 7, 1))
    cut = Days("day", date(2025, 1, 15), None)
    assert dimensions_for(Need("orders", ("region",), (), days=(whole,)), ()) == ("day.month", "region")
    assert dimensions_for(Need("orders", ("region",), (), days=(cut,)), ["kind"]) == (
        "day.day",
        "kind",
        "region",
    )


@given(st.sets(st.sampled_from(GRAINS), min_size=1))
def test_every_grain_asked_follows_from_the_one_that_is_kept(grains: set[str]) -> None:
    ((kept,),) = [together(f"day.{grain}" for grain in grains)]
    assert all(grain in COARSER[kept.partition(".")[2]] for grain in grains)  # type: ignore[index]


def test_one_that_serves_two_beats_each_alone_and_leaves_nothing_to_gain() -> None:
    leaves = (Leaf("count"),)
    wants = [Want(Need("m", (key,), leaves), "u", 10, 1_000) for key in ("a", "b")]
    sizes = {("a",): 5, ("b",): 5, ("a", "b"): 12}
    chosen = choose_greedily(wants, sizes, lambda dims, want: want.need.groups[0] in dims, 3)
    assert chosen == [("a", "b")]


def test_names_are_short_and_never_taken() -> None:
    assert rollup_name(("day.month", "region"), ()) == "by_month_region"
    assert rollup_name(("day.month", "region"), {"by_month_region"}) == "by_month_region_2"
    assert rollup_name(("a" * 50,), ()) == "suggested"


def at(folder: Path) -> list[str]:
    return ["--project", str(folder / "models"), "--var", str(folder / "var")]
