"""Row rules that no row can fulfil: a contradiction is a slip of the pen, not a policy."""

import operator
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from sqlglot import exp

from serving.content.attributes import as_timestamp
from serving.governance.row_rules import COMPARISONS, literal_value, values_in

_Constant = str | bool | Decimal
_ORDER: Mapping[type[exp.Expr], Callable[[Any, Any], Any]] = {
    exp.EQ: operator.eq,
    exp.NEQ: operator.ne,
    exp.LT: operator.lt,
    exp.LTE: operator.le,
    exp.GT: operator.gt,
    exp.GTE: operator.ge,
}


def never_true(tree: exp.Expr) -> bool:
    """Whether the rule contradicts itself; only what constants say is seen, so not every such rule."""
    if isinstance(tree, exp.Paren):
        return never_true(tree.this)
    if isinstance(tree, exp.Or):
        return never_true(tree.left) and never_true(tree.right)
    parts = _all_of(tree)
    if any(never_true(part) for part in parts if isinstance(part, exp.Or)):
        return True
    plain = [part for part in parts if isinstance(part, (*COMPARISONS, exp.In, exp.Between, exp.Is))]
    names = {part.this.name for part in plain}
    return any(_contradiction([part for part in plain if part.this.name == name]) for name in names)


def _all_of(tree: exp.Expr) -> list[exp.Expr]:
    if isinstance(tree, exp.Paren):
        return _all_of(tree.this)
    return [*_all_of(tree.left), *_all_of(tree.right)] if isinstance(tree, exp.And) else [tree]


def _contradiction(parts: list[exp.Expr]) -> bool:
    """Whether no value of the one column fulfils all of the conditions."""
    compared = [part for part in parts if not isinstance(part, exp.Is)]
    if compared and len(compared) < len(parts):
        return True  # IS NULL, and a comparison that NULL cannot fulfil
    among: set[_Constant] | None = None
    for part in compared:
        if isinstance(part, exp.EQ) or (isinstance(part, exp.In) and part.expressions):
            values = [_constant(value) for value in values_in(part)]
            if None not in values:
                mine = {value for value in values if value is not None}
                among = mine if among is None else among & mine
    if among is not None:
        return not any(all(_holds(part, value) for part in compared) for value in among)
    return _empty_range(compared)


def _constant(node: exp.Expr) -> _Constant | None:
    """The value, or None for an attribute. Dates and times become texts that sort as they do."""
    if isinstance(node, exp.Column):
        return None
    value = literal_value(node)
    if (moment := as_timestamp(value)) is not None:
        return moment.isoformat()
    return value if isinstance(value, str | bool | Decimal) else None


def _holds(part: exp.Expr, value: _Constant) -> bool:
    """Whether the value may fulfil the condition; true where that depends on the person."""
    if isinstance(part, exp.In | exp.EQ):
        return not part.args.get("expression") or _compare(part, value, part.expression)
    if isinstance(part, exp.Between):
        low, high = part.args["low"], part.args["high"]
        return _ordered(low, value, exp.GTE) and _ordered(high, value, exp.LTE)
    return _compare(part, value, part.expression)


def _compare(part: exp.Expr, value: _Constant, other: exp.Expr) -> bool:
    return _ordered(other, value, type(part))


def _ordered(other: exp.Expr, value: _Constant, how: type[exp.Expr]) -> bool:
    bound = _constant(other)
    if bound is None or type(bound) is not type(value):
        return True
    return bool(_ORDER[how](value, bound))


def _empty_range(parts: list[exp.Expr]) -> bool:
    lows: list[tuple[Any, bool]] = []
    highs: list[tuple[Any, bool]] = []
    for node, how in (bound for part in parts for bound in _bounds(part)):
        value = _constant(node)
        if value is not None and how in (exp.GT, exp.GTE):
            lows.append((value, how is exp.GT))
        elif value is not None and how in (exp.LT, exp.LTE):
            highs.append((value, how is exp.LT))
    return any(
        type(low) is type(high) and (low > high or (low == high and (above or below)))
        for low, above in lows
        for high, below in highs
    )


def _bounds(part: exp.Expr) -> list[tuple[exp.Expr, type[exp.Expr]]]:
    if isinstance(part, exp.Between):
        return [(part.args["low"], exp.GTE), (part.args["high"], exp.LTE)]
    return [(part.expression, type(part))] if isinstance(part, COMPARISONS) else []
