"""Rows of random marts: NULLs, ties, partners that are missing, and times where calendars turn."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu")
WORDS = ("EMEA", "AMER", "emea", "a_b", "50%", "Ä", "", "o'neil")
TURNS = (  # local: months', weeks', years' ends, and the two days on which clocks change
    date(2025, 12, 28),
    date(2025, 12, 31),
    date(2026, 1, 1),
    date(2026, 2, 28),
    date(2026, 3, 1),
    date(2026, 3, 8),
    date(2026, 3, 29),
    date(2026, 3, 31),
    date(2025, 10, 26),
    date(2025, 11, 2),
    date(2024, 2, 29),
)


@dataclass(frozen=True)
class Column:
    """A column of a mart; `kind` is DuckDB's type."""

    name: str
    kind: str

    @property
    def timely(self) -> bool:
        """Whether it has days."""
        return self.kind in ("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")


@dataclass(frozen=True)
class Table:
    """A mart's rows, in the order of its columns."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[object, ...], ...]


FACT = (
    Column("kind", "VARCHAR"),
    Column("state", "VARCHAR"),
    Column("flag", "BOOLEAN"),
    Column("n", "INTEGER"),
    Column("big", "BIGINT"),
    Column("amount", "DECIMAL(12,2)"),
    Column("weight", "DOUBLE"),
    Column("day", "DATE"),
)
PARTNER = (
    Column("segment", "VARCHAR"),
    Column("tier", "INTEGER"),
    Column("born", "DATE"),
)


def fact_table(dice: random.Random, keys: Mapping[str, int], zone: str) -> Table:
    """A fact's rows: `keys` are the joined columns, and how many partners there are."""
    at = Column("seen", dice.choice(("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP WITH TIME ZONE")))
    columns = (Column("id", "INTEGER"), *(Column(name, "INTEGER") for name in keys), *FACT, at)
    count = dice.choice((0, 1, 12, 40, 60, 90, 120))
    days = _days(dice)
    words = dice.sample(WORDS, dice.randint(1, 4))
    rows = []
    for number in range(count):
        day = dice.choice(days)
        joined = [_maybe(dice, dice.randint(1, partners + 2), 0.15) for partners in keys.values()]
        values: list[object] = [
            number,
            *joined,
            _maybe(dice, dice.choice(words), 0.2),
            _maybe(dice, dice.choice(("open", "done", "held")), 0.1),
            _maybe(dice, dice.random() < 0.5, 0.2),
            _maybe(dice, dice.randint(-1, 5), 0.2),
            _maybe(dice, dice.choice((0, 1, 2**40, -(2**40))), 0.1),
            _maybe(dice, Decimal(dice.randint(-500, 12_000)) / 100, 0.15),
            _maybe(dice, dice.randint(-8, 80) / 4, 0.1),  # quarters: their sums are exact in any order
            _maybe(dice, day, 0.1),
            _maybe(dice, _instant(dice, day, zone if "ZONE" in at.kind else None), 0.08),
        ]
        rows.append(tuple(values))
    dice.shuffle(rows)
    return Table(columns, tuple(rows))


def partner_table(dice: random.Random, count: int, key: str | None = None, partners: int = 0) -> Table:
    """Rows that facts join to by `id`; `key` joins on to another such table."""
    columns = (Column("id", "INTEGER"), *((Column(key, "INTEGER"),) if key else ()), *PARTNER)
    rows = []
    for number in range(1, count + 1):
        joined = [_maybe(dice, dice.randint(1, partners + 1), 0.2)] if key else []
        values: list[object] = [
            number,
            *joined,
            _maybe(dice, dice.choice(("EMEA", "AMER", "small")), 0.25),
            _maybe(dice, dice.randint(1, 3), 0.15),
            _maybe(dice, dice.choice(TURNS), 0.2),
        ]
        rows.append(tuple(values))
    return Table(columns, tuple(rows))


def _days(dice: random.Random) -> list[date]:
    """Few days, so that they tie; with gaps between them."""
    start = dice.choice(TURNS)
    near = [start + timedelta(days=dice.randint(-3, 40)) for _ in range(dice.randint(1, 12))]
    return [*near, *dice.sample(TURNS, dice.randint(0, 4))]


def _instant(dice: random.Random, day: date, zone: str | None) -> datetime:
    hour = dice.choice((0, 0, 1, 1, 2, 2, 3, 12, 23, 23))
    local = datetime(day.year, day.month, day.day, hour, dice.choice((0, 0, 15, 30, 59)))
    if zone is None:
        return local
    there = local.replace(tzinfo=ZoneInfo(zone), fold=dice.randint(0, 1))
    return datetime.fromtimestamp(there.timestamp(), ZoneInfo("UTC"))


def _maybe(dice: random.Random, value: object, missing: float) -> object:
    return None if dice.random() < missing else value
