"""The log's questions, planned again for whoever asked them: what their blocks of aggregation need."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from serving.content.model import Content, Mart
from serving.content.semantics import Rollup
from serving.errors import SluiceError
from serving.plan import METRICS, Plan
from serving.planning import Planner
from serving.project import Project
from serving.semantic.asking.words import read_request
from serving.semantic.routing.routes import Need, Reason, Route
from serving.suggest.log import Asking

_NONE_YET = ""  # no rollup of a file can be called so
_PROBE = Rollup(measures=("none",))


@dataclass(frozen=True)
class Block:
    """A block of aggregation, and where it finds its rows today."""

    need: Need
    route: Route
    asking: Asking


@dataclass(frozen=True)
class Missed:
    """A block that no rollup of its mart could answer, however it was made."""

    mart: str
    reason: Reason
    asking: Asking


@dataclass(frozen=True)
class Replayed:
    """What the questions came to; `refused` are those that could not be asked today."""

    blocks: tuple[Block, ...] = ()
    missed: tuple[Missed, ...] = ()
    used: frozenset[tuple[str, str]] = frozenset()  # (mart, rollup) that answered something
    refused: tuple[Asking, ...] = ()


def replay(project: Project, askings: Iterable[Asking]) -> Replayed:
    """Plan every question with its asker's rights of today; nothing is run, but for newest days."""
    content, planner = _probing(project.content), project.planner()
    blocks: list[Block] = []
    missed: list[Missed] = []
    used: set[tuple[str, str]] = set()
    refused: list[Asking] = []
    for asking in askings:
        heard: list[tuple[Need, Route]] = []
        try:
            plan = _plan(project, planner, asking, content, heard)
        except SluiceError:
            refused.append(asking)
            continue
        blocks += [Block(need, route, asking) for need, route in heard]
        known = [route for _, route in heard]
        missed += [
            Missed(route.mart, route.misses[0].reason, asking)
            for route in plan.routes
            if route.misses and route not in known
        ]
        used |= {(route.mart, route.rollup) for route in plan.routes if route.rollup is not None}
    return Replayed(tuple(blocks), tuple(missed), frozenset(used), tuple(refused))


def _plan(
    project: Project, planner: Planner, asking: Asking, content: Content, into: list[tuple[Need, Route]]
) -> Plan:
    def heard(need: Need, route: Route) -> None:
        into.append((need, route))

    how: dict[str, Any] = {"user": asking.user, "content": content, "heard": heard, "planner": planner}
    if asking.text.startswith(METRICS):
        words = json.loads(asking.text.removeprefix(METRICS))
        return project.rehearse(metrics=read_request(words), **how)
    return project.rehearse(asking.text, parameters=json.loads(asking.params or "null"), **how)


def _probing(content: Content) -> Content:
    """Every mart declares a rollup: SQL over one that declares none is not looked at."""
    marts = {name: mart if mart.rollups else _with_probe(mart) for name, mart in content.marts.items()}
    return replace(content, marts=marts)


def _with_probe(mart: Mart) -> Mart:
    return mart.model_copy(update={"rollups": {_NONE_YET: _PROBE}})
