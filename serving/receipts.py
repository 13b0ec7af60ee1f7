"""A receipt in words: what answered, what was passed over and why, what is an estimate."""

from collections.abc import Iterator, Sequence
from typing import Any

from serving.answer import Receipt
from serving.semantic.routing.routes import Route

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
    return notes + estimates(receipt)


def answered_by(receipt: Receipt) -> str:
    """One line below an answer: `rollup orders.daily; not from the cache; ≈ buyers`."""
    rollups = [f"rollup {route.mart}.{route.rollup}" for route in receipt.routes if route.rollup]
    marts = [f"mart {route.mart}" for route in receipt.routes if not route.rollup]
    notes = [", ".join(dict.fromkeys([*rollups, *marts]))] if receipt.routes else []
    notes.append("from the cache" if receipt.cached else "not from the cache")
    return "; ".join(notes + estimates(receipt))


def estimates(receipt: Receipt) -> list[str]:
    """`≈ buyers`, where something is an estimate; what a comparison puts beside it goes without saying."""
    beside = {
        f"{name}_{word}" for name in receipt.approximate for word in ("before", "change", "change_rate")
    }
    names = [name for name in receipt.approximate if name not in beside]
    return [f"{ESTIMATE} {', '.join(names)}"] if names else []


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
