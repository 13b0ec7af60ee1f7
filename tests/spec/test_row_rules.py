"""Row rules: what they may say, and what they become for a user."""

from datetime import date

import pytest

from serving.governance.row_rules import NoRows, RuleInvalid, bind_rule, parse_rule
from serving.identity import User

TYPES = {"region": "VARCHAR", "amount": "DECIMAL(12,2)", "day": "DATE", "at": "TIMESTAMP", "vip": "BOOLEAN"}


def bound(rule: str, **attributes: object) -> str:
    user = User("emil@example.com", (), attributes)  # type: ignore[arg-type]
    predicate = bind_rule(parse_rule(rule), user, TYPES)
    return predicate.reason if isinstance(predicate, NoRows) else predicate.sql("duckdb")


@pytest.mark.parametrize(
    ("rule", "attributes", "sql"),
    [
        ("region = user.region", {"region": "EMEA"}, "\"region\" = 'EMEA'"),
        ("region = user.region", {"region": ("EMEA", "APAC")}, "\"region\" IN ('EMEA', 'APAC')"),
        ("region <> user.region", {"region": ("EMEA", "APAC")}, "NOT \"region\" IN ('EMEA', 'APAC')"),
        ("region = user.email", {}, "\"region\" = 'emil@example.com'"),
        ("day >= user.since", {"since": date(2026, 1, 31)}, "\"day\" >= CAST('2026-01-31' AS DATE)"),
        (
            "at < user.since",
            {"since": date(2026, 1, 31)},
            "\"at\" < CAST('2026-01-31 00:00:00' AS TIMESTAMP)",
        ),
        ("amount > 0.005", {}, '"amount" > 0'),
        ("amount = 0.005", {}, '"amount" <> "amount"'),
        ("amount <> 0.005", {}, '"amount" = "amount"'),
        ("region in ('A', user.region)", {"region": ("B", "C")}, "\"region\" IN ('A', 'B', 'C')"),
        ("amount >= -5.5", {}, '"amount" >= -5.5'),
        ("day between '2026-01-01' and '2026-02-01'", {}, None),
        ("not (region is null or vip = true)", {}, 'NOT (("region" IS NULL OR "vip" = TRUE))'),
        (
            "region = user.name and amount < 3",
            {"name": "O'Neil"},
            "(\"region\" = 'O''Neil' AND \"amount\" < 3)",
        ),
    ],
)
def test_a_rule_becomes_comparisons_with_constants(
    rule: str, attributes: dict[str, object], sql: str | None
) -> None:
    found = bound(rule, **attributes)
    assert found == sql or (sql is None and "CAST('2026-01-01' AS DATE)" in found)


def test_an_attribute_that_looks_like_sql_stays_a_value() -> None:
    assert bound("region = user.region", region="x' OR '1'='1") == "\"region\" = 'x'' OR ''1''=''1'"


@pytest.mark.parametrize(
    "rule", ["region = user.region", "region <> user.region or amount > 0", "not region = user.region"]
)
@pytest.mark.parametrize("attributes", [{}, {"region": ()}, {"other": 1}])
def test_a_missing_or_empty_attribute_means_no_rows_whatever_the_rule(
    rule: str, attributes: dict[str, object]
) -> None:
    assert bound(rule, **attributes) == "the person has no attribute 'region'"


@pytest.mark.parametrize(
    "rule",
    [
        "region in (select region from other limit 1)",
        "region in (select distinct region from other)",
        "region in (select other.region from other)",
        "region in (select upper(region) from other)",
        "region in (select region from main.other)",
        "region in (select region from other o)",
        "region in (select region from read_csv('x'))",
        "region in (select region from other join x on true)",
        "region in (select region from other where region in (select 1))",
        "region in (select region from other where upper(region) = 'A')",
        "region in (select region from other union select 1)",
        "region in (select a, b from other)",
        "region = (select region from other)",
        "region = any (select region from other)",
        "region in ()",
        "* = 1",
        "region = (select 1)",
        "upper(region) = 'EMEA'",
        "region = region",
        "region like 'E%'",
        "1 = 1",
        "true",
        "region = 'a' || 'b'",
        "other.region = 'a'",
        "exists (select 1)",
        "region = user.region; drop table x",
        "region =",
        "cast(region as int) = 1",
        "user.region = region",
    ],
)
def test_whatever_could_fail_or_look_elsewhere_is_no_row_rule(rule: str) -> None:
    with pytest.raises(RuleInvalid):
        parse_rule(rule)


@pytest.mark.parametrize(
    ("rule", "attributes"),
    [
        ("region = 3", {}),
        ("amount = 'x'", {}),
        ("day = 'yesterday'", {}),
        ("vip = 1", {}),
        ("amount = user.amount", {"amount": "12"}),
        ("amount < user.amount", {"amount": (1, 2)}),
        ("nothing = 1", {}),
    ],
)
def test_a_constant_that_does_not_fit_its_column_is_refused_not_cast(
    rule: str, attributes: dict[str, object]
) -> None:
    with pytest.raises(RuleInvalid):
        bound(rule, **attributes)
