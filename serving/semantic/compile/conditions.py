"""What a filter of a request says about an expression, as SQL."""

from sqlglot import exp

from serving.content.spec import Scalar
from serving.errors import QueryRefused
from serving.semantic.asking.request import Filter
from serving.semantic.asking.time import TimeRange


def comparison(expression: str, kind: str, condition: Filter) -> str:
    """The condition on the expression, of DuckDB type `kind` (empty: not known).

    As in SQL, NULL is like nothing and unlike nothing: `!=` and `not in` leave rows without a value
    out; None among the values speaks of them. Raises QueryRefused where values do not fit the
    operator or the type.
    """
    op, values = condition.op, condition.values
    _check(condition, kind)
    match op:
        case "is null" | "is not null":
            return f"{expression} {op.upper()}"
        case "contains":
            return f"contains(lower(CAST({expression} AS VARCHAR)), lower({literal(values[0])}))"
        case "in":
            return _in(expression, values)
        case "not in":
            return _not_in(expression, values)
    value = values[0]
    if value is None:
        return f"{expression} IS {'NOT ' if op == '!=' else ''}NULL"
    return f"{expression} {'<>' if op == '!=' else op} {literal(value)}"


def day_range(expression: str, kind: str, days: TimeRange) -> str:
    """Days of a range, of an instant in the session's time zone."""
    first = days.start if days.bounded else None
    day = expression if kind == "DATE" else f"CAST({expression} AS DATE)"
    bounds = [
        f"{day} {op} DATE '{bound}'" for op, bound in ((">=", first), ("<", days.end)) if bound is not None
    ]
    return " AND ".join(bounds)


def literal(value: Scalar | None) -> str:
    """A value as DuckDB reads it back."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return exp.convert(value).sql("duckdb")


def _in(expression: str, values: tuple[Scalar | None, ...]) -> str:
    listed = ", ".join(literal(value) for value in values if value is not None)
    parts = [f"{expression} IN ({listed})"] if listed else []
    parts += [f"{expression} IS NULL"] if None in values else []
    return f"({' OR '.join(parts)})" if parts else "FALSE"


def _not_in(expression: str, values: tuple[Scalar | None, ...]) -> str:
    listed = ", ".join(literal(value) for value in values if value is not None)
    parts = [f"{expression} NOT IN ({listed})"] if listed else []
    parts += [f"{expression} IS NOT NULL"] if None in values else []
    return " AND ".join(parts) or "TRUE"


def _check(condition: Filter, kind: str) -> None:
    axis, op, values = condition.axis, condition.op, condition.values
    count = {"is null": 0, "is not null": 0}.get(op, 1)
    if op not in ("in", "not in") and len(values) != count:
        raise QueryRefused(f"'{axis} {op}' takes {'one value' if count else 'no value'}, not {len(values)}")
    if None in values and op not in ("in", "not in", "=", "!="):
        raise QueryRefused(f"nothing is {op} NULL", hint=f"write '{axis} is null' or '{axis} is not null'")
    if op == "contains" and not isinstance(values[0], str):
        raise QueryRefused(f"'{axis} contains' takes a text", hint=f"write '{values[0]}' in quotes")
    wrong = next((v for v in values if isinstance(v, int | float)), None)
    if kind == "VARCHAR" and wrong is not None:
        raise QueryRefused(f"'{axis}' holds texts, and {wrong} is none", hint=f"write '{wrong}' in quotes")
