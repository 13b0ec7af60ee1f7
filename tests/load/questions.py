"""What is asked under load, and what must come back."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from serving.errors import QueryFailed, QueryRefused
from tests.load.world import SALES, SMALL, STEWARD, Copies, region_of

Row = tuple[object, ...]


@dataclass(frozen=True)
class Known:
    """A question whose answer is known: each number in it grows evenly with the season."""

    sql: str
    parameter: int | None = None

    @property
    def on_copy(self) -> str:
        """The text for plain DuckDB."""
        return self.sql if self.parameter is None else self.sql.replace("?", str(self.parameter))


LIGHT = (
    Known("select season from season"),
    Known("select count(*) as n, sum(amount) as total, min(season), max(season) from orders"),
    Known("select region, orders, amount from by_region order by region"),
    Known("select count(*), sum(c.season) from customers c join season s using (season)"),
    Known("select count(distinct o.season) from orders o anti join season s on o.season = s.season"),
    Known("select count(*), sum(amount) from orders where customer_id = ?", 11),
    Known("select count(*), sum(amount) from orders where customer_id = ?", 1202),
    Known("with top as (from orders order by order_id limit 20) select sum(amount), count(*) from top"),
    Known("from orders select customer_id, sum(amount) group by all order by 1 limit 30"),
    Known(
        "select region, count(*) from customers semi join orders using (customer_id) group by 1 order by 1"
    ),
)
HEAVY = (
    Known(
        "select count(*), sum(a.amount) from orders a, range(60) r where (a.order_id * 31 + r.range) % 7 = 3"
    ),
    Known(
        "select count(*), sum(a.amount) from orders a join orders b using (customer_id)"
        " where (a.order_id + b.order_id) % 5 = 2"
    ),
    Known(
        "select sum(place), count(*) from (select row_number() over"
        " (partition by customer_id order by order_id) as place from orders)"
    ),
)
FEW = Known("select order_id, amount, note from orders order by order_id")
FEW_ROWS = 50


class Truth:
    """The answers of every season, from the copies of the first two."""

    def __init__(self, people: Iterable[str]) -> None:
        copies = Copies()
        self._known: dict[tuple[Known, str | None], tuple[list[Row], list[Row]]] = {}
        for region in {region_of(person) for person in people}:
            for known in (*LIGHT, *HEAVY, FEW):
                zero, one = (copies.rows(known.on_copy, region, season)[:FEW_ROWS] for season in (0, 1))
                self._known[known, region] = zero, one
        copies.close()

    def rows(self, known: Known, person: str, season: int) -> list[Row]:
        """What the person must get of that season's files; an answer is compared up to FEW_ROWS rows."""
        zero, one = self._known[known, region_of(person)]
        return [tuple(map(_grown, a, b, [season] * len(a))) for a, b in zip(zero, one, strict=True)]


def _grown(zero: object, one: object, season: int) -> object:
    if isinstance(zero, int | Decimal) and isinstance(one, int | Decimal):
        return zero + season * (one - zero)
    assert zero == one
    return zero


def plain(rows: Iterable[Iterable[object]]) -> list[Row]:
    """Rows as they compare: whole numbers are equal however they came."""
    return [tuple(value if value is None else str(value) for value in row) for row in rows]


@dataclass(frozen=True)
class Wrong:
    """A question that must fail, and how."""

    sql: str
    person: str
    kind: type[QueryRefused]
    words: str


WRONG = (
    Wrong("select salary from customers", SALES["EMEA"], QueryRefused, "no column 'salary'"),
    Wrong("from nowhere", STEWARD, QueryRefused, "no mart 'nowhere'"),
    Wrong("delete from orders", STEWARD, QueryRefused, "not allowed"),
    Wrong("from read_csv('/etc/passwd')", SMALL, QueryRefused, "read_csv"),
    Wrong("select note::int from orders", SALES["AMER"], QueryFailed, "order "),
    Wrong("select sum(amount from orders", SALES["APAC"], QueryRefused, ""),
    Wrong("select amount + note from orders", STEWARD, QueryRefused, ""),
)
ENDLESS = "select count(*) from range(10000000) a, range(10000000) b where a.range * b.range % 7 = 3"
BOMBS = (
    "select len(string_agg(repeat('x', 1000), '')) from range(10000000)",
    "with recursive t as (select 1 as i, 'x' as s union all select i + 1, s || s from t)"
    " select max(len(s)) from t",
    "select len(array_agg(repeat('x', 100))) from range(10000000) a, range(9) b",
    "select count(*) from (select distinct a.range * 1000000007 + b.range"
    " from range(10000000) a, range(100) b)",
    "select len(list_sort(range(9000000)))",
)
STUCK = (  # nothing looks for an interrupt inside: only the kill ends them
    "select levenshtein(repeat('a', 100000), repeat('b', 100000))",
    "select max(levenshtein(repeat('a', 99999), note || repeat('b', 99999))) from orders",
)
_WORDS = (
    "select from where group by order limit ( ) , * orders customers region amount 'x' 1 0.5 + - / = and or"
    " not null is in exists with as over partition case when then end join on using union all ? $a :: [ ] { }"
    " -- /* */ ; ' \" \\ \x00 \u200b é 🦆 read_csv pragma attach"
).split(" ")


def soup(dice: random.Random) -> str:
    """Words of SQL in any order, now and then very many."""
    count = 20_000 if dice.random() < 0.02 else dice.randint(1, 40)
    return " ".join(dice.choices(_WORDS, k=count))
