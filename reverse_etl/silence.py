"""Rows that left and were never answered for, put beside those that were."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from reverse_etl.ledger import Answered

INTERRUPTED = "the run was interrupted after this row may have left; sending it again could double it"
UNHEARD = "sent before an interruption and never answered; the destination may hold it"

Range = tuple[int, int]  # first and last seq


def with_silence(answers: Iterable[Answered], unanswered: Sequence[Range]) -> Iterator[Answered]:
    """The answers in order, and between them what left without any, as unknown.

    A row of `unanswered` that was sent again and not delivered then is unknown as well: the
    first time it may have arrived. `answers` are sorted and do not overlap.
    """
    silent = _merged(unanswered)
    for answer in answers:
        while silent and silent[0][0] < answer.first:
            first, last = silent.pop(0)
            yield _unknown(first, min(last, answer.first - 1))
            if last >= answer.first:
                silent.insert(0, (answer.first, last))
        while silent and silent[0][0] <= answer.last:
            first, last = silent.pop(0)
            answer = _doubted(answer, first, min(last, answer.last))
            if last > answer.last:
                silent.insert(0, (answer.last + 1, last))
                break
        yield answer
    for first, last in silent:
        yield _unknown(first, last)


def _merged(ranges: Sequence[Range]) -> list[Range]:
    found: list[Range] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def _unknown(first: int, last: int) -> Answered:
    return Answered(first, last, "unknown", UNHEARD)


def _doubted(answer: Answered, first: int, last: int) -> Answered:
    """The answer with its deferred rows between `first` and `last` unknown."""
    told = {seq: (verdict, reason) for seq, verdict, reason in answer.exceptions}
    if answer.verdict != "deferred" and all(verdict != "deferred" for verdict, _ in told.values()):
        return answer
    for seq in range(first, last + 1):
        verdict, reason = told.get(seq, (answer.verdict, answer.reason))
        if verdict == "deferred":
            told[seq] = ("unknown", f"{UNHEARD}; then {reason}")
    exceptions = tuple((seq, verdict, reason) for seq, (verdict, reason) in sorted(told.items()))
    return replace(answer, exceptions=exceptions)
