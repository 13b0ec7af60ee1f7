"""What the sync pages say, from numbers alone: speed, waiting, sums, files, links."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reverse_etl.counts import Counts, Profile, Verdicts
from reverse_etl.plans import Basis, SavedPlan
from reverse_etl.price import Price
from reverse_etl.ui.bars import verdict_bar, verdict_sum
from reverse_etl.ui.download import plan_table
from reverse_etl.ui.live import STILL, rows_per_second, still_words
from reverse_etl.ui.rows import RecordLink, key_html
from reverse_etl.ui.words import lasting

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LINK = RecordLink("contacts", "mara@example.com")


def looks(*rows: int, every: float = 1.0) -> list[tuple[datetime, int]]:
    """Rows that had their answer, one look after the other."""
    return [(NOW + timedelta(seconds=every * place), number) for place, number in enumerate(rows)]


def test_the_speed_is_taken_over_the_looks_and_not_since_the_start() -> None:
    assert rows_per_second(looks(9_000, 9_100, 9_200)) == 100


@pytest.mark.parametrize("seen", [looks(5), looks(5, 5, 5)])
def test_without_progress_nobody_can_say_how_fast(seen: list[tuple[datetime, int]]) -> None:
    assert rows_per_second(seen) is None


def test_a_run_that_waits_says_since_when() -> None:
    assert "12 s" in still_words(looks(7, 9, *[9] * 12), total=10)


def test_a_run_that_moves_or_has_sent_all_does_not_speak_of_waiting() -> None:
    assert still_words(looks(7, 8, 9), total=10) == ""
    assert still_words(looks(10, *[10] * int(STILL * 3)), total=10) == ""


def test_the_sum_is_written_out_with_its_zeros() -> None:
    text = verdict_sum(Verdicts(accepted=1_990, rejected=10))

    assert "2,000 rows planned = " in text
    for part in ("1,990 accepted", "10 rejected", "0 deferred", "0 unknown"):
        assert part in text


def test_one_rejected_row_of_a_million_has_its_place_in_the_bar() -> None:
    bar = verdict_bar(Verdicts(accepted=999_999, rejected=1))

    assert 'class="rejected"' in bar
    assert 'class="unknown"' not in bar


def test_a_key_from_the_source_is_text_and_nothing_else() -> None:
    link = key_html({"id": '"><img src=x onerror=alert(1)>&as=root'}, LINK)

    assert "<img" not in link
    assert "&as=root" not in link
    assert "as=mara%40example.com" in link


def test_a_key_of_two_parts_is_asked_for_as_a_whole_and_a_row_without_key_leads_nowhere() -> None:
    assert "key=%7B%22id%22%3A2%2C%22shop%22%3A1%7D" in key_html({"id": 2, "shop": 1}, LINK)
    assert "href" not in key_html(None, LINK)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "no limit"), (0.2, "under a second"), (9.4, "about 9 s"), (300.0, "about 5 min")],
)
def test_a_forecast_is_rough_on_purpose(seconds: float | None, words: str) -> None:
    assert lasting(seconds) == words


def test_the_csv_of_a_plan_has_one_line_per_field(tmp_path: Path) -> None:
    rows = {
        "seq": [1, 2],
        "op": ["upsert", "archive"],
        "kind": ["update", "remove"],
        "key": ['{"id":"A"}', '{"id":"B"}'],
        "fields": ['{"tier":"gold","name":"Ann","orders":3}', None],
        "old": ['{"tier":"silver","name":"Ann"}', "{}"],
    }
    pq.write_table(pa.table(rows), tmp_path / "plan.parquet")
    plan = SavedPlan(
        id=1,
        sync="contacts",
        target="crm/contacts(id)",
        folder=tmp_path,
        basis=Basis(1, None, "", ""),
        counts=Counts(update=1, remove=1),
        profile=Profile(1, {}),
        trips=(),
        price=Price(2, None),
        made_by="ana",
        made_at=NOW,
    )

    table = plan_table(plan)

    assert table.column_names == ["key", "kind", "op", "field", "old", "new"]
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        ("A", "changed", "upsert", "tier", "silver", "gold"),
        ("A", "changed", "upsert", "orders", None, "3"),
        ("B", "removed", "archive", None, None, None),
    ]
