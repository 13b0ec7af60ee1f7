"""Facts, each aggregated by the same axes, put together: no row meets another, only groups do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serving.semantic.asking.request import Metric, MetricRequest
from serving.semantic.compile.block import HIT, KIND, ROW, VALUE
from serving.semantic.compile.facts import Expression, Fact, part_formula
from serving.semantic.compile.kinds import grouping_sets
from serving.semantic.dimension import quoted
from serving.semantic.leaves import Formula, mark
from serving.semantic.model import Model
from serving.semantic.routing.routes import Route

Ctes = tuple[tuple[str, str], ...]  # name -> its SELECT


@dataclass(frozen=True)
class Built:
    """A fact as a CTE."""

    fact: Fact
    name: str
    text: str
    routes: tuple[Route, ...]
    reads: tuple[str, ...]


def mixed(fact: Fact, model: Model) -> bool:
    """Whether a part over no rows is something that a NULL does not tell from a row's own value."""
    return any(not _direct(part_formula(part, model)) for part in fact.parts)


def _direct(formula: Formula) -> bool:
    return formula.text == mark(0)


def all_groups(built: Sequence[Built], keys: Sequence[str], name: str) -> Ctes:
    """The CTE of the groups that any of the facts has; none where one fact, or one row, has them all."""
    if len(built) == 1 or not keys:
        return ()
    shown = ", ".join(map(quoted, keys))
    return ((name, "\nUNION\n".join(f"SELECT {shown} FROM {quoted(b.name)}" for b in built)),)


def together(
    built: Sequence[Built],
    keys: Sequence[str],
    spelled: Mapping[Metric, Expression],
    columns: Mapping[Metric, str],
    model: Model,
    groups: Ctes,
) -> str:
    """The metrics by the keys: facts joined on keys that are equal or both NULL."""
    homes = {part: b for b in built for part in b.fact.parts}
    several = bool(groups)
    left = quoted(groups[0][0] if several else built[0].name)

    def value(part: Metric) -> str:
        column = f"{quoted(homes[part].name)}.{quoted(str(part))}"
        formula = part_formula(part, model)
        if not several or formula.empty == "NULL":
            return column
        if _direct(formula):
            return f"coalesce({column}, {formula.empty})"
        return f"CASE WHEN {quoted(homes[part].name)}.{ROW} THEN {column} ELSE {formula.empty} END"

    shown = [f"{left}.{quoted(key)}" for key in keys]
    shown += [f"{spelled[metric].sql(value)} AS {quoted(name)}" for metric, name in columns.items()]
    joins = []
    for b in built if several else built[1:]:
        same = [f"{left}.{quoted(k)} IS NOT DISTINCT FROM {quoted(b.name)}.{quoted(k)}" for k in keys]
        joins.append(
            f"\nLEFT JOIN {quoted(b.name)} ON {' AND '.join(same)}"
            if keys
            else f"\nCROSS JOIN {quoted(b.name)}"
        )
    return f"SELECT {', '.join(shown)}\nFROM {left}{''.join(joins)}"


def of_top(request: MetricRequest, top: str | None, built: Sequence[Built], groups: Ctes) -> str:
    """Only the values of the top, where nothing gathers the rest; totals that lack the axis stay whole."""
    if request.top is None or request.top.other or top is None:
        return ""
    left = quoted(groups[0][0] if groups else built[0].name)
    axis = f"{left}.{quoted(request.top.axis.header)}"
    same = f"{quoted(top)} ON {quoted(top)}.{VALUE} IS NOT DISTINCT FROM {axis}"
    sets = grouping_sets(request)
    whole = [str(2 * index) for index, kept in enumerate(sets) if request.top.axis not in kept]
    if not whole:
        return f"\nJOIN {same}"
    return f"\nLEFT JOIN {same}\nWHERE {quoted(top)}.{HIT} OR {left}.{KIND} IN ({', '.join(whole)})"
