"""What a crash left open: batches that left, or were about to, and have no answer.

Where sending twice leaves the destination as once, they are sent again. Else the
destination is asked what it holds, where it can say; what stays in doubt is unknown, and
no run sends it again by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from connectors.protocol import Change, Destination, DestinationStopped, Json, Outcome, ReadsBack
from connectors.readback import Fetches, read_back
from reverse_etl.batches import Journal, Leaving
from reverse_etl.errors import SyncError
from reverse_etl.silence import INTERRUPTED
from reverse_etl.unpack import changes_between

FOUND = "found by reading back after an interruption"
DOUBT = "the run was interrupted after this row may have left, and"
GRACE = 2.0  # seconds that a destination may need for a call whose caller has died


async def recover(
    journal: Journal,
    plan_file: Path,
    destination: Destination,
    sender: Fetches | None,
    now: datetime,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Decide about every open batch of the run, so that `deliver` may go on.

    Without a `sender` nothing is read back. SyncError where the destination cannot be asked
    now: the batches stay open, and the next run asks again.
    """
    doubtful: list[tuple[Leaving, list[Change]]] = []
    for batch in journal.open_batches():
        changes = changes_between(plan_file, batch.first, batch.last)
        if changes[0].op in destination.capabilities.resend:
            journal.send_again(batch, now)
        else:
            doubtful.append((batch, changes))
    if not doubtful:
        return
    if sender is None or not isinstance(destination, ReadsBack):
        for batch, changes in doubtful:
            journal.found_out(batch, [_unknown(change, INTERRUPTED) for change in changes], now)
        return
    await _let_it_end(journal, now, sleep)
    for batch, changes in doubtful:
        try:
            held = await read_back(sender, destination, [c.key for c in changes], _fields_of(changes))
        except DestinationStopped as stopped:
            raise SyncError(
                f"rows {batch.first} to {batch.last} may have left before an interruption, and the"
                f" destination cannot be asked: {stopped.problem}",
                hint=stopped.hint or "nothing is sent before it answers; run again",
            ) from None
        outcomes = map(judged, changes, held)
        journal.found_out(batch, [outcome for outcome in outcomes if outcome is not None], now)


def judged(
    change: Change, held: Mapping[str, Json] | None, found: str = FOUND, doubt: str = DOUBT
) -> Outcome | None:
    """What reading back says about a row that may have left; None: it did not arrive, so it goes again.

    `found` and `doubt` begin the reasons of what was found and of what stays unknown.
    """
    if change.op in ("archive", "delete"):
        if held is None:
            return Outcome(change.seq, "accepted", found)
        return _unknown(change, f"{doubt} the record is still there; the removal may be under way")
    if held is None:
        if change.op == "insert":
            return None
        return _unknown(change, f"{doubt} the destination holds no such record")
    other = sorted(name for name, value in change.fields.items() if not _same(held.get(name), value))
    if not other:
        return Outcome(change.seq, "accepted", found)
    return _unknown(change, f"{doubt} the destination holds another {', '.join(other)}")


def _unknown(change: Change, why: str) -> Outcome:
    return Outcome(change.seq, "unknown", why)


def _fields_of(changes: Sequence[Change]) -> list[str]:
    return list(dict.fromkeys(name for change in changes for name in change.fields))


def _same(held: Json, sent: Json) -> bool:
    """Whether a value is the one that was sent; an empty field may be kept as none at all."""
    if isinstance(held, bool) or isinstance(sent, bool):
        return held is sent
    if isinstance(held, str) and isinstance(sent, int | float):
        return held == str(sent)  # a tool that keeps everything as text
    return held == sent


async def _let_it_end(journal: Journal, now: datetime, sleep: Callable[[float], Awaitable[None]]) -> None:
    """A call whose caller died a moment ago may still be at work over there."""
    newest = journal.last_sent()
    if newest is not None and (left := GRACE - (now - newest).total_seconds()) > 0:
        await sleep(min(left, GRACE))
