"""Row rules that contradict themselves are found; rules that some row may fulfil are left alone."""

import pytest

from serving.governance.never import never_true
from serving.governance.row_rules import parse_rule


@pytest.mark.parametrize(
    "rule",
    [
        "region = 'EMEA' and region = 'AMER'",
        "region in ('A', 'B') and region = 'C'",
        "region = 'EMEA' and (region <> 'EMEA')",
        "amount > 10 and amount < 5",
        "amount > 5 and amount <= 5",
        "amount between 9 and 3",
        "day >= '2026-02-01' and region = 'A' and day < '2026-01-01'",
        "at = '2026-01-01 00:00' and at > '2026-01-01'",
        "region is null and region = user.region",
        "(amount < 0 and amount > 0) or (region = 'A' and region = 'B')",
        "region = user.region and (amount = 1 and amount = 2 or amount between 3 and 1)",
    ],
)
def test_a_contradiction_is_found(rule: str) -> None:
    assert never_true(parse_rule(rule))


@pytest.mark.parametrize(
    "rule",
    [
        "region = 'EMEA' or region = 'AMER'",
        "region = 'EMEA' and region = user.region",
        "region in ('A', user.region) and region = 'C'",
        "amount >= 5 and amount <= 5",
        "amount > 5 and price < 3",
        "amount > user.least and amount < 5",
        "at = '2026-01-01 00:00' and at <= '2026-01-01'",
        "not (region = 'A' and region = 'B')",
        "region is null or region = 'A'",
        "id in (select id from owners) and id = 3",
        "amount = 1 and amount = 1.0",
        "vip = true and vip <> false",
    ],
)
def test_a_rule_that_may_be_fulfilled_is_no_contradiction(rule: str) -> None:
    assert not never_true(parse_rule(rule))
