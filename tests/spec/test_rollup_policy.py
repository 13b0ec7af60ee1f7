"""Rollups under a policy: each person gets from them what their view of the mart gives, or the reason."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import duckdb
import pytest

from serving.content.model import Content, Mart, ProjectSpec
from serving.content.policy import AggregateRule, ColumnRule, Policy, Role, RowRule
from serving.governance.access import View, governed_view
from serving.governance.entitlements import LOOKUP_LIMIT
from serving.governance.rollup_view import rollup_view
from serving.identity import User
from serving.semantic.dimension import dimension_sql, quoted
from serving.semantic.leaves import Leaf
from serving.semantic.routing.choose import choose
from serving.semantic.routing.reads import columns_read
from serving.semantic.routing.routes import Days, Kept, Miss, Need, Offer, Reason, Source
from serving.semantic.routing.source import base_source

ROWS = """\
select i as id, timestamp '2026-01-01' + to_hours((i * 7) % 2000) as ordered_at,
    case i % 4 when 0 then 'EMEA' when 1 then 'AMER' when 2 then 'APAC' end as region,
    'S' || (i % 3) as segment, (i % 97)::decimal(12,2) as amount, (i % 13)::decimal(12,2) as margin,
    'person ' || (i % 50) as email, {'floor': i % 2, 'note': 'secret ' || i} as place, i % 40 as shop
from range(2000) rows(i)
"""
MART = Mart.model_validate(
    {
        "name": "orders",
        "dimensions": {
            "area": {"expr": "region || '!'"},
            "profit": {"expr": "margin > 5"},
        },
    }
)
LISTS = Mart.model_validate({"name": "lists", "visible": False})
COUNT, REVENUE, MARGIN = Leaf("count"), Leaf("sum", "amount"), Leaf("sum", "margin")
RICH = Leaf("count", None, "margin > 5")
WHOLE_ROW = Leaf("count", "orders")
LEAVES = (
    COUNT,
    REVENUE,
    MARGIN,
    RICH,
    WHOLE_ROW,
    Leaf("count", "amount"),
    Leaf("approx_count_distinct", "shop"),
)
ROLLUPS = {
    "by_region": ("ordered_at.month", "region"),
    "by_segment": ("ordered_at.month", "region", "segment", "shop"),
    "by_profit": ("region", "profit", "area"),
    "by_mail": ("region", "email"),
    "months": ("ordered_at.month",),
}
ANN = User("ann@example.com", ("viewer",), {"region": "EMEA", "shops": (1, 2, 3), "team": "north"})


def view_of(
    content: Content,
    kept: Kept,
    built: Mapping[str, Mapping[str, str]],
    user: User,
    lookup: Callable[[str, str, str], tuple[object, ...]],
) -> tuple[View, Kept] | Miss:
    """The rollup as the person may read it."""
    view = governed_view(content, kept.mart, built, user, "key", lookup)
    return rollup_view(kept, view, built[kept.mart])


@dataclass(frozen=True)
class House:
    """The marts' own tables in a real engine, and the rollups that were made of them."""

    db: duckdb.DuckDBPyConnection
    kept: Mapping[str, Kept]
    built: Mapping[str, Mapping[str, str]]

    def view(self, policy: Policy, user: User = ANN) -> View:
        return governed_view(_content(policy), "orders", self.built, user, "key", self.look_up)

    def rollup(self, policy: Policy, name: str, user: User = ANN) -> tuple[View, Kept] | Miss:
        return view_of(_content(policy), self.kept[name], self.built, user, self.look_up)

    def seen(self, policy: Policy, name: str, user: User = ANN) -> tuple[View, Kept]:
        found = self.rollup(policy, name, user)
        assert not isinstance(found, Miss), found
        return found

    def look_up(self, mart: str, column: str, predicate: str) -> tuple[object, ...]:
        sql = f'SELECT DISTINCT "{column}" FROM base."{mart}" WHERE ({predicate}) AND "{column}" IS NOT NULL'
        return tuple(value for (value,) in self.db.execute(f"{sql} LIMIT {LOOKUP_LIMIT + 1}").fetchall())

    def bind(self, view: View) -> None:
        body = view.over({"orders": "base", "lists": "base"})
        assert "base_" not in body
        secure = "SECURE " if view.secure else ""
        self.db.execute(f'CREATE OR REPLACE TEMP {secure}VIEW "{view.mart}" AS {body}').fetchall()

    def answer(self, source: Source, need: Need) -> tuple[list[str], list[object]]:
        shown = [
            *(source.dimensions[key] for key in need.groups),
            *(source.leaves[leaf] for leaf in need.leaves),
        ]
        where = f" WHERE {' AND '.join(source.conditions)}" if source.conditions else ""
        group = (
            f" GROUP BY {', '.join(str(place + 1) for place in range(len(need.groups)))}"
            if need.groups
            else ""
        )
        sql = f"SELECT {', '.join(shown)} FROM {source.table}{where}{group}"
        return list(map(str, self.db.sql(sql).types)), self.db.execute(f"{sql} ORDER BY ALL").fetchall()

    def source(self, need: Need, kept: Kept, mart: Mart = MART) -> Source:
        return choose(need, mart, self.built["orders"], [Offer(kept)], "monday", "UTC", 2000)

    def same(self, policy: Policy, name: str, need: Need, user: User = ANN) -> Source:
        """The rollup and the mart give this person the same; the source that was chosen."""
        view, kept = self.seen(policy, name, user)
        self.bind(view)
        self.bind(self.view(policy, user))
        source = self.source(need, kept)
        base = base_source(MART, need, dict(self.built["orders"]), "monday")
        assert self.answer(source, need) == self.answer(base, need), view.body
        return source


def _content(policy: Policy) -> Content:
    marts = {"orders": MART, "lists": LISTS}
    return Content(Path(), ProjectSpec(name="house"), {}, marts, policy, {}, {}, {})


def _policy(
    *rules: str, masks: Mapping[str, object] | None = None, aggregates: Sequence[AggregateRule] = ()
) -> Policy:
    columns = [{"column": f"orders.{name}", "mask": mask} for name, mask in (masks or {}).items()]
    return Policy(
        roles={"viewer": Role.model_validate({"marts": "orders"})},
        rows=tuple(RowRule.model_validate({"mart": "orders", "where": rule}) for rule in rules),
        columns=tuple(map(ColumnRule.model_validate, columns)),
        aggregates=tuple(aggregates),
    )


def _make(db: duckdb.DuckDBPyConnection, name: str, dimensions: Sequence[str]) -> Kept:
    leaves = (COUNT, Leaf("min", "place"), Leaf("count_distinct", "shop")) if name == "months" else LEAVES
    texts = {key: dimension_sql(MART, key) for key in dimensions}
    kept = {leaf.column: leaf.kept() for leaf in leaves}
    shown = ", ".join(f"{text} AS {quoted(column)}" for column, text in {**texts, **kept}.items())
    table = f'base."orders:{name}"'
    db.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT {shown} FROM base.orders GROUP BY ALL").fetchall()
    ((rows,),) = db.execute(f"SELECT count(*) FROM {table}").fetchall()
    types = {row[0]: row[1] for row in db.execute(f"DESCRIBE {table}").fetchall()}
    return Kept("orders", name, rows, texts, kept, types)


def _house(db: duckdb.DuckDBPyConnection) -> House:
    db.execute("SET TimeZone = 'UTC'").fetchall()
    db.execute("SET threads = 1").fetchall()
    db.execute("ATTACH ':memory:' AS base").fetchall()
    db.execute(f"CREATE TABLE base.orders AS {ROWS}").fetchall()
    db.execute(
        "CREATE TABLE base.lists AS SELECT range AS shop FROM range(3000) WHERE range % 7 < 5"
    ).fetchall()
    built = {
        name: {row[0]: row[1] for row in db.execute(f"DESCRIBE base.{name}").fetchall()}
        for name in ("orders", "lists")
    }
    return House(db, {name: _make(db, name, keys) for name, keys in ROLLUPS.items()}, built)


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with duckdb.connect(":memory:") as db:
        yield _house(db)


@pytest.fixture
def changing() -> Iterator[House]:
    """A house for one test, which changes its rows."""
    with duckdb.connect(":memory:") as db:
        yield _house(db)


def need(groups: str, *leaves: Leaf, **other: object) -> Need:
    return replace(Need("orders", tuple(groups.split()), leaves), **other)


RULES = (
    "region = user.region",
    "region is null or region in ('AMER', 'it''s')",
    "not region = 'EMEA'",
    "region <> user.region and segment = 'S1'",
    "shop in (user.shops)",
    "shop in (select shop from lists where shop < 20)",
    "shop in (select shop from lists)",
    "region = user.missing",
)
JANUARY_ON = (Days("ordered_at", date(2026, 1, 20), date(2026, 3, 15)),)


@pytest.mark.parametrize("rule", RULES)
def test_under_a_row_rule_the_rollup_gives_what_the_mart_gives(house: House, rule: str) -> None:
    policy = _policy(rule)
    leaves = (COUNT, REVENUE, RICH, Leaf("count", "amount"), Leaf("approx_count_distinct", "shop"))
    for groups in ("", "segment ordered_at.month", "area region"):
        for days in ((), JANUARY_ON):
            source = house.same(policy, "by_segment", need(groups, *leaves, days=days))
            assert (source.route.rollup, source.route.split) == ("by_segment", bool(days))


def test_hidden_rows_change_nothing_in_the_view_of_a_rollup(changing: House) -> None:
    policy = _policy("region = user.region or shop in (select shop from lists where shop < 9)")
    view, _ = changing.seen(policy, "by_segment")
    changing.bind(view)
    before = changing.db.execute('FROM "orders:by_segment" ORDER BY ALL').fetchall()
    visible = changing.view(policy).where
    changing.db.execute(f"DELETE FROM base.orders WHERE ({visible}) IS NOT TRUE").fetchall()
    alone = _make(changing.db, "by_segment", ROLLUPS["by_segment"])
    assert 0 < alone.rows < changing.kept["by_segment"].rows
    assert changing.db.execute('FROM "orders:by_segment" ORDER BY ALL').fetchall() == before
    assert len(before) == alone.rows


def test_a_rule_over_a_column_that_is_not_kept_bars_the_rollup(house: House) -> None:
    found = house.rollup(_policy("segment = 'S1'"), "by_region")
    words = "a row rule for you compares 'segment', which it does not keep"
    assert found == Miss("by_region", Reason.POLICY, words)
    hidden = house.rollup(_policy("segment = 'S1'", masks={"segment": "hide"}), "by_region")
    assert isinstance(hidden, Miss)
    assert (
        hidden.words == "a row rule for you compares a column that is hidden from you, which it does not keep"
    )
    # its buckets are not the column
    by_time = house.rollup(_policy("ordered_at >= '2026-02-01'"), "months")
    assert isinstance(by_time, Miss)
    assert by_time.reason == Reason.POLICY


def test_a_rule_that_hides_everything_or_spares_the_person_needs_no_column(house: House) -> None:
    nothing = house.same(_policy("segment = user.missing"), "by_region", need("", COUNT, REVENUE))
    assert nothing.route.rollup == "by_region"
    spared = RowRule.model_validate({"mart": "orders", "where": "segment = 'S1'", "except": "viewer"})
    assert house.seen(replace(_policy(), rows=(spared,)), "by_region")[0].where == ""


def test_a_kept_column_of_another_type_bars_the_rollup(house: House) -> None:
    other = replace(house.kept["by_region"], types={**house.kept["by_region"].types, "region": "BLOB"})
    built, policy = house.built, _content(_policy("region = user.region"))
    found = view_of(policy, other, built, ANN, house.look_up)
    assert isinstance(found, Miss)
    computed = replace(other, dimensions={"region": "(upper(region))"})
    assert isinstance(view_of(policy, computed, built, ANN, house.look_up), Miss)


@pytest.mark.parametrize("mask", ["hide", "null", {"bucket": 5}, {"constant": 0}])
def test_nothing_that_was_computed_from_a_masked_column_is_in_the_view(house: House, mask: object) -> None:
    policy = _policy(masks={"margin": mask})
    view, kept = house.seen(policy, "by_profit")
    assert view.columns == (
        "region",
        "area",
        COUNT.column,
        REVENUE.column,
        Leaf("count", "amount").column,
        Leaf("approx_count_distinct", "shop").column,
    )
    assert "margin" not in view.body
    for asked in (need("region", MARGIN), need("", RICH), need("profit", COUNT), need("", WHOLE_ROW)):
        (miss,) = house.source(asked, kept).route.misses
        assert miss.reason == Reason.MASK, asked
        assert ("margin" in miss.words) is (mask != "hide" and asked.leaves != (WHOLE_ROW,)), miss.words
    assert house.same(policy, "by_profit", need("area", COUNT, REVENUE)).route.rollup == "by_profit"


UNCLEAR = (
    "sum(margin.abs())",
    "count(orders)",
    "count(COLUMNS('m.*'))",
    "sum(list_sum([margin for x in [1]]))",
    "sum((select margin))",
    "max(unknown)",
    "sum(struct_pack(a := margin).a)",
    "not sql at all",
)


@pytest.mark.parametrize("text", UNCLEAR)
def test_what_may_read_any_column_is_barred_as_soon_as_one_is_masked(text: str) -> None:
    assert columns_read(text, "orders", ("amount", "margin")) is None


def test_columns_are_found_however_they_are_written() -> None:
    columns = ("amount", "Margin", "place", "orders")
    for text, read in (
        ("sum(AMOUNT)", {"amount"}),
        ("avg(margin) FILTER (WHERE place.floor = 1) EXPORT_STATE", {"Margin", "place"}),
        ("count(*)", set()),
        ("max(orders.amount)", {"orders", "amount"}),
        ("min(place['note'])", {"place"}),
    ):
        assert columns_read(text, "orders", columns) == read, text


def test_a_masked_dimension_is_left_out_and_its_rollup_still_answers_by_the_others(house: House) -> None:
    policy = _policy("region = user.region", masks={"email": "hash"})
    view, _ = house.seen(policy, "by_mail")
    assert "email" not in view.columns
    assert house.same(policy, "by_mail", need("region", COUNT, REVENUE)).route.rollup == "by_mail"
    (miss,) = house.same(policy, "by_mail", need("email", COUNT)).route.misses
    assert (miss.reason, miss.words) == (
        Reason.MASK,
        "it was computed from 'email', which is masked for you",
    )


def test_a_row_rule_may_compare_a_masked_column_that_nobody_is_shown(house: House) -> None:
    policy = _policy("region = user.region", masks={"region": "null"})
    view, _ = house.seen(policy, "by_segment")
    assert "region" not in view.columns
    assert house.same(policy, "by_segment", need("segment", COUNT, REVENUE)).route.rollup == "by_segment"


def test_masked_time_bars_its_buckets_and_ranges(house: House) -> None:
    policy = _policy(masks={"ordered_at": {"truncate": "year"}})
    for asked in (need("ordered_at.month", COUNT), need("region", COUNT, days=JANUARY_ON)):
        (miss,) = house.same(policy, "by_region", asked).route.misses
        assert miss.reason == Reason.MASK


def test_a_rollup_of_which_nothing_is_left_is_refused(house: House) -> None:
    months = house.kept["months"]
    only = replace(months, leaves={MARGIN.column: MARGIN.kept()}, dimensions={})
    content = _content(_policy(masks={"margin": "hide"}))
    found = view_of(content, only, house.built, ANN, house.look_up)
    assert isinstance(found, Miss)
    assert found.reason == Reason.MASK


def test_a_mart_that_answers_in_aggregates_only_uses_no_rollup(house: House) -> None:
    rule = AggregateRule.model_validate({"mart": "orders", "min_group": 5, "except": ["steward"]})
    policy = _policy(aggregates=[rule])
    found = house.rollup(policy, "by_region")
    assert isinstance(found, Miss)
    assert found.reason == Reason.AGGREGATES
    steward = replace(ANN, roles=("steward", "viewer"))
    assert house.same(policy, "by_region", need("region", COUNT), steward).route.rollup == "by_region"


def test_entitlements_that_are_too_many_stay_a_subquery_on_a_secure_view(house: House) -> None:
    many, _ = house.seen(_policy("shop in (select shop from lists)"), "by_segment")
    assert (many.mart, many.secure, many.reads) == (
        "orders:by_segment",
        True,
        ("orders:by_segment", "lists"),
    )
    body = many.over({"orders": "x1", "lists": "x2"})
    assert 'FROM "x1"."orders:by_segment"' in body
    assert 'SELECT "shop" FROM "x2"."lists"' in body
    few, _ = house.seen(_policy("shop in (select shop from lists where shop < 9)"), "by_segment")
    assert (few.secure, few.reads) == (False, ("orders:by_segment",))


def test_entitlements_in_the_mart_itself_are_read_from_its_own_rows(changing: House) -> None:
    changing.db.execute("UPDATE base.orders SET shop = id").fetchall()
    kept = {**changing.kept, "by_segment": _make(changing.db, "by_segment", ROLLUPS["by_segment"])}
    own = replace(changing, kept=kept)
    policy = _policy("shop in (select id from orders where segment = 'S1' or id > 900)")
    view, _ = own.seen(policy, "by_segment")
    assert view.reads == ("orders:by_segment", "orders")
    assert own.same(policy, "by_segment", need("region", COUNT, REVENUE)).route.rollup == "by_segment"


def test_a_struct_in_a_hidden_group_is_null_before_the_engine_looks_into_it(house: House) -> None:
    view, _ = house.seen(_policy("region = user.region"), "by_region")
    assert "CASE" not in view.body
    place = Leaf("min", "place")
    kept = replace(
        house.kept["by_region"],
        leaves={place.column: place.kept()},
        types={**house.kept["by_region"].types, place.column: house.built["orders"]["place"]},
    )
    content = _content(_policy("region = user.region"))
    found = view_of(content, kept, house.built, ANN, house.look_up)
    assert not isinstance(found, Miss)
    assert f'THEN "{place.column}" END AS "{place.column}"' in found[0].body


def test_the_person_reads_the_definition_of_the_view_with_its_rules(house: House) -> None:
    view, _ = house.seen(_policy("region = user.region", masks={"email": "hash"}), "by_region")
    assert view.shown.startswith('SELECT\n  "ordered_at.month",\n  "region",\n')
    assert view.shown.endswith('FROM "orders:by_region"\nWHERE\n  "region" = \'EMEA\'')
    assert "rows of orders: region = user.region" in view.policies


def test_exact_distinct_counts_are_not_taken_from_groups_that_only_look_whole(changing: House) -> None:
    buyers = Leaf("count_distinct", "shop")
    kept = changing.kept["by_mail"]
    changing.db.execute(
        'ALTER TABLE base."orders:by_mail" ADD COLUMN "' + buyers.column + '" BIGINT'
    ).fetchall()
    known = replace(
        kept, leaves={buyers.column: buyers.kept()}, types={**kept.types, buyers.column: "BIGINT"}
    )
    own = replace(changing, kept={**changing.kept, "by_mail": known})
    (miss,) = own.same(_policy(masks={"email": "null"}), "by_mail", need("region", buyers)).route.misses
    assert miss.reason == Reason.DISTINCT


def test_the_last_day_of_all_rows_stays_unsaid_where_some_are_hidden(house: House) -> None:
    kept = replace(house.kept["by_region"], newest={"ordered_at": date(2026, 3, 1)})
    for rule, newest in (("region = 'EMEA'", {}), (None, kept.newest)):
        policy = _policy(rule) if rule else _policy()
        found = view_of(_content(policy), kept, house.built, ANN, house.look_up)
        assert not isinstance(found, Miss)
        assert found[1].newest == newest
