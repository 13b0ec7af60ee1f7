"""How a question can fail in the engine."""

from typing import Literal

Kind = Literal[
    "bind",  # the engine does not understand the text: names, types, syntax
    "data",  # a value broke it while it ran
    "memory",  # more memory than a worker may use
    "size",  # the answer is larger than it may be
    "stopped",  # time is up, or somebody cancelled
    "crashed",  # the worker died
    "busy",  # no turn came in time
    "queue",  # too many questions of this person wait already
]


class EngineFailure(Exception):
    """A question did not come through; `text` is the engine's own and not yet fit for people."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(text)
        self.kind, self.text = kind, text


class SnapshotGone(Exception):
    """The snapshot's files were deleted before a worker opened them: pin the version that serves now."""
