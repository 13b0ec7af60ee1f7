"""Where a mart's rows find a dimension: among their own columns, or behind joins that repeat no row."""

from dataclasses import dataclass

from serving.content.semantics import Join
from serving.semantic.asking.request import Axis
from serving.semantic.model import Model
from serving.semantic.routing.reads import columns_read

TIME = "time"  # each mart's own time column


@dataclass(frozen=True)
class Place:
    """A dimension as the rows of one mart reach it; `key` is `region` or `ordered_at.month` of `mart`."""

    mart: str
    key: str
    joins: tuple[str, ...] = ()  # names of joins to walk to it

    @property
    def column(self) -> str:
        """Its name without the grain."""
        return self.key.partition(".")[0]

    @property
    def path(self) -> str:
        """What a joined side calls it: a name that no column of a mart has."""
        return ".".join((*self.joins, self.key))


def place(axis: Axis, mart: str, model: Model) -> Place | None:
    """Where the mart's rows find the axis; None where they do not, or this person may not follow."""
    at = mart
    walked: list[str] = []
    path = axis.path[1:] if axis.path[:1] == (mart,) else axis.path
    for name in path:
        join = model.content.marts[at].joins.get(name)
        if join is None or not walkable(at, join, model):
            return None
        at = join.mart
        walked.append(name)
    name = named(axis.name, at, model)
    if not known(at, name, model):
        return None
    return Place(at, f"{name}.{axis.grain}" if axis.grain else name, tuple(walked))


def named(name: str, mart: str, model: Model) -> str:
    """The mart's own name for a dimension: its time column for `time`."""
    return (model.content.marts[mart].time or TIME) if name == TIME else name


def walkable(mart: str, join: Join, model: Model) -> bool:
    """Whether this person may join so: the keys there are tested to be unique, and both sides are theirs to
    read, and not masked, as masked keys are no longer unique."""
    sides = ((mart, join.on.keys()), (join.mart, join.on.values()))
    return model.unique(join.mart, join.on.values()) and all(
        column in model.readable.get(side, ()) and column not in model.masked.get(side, ())
        for side, columns in sides
        for column in columns
    )


def known(mart: str, name: str, model: Model) -> bool:
    """Whether the mart has such a column or computed dimension for this person."""
    columns = model.readable[mart]
    dimension = model.content.marts[mart].dimensions.get(name)
    return name in columns if dimension is None else reads_only(dimension.expr, mart, model)


def names(mart: str, model: Model) -> list[str]:
    """The dimensions of a mart that this person may ask by."""
    own = model.content.marts[mart].dimensions
    return [name for name in dict.fromkeys((*model.readable[mart], *own)) if known(mart, name, model)]


def reads_only(text: str, mart: str, model: Model) -> bool:
    """Whether the author's expression reads nothing that is hidden from this person."""
    return columns_read(text, mart, model.readable[mart]) is not None


def kind(found: Place, model: Model) -> str:
    """The DuckDB type of a plain column; empty for what is computed."""
    if "." in found.key or found.key in model.content.marts[found.mart].dimensions:
        return ""
    return model.readable[found.mart][found.key]
