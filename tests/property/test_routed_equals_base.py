"""Plain SQL answered by a rollup gives the same headers, types, rows and order as over the mart."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.spec.route_rig import ROWS, Rig, make_rig

KEYS = (
    "region",
    "o.REGION",
    "segment",
    "coalesce(region, '-')",
    "region || segment",
    "upper(region)",
    "case when pieces < 5 then 'small' else 'large' end",
    "length(region) > 2",
    "ordered_at::date",
    "day",
    "cast(seen_at as date)",
    "date_trunc('hour', seen_at)",
    "date_trunc('day', day)",
    "cast(date_trunc('month', seen_at) as date)",
    "year(day)",
    "monthname(ordered_at)",
    "week(ordered_at)",
    "extract(isodow from day)",
    *(f"date_trunc('{grain}', ordered_at)" for grain in ("day", "week", "month", "quarter", "year")),
    *(f"CAST(date_trunc('{grain}', ordered_at) AS DATE)" for grain in ("week", "month", "year")),
    "CAST(date_trunc('week', ordered_at + INTERVAL 1 DAY) - INTERVAL 1 DAY AS DATE)",
    "'x'",
)
SUMS = (
    "sum(amount)",
    "count(*)",
    "count(1)",
    "count(ordered_at)",
    "sum(o.Pieces)",
    "avg(pieces)",
    "min(amount)",
    "max(amount)",
    "max(region)",
    "count(distinct region)",
    "sum(amount * 2)",
    "sum(amount) / nullif(count(*), 0)",
    "sum(amount) filter (where region = 'EMEA')",
    "count(*) filter (where region is null)",
    "avg(pieces) filter (where ordered_at < date '2026-02-01')",
    "min(amount) filter (where segment = 'S1')",
    "count(distinct buyer)",
    "median(amount)",
    "quantile_cont(amount, 0.9)",
    "approx_count_distinct(buyer)",
    "rank() over (order by sum(amount) desc, count(*))",
    "sum(count(*)) over ()",
)
CONDITIONS = (
    "region = 'EMEA'",
    "region is distinct from 'EMEA'",
    "region in (select name from regions)",
    "not (region = 'AMER' or segment = 'S1')",
    "pieces > 3",
    "case when pieces < 5 then 'small' else 'large' end = 'small'",
    "cast(seen_at as date) >= '2026-03-08'",
    "cast(seen_at as date) between date '2026-03-08' and date '2026-03-08'",
    "seen_at < date '2026-03-09'",
    "date_trunc('month', ordered_at) = date '2026-01-01'",
    "year(ordered_at) = 2026",
    "false",
)
LITERALS = (
    "'2026-01-01'",
    "date '2026-01-17'",
    "timestamp '2026-02-01'",
    "'2026-02-28 00:00:00'",
    "timestamp '2026-02-03 10:30:00'",
    "'2026-02-28 23:59:59.999999'",
    "(date '2026-01-01' + interval 1 month)",
    "current_date",
)


TABLES = (
    *("orders o",) * 4,
    "orders o join regions r on o.region = r.name",
    "regions r join orders o on region = name and ordered_at >= date '2026-01-20'",
    "orders o left join regions r on r.name is not distinct from o.region or r.rank = 2",
    "orders o join (select name as region, rank from regions) r using (region)",
    "orders o join (select segment as part, count(*) as rank from orders group by 1) r on segment = part",
    "orders o semi join regions r on region = name",
    "orders o cross join regions r",
)


@pytest.fixture(scope="module")
def rigs() -> Iterator[tuple[Rig, ...]]:
    """One in UTC; one with weeks from Sunday where midnights come twice; one without rows."""
    made = (
        make_rig(),
        make_rig("sunday", "America/Havana"),
        make_rig(rows=f"SELECT * FROM ({ROWS}) WHERE false"),
    )
    yield made
    for rig in made:
        rig.db.close()


@st.composite
def ranges(draw: st.DrawFn) -> str:
    column = draw(st.sampled_from(("ordered_at", "day", "o.ordered_at", "ordered_at::date")))
    one, two = draw(st.sampled_from(LITERALS)), draw(st.sampled_from(LITERALS))
    if draw(st.booleans()):
        return f"{column} between {one} and {two}"
    if draw(st.booleans()):
        return f"{one} {draw(st.sampled_from(('<', '<=', '=')))} {column}"
    return f"{column} {draw(st.sampled_from(('>=', '>', '<', '<=', '=')))} {one}"


@st.composite
def questions(draw: st.DrawFn) -> str:
    tables = draw(st.sampled_from(TABLES))
    known = KEYS if " r " not in tables or "semi" in tables else (*KEYS, "r.rank", "rank + 1")
    keys = draw(st.lists(st.sampled_from(known), max_size=3, unique=True))
    sums = draw(st.lists(st.sampled_from(SUMS), min_size=0 if keys else 1, max_size=3, unique=True))
    shown = [*keys, *sums]
    taken = draw(st.permutations(("amount", "region", "segment", "pieces", "ordered_at")))
    names = [
        draw(st.sampled_from(("", f" AS c{place}", f" AS {taken[place % 5]}"))) for place in range(len(shown))
    ]
    items = draw(st.permutations([f"{text}{name}" for text, name in zip(shown, names, strict=True)]))
    conditions = draw(st.lists(st.one_of(ranges(), st.sampled_from(CONDITIONS)), max_size=2))
    text = f"select {', '.join(items)} from {tables}"
    text += f" where {' and '.join(conditions)}" if conditions else ""
    if keys and not sums and draw(st.booleans()):
        return text.replace("select", "select distinct", 1)
    if keys:
        written = ", ".join(keys)
        sets = ("all", written, written, f"rollup ({written})", f"grouping sets (({written}), ())")
        text += f" group by {draw(st.sampled_from(sets)) if keys != [chr(39) + 'x' + chr(39)] else 'all'}"
    if draw(st.integers(0, 3)) == 0:
        text += " having count(*) > 3"
    around = draw(
        st.sampled_from(("{}", "{}", "with x as ({}) from x", "select * from ({}) y", "{} order by all"))
    )
    return around.format(text)


def test_a_routed_question_has_the_answer_of_the_question(rigs: tuple[Rig, ...]) -> None:
    """For 300 questions, of which rollups answer many."""
    asked = routed = 0

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(questions(), st.integers(0, 2))
    def check(question: str, place: int) -> None:
        nonlocal asked, routed
        routes = rigs[place].rollups(question)
        asked, routed = asked + 1, routed + any(routes)

    check()
    assert routed > asked / 8
