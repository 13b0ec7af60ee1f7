"""Which measures a rollup names so that it keeps the aggregates that blocks ask for."""

from collections.abc import Iterable, Mapping

from serving.content.model import Mart
from serving.semantic.leaves import Leaf, formula

ROWS = Leaf("count")  # every rollup keeps it
_LAST = 1_000  # a rollup that names a semi-additive measure must keep its time


def measures_by_leaf(mart: Mart) -> Mapping[Leaf, str]:
    """Each aggregate that a rollup of the mart can keep, and the simplest measure that it is kept for."""
    found: dict[Leaf, str] = {}
    sizes: dict[Leaf, int] = {}
    for name, measure in mart.measures.items():
        if measure.cumulative is not None:
            continue
        for approximate in (False, True):
            try:
                leaves = formula(mart, name, approximate).leaves
            except (ValueError, KeyError):  # of other marts, or with nothing in it to estimate
                continue
            size = len(leaves) + (_LAST if measure.semi_additive else 0)
            for leaf in leaves:
                if leaf not in found or size < sizes[leaf]:
                    found[leaf], sizes[leaf] = f"{'~' if approximate else ''}{name}", size
    return found


def measures_for(leaves: Iterable[Leaf], known: Mapping[Leaf, str]) -> tuple[str, ...]:
    """The measures that keep these aggregates; raises KeyError for one of no measure."""
    return tuple(dict.fromkeys(known[leaf] for leaf in leaves if leaf != ROWS or leaf in known))


def estimates(leaves: Iterable[Leaf], known: Mapping[Leaf, str]) -> tuple[str, ...]:
    """The measures among these that may be asked as estimates instead: `~buyers`."""
    names = (known.get(leaf, "") for leaf in leaves if not leaf.mergeable)
    return tuple(dict.fromkeys(f"~{name}" for name in names if name))
