"""One question, two worlds: are they told apart?"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from serving import Project
from tests.oracle import poison
from tests.oracle.copies import Copies
from tests.oracle.outcome import Asked, Outcome, alike, governed, rows_of, same
from tests.oracle.world import World

Kind = Literal[
    "equal",  # both answered, and nobody could tell the answers apart
    "both refused",  # both do not understand the text, or the door refused it and the copy did too
    "both failed",  # a value broke both
    "too slow",  # the copy ran out of time: nothing to compare with
    "refusal",  # the door refused what the copy answers: allowed, counted by reason, never equal
    "plan-dependent",  # one failed and the other answered, as some plan over the copy does too
    "too large",  # cut at the limit on both sides, under the same names and types
    "aggregates only",  # reads a mart whose promise is another one
    "mismatch",  # told apart
    "poison",  # something hidden came out
]
BAD: tuple[Kind, ...] = ("mismatch", "poison")
_NAMED = re.compile(
    r"(?<!\w)'[^']*'|\"[^\"]*\"|(?:known here|did you mean).*", re.IGNORECASE
)  # where names stand
MOST_CELLS = 20_000  # of an answer that is searched for poison; equal to the copy it holds none anyway


@dataclass(frozen=True)
class Verdict:
    """How a question ended, and on what grounds."""

    kind: Kind
    asked: Asked
    email: str
    reason: str = ""
    outcomes: tuple[Outcome, ...] = ()  # governed, copy

    def __str__(self) -> str:
        lines = [f"{self.kind} for {self.email}{': ' if self.reason else ''}{self.reason}", f"  {self.asked}"]
        lines += [
            f"  {side}: {outcome}" for side, outcome in zip(("governed", "copy"), self.outcomes, strict=False)
        ]
        return "\n".join(lines)


@dataclass
class Tally:
    """What came of many questions."""

    kinds: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    bad: list[Verdict] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # poison in the audit, in files, on standard error

    @property
    def clean(self) -> bool:
        """Whether the promise held."""
        return not self.bad and not self.left

    def add(self, verdicts: Iterable[Verdict]) -> "Tally":
        """Count these too."""
        for verdict in verdicts:
            self.kinds[verdict.kind] += 1
            if verdict.kind == "refusal":
                self.refusals[verdict.reason] += 1
            if verdict.kind in BAD:
                self.bad.append(verdict)
        return self

    def merge(self, other: "Tally") -> None:
        """Count another's questions too."""
        self.kinds += other.kinds
        self.refusals += other.refusals
        self.bad += other.bad
        self.left += other.left

    def facts(self) -> dict[str, object]:
        """For programs."""
        return {
            "questions": sum(self.kinds.values()),
            "kinds": dict(self.kinds.most_common()),
            "refusals": dict(self.refusals.most_common()),
            "bad": [str(verdict) for verdict in self.bad],
            "left behind": self.left,
        }

    def __str__(self) -> str:
        total = sum(self.kinds.values())
        lines = [f"{total} questions: " + ", ".join(f"{n} {kind}" for kind, n in self.kinds.most_common())]
        lines += [f"  refused {n} times: {reason}" for reason, n in self.refusals.most_common()]
        return "\n".join(
            [*lines, *(str(verdict) for verdict in self.bad), *(f"left behind: {it}" for it in self.left)]
        )


def judge(project: Project, copies: Copies, asked: Asked) -> Verdict:
    """Ask both worlds."""
    email, sql = copies.world.email, asked.sql.lower()
    if any(re.search(rf"\b{mart}\b", sql) for mart in copies.world.aggregates):
        return Verdict("aggregates only", asked, email)
    mine = governed(project, asked, email)
    own = str(asked).lower()
    if found := {marker for marker in _said(mine, copies.world) if marker.lower() not in own}:
        return Verdict("poison", asked, email, ", ".join(sorted(found)[:5]), (mine,))
    if mine.cut:
        copy = copies.cut(asked)
    else:
        copy = copies.understood(asked) if mine.kind == "refused" else copies.ask(asked)
    kind, reason = _compared(mine, copy, copies, asked)
    return Verdict(kind, asked, email, reason, (mine, copy))


def _compared(mine: Outcome, copy: Outcome, copies: Copies, asked: Asked) -> tuple[Kind, str]:
    if mine.kind == "bind" and copy.kind != "bind" and re.search(r"\browid\b", asked.sql, re.IGNORECASE):
        return "refusal", "rowid: a view has none"
    if mine.kind == "refused":
        return ("both refused", "") if copy.kind == "bind" else ("refusal", _reason(mine.words))
    if copy.kind == "stopped":
        return "too slow", ""
    if mine.kind == "stopped":  # never the planner's choice
        return "mismatch", ""
    if mine.kind == copy.kind and mine.table is None:
        both: dict[str, Kind] = {"bind": "both refused", "failed": "both failed"}
        return both[mine.kind], ""
    if mine.cut and alike(mine, copy) and copy.cut:
        return "too large", ""
    if same(mine, copy, ordered=True):
        return "equal", ""
    if mine.kind == copy.kind:  # both answered
        return ("equal", "") if same(mine, copy, ordered=copies.ordered(asked)) else ("mismatch", "")
    return ("plan-dependent", "") if copies.allows(asked, mine) else ("mismatch", "")


def _said(outcome: Outcome, world: World) -> Iterator[str]:
    """The poison in everything that a person gets, and names in a failure that they cannot know."""
    yield from poison.markers(f"{outcome.words}\n{outcome.told}")
    named = " ".join(_NAMED.findall(outcome.words))
    yield from (word for word in re.findall(r"\w+", named) if word in world.secrets)
    if (table := outcome.table) is not None:
        yield from poison.markers(" ".join(table.schema.names))
        if table.num_rows * table.num_columns <= MOST_CELLS:
            yield from poison.in_rows(rows_of(table))


def _reason(words: str) -> str:
    """The reason of a refusal, with its names and numbers left out."""
    return re.sub(r"(?<!\w)'[^']*'|\"[^\"]*\"|\b\w+\(\)|\b[\d,]+\b", "…", words.splitlines()[0])
