"""Comparisons of a column with values, such that the engine has nothing to cast that could fail.

An engine compares by casting both sides to a common type, and that cast can fail for a row
(`hugeint < 1.5` does for large numbers). So a value is first brought into the column's own
type; where that type has no such value (2.5 among whole numbers, 1000 among TINYINTs), the
comparison is answered by the nearest value that it has, or is the same for every row.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Context, Decimal
from fractions import Fraction

from sqlglot import exp

from serving.content.attributes import as_date, as_timestamp
from serving.content.policy import Family

SIGNED: Mapping[str, int] = {"TINYINT": 8, "SMALLINT": 16, "INTEGER": 32, "BIGINT": 64, "HUGEINT": 128}
UNSIGNED: Mapping[str, int] = {f"U{kind}": bits for kind, bits in SIGNED.items()}
FLOATS = ("FLOAT", "DOUBLE")
_TICKS: Mapping[str, Fraction] = {  # of a microsecond
    "TIMESTAMP_S": Fraction(1, 1_000_000),
    "TIMESTAMP_MS": Fraction(1, 1_000),
    "TIMESTAMP": Fraction(1),
    "TIMESTAMP_NS": Fraction(1_000),
    "TIMESTAMP WITH TIME ZONE": Fraction(1),
}
_LARGEST: Mapping[str, Decimal] = {
    "FLOAT": Decimal("3.4028234663852886e38"),
    "DOUBLE": Decimal("1.7976931348623157e308"),
}
_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - timestamps without zone are compared
_EXACT = Context(prec=100)
_Interval = tuple[int, int]


class RuleInvalid(ValueError):
    """What a rule says wrong, in words that follow its file and line."""


def family_of(kind: str) -> Family | None:
    """The family of a DuckDB type, or None where rules cannot compare it."""
    if kind in SIGNED or kind in UNSIGNED or kind in FLOATS or _DECIMAL.fullmatch(kind):
        return "number"
    if kind in _TICKS:
        return "timestamp"
    known: Mapping[str, Family] = {"VARCHAR": "text", "BOOLEAN": "boolean", "DATE": "date"}
    return known.get(kind)


def decimal_of(kind: str) -> tuple[int, int] | None:
    """Digits and digits behind the point of a DECIMAL type."""
    found = _DECIMAL.fullmatch(kind)
    return (int(found[1]), int(found[2])) if found else None


def may_compare(family: Family, kind: str) -> bool:
    """Whether values of an attribute's family can be compared with columns of that type."""
    column = family_of(kind)
    return column == family or (column == "timestamp" and family == "date")


def number(text: str) -> Decimal:
    """A number as it is written in a rule."""
    return _EXACT.create_decimal(text)


def compared(column: exp.Expr, how: type[exp.Binary], value: object, kind: str) -> exp.Expr:
    """`column how value`; raises RuleInvalid where the value is of another family than the column."""
    exact = _typed(value, kind)
    if not isinstance(exact, Fraction):
        return how(this=column, expression=exact)
    low, high = _range(kind)
    if how in (exp.EQ, exp.NEQ):
        there = exact.denominator == 1 and low <= exact <= high
        if not there:
            return _always(column) if how is exp.NEQ else _never(column)
        return how(this=column, expression=_literal(int(exact), kind))
    nearest = math.ceil(exact) if how in (exp.LT, exp.GTE) else math.floor(exact)
    if low <= nearest <= high:
        return how(this=column, expression=_literal(nearest, kind))
    above = nearest > high
    return _always(column) if above == (how in (exp.LT, exp.LTE)) else _never(column)


def one_of(column: exp.Expr, values: Sequence[object], kind: str) -> exp.Expr:
    """`column IN (values)`, also for no values at all: then it is false, for NULL, too."""
    if not values:
        return exp.false()
    kept = []
    for value in values:
        exact = _typed(value, kind)
        if not isinstance(exact, Fraction):
            kept.append(exact)
        elif exact.denominator == 1 and _range(kind)[0] <= exact <= _range(kind)[1]:
            kept.append(_literal(int(exact), kind))
    return exp.In(this=column, expressions=kept) if kept else _never(column)


def constant(value: object, kind: str) -> exp.Expr | None:
    """The value as a constant of exactly that type, or None where the type has no such value."""
    exact = _typed(value, kind)
    if not isinstance(exact, Fraction):
        fits = kind not in FLOATS or abs(_decimal(value)) <= _LARGEST[kind]
        return cast(exact, kind) if fits else None
    fits = exact.denominator == 1 and _range(kind)[0] <= exact <= _range(kind)[1]
    return cast(_literal(int(exact), kind), kind) if fits else None


def cast(value: exp.Expr, kind: str) -> exp.Cast:
    """`CAST(value AS kind)`, with the type's name exactly as the engine gave it."""
    if isinstance(value, exp.Cast):
        return value
    return exp.Cast(this=value, to=exp.DataType(this=exp.DataType.Type.USERDEFINED, kind=kind))


def _typed(value: object, kind: str) -> Fraction | exp.Expr:
    """Whole units of the column's type as a number, or (text, boolean, date, floats) a literal."""
    match family_of(kind):
        case "text" if isinstance(value, str):
            return exp.Literal.string(value)
        case "boolean" if isinstance(value, bool):
            return exp.Boolean(this=value)
        case "number" if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            amount = _decimal(value)
            if kind in FLOATS:
                return _signed(str(amount))
            scale = decimal_of(kind)
            return Fraction(amount) * Fraction(10) ** (scale[1] if scale else 0)
        case "date" if (day := as_date(value)) is not None:
            return cast(exp.Literal.string(day.isoformat()), kind)
        case "timestamp" if (moment := as_timestamp(value)) is not None:
            since = moment - _EPOCH
            micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
            return Fraction(micros) * _TICKS[kind]
    shown = str(value) if isinstance(value, Decimal | date) else repr(value)
    raise RuleInvalid(f"{shown} cannot be compared with a column of type {kind}")


def _decimal(value: object) -> Decimal:
    amount = value if isinstance(value, Decimal) else Decimal(repr(value))
    if not amount.is_finite() or abs(amount.adjusted()) > 400:
        raise RuleInvalid(f"{value!r} is no number that columns can hold")
    return amount


def _range(kind: str) -> _Interval:
    if (digits := decimal_of(kind)) is not None:
        return 1 - 10 ** digits[0], 10 ** digits[0] - 1
    if kind in UNSIGNED:
        return 0, 2 ** UNSIGNED[kind] - 1
    bits = SIGNED.get(kind, 64)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    if kind == "TIMESTAMP_NS":  # the ends stand for infinity
        return low + 2, high - 1
    return low, high


def _literal(units: int, kind: str) -> exp.Expr:
    """A value of the type, from its whole units."""
    if kind in _TICKS:
        return cast(exp.Literal.string(_moment(units / _TICKS[kind])), kind)
    digits = decimal_of(kind)
    scale = digits[1] if digits else 0
    text = format(Decimal(units).scaleb(-scale, _EXACT).normalize(_EXACT), "f")
    if scale > 19 or abs(units) >= 10**18:  # with more digits the engine might widen the column
        return cast(exp.Literal.string(text), kind)
    return _signed(text)


def _moment(micros: Fraction) -> str:
    """A time as text, to the nanosecond; years before 1 do not occur."""
    seconds, rest = divmod(int(micros * 1_000), 1_000_000_000)
    days, second = divmod(seconds, 86_400)
    ordinal = _EPOCH.toordinal() + days
    if ordinal > date.max.toordinal():  # the last half second of 9999, rounded up
        return "10000-01-01 00:00:00"
    clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    behind = f".{rest:09}".rstrip("0") if rest else ""
    return f"{date.fromordinal(ordinal).isoformat()} {clock}{behind}"


def _signed(text: str) -> exp.Expr:
    positive = exp.Literal.number(text.removeprefix("-"))
    return exp.Neg(this=positive) if text.startswith("-") else positive


def _never(column: exp.Expr) -> exp.Expr:
    """False for every value, NULL for NULL."""
    return exp.NEQ(this=column, expression=column.copy())


def _always(column: exp.Expr) -> exp.Expr:
    """True for every value, NULL for NULL."""
    return exp.EQ(this=column, expression=column.copy())
