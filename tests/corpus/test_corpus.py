"""The engine's own test queries, asked as the product asks them, equal plain DuckDB."""

from pathlib import Path

import pytest

from tests.corpus.replay import Tally, read_cases, replay, start_engine

CORPUS = Path(__file__).parents[2].parent / "shared/corpora/duckdb-selects.jsonl.gz"
# what is refused, by class, as docs/queries.md lists it; rounded up, so that a class that grows is seen
REFUSED = {"function": 85, "name": 50, "rowid": 40, "syntax": 5, "type": 5, "construct": 5}


@pytest.fixture(scope="module")
def tally() -> Tally:
    """One replay of the whole corpus."""
    if not CORPUS.is_file():
        pytest.skip(f"the corpus is absent: {CORPUS.name} is expected beside the checkout, in shared/corpora")
    found = Tally()
    engine = start_engine()
    for case in read_cases(CORPUS):
        replay(case, found, engine)
    engine.close()
    print(found.say())
    return found


def test_at_least_97_in_100_queries_are_accepted(tally: Tally) -> None:
    assert tally.asked > 5_400
    assert tally.accepted >= 0.97, tally.say()


def test_every_accepted_query_equals_plain_duckdb_in_rows_types_headers_and_order(tally: Tally) -> None:
    assert not tally.wrong, "\n".join(tally.wrong[:5])
    assert tally.equal == tally.asked - tally.refused.total()


def test_no_plan_reads_more_than_both_parsers_see(tally: Tally) -> None:
    assert not tally.strayed, "\n".join(tally.strayed[:5])


def test_every_refusal_falls_in_a_class_that_the_docs_list(tally: Tally) -> None:
    docs = (Path(__file__).parents[2] / "docs/queries.md").read_text(encoding="utf-8")
    for reason, count in tally.refused.items():
        assert count <= REFUSED.get(reason, 0), (reason, count)
        assert f"| {reason} |" in docs, reason


def test_hardly_any_setup_does_not_fit_marts(tally: Tally) -> None:
    assert len(tally.skipped) <= 3, tally.skipped
