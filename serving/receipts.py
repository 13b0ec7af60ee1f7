"""A receipt in words: what answered, what was passed over and why, what is an estimate."""

from collections.abc import Iterator, Sequence
from typing import Any

from serving.answer import Receipt
from serving.semantic.routes import Route

ESTIMATE = "≈"


def route_words(route: Route) -> str:
    """`orders: the rollup 'daily' (12,467 rows)`"""
    if route.rollup is None:
        return f"{route.mart}: the mart" + (f" ({route.rows:,} rows)" if route.rows else "")
    edges = ", the edges of the range from the mart" if route.split else ""
    return f"{route.mart}: the rollup '{route.rollup}' ({route.rows:,} rows){edges}"


def miss_lines(route: Route) -> Iterator[str]:
    """Every rollup passed over: `daily (dimension): it does not keep 'country'`."""
    for miss in route.misses:
        yield f"{miss.rollup} ({miss.reason.value}): {miss.words}"


def short_notes(receipt: Receipt) -> list[str]:
    """What answered, in a phrase each: `rollup daily`, `from the cache`, `≈ buyers`."""
    rollups = list(dict.fromkeys(f"{route.mart}.{route.rollup}" for route in receipt.routes if route.rollup))
    notes = [f"{'rollup' if len(rollups) == 1 else 'rollups'} {', '.join(rollups)}"] if rollups else []
    notes += ["from the cache"] if receipt.cached else []
    notes += [f"{ESTIMATE} {', '.join(receipt.approximate)}"] if receipt.approximate else []
    return notes


def route_facts(routes: Sequence[Route]) -> list[dict[str, Any]]:
    """Plain values, for JSON."""
    return [
        {
            "mart": route.mart,
            "rollup": route.rollup,
            "rows": route.rows,
            "split": route.split,
            "misses": [
                {"rollup": miss.rollup, "reason": miss.reason.value, "words": miss.words}
                for miss in route.misses
            ],
        }
        for route in routes
    ]
