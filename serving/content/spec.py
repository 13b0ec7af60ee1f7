"""What all files under models/ have in common: unknown keys are errors, values are immutable,
and every spec can say at which file and line one of its keys stands (`at`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, PrivateAttr

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Where:
    """Where the keys of one file stand: key path -> line, counting from 1."""

    file: str
    lines: Mapping[KeyPath, int] = field(default_factory=dict)

    def line(self, *path: str | int) -> int:
        """The line of the key, or of the nearest key around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def _one_or_many(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


Names = Annotated[tuple[str, ...], BeforeValidator(_one_or_many)]
Scalar = str | int | float | bool


class Spec(BaseModel):
    """A mapping in a file under models/: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Resource(Spec):
    """A file under models/: its name is the file's name."""

    name: str
    _where: Where = PrivateAttr(default_factory=lambda: Where(""))

    def at(self, *path: str | int) -> str:
        """`file:line` of a key of this resource."""
        return f"{self._where.file}:{self._where.line(*path)}"
