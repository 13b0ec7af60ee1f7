"""Every failure Sluice understands. Anything else that is raised is a bug.

SluiceError                 problem + hint, shown to the person as they are
├── ContentInvalid          files under models/ are wrong: fix them, run `check`
├── BuildFailed             a mart's SQL failed or a data test is red: nothing was published
├── NotPublished            there is no such version, or nothing was built yet
├── UnknownUser             nobody the policy knows
├── AuditUnwritable         a question cannot be written down (audit_log.py): it is not answered
├── AuditBroken             the audit was changed (audit_chain.py)
└── QueryRefused            the question is not allowed, or not understood
    └── QueryFailed         the question is allowed, but it failed while it ran
        └── QueryStopped    it ran into a limit, or somebody cancelled it
            └── TooBusy     no turn came: too many questions run or wait
"""

from collections.abc import Sequence
from dataclasses import dataclass


class SluiceError(Exception):
    """A failure with a reader: what is wrong, and what to do about it."""

    def __init__(self, problem: str, *, hint: str = "") -> None:
        super().__init__(f"{problem}\n  hint: {hint}" if hint else problem)
        self.problem = problem
        self.hint = hint


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in one file; `line` counts from 1."""

    file: str
    line: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}: {self.message}"
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class ContentInvalid(SluiceError):
    """Files under models/ are wrong; carries all problems of all files."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class BuildFailed(SluiceError):
    """A mart could not be built, or its data tests are red; nothing was published."""


class NotPublished(SluiceError):
    """The version asked for does not exist, or nothing was built yet."""


class UnknownUser(SluiceError):
    """No assignment of the policy knows this person."""


class QueryRefused(SluiceError):
    """The question reaches for something outside the allow-list or the person's marts."""


class QueryFailed(QueryRefused):
    """An allowed question failed while it ran; the text speaks of visible rows only."""


class QueryStopped(QueryFailed):
    """A limit (seconds, memory) or a person ended the query."""


class TooBusy(QueryStopped):
    """No turn came for the question: too many of this person's, or of everybody's, run or wait."""
