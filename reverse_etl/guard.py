"""When a plan must wait for a person. Pure: numbers in, sentences out."""

from dataclasses import dataclass

from reverse_etl.counts import Counts
from serving.content.sync import Guard


@dataclass(frozen=True)
class Trip:
    """One limit the plan is over: what it is, what the plan has, what is allowed."""

    limit: str
    found: float
    allowed: float
    message: str


def trips(counts: Counts, guard: Guard) -> tuple[Trip, ...]:
    """The limits this plan is over; none where the ledger is empty and rows are there.

    Shares are of the rows the destination holds from this sync. Rows sent again (retries,
    a full resend) were let pass before and do not count.
    """
    found: list[Trip] = []
    if counts.wanted < guard.min_rows:
        message = f"the source has {counts.wanted:,} rows that can be sent, min_rows is {guard.min_rows:,}"
        found.append(Trip("min_rows", counts.wanted, guard.min_rows, message))
    if counts.ledger:
        removed = counts.remove / counts.ledger
        changed = (counts.update + counts.remove) / counts.ledger
        if removed > guard.deletes:
            found.append(
                _share("deletes", counts.remove, "would be removed", counts.ledger, removed, guard.deletes)
            )
        if changed > guard.changes:
            number = counts.update + counts.remove
            found.append(_share("changes", number, "would change", counts.ledger, changed, guard.changes))
    return tuple(found)


def _share(limit: str, number: int, verb: str, ledger: int, share: float, allowed: float) -> Trip:
    message = f"{number:,} of {ledger:,} rows {verb} ({share:.1%}), {limit} allows {allowed:.1%}"
    return Trip(limit, share, allowed, message)
