"""Golden definitions of governed views, each also executed."""

import re
from pathlib import Path

import duckdb
import pytest

from serving import Project

TEXT = (Path(__file__).parent / "views.sql").read_text()
CASES = re.findall(r"-- user: (\S+)  mart: (\w+)\n(.*?);\n", TEXT, re.DOTALL)


@pytest.mark.parametrize(("user", "mart", "definition"), CASES)
def test_a_view_is_defined_as_written_and_gives_those_rows(
    shop: Project, user: str, mart: str, definition: str
) -> None:
    answer = shop.ask(f"from {mart}", user=user)
    assert answer.receipt.views[mart] == definition
    version = shop.current_version()
    assert version is not None
    key = (shop.var / "secrets/mask.key").read_text().strip()
    with duckdb.connect(str(version.marts[mart].path), read_only=True) as raw:
        runnable = definition.replace("KEYED_HASH", "keyed_hash")
        inner = f"sha256('{key}' || value)"
        raw.execute(f"create temp macro keyed_hash(value) as left(sha256('{key}' || {inner}), 32)")
        by_hand = raw.sql(runnable).to_arrow_table()
    assert answer.table.to_pylist() == by_hand.to_pylist()
    assert answer.table.schema.types == by_hand.schema.types


def test_all_cases_of_the_file_are_run() -> None:
    assert len(CASES) == TEXT.count("-- user:") == 4
