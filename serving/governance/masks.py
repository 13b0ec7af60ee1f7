"""Masks: what people get instead of a column's values, with its exact type and never an error.

Every mask is an expression over the one column, for the governed view's select list, so that
WHERE, JOIN and ORDER BY meet the masked value, too. NULL stays NULL, except for `constant`.
"""

from decimal import Decimal
from fractions import Fraction

from sqlglot import exp

from serving.content.policy import Bucket, Constant, Mask, Partial, Truncate, mask_word
from serving.governance.constants import (
    FLOATS,
    SIGNED,
    UNSIGNED,
    RuleInvalid,
    cast,
    constant,
    decimal_of,
    family_of,
)

_LARGEST_BUCKET = Decimal(10) ** 15  # whole numbers up to here are exact in YAML's floats
_CLOCKLESS = ("year", "quarter", "month", "week", "day")


def mask_problem(mask: Mask, kind: str) -> str | None:
    """Why the mask does not fit columns of that DuckDB type, or None."""
    match mask:
        case "hide" | "null":
            return None
        case "hash" | Partial():
            return None if kind == "VARCHAR" else _needs(mask, "text", kind)
        case Constant(constant=value):
            try:
                given = constant(value, kind)
            except RuleInvalid:
                return f"the constant {value!r} is no value of a column of type {kind}"
            return None if given is not None else f"the constant {value!r} does not exist in the type {kind}"
        case Truncate(truncate=grain):
            if kind == "DATE" and grain not in _CLOCKLESS:
                return f"a DATE has no {grain}s: truncate it to {', '.join(_CLOCKLESS)}"
            return (
                None if family_of(kind) in ("date", "timestamp") else _needs(mask, "date or timestamp", kind)
            )
        case Bucket(bucket=size):
            return _bucket_problem(_exact(size), kind)
    return f"unknown mask {mask!r}"


def masked(column: exp.Expr, kind: str, mask: Mask, mask_key: str | None) -> exp.Expr:
    """The expression that stands for the column; without a key `hash` is for display only.

    `hide` has none: the column is left out. Raises RuleInvalid where the mask does not fit.
    """
    if (problem := mask_problem(mask, kind)) is not None:
        raise RuleInvalid(problem)
    match mask:
        case "null":
            return cast(exp.null(), kind)
        case "hash":
            return _hash(column, mask_key)
        case Constant(constant=value):
            return constant(value, kind) or exp.null()
        case Partial(partial=keep):
            return _partial(column, keep.first, keep.last)
        case Bucket(bucket=size):
            return _bucket(column, _exact(size), kind)
        case Truncate(truncate=grain):
            # the start of the earliest year a type knows lies before its first value
            start = _call("date_trunc", exp.Literal.string(grain), column)
            return _call("try", cast(start, kind))
    raise RuleInvalid(f"the mask {mask!r} leaves no value")


def _needs(mask: Mask, family: str, kind: str) -> str:
    return f"the mask '{mask_word(mask)}' needs a {family} column, not {kind}"


def _hash(column: exp.Expr, mask_key: str | None) -> exp.Expr:
    if mask_key is None:
        return _call("keyed_hash", column)
    key = exp.Literal.string(mask_key)
    inner = _call("sha256", exp.DPipe(this=key, expression=column))
    outer = _call("sha256", exp.DPipe(this=key.copy(), expression=inner))
    return _call("left", outer, exp.Literal.number(32))


def _partial(column: exp.Expr, first: int, last: int) -> exp.Expr:
    ends: list[exp.Expr] = [exp.Literal.string("***")]
    if first:
        ends.insert(0, _call("left", column, exp.Literal.number(first)))
    if last:
        ends.append(_call("right", column.copy(), exp.Literal.number(last)))
    shown = ends[0]
    for end in ends[1:]:
        shown = exp.DPipe(this=shown, expression=end)
    longer = exp.GT(this=_call("length", column.copy()), expression=exp.Literal.number(first + last))
    there = exp.Not(this=exp.Is(this=column.copy(), expression=exp.null()))
    return exp.Case().when(longer, shown).when(there, exp.Literal.string("***"))


def _bucket_problem(size: Decimal, kind: str) -> str | None:
    digits = decimal_of(kind)
    whole = kind in SIGNED or kind in UNSIGNED
    if not whole and digits is None and kind not in FLOATS:
        return f"the mask 'bucket {size:f}' needs a number column, not {kind}"
    if size > _LARGEST_BUCKET:
        return f"a bucket of {size:f} is too large: at most {_LARGEST_BUCKET:f}"
    behind = digits[1] if digits else 0
    if kind not in FLOATS and (Fraction(size) * 10**behind).denominator != 1:
        return f"a bucket of {size:f} is finer than the type {kind}"
    if kind not in FLOATS and constant(size, kind) is None:
        return f"a bucket of {size:f} is larger than all values of the type {kind}"
    return None


def _bucket(column: exp.Expr, size: Decimal, kind: str) -> exp.Expr:
    step = cast(exp.Literal.string(f"{size:f}"), "DOUBLE" if kind in FLOATS else kind)
    if kind in FLOATS:
        count = _call("floor", exp.paren(exp.Div(this=cast(column, "DOUBLE"), expression=step)))
        return _try_cast(exp.paren(exp.Mul(this=count, expression=step.copy())), kind)
    if kind in UNSIGNED:
        return exp.Sub(this=column, expression=exp.paren(exp.Mod(this=column.copy(), expression=step)))
    # the remainder has the sign of the value; one step less for those below zero. What lies
    # before the type's first value is NULL.
    rest = exp.paren(exp.Mod(this=column.copy(), expression=step))
    below = exp.Case().when(exp.LT(this=rest.copy(), expression=_zero()), step.copy()).else_(_zero())
    return _call("try", cast(exp.Sub(this=exp.Sub(this=column, expression=rest), expression=below), kind))


def _zero() -> exp.Expr:
    return exp.Literal.number(0)


def _exact(size: float) -> Decimal:
    return Decimal(repr(size)).normalize()


def _try_cast(value: exp.Expr, kind: str) -> exp.Expr:
    tried = cast(value, kind)
    return exp.TryCast(this=tried.this, to=tried.args["to"])


def _call(name: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=list(arguments))
