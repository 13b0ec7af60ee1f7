"""Numbers, dates and texts as people read them. Pure."""

import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import NamedTuple

NOTHING = "–"
NO_VALUE = "(none)"
_FORMAT = re.compile(
    r"(?P<symbol>[$£€¥]?)(?P<sign>\+?)(?P<symbol2>[$£€¥]?)(?P<comma>,?)(?:\.(?P<places>\d+))?(?P<kind>[f%ds]?)"
)


class Shape(NamedTuple):
    """A d3-like number format, taken apart."""

    symbol: str = ""
    signed: bool = False
    comma: bool = True
    places: int | None = None  # None: as many as the value needs
    percent: bool = False

    @property
    def printf(self) -> str:
        """The same for a chart's tooltip."""
        if self.percent:  # charts get percent values times 100
            return f"%{'+' if self.signed else ''}.{self.places or 0}f%%"
        comma = "," if self.comma else ""
        return f"{self.symbol}%{'+' if self.signed else ''}{comma}.{self.places or 0}f"


def shape(text: str) -> Shape:
    """`$,.0f`, `.1%`, `+.1%`, `,.2f`; anything unknown is a plain number."""
    found = _FORMAT.fullmatch(text)
    if not text or found is None:
        return Shape()
    kind = found["kind"]
    places = int(found["places"]) if found["places"] else 0 if kind in ("d", "%") else None
    symbol = found["symbol"] or found["symbol2"]
    return Shape(symbol, bool(found["sign"]), bool(found["comma"]), places, kind == "%")


def figure(value: object, form: str = "") -> str:
    """One value, readable: `$1,234`, `12.3%`, `3 Nov 2026`; `–` where there is none."""
    match value:
        case None:
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case int() | float() | Decimal():
            return _number(float(value) if isinstance(value, Decimal) else value, shape(form))
        case datetime():
            plain = value.hour == value.minute == value.second == 0
            return day(value.date()) if plain else f"{day(value.date())} {value:%H:%M}"
        case date():
            return day(value)
        case time() | timedelta():
            return str(value)
    return str(value)


def _number(value: float, how: Shape) -> str:
    if value != value or value in (float("inf"), float("-inf")):
        return NOTHING
    if how.percent:
        return f"{'+' if how.signed and value > 0 else ''}{_minus(f'{value * 100:.{how.places or 0}f}')}%"
    places = how.places
    if places is None:
        places = 0 if float(value).is_integer() else 2 if abs(value) >= 1 else 4
    text = f"{abs(value):,.{places}f}" if how.comma else f"{abs(value):.{places}f}"
    negative = value < 0 and any(sign in "123456789" for sign in text)
    return f"{'−' if negative else '+' if how.signed and value > 0 else ''}{how.symbol}{text}"


def short(value: float, form: str = "") -> str:
    """The same in at most six signs: `$3.3M`, `41.2k`, `12.3%`."""
    how = shape(form)
    if how.percent or abs(value) < 10_000:
        return figure(value, form)
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            scaled = abs(value) / size
            return f"{'−' if value < 0 else ''}{how.symbol}{scaled:.{0 if scaled >= 100 else 1}f}{unit}"
    return figure(value, form)


def _minus(text: str) -> str:
    return text.replace("-", "−")


def day(value: date) -> str:
    """`3 Nov 2026`"""
    return f"{value.day} {value:%b %Y}"


def bucket(value: object, grain: str) -> str:
    """A point on a time axis, as short as its grain allows; any other value as text."""
    if value is None:
        return NO_VALUE
    if not isinstance(value, date):
        return figure(value)
    match grain:
        case "hour":
            return f"{value.day} {value:%b %H:%M}"
        case "month":
            return f"{value:%b %Y}"
        case "quarter":
            return f"Q{(value.month + 2) // 3} {value.year}"
        case "year":
            return str(value.year)
    return f"{value.day} {value:%b} {value:%y}"


def change(now: float | None, before: float | None) -> float | None:
    """The relative change, None where there is nothing to compare with."""
    if now is None or before is None or before == 0:
        return None
    return (now - before) / abs(before)


def ago(moment: datetime | None, now: datetime) -> str:
    """`5 min ago`, `in 3 h`; `never` without a moment."""
    if moment is None:
        return "never"
    seconds = (now - moment).total_seconds()
    if abs(seconds) < 5:
        return "now"
    words = f"{abs(seconds):.0f} s" if abs(seconds) < 60 else span(abs(seconds))
    return f"{words} ago" if seconds > 0 else f"in {words}"


def span(seconds: float) -> str:
    """`0.4 s`, `12 s`, `5 min`, `3 h`, `2 days`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    for size, unit in ((86_400, "day"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} {unit}{'s' if unit == 'day' and number != 1 else ''}"
    return f"{seconds:.0f} s"


def label(name: str) -> str:
    """`ordered_at` -> `Ordered at`, `aov` -> `AOV`."""
    words = name.replace("_", " ").strip()
    if words in ("aov", "id", "sku", "arr", "mrr", "ltv"):
        return words.upper()
    return words[:1].upper() + words[1:]


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 row`, `1,234 rows`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
