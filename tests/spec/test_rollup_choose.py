"""Which rollup answers a block of aggregation: with the mart's values and types, or the reason why not."""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import duckdb
import pytest

from serving.content.model import Mart
from serving.semantic.dimension import dimension_sql, quoted
from serving.semantic.leaves import Leaf
from serving.semantic.routing.choose import choose
from serving.semantic.routing.routes import Days, Kept, Miss, Need, Offer, Reason, Source
from serving.semantic.routing.source import base_source
from tests.conftest import ROOT

ZONE = "America/Havana"  # its days begin at one o'clock, or come to midnight twice, when the clocks change
ROWS = """\
select i as id,
    timestamp '2025-12-20 00:00:00' + to_hours((i * 7) % 2900) + to_minutes(i % 60) as ordered_at,
    case when i % 2 = 0 then timestamptz '2026-03-07 20:00:00 America/Havana'
        else timestamptz '2026-10-31 20:00:00 America/Havana' end + to_minutes((i * 37) % 4000) as seen_at,
    date '2025-12-28' + ((i * 11) % 100)::int as day,
    case i % 4 when 0 then 'EMEA' when 1 then 'AMER' when 2 then 'it''s' end as region,
    case when i % 5 > 0 then 'S' || (i % 3) end as segment,
    ((i * 13) % 701 - 100)::decimal(12,2) as amount,
    (i % 17)::integer as pieces,
    9223372036854000000 - i as large,
    i / 7 as score,
    i % 29 as buyer
from range(4000) rows(i)
union all
select 4000 + i, null, null, null, null, null, null, null, null, null, null from range(3) rows(i)
"""
MART = Mart.model_validate(
    {
        "name": "orders",
        "dimensions": {
            "place": {"expr": "upper(region)"},
            "basket": {"expr": "CASE WHEN amount < 100 THEN 'small' ELSE 'large' END"},
            "recent": {"expr": "day > current_date - 30"},
            "seen_on": {"expr": "CAST(seen_at AS DATE)"},
        },
        "rollups": {
            "by_day": {"dimensions": ["ordered_at.day", "region"], "measures": "revenue"},
            "by_month": {"dimensions": ["ordered_at.month", "region", "segment"], "measures": "revenue"},
            "months": {"dimensions": ["ordered_at.month"], "measures": "revenue"},
        },
    }
)
COUNT, REVENUE, LARGE = Leaf("count"), Leaf("sum", "amount"), Leaf("sum", "large")
EMEA = Leaf("sum", "amount", "region = 'EMEA'")
LEAVES = (
    COUNT,
    Leaf("count", "amount"),
    Leaf("count", None, "pieces > 8"),
    REVENUE,
    LARGE,
    EMEA,
    Leaf("sum", "pieces", "pieces > 900"),
    Leaf("min", "ordered_at"),
    Leaf("max", "segment"),
    Leaf("sum", "pieces"),
    Leaf("count", "pieces"),
    Leaf("avg", "pieces"),
    Leaf("approx_count_distinct", "buyer"),
)
KEPT = tuple(leaf for leaf in LEAVES if leaf.function != "avg")
BUYERS, MIDDLE, HIGH = (
    Leaf("count_distinct", "buyer"),
    Leaf("median", "amount"),
    Leaf("quantile", "large", None, 0.9),
)
WHOLE = (BUYERS, MIDDLE, HIGH)


@dataclass(frozen=True)
class Shop:
    """The mart in a real engine, and rollups made of it."""

    db: duckdb.DuckDBPyConnection
    kinds: dict[str, str]

    def keep(
        self, name: str, dimensions: Sequence[str], leaves: Sequence[Leaf] = KEPT, mart: Mart = MART
    ) -> Offer:
        """Build a rollup as a mart's file keeps it."""
        texts = {key: dimension_sql(mart, key) for key in dimensions}
        kept = {leaf.column: leaf.kept() for leaf in leaves}
        shown = ", ".join(f"{text} AS {quoted(column)}" for column, text in {**texts, **kept}.items())
        table = f'"orders:{name}"'
        self.db.execute(f"CREATE TABLE {table} AS SELECT {shown} FROM orders GROUP BY ALL").fetchall()
        ((rows,),) = self.db.execute(f"SELECT count(*) FROM {table}").fetchall()
        types = {row[0]: row[1] for row in self.db.execute(f"DESCRIBE {table}").fetchall()}
        return Offer(Kept("orders", name, rows, texts, kept, types, ZONE))

    def choose(self, need: Need, *offers: Offer, mart: Mart = MART) -> Source:
        return choose(need, mart, self.kinds, offers, "monday", ZONE, 4003)

    def answer(
        self, source: Source, need: Need, filters: Sequence[str] = ()
    ) -> tuple[list[str], list[object]]:
        """The types, and all rows as texts, in one order."""
        keys = [f"{source.dimensions[key]} AS k{place}" for place, key in enumerate(need.groups)]
        values = [f"{source.leaves[leaf]} AS v{place}" for place, leaf in enumerate(need.leaves)]
        conditions = [*source.conditions, *filters]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        group = f" GROUP BY {', '.join(str(place + 1) for place in range(len(keys)))}" if keys else ""
        sql = f"SELECT {', '.join([*keys, *values])} FROM {source.table}{where}{group}"
        types = list(map(str, self.db.sql(sql).types))
        return types, self.db.execute(f"SELECT COLUMNS(*)::VARCHAR FROM ({sql}) ORDER BY ALL").fetchall()

    def same(self, need: Need, *offers: Offer, filters: Sequence[tuple[str, str]] = ()) -> Source:
        """Both answers are equal to the last digit and type; the source that was chosen."""
        chosen = self.choose(need, *offers)
        base = base_source(MART, need, self.kinds, "monday")
        texts = [[source.dimensions[key] + test for key, test in filters] for source in (chosen, base)]
        assert self.answer(chosen, need, texts[0]) == self.answer(base, need, texts[1]), chosen
        return chosen


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with duckdb.connect(":memory:") as db:
        db.execute(f"SET TimeZone = '{ZONE}'").fetchall()
        db.execute("SET threads = 1").fetchall()
        db.execute(f"CREATE TABLE orders AS {ROWS}").fetchall()
        kinds = {row[0]: row[1] for row in db.execute("DESCRIBE orders").fetchall()}
        yield Shop(db, kinds)


@pytest.fixture(scope="module")
def three(shop: Shop) -> tuple[Offer, ...]:
    """by_day, by_month and months, as they are declared."""
    declared = {name: rollup.dimensions for name, rollup in MART.rollups.items()}
    return tuple(shop.keep(name, dimensions) for name, dimensions in declared.items())


def need(groups: str, *leaves: Leaf, **other: object) -> Need:
    return replace(Need("orders", tuple(groups.split()), leaves), **other)


def reasons(source: Source) -> dict[str, Reason]:
    return {miss.rollup: miss.reason for miss in source.route.misses}


def words(source: Source, rollup: str) -> str:
    return next(miss.words for miss in source.route.misses if miss.rollup == rollup)


def within(start: date | None, end: date | None, column: str = "ordered_at") -> tuple[Days, ...]:
    return (Days(column, start, end),)


DECEMBER, FEBRUARY, APRIL = date(2025, 12, 1), date(2026, 2, 1), date(2026, 4, 1)


def test_random_needs_have_the_same_answer_from_rollups(shop: Shop, three: tuple[Offer, ...]) -> None:
    dice = random.Random(5)
    keys = ("region", "segment", "place", "ordered_at.day", "ordered_at.week", "ordered_at.month")
    keys += ("ordered_at.quarter", "ordered_at.year")
    tests = {
        "region": " IS NOT DISTINCT FROM 'EMEA'",
        "place": " IN ('AMER', 'IT''S')",
        "segment": " IS NULL",
    }
    seen: list[tuple[str | None, bool]] = []
    for _ in range(160):
        groups = dice.sample(keys, dice.choice((0, 1, 1, 2, 3)))
        filters = dice.sample(sorted(tests), dice.choice((0, 0, 1, 2)))
        start, end = sorted(date(2025, 12, 10) + timedelta(days=dice.randrange(140)) for _ in range(2))
        days = dice.choice(((), (), within(start, end), within(None, end), within(start.replace(day=1), end)))
        leaves = tuple(dice.sample(LEAVES, dice.randrange(not groups, 5)))
        asked = Need("orders", tuple(groups), leaves, frozenset(filters), days=days)
        offers = dice.sample(three, dice.choice((1, 1, 2, 3)))
        source = shop.same(asked, *offers, filters=[(key, tests[key]) for key in filters])
        seen.append((source.route.rollup, source.route.split))
    for route in (
        ("by_day", False),
        ("by_month", False),
        ("by_month", True),
        ("months", True),
        (None, False),
    ):
        assert seen.count(route) >= 5, route


def test_the_fewest_rows_answer_and_every_other_rollup_says_why_not(
    shop: Shop, three: tuple[Offer, ...]
) -> None:
    source = shop.same(need("ordered_at.year", REVENUE, COUNT), *three)
    assert (source.route.rollup, source.route.rows, source.reads) == ("months", 5 + 1, ("orders:months",))
    assert reasons(source) == {"by_day": Reason.MORE_ROWS, "by_month": Reason.MORE_ROWS}
    assert words(source, "by_day") == "'months' answers from no more rows"
    source = shop.same(need("region", REVENUE), *three)
    assert source.route.rollup == "by_month"
    assert reasons(source) == {"by_day": Reason.MORE_ROWS, "months": Reason.DIMENSION}
    assert words(source, "months") == "it does not keep 'region'"


def test_a_week_follows_from_days_and_not_from_months(shop: Shop, three: tuple[Offer, ...]) -> None:
    source = shop.same(need("ordered_at.week", REVENUE), *three)
    assert source.route.rollup == "by_day"
    assert reasons(source) == {"by_month": Reason.GRAIN, "months": Reason.GRAIN}
    assert (
        words(source, "months") == "it keeps ordered_at.month, from which 'ordered_at.week' does not follow"
    )
    assert reasons(shop.same(need("ordered_at", REVENUE), *three))["by_day"] == Reason.GRAIN


def test_weeks_that_start_on_another_day_are_another_definition(shop: Shop) -> None:
    offer = shop.keep("weeks", ["ordered_at.week"])
    asked = need("ordered_at.week", COUNT)
    assert shop.same(asked, offer).route.rollup == "weeks"
    sundays = choose(asked, MART, shop.kinds, [offer], "sunday", ZONE, 4003)
    assert reasons(sundays)["weeks"] == Reason.CHANGED
    days = shop.keep("only_days", ["ordered_at.day"])
    routed = choose(asked, MART, shop.kinds, [days], "sunday", ZONE, 4003)
    assert routed.route.rollup == "only_days"
    base = base_source(MART, asked, shop.kinds, "sunday")
    assert shop.answer(routed, asked) == shop.answer(base, asked)


def test_a_ragged_range_takes_whole_months_from_the_rollup_and_the_edges_from_the_mart(
    shop: Shop, three: tuple[Offer, ...]
) -> None:
    asked = need("region", *LEAVES, days=within(date(2026, 1, 20), date(2026, 4, 3)))
    source = shop.same(asked, three[1])
    assert (source.route.rollup, source.route.split) == ("by_month", True)
    assert source.reads == ("orders:by_month", "orders")
    edges = "(\"ordered_at\" >= DATE '2026-01-20' AND \"ordered_at\" < DATE '2026-02-01')"
    assert edges in source.table
    # from bucket to bucket nothing of the mart is read
    whole = shop.same(replace(asked, days=within(FEBRUARY, APRIL)), three[1])
    assert (whole.route.split, whole.reads) == (False, ("orders:by_month",))


def test_a_range_that_ends_after_the_last_day_cuts_no_bucket(shop: Shop, three: tuple[Offer, ...]) -> None:
    ((last,),) = shop.db.execute("SELECT max(ordered_at)::DATE FROM orders").fetchall()
    known = replace(three[1], kept=replace(three[1].kept, newest={"ordered_at": last}))
    ended = within(FEBRUARY, last + timedelta(days=1))
    asked = need("ordered_at.month", *LEAVES, days=ended)
    assert not shop.same(asked, known).route.split
    assert shop.same(replace(asked, days=within(FEBRUARY, last)), known).route.split == (last.day > 1)
    # rows without a time pass no range: without a start, the end is what keeps them out
    open_start = (Days("ordered_at", None, last + timedelta(days=1)),)
    assert (
        shop.same(replace(asked, days=open_start), known).route.split
        == shop.same(replace(asked, days=open_start), three[1]).route.split
    )


def test_days_answer_a_ragged_range_where_they_are_fewer_rows_than_its_edges(
    shop: Shop, three: tuple[Offer, ...]
) -> None:
    by_day, by_month, _ = three
    asked = need("region", REVENUE, days=within(date(2026, 1, 16), date(2026, 3, 16)))
    assert shop.same(asked, by_day, by_month).route.rollup == "by_day"
    asked = need("region", REVENUE, days=within(None, date(2026, 3, 2)))
    assert shop.same(asked, by_day, by_month).route.rollup == "by_month"


def test_a_range_within_one_month_is_the_marts(shop: Shop, three: tuple[Offer, ...]) -> None:
    source = shop.same(need("region", REVENUE, days=within(date(2026, 1, 3), date(2026, 1, 30))), three[1])
    assert (source.route.rollup, reasons(source)["by_month"]) == (None, Reason.RANGE)
    assert words(source, "by_month") == "no whole month of 'ordered_at' lies within the range"
    end_of_time = need("region", REVENUE, days=within(date(9999, 12, 15), None))
    assert reasons(shop.same(end_of_time, three[1]))["by_month"] == Reason.RANGE


def test_several_ranges_of_one_column_are_their_common_part(shop: Shop, three: tuple[Offer, ...]) -> None:
    days = within(DECEMBER, APRIL) + within(date(2026, 1, 1), date(2026, 5, 1)) + within(None, FEBRUARY)
    source = shop.same(need("region", REVENUE, days=days), three[1])
    assert source.conditions == (
        '"orders"."ordered_at.month" >= DATE \'2026-01-01\'',
        '"orders"."ordered_at.month" < DATE \'2026-02-01\'',
    )


def test_two_ranges_that_cut_buckets_are_the_marts_and_one_that_does_not_joins_in(shop: Shop) -> None:
    offer = shop.keep("two", ["ordered_at.month", "day.month", "day"])
    months = shop.keep("two_months", ["ordered_at.month", "day.month"])
    ragged = within(date(2026, 1, 5), APRIL)
    other = within(date(2026, 1, 9), date(2026, 3, 9), "day")
    both = need("ordered_at.month", *LEAVES, days=ragged + other)
    assert reasons(shop.same(both, months))["two_months"] == Reason.RANGE
    assert words(shop.choose(both, months), "two_months") == (
        "the ranges of 'ordered_at' and 'day' both cut through its buckets"
    )
    assert shop.same(both, offer).route.split
    aligned = within(date(2026, 1, 1), date(2026, 3, 1), "day")
    assert shop.same(replace(both, days=ragged + aligned), months).route.split


def test_a_split_over_nothing_counts_zero(shop: Shop) -> None:
    offer = shop.keep("late", ["ordered_at.month"])
    nothing = within(date(2030, 1, 15), date(2031, 1, 15))
    source = shop.same(need("", *LEAVES, days=nothing), offer)
    assert source.route.split
    assert shop.answer(source, need("", COUNT, REVENUE))[1] == [("0", None)]
    plain = need("", *LEAVES, days=within(date(2030, 1, 1), date(2031, 1, 1)))
    assert not shop.same(plain, offer).route.split


def test_days_of_instants_are_those_of_the_zone_where_the_clocks_change(shop: Shop) -> None:
    hours = shop.keep("hours", ["seen_at.hour"])
    days = shop.keep("days", ["seen_at.day"])
    cut = within(date(2026, 3, 8), date(2026, 11, 1), "seen_at")
    twice = within(date(2026, 11, 1), None, "seen_at")
    seen_on = shop.keep("on", ["seen_on"])
    for key in ("seen_on", "seen_on.month"):
        assert shop.same(need(key, *LEAVES), seen_on).route.rollup == "on"
    for grain in ("seen_at.hour", "seen_at.day", "seen_at.week", "seen_at.month"):
        for days_of in (cut, twice):
            assert shop.same(need(grain, *LEAVES, days=days_of), hours).route.rollup == "hours"
    assert shop.same(need("seen_at.month", REVENUE, days=cut), days).route.rollup == "days"
    assert reasons(shop.same(need("seen_at.hour", REVENUE), days))["days"] == Reason.GRAIN
    elsewhere = choose(need("seen_at.day", REVENUE), MART, shop.kinds, [days], "monday", "UTC", 1)
    assert reasons(elsewhere)["days"] == Reason.TIME_ZONE
    assert words(elsewhere, "days") == "it was built for days of America/Havana, and the project's are UTC"


def test_a_column_of_time_that_is_kept_as_it_is_gives_all_grains_and_ranges(shop: Shop) -> None:
    offer = shop.keep("moments", ["day", "seen_at", "region"])
    for key in ("day.month", "day.week", "day", "seen_at.hour", "seen_at.day"):
        for days in (within(date(2026, 1, 3), APRIL, "day"), within(None, date(2026, 3, 9), "seen_at")):
            assert shop.same(need(key, *LEAVES, days=days), offer).route.rollup == "moments"
    missing = shop.choose(need("region", COUNT, days=within(FEBRUARY, APRIL)), offer)
    assert words(missing, "moments") == "it does not keep 'ordered_at'"


def test_a_computed_dimension_runs_over_the_rollup_where_its_columns_are_kept(
    shop: Shop, three: tuple[Offer, ...]
) -> None:
    source = shop.same(need("place ordered_at.month", *LEAVES), three[0])
    assert (source.route.rollup, source.dimensions["place"]) == ("by_day", "(upper(region))")
    assert reasons(shop.same(need("basket", REVENUE), *three))["by_day"] == Reason.DIMENSION
    baskets = shop.keep("baskets", ["basket"])
    assert shop.same(need("basket", *LEAVES), baskets).route.rollup == "baskets"


def test_a_computed_dimension_that_hides_a_column_is_not_that_column(shop: Shop) -> None:
    region = {"region": {"expr": "left(segment, 1)"}, "loud": {"expr": "upper(region)"}}
    mart = Mart.model_validate({"name": "orders", "dimensions": region})
    offer = shop.keep("hidden", ["region"], mart=mart)
    assert reasons(shop.choose(need("loud", COUNT), offer, mart=mart))["hidden"] == Reason.CHANGED
    joined = need("", COUNT, columns=frozenset({"region"}))
    assert reasons(shop.choose(joined, offer, mart=mart))["hidden"] == Reason.CHANGED


def test_columns_of_joins_must_be_kept_as_they_are(shop: Shop, three: tuple[Offer, ...]) -> None:
    asked = need("ordered_at.month", REVENUE, columns=frozenset({"segment"}), whole=False)
    source = shop.same(asked, *three)
    assert source.route.rollup == "by_month"
    assert reasons(source)["by_day"] == Reason.DIMENSION
    split = shop.same(replace(asked, days=within(date(2026, 1, 5), APRIL)), three[1])
    assert split.route.split
    assert '"segment"' in split.table


def test_a_filter_on_time_buckets_follows_from_finer_ones(shop: Shop, three: tuple[Offer, ...]) -> None:
    asked = need("region", *LEAVES, filters=frozenset({"ordered_at.quarter"}))
    quarter = [("ordered_at.quarter", " = DATE '2026-01-01'")]
    assert shop.same(asked, three[0], filters=quarter).route.rollup == "by_day"


def test_distinct_counts_and_medians_come_only_from_exactly_their_groups(shop: Shop) -> None:
    offer = shop.keep("exact", ["region", "ordered_at.month"], [COUNT, *WHOLE])
    asked = need("ordered_at.month region", COUNT, *WHOLE)
    assert shop.same(asked, offer).route.rollup == "exact"
    picked = replace(asked, filters=frozenset({"region", "ordered_at.year"}), days=within(DECEMBER, APRIL))
    tests = [("region", " IS NULL"), ("ordered_at.year", " = DATE '2026-01-01'")]
    assert shop.same(picked, offer, filters=tests).route.rollup == "exact"
    for other in (
        need("region", BUYERS),
        need("region ordered_at.year", MIDDLE),
        replace(asked, whole=False),
    ):
        source = shop.same(other, offer)
        assert (source.route.rollup, reasons(source)["exact"]) == (None, Reason.DISTINCT)
    assert words(shop.choose(need("region", BUYERS), offer), "exact") == (
        "count(DISTINCT buyer) of its groups says nothing about larger ones: "
        "only by exactly region, ordered_at.month"
    )
    ragged = shop.same(replace(asked, days=within(date(2026, 1, 5), APRIL)), offer)
    assert reasons(ragged)["exact"] == Reason.RANGE
    assert "parts of count(DISTINCT buyer) cannot be put together" in words(ragged, "exact")


def test_a_distinct_count_without_any_group_is_zero_over_nothing(shop: Shop) -> None:
    offer = shop.keep("all", [], [BUYERS, MIDDLE])
    source = shop.same(need("", BUYERS, MIDDLE), offer)
    assert source.route.rollup == "all"
    assert shop.answer(source, need("", BUYERS, MIDDLE), ["false"])[1] == [("0", None)]


def test_distinct_values_of_kept_dimensions_are_counted_over_the_rollup(
    shop: Shop, three: tuple[Offer, ...]
) -> None:
    regions = Leaf("count_distinct", "region", "segment = 'S1'")
    asked = need("ordered_at.month", regions, Leaf("max", "region"), COUNT)
    assert shop.same(asked, *three).route.rollup == "by_month"
    ragged = replace(asked, days=within(date(2026, 1, 5), APRIL))
    assert shop.same(ragged, three[1]).route.split
    kept_too = shop.keep("kept_too", ["region", "segment"], [regions])
    assert shop.same(need("segment", regions), kept_too).route.rollup == "kept_too"
    assert reasons(shop.choose(need("", Leaf("sum", "region")), three[0]))["by_day"] == Reason.MEASURE


def test_floating_point_sums_are_never_routed(shop: Shop) -> None:
    texts = ("score", "amount / 2", "pieces::float")
    sums = [Leaf("sum", text) for text in texts]
    rows = [Leaf("count", text) for text in texts]
    offer = shop.keep("floats", ["region"], [*sums, *rows, Leaf("max", "score")])
    for leaf in (*sums, *(Leaf("avg", text) for text in texts)):
        assert reasons(shop.same(need("region", leaf), offer))["floats"] == Reason.FLOAT, leaf
    assert "sum(score) adds floating-point numbers" in words(shop.choose(need("", sums[0]), offer), "floats")
    assert shop.same(need("region", Leaf("max", "score"), Leaf("count", "score")), offer).route.rollup


def test_an_average_is_routed_only_where_the_engine_would_round_it_the_same_way(shop: Shop) -> None:
    texts = ("pieces", "amount", "large")
    parts = [Leaf(function, text) for function in ("sum", "count") for text in texts]
    offer = shop.keep("averages", ["region"], parts)
    assert shop.same(need("region", Leaf("avg", "pieces")), offer).route.rollup == "averages"
    for text in ("amount", "large"):
        assert reasons(shop.same(need("region", Leaf("avg", text)), offer))["averages"] == Reason.FLOAT


def test_estimates_come_from_kept_states_with_the_type_of_the_mart(shop: Shop) -> None:
    estimate = Leaf("approx_quantile", "amount", None, 0.5)
    offer = shop.keep(
        "states", ["region", "ordered_at.month"], [estimate, Leaf("approx_count_distinct", "buyer")]
    )
    source = shop.choose(need("region", estimate), offer)
    (types, found), (same_types, base) = (
        shop.answer(each, need("region", estimate))
        for each in (source, base_source(MART, need("region", estimate), shop.kinds, "monday"))
    )
    assert (source.route.rollup, types) == ("states", same_types)
    for (region, value), (same_region, real) in zip(found, base, strict=True):
        assert region == same_region
        assert value is real is None or abs(float(value) - float(real)) < 20
    ragged = need("", Leaf("approx_count_distinct", "buyer"), days=within(date(2026, 1, 5), APRIL))
    assert shop.same(ragged, offer).route.split


def test_what_asks_the_clock_is_not_taken_from_the_day_of_the_build(shop: Shop) -> None:
    late = Leaf("count", None, "day < today()")
    offer = shop.keep("clock", ["recent", "day"], [COUNT, late])
    source = shop.choose(need("recent", COUNT), offer)
    assert reasons(source)["clock"] == Reason.EXPRESSION
    assert words(source, "clock").startswith("'recent' asks the clock, chance or a setting")
    assert reasons(shop.choose(need("day", late), offer))["clock"] == Reason.EXPRESSION
    assert shop.choose(need("day", COUNT), offer).route.rollup == "clock"


def test_a_changed_definition_is_not_answered_by_what_was_built(shop: Shop) -> None:
    offer = shop.keep("places", ["place", "region"])
    now = MART.model_copy(update={"dimensions": {"place": {"expr": "lower(region)"}}})
    mart = Mart.model_validate({"name": "orders", "dimensions": now.dimensions})
    source = shop.choose(need("place", COUNT), offer, mart=mart)
    assert reasons(source)["places"] == Reason.CHANGED
    assert words(source, "places") == "'place' was defined in another way when it was built"
    assert shop.choose(need("region", COUNT), offer, mart=mart).route.rollup == "places"
    gone = Mart.model_validate({"name": "orders"})
    assert reasons(shop.choose(need("place", COUNT), offer, mart=gone))["places"] == Reason.CHANGED


def test_what_is_declared_and_not_built_and_what_is_refused_are_told(
    shop: Shop, three: tuple[Offer, ...]
) -> None:
    refused = Offer(three[1].kept, Miss("by_month", Reason.POLICY, "a row rule for you compares 'buyer'"))
    source = shop.choose(need("", COUNT), three[0], refused)
    assert source.route.rollup == "by_day"
    assert source.route.misses == (
        refused.refused,
        Miss(
            "months", Reason.NOT_BUILT, "it is declared, but the version that is asked was built without it"
        ),
    )
    none = shop.same(need("segment", COUNT))
    assert none.table == '"orders"'
    assert set(reasons(none).values()) == {Reason.NOT_BUILT}


def test_barred_columns_are_not_used_and_the_rest_is(shop: Shop, three: tuple[Offer, ...]) -> None:
    barred = {"segment": "it was computed from 'segment', which is masked for you", REVENUE.column: "hidden"}
    offer = Offer(replace(three[1].kept, barred=barred))
    for asked in (
        need("segment", COUNT),
        need("region", REVENUE),
        need("", COUNT, columns=frozenset({"segment"})),
    ):
        assert reasons(shop.choose(asked, offer))["by_month"] == Reason.MASK, asked
    assert shop.same(need("region", COUNT), offer).route.rollup == "by_month"
    whole = shop.keep("pairs", ["region", "segment"], [COUNT, BUYERS])
    known = Offer(replace(whole.kept, barred={"segment": "masked"}))  # its groups are finer than they look
    assert reasons(shop.choose(need("region", BUYERS), known))["pairs"] == Reason.DISTINCT
    when = Offer(replace(three[2].kept, barred={"ordered_at.month": "masked"}))
    for asked in (need("ordered_at.year", COUNT), need("", COUNT, days=within(FEBRUARY, APRIL))):
        assert reasons(shop.choose(asked, when))["months"] == Reason.MASK, asked


def test_a_leaf_that_is_not_kept_is_named(shop: Shop, three: tuple[Offer, ...]) -> None:
    source = shop.same(need("region", Leaf("sum", "buyer"), COUNT), three[0])
    assert words(source, "by_day") == "it does not keep sum(buyer)"
    assert reasons(source)["by_day"] == Reason.MEASURE
    assert reasons(shop.choose(need(""), three[0]))["by_day"] == Reason.EXPRESSION


def test_infinite_times_fall_into_the_same_buckets(shop: Shop) -> None:
    shop.db.execute("BEGIN").fetchall()
    shop.db.execute("UPDATE orders SET ordered_at = 'infinity' WHERE id = 7").fetchall()
    shop.db.execute("UPDATE orders SET ordered_at = '-infinity' WHERE id = 8").fetchall()
    offer = shop.keep("endless", ["ordered_at.day"])
    for key in ("ordered_at.month", "ordered_at.day"):
        for days in ((), within(FEBRUARY, None), within(None, FEBRUARY)):
            assert shop.same(need(key, COUNT, REVENUE, days=days), offer).route.rollup == "endless"
    shop.db.execute("ROLLBACK").fetchall()


def test_every_reason_code_is_documented() -> None:
    text = (ROOT / "docs/metrics.md").read_text(encoding="utf-8").partition("## Reason codes")[2]
    section = text.partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [reason.value for reason in Reason]
