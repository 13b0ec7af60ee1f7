"""How a row's new values stand to those that were accepted last, field by field, in SQL.

The SQL reads j0, j1 … (the new values as JSON text, NULL where a field is left out) and
`o` (the accepted ones, in the same order, NULL where there is none).
"""

from collections.abc import Sequence
from decimal import Decimal

from reverse_etl.mapping import MappedField
from reverse_etl.wire import constant, literal, pointer
from serving.content.sync import Tolerance_

LONG = 17  # characters from which on a number may have more digits than a double holds


def accepted_values(fields: Sequence[MappedField], accepted: str) -> str:
    """The list `o`, from the accepted fields as JSON text."""
    pointers = ", ".join(literal(pointer(f.name)) for f in fields)
    return f"json_extract({accepted}, [{pointers}]::varchar[])::varchar[]"


def differs(fields: Sequence[MappedField], number: int) -> str:
    """Whether the field's value is another than the accepted one; false where it is left out."""
    new, old = f"j{number}", f"o[{number + 1}]"
    same = f"{old} is not distinct from json({new})::varchar"  # 10.50 is 10.5
    if fields[number].number:
        # JSON functions round long numbers: those are only equal if everything is, letter by letter
        same = f"case when length({new}) > {LONG} then coalesce(fields = old, false) else {same} end"
    return f"case when {new} is null or {old} is not distinct from {new} then false else not ({same}) end"


def is_news(field: MappedField, number: int) -> str:
    """Whether a difference (x0, x1 …) is one that is worth a call."""
    if field.tolerance is None:
        return f"x{number}"
    return f"(x{number} and not coalesce({_within(field.tolerance, number)}, false))"


def written(fields: Sequence[MappedField], *, only_differing: bool) -> str:
    """The fields as one JSON text, without those that are left out."""
    if not fields:
        return "'{}'"
    parts = []
    for number, field in enumerate(fields):
        part = f"{literal(constant(field.name) + ':')} || j{number}"
        parts.append(f"case when x{number} then {part} end" if only_differing else part)
    if only_differing or any(field.may_skip for field in fields):
        return f"'{{' || concat_ws(',', {', '.join(parts)}) || '}}'"
    return "'{' || " + " || ',' || ".join(parts) + " || '}'"


def _within(tolerance: Tolerance_, number: int) -> str:
    if tolerance.always:
        return "true"
    new, old = f"j{number}", f"o[{number + 1}]"
    # decimals first, so that 10.20 is exactly 0.10 more than 10.10; doubles where they are too large
    exact, rough = (
        f"abs(try_cast({new} as {kind}) - try_cast({old} as {kind}))" for kind in ("decimal(28, 9)", "double")
    )
    if tolerance.below is not None:
        limit = repr(tolerance.below)
        if not 1e-9 <= tolerance.below < 1e18:
            return f"{rough} < {limit}::double"
        return f"coalesce({exact} < {Decimal(limit):f}::decimal(28, 9), {rough} < {limit}::double)"
    share = repr(tolerance.share)
    roughly = f"{rough} < {share}::double * abs(try_cast({old} as double))"
    if tolerance.share is None or not 1e-6 <= tolerance.share < 1e3:
        return roughly
    exactly = f"{exact} < {Decimal(share):f}::decimal(9, 6) * abs(try_cast({old} as decimal(28, 9)))"
    return f"coalesce({exactly}, {roughly})"
