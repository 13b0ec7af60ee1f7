"""What a request may be asked by: axes that all its marts share, of all or of those a rollup keeps."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from serving.semantic.asking.request import Axis
from serving.semantic.dimension import COARSER
from tests.property.metrics.sight import Sight
from tests.property.metrics.world import GRAINS


@dataclass(frozen=True)
class Scope:
    """The marts of a request, and the dimensions of a rollup that could answer it (or none)."""

    sight: Sight
    marts: tuple[str, ...]
    kept: tuple[str, ...] = ()

    @property
    def known(self) -> dict[str, str]:
        """What all the marts can be asked by -> its type in the first of them."""
        first, *rest = (self.sight.kinds[mart] for mart in self.marts)
        found = {key: kind for key, kind in first.items() if all(key in other for other in rest)}
        return {key: kind for key, kind in found.items() if key != "id"}

    def kind(self, axis: Axis) -> str:
        """The type of the axis without its grain."""
        return self.sight.kinds[self.marts[0]][self.sight.key(self.marts[0], axis) or ""]

    def axis(self, dice: random.Random) -> Axis:
        """An axis that every mart has."""
        known = self.known
        kept = [name for name in self.kept if name.partition(".")[0] in known]
        if kept and dice.random() < 0.93:
            return self._kept(dice, dice.choice(kept))
        if dice.random() < 0.35:
            return Axis("time", dice.choice(GRAINS))
        return self.grained(dice, self.path(dice, dice.choice(sorted(known))))

    def grained(self, dice: random.Random, axis: Axis) -> Axis:
        """With a grain, where it is a time."""
        kinds = {self.sight.kinds[mart][self.sight.key(mart, axis) or ""] for mart in self.marts}
        if not all(timely(kind) for kind in kinds):
            return axis
        grains: list[str | None] = [*GRAINS]
        if len(kinds) == 1:
            grains += [None] if kinds == {"DATE"} else [None, "hour"]
        return replace(axis, grain=dice.choice(grains))  # type: ignore[arg-type]

    def path(self, dice: random.Random, key: str) -> Axis:
        """The axis of a key, now and then with the mart's own name before it."""
        *path, name = key.split(".")
        if len(self.marts) == 1 and dice.random() < 0.1:
            path.insert(0, self.marts[0])
        return Axis(name, None, tuple(path))

    def _kept(self, dice: random.Random, dimension: str) -> Axis:
        name, _, grain = dimension.partition(".")
        axis = self.path(dice, name)
        if not grain:
            return axis if not timely(self.kind(axis)) or self._same(name) else replace(axis, grain="month")
        times = {self.sight.world.marts[mart].time for mart in self.marts}
        if times == {name} and dice.random() < 0.5:
            axis = Axis("time")
        grains: Sequence[str] = COARSER[grain]  # type: ignore[index]
        if not self._same(name):
            grains = [g for g in grains if g != "hour"]
        return replace(axis, grain=dice.choice(grains))  # type: ignore[arg-type]

    def _same(self, key: str) -> bool:
        return len({self.sight.kinds[mart][key] for mart in self.marts}) == 1


def timely(kind: str) -> bool:
    """Whether a type has days."""
    return kind == "DATE" or kind.startswith("TIMESTAMP")
