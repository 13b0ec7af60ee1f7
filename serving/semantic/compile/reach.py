"""Whether every fact of a request reaches every dimension that it groups and filters by. Where one does not,
the refusal says why, and names the nearest request that has an answer."""

from collections.abc import Iterator, Mapping, Sequence

from serving.content.validate import near
from serving.errors import QueryRefused
from serving.semantic.asking.request import Axis, Metric, MetricRequest
from serving.semantic.compile.axes import TIME, kind, known, named, names, place, walkable
from serving.semantic.compile.facts import by_mart, expression
from serving.semantic.model import Model

FAR = 4  # joins that a hint may walk


def check_reach(request: MetricRequest, model: Model) -> None:
    """Raises QueryRefused where a mart that the request reads does not know one of its dimensions."""
    marts = by_mart(request, model)
    for axis, timely in _axes(request):
        for mart, metrics in marts.items():
            found = place(axis, mart, model)
            if found is None:
                raise _unreached(axis, mart, metrics, marts, model)
            whole = place(Axis(axis.name, None, axis.path), mart, model)
            typed = kind(whole, model) if whole else ""
            if (timely or axis.grain) and typed and not typed.startswith(("DATE", "TIMESTAMP")):
                hint = "times are DATE or TIMESTAMP columns"
                raise QueryRefused(f"'{axis.name}' of {found.mart} is no time, but {typed}", hint=hint)


def _axes(request: MetricRequest) -> Iterator[tuple[Axis, bool]]:
    yield from ((axis, False) for axis in request.by)
    yield from ((condition.axis, False) for condition in request.filters)
    yield from ((span.axis, True) for span in request.spans)


def _unreached(
    axis: Axis, mart: str, metrics: Sequence[Metric], marts: Mapping[str, list[Metric]], model: Model
) -> QueryRefused:
    hints = []
    spelled = _elsewhere(axis, mart, model)
    if spelled and all(place(spelled, other, model) for other in marts):
        hints.append(f"write '{spelled}'")
    others = [m for name, found in marts.items() if name != mart for m in found if m not in metrics]
    reached = any(place(axis, name, model) for name in marts if name != mart)
    if others and reached:
        out = " and ".join(map(str, metrics))
        hints.append(f"leave out {out}, or '{axis}'")
    elif _untested(axis, mart, model):
        hints = ["`python -m serving build`"]
    elif not hints:
        hints.append(_nearest(axis, mart, model))
    return QueryRefused(_why(axis, mart, model), hint=", or ".join(hint for hint in hints if hint))


def _why(axis: Axis, mart: str, model: Model) -> str:
    if axis.name == TIME and not axis.path:
        return f"'{mart}' has no time column of its own"
    if masked := _masked(axis, mart, model):
        return f"'{mart}' reaches '{axis}' only through a column that is masked for you: {masked}"
    if untested := _untested(axis, mart, model):
        return (
            f"'{mart}' reaches '{axis}' through a join that the version asked was not tested for: {untested}"
        )
    if repeating := _repeating(axis, mart, model):
        return (
            f"'{mart}' has no '{axis}': it is a dimension of {repeating}, and each row of {mart} would be "
            f"counted once per row of {repeating}"
        )
    return f"'{mart}' has no '{axis}'"


def _masked(axis: Axis, mart: str, model: Model) -> str | None:
    """The column of the first join on the way that this person sees through a mask only."""
    for name in axis.path:
        join = model.content.marts[mart].joins.get(name)
        if join is None or join.mart not in model.readable:
            return None
        sides = ((mart, join.on.keys()), (join.mart, join.on.values()))
        for side, columns in sides:
            if found := [column for column in columns if column in model.masked.get(side, ())]:
                return f"{side}.{found[0]}"
        mart = join.mart
    return None


def _untested(axis: Axis, mart: str, model: Model) -> str | None:
    """The first join on the way whose keys no green test of the version calls unique; it takes a build."""
    for name in axis.path:
        join = model.content.marts[mart].joins.get(name)
        if join is None or join.mart not in model.readable:
            return None
        if not model.unique(join.mart, join.on.values()):
            return name
        mart = join.mart
    return None


def _repeating(axis: Axis, mart: str, model: Model) -> str | None:
    """A mart that knows the name and leads here: the way back would repeat rows."""
    named = [other for other in axis.path[-1:] if other in model.readable]
    for other in named or model.readable:
        if other != mart and known(other, axis.name, model) and mart in _paths(other, model):
            return other
    return None


def _elsewhere(axis: Axis, mart: str, model: Model) -> Axis | None:
    """The nearest spelling that this mart's rows reach."""
    for other, path in {mart: (), **_paths(mart, model)}.items():
        if known(other, named(axis.name, other, model), model) and path != axis.path:
            return Axis(axis.name, axis.grain, path)
    return None


def _paths(mart: str, model: Model) -> dict[str, tuple[str, ...]]:
    """The marts that joins lead to from here, each by its shortest path of names."""
    found: dict[str, tuple[str, ...]] = {}
    border: list[tuple[str, tuple[str, ...]]] = [(mart, ())]
    for _ in range(FAR):
        border = [
            (join.mart, (*path, name))
            for at, path in border
            for name, join in model.content.marts[at].joins.items()
            if join.mart not in found and join.mart != mart and walkable(at, join, model)
        ]
        for other, path in border:
            found.setdefault(other, path)
    return found


def _marts(metric: Metric, model: Model) -> list[str]:
    """The marts that a metric reads; none where this person cannot ask it."""
    try:
        return [part.mart for part in expression(metric, model).parts]
    except QueryRefused:
        return []


def _nearest(axis: Axis, mart: str, model: Model) -> str:
    if repeating := _repeating(axis, mart, model):
        asked = Axis(axis.name, axis.grain)
        for name in model.content.marts[repeating].measures:
            if set(_marts(Metric(repeating, name), model)) == {repeating}:
                return f"ask for a measure of {repeating}: {repeating}.{name} by '{asked}'"
    if axis.path and place(Axis(axis.name), mart, model) is None:
        joins = [
            name for name, join in model.content.marts[mart].joins.items() if walkable(mart, join, model)
        ]
        return near(axis.path[0], [mart, *joins])
    return near(axis.name, names(mart, model))
