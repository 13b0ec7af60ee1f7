"""Lineage as a Mermaid flowchart. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from serving.content.model import Content

Kind = Literal["source", "mart", "dashboard", "sync"]
_SHAPES: Mapping[Kind, tuple[str, str]] = {
    "source": ("[(", ")]"),
    "mart": ("[", "]"),
    "dashboard": ("([", "])"),
    "sync": ("{{", "}}"),
}


@dataclass(frozen=True, order=True)
class Node:
    """One box of the picture."""

    kind: Kind
    name: str

    @property
    def id(self) -> str:
        """Its name in the chart's text."""
        return f"{self.kind}_{self.name}"


def arrows(
    content: Content, between: Iterable[tuple[str, str]], visible: Iterable[str]
) -> list[tuple[Node, Node]]:
    """Arrows between sources and marts, and on to the dashboards and syncs that use the visible marts."""
    shown = set(visible)
    found = [
        (Node("source" if start in content.sources else "mart", start), Node("mart", end))
        for start, end in between
    ]
    for name, board in content.dashboards.items():
        read = {mart for tile in board.tiles for mart in tile.marts}
        found += [(Node("mart", mart), Node("dashboard", name)) for mart in sorted(read & shown)]
    found += [
        (Node("mart", sync.source), Node("sync", name))
        for name, sync in content.syncs.items()
        if sync.source in shown and sync.source is not None
    ]
    return found


def around(pairs: Iterable[tuple[Node, Node]], mart: str) -> list[tuple[Node, Node]]:
    """What leads to the mart and what it leads to, over any number of steps."""
    pairs, middle = list(pairs), Node("mart", mart)
    before, after = {middle}, {middle}
    for _ in pairs:
        before |= {start for start, end in pairs if end in before}
        after |= {end for start, end in pairs if start in after}
    return [(a, b) for a, b in pairs if (a in before and b in before) or (a in after and b in after)]


def flowchart(pairs: Iterable[tuple[Node, Node]], focus: str = "") -> str:
    """The chart's text; empty where there is nothing to draw."""
    pairs = sorted(set(pairs))
    if not pairs:
        return ""
    nodes = sorted({node for pair in pairs for node in pair})
    lines = ["flowchart LR"]
    for node in nodes:
        left, right = _SHAPES[node.kind]
        lines.append(f'  {node.id}{left}"{node.name}"{right}')
    lines += [f"  {start.id} --> {end.id}" for start, end in pairs]
    if focus:
        lines += ["  classDef here stroke-width:3px,font-weight:bold", f"  class mart_{focus} here"]
    return "\n".join(lines)
