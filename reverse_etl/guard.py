"""When a plan must wait for a person. Pure: numbers in, sentences out.

A limit that the sync's file names is taken literally. The defaults let single rows pass,
because one row of five is a fifth: one removal or one new null, and up to FEW changed or
added rows, hold nothing. An emptied source is caught by `min_rows`, however small it was.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from reverse_etl.counts import Counts, Profile
from serving.content.sync import Guard

FEW = 5  # changed or missing rows that no default holds
ONE = 1  # removals, and new nulls in a field, that no default holds: they take something away


@dataclass(frozen=True)
class Trip:
    """One limit the plan is over: what it is, what the plan has, what is allowed.

    `limit` is deletes, changes, rows, nulls.FIELD, min_rows or red_tests. Shares are
    fractions of 1; a negative share of `rows` says that rows are missing.
    """

    limit: str
    found: float
    allowed: float
    message: str


def trips_to_json(trips: Sequence[Trip]) -> str:
    """For the control store."""
    return json.dumps([asdict(trip) for trip in trips])


def trips_from_json(text: str | None) -> tuple[Trip, ...]:
    """What `trips_to_json` wrote."""
    return tuple(Trip(**trip) for trip in json.loads(text or "[]"))


def trips(
    counts: Counts,
    guard: Guard,
    profile: Profile | None = None,
    before: Profile | None = None,
    red: Sequence[str] = (),
) -> tuple[Trip, ...]:
    """The limits this plan is over, the gravest first.

    Shares of `deletes` and `changes` are of the rows the destination holds from this sync;
    rows sent again (retries, a full resend) were let pass before and do not count. `before`
    is the profile of the last run that was let pass; `red` are sentences about data tests.
    A first run, with an empty ledger, can only trip on `min_rows` and `red_tests`.
    """
    found = [*_red(guard, red), *_too_few(counts, guard)]
    if counts.ledger:
        found += [*_removals(counts, guard), *_changes(counts, guard)]
        if profile is not None and before is not None:
            found += [*_swing(profile.rows, before.rows, guard), *_nulls(profile, before, guard)]
    return tuple(found)


def worse(new: Sequence[Trip], approved: Sequence[Trip]) -> bool:
    """Whether a plan goes beyond what a person approved: another limit, or more of the same one.

    Strict: one row more than was approved is more.
    """
    known = {_identity(trip): trip for trip in approved}
    return any(_beyond(trip, known.get(_identity(trip))) for trip in new)


def _identity(trip: Trip) -> tuple[str, str]:
    """What makes two trips the same objection."""
    if trip.limit == "red_tests":
        return trip.limit, trip.message
    return trip.limit, "shrinks" if trip.limit == "rows" and trip.found < 0 else ""


def _beyond(trip: Trip, approved: Trip | None) -> bool:
    if approved is None:
        return True
    if trip.limit == "min_rows":
        return trip.found < approved.found
    return abs(trip.found) > abs(approved.found)


def _red(guard: Guard, red: Sequence[str]) -> list[Trip]:
    return [] if guard.red_tests == "allow" else [Trip("red_tests", 1, 0, words) for words in red]


def _too_few(counts: Counts, guard: Guard) -> list[Trip]:
    if counts.wanted >= guard.min_rows:
        return []
    if counts.wanted == 0 and counts.rejected == 0:
        message = f"the source is empty, min_rows is {guard.min_rows:,}"
    else:
        refused = f" ({counts.rejected:,} cannot be)" if counts.rejected else ""
        message = (
            f"the source has {_rows(counts.wanted)} that can be sent{refused}, min_rows is {guard.min_rows:,}"
        )
    return [Trip("min_rows", counts.wanted, guard.min_rows, message)]


def _removals(counts: Counts, guard: Guard) -> list[Trip]:
    if not _over("deletes", counts.remove, counts.ledger, guard.deletes, guard, ONE):
        return []
    return [_share("deletes", counts.remove, "would be removed", counts.ledger, guard.deletes)]


def _changes(counts: Counts, guard: Guard) -> list[Trip]:
    number = counts.update + counts.remove
    if not _over("changes", number, counts.ledger, guard.changes, guard, FEW):
        return []
    return [_share("changes", number, "would change", counts.ledger, guard.changes)]


def _swing(now: int, before: int, guard: Guard) -> list[Trip]:
    if before == 0 or not _over("rows", abs(now - before), before, guard.rows, guard, FEW):
        return []
    share = (now - before) / before
    way = "more" if share > 0 else "fewer"
    message = (
        f"the source has {_rows(now)}, {abs(share):.1%} {way} than the {before:,} of the last run"
        f" that was let pass; rows allows {guard.rows:.1%}"
    )
    return [Trip("rows", share, guard.rows, message)]


def _nulls(profile: Profile, before: Profile, guard: Guard) -> list[Trip]:
    """Fields whose share of nulls grew too much; new fields have nothing to be compared with."""
    if not profile.rows or not before.rows:
        return []
    found = []
    for field in sorted(profile.nulls.keys() & before.nulls.keys()):
        now, was = profile.nulls[field] / profile.rows, before.nulls[field] / before.rows
        grown = profile.nulls[field] - was * profile.rows  # rows
        if not _over("nulls", grown, profile.rows, guard.nulls, guard, ONE):
            continue
        message = (
            f"field {field!r} is null in {profile.nulls[field]:,} of {_rows(profile.rows)} ({now:.1%}),"
            f" in the last run that was let pass in {was:.1%}: {100 * (now - was):.1f} points more,"
            f" nulls allows {100 * guard.nulls:.1f}"
        )
        found.append(Trip(f"nulls.{field}", now - was, guard.nulls, message))
    return found


def _over(limit: str, number: float, total: int, allowed: float, guard: Guard, floor: int) -> bool:
    """Whether `number` of `total` is more than `allowed`; a default never holds `floor` rows or fewer.

    Removals may be more than the rows that were accepted: of rows that may have arrived, too. So a share
    of 100 % is none.
    """
    if total == 0 or (allowed >= 1 and limit != "rows"):
        return False
    literal = limit in guard.model_fields_set
    return number / total > allowed and (literal or number > floor)


def _share(limit: str, number: int, verb: str, ledger: int, allowed: float) -> Trip:
    share = number / ledger
    message = f"{number:,} of {_rows(ledger)} {verb} ({share:.1%}), {limit} allows {allowed:.1%}"
    return Trip(limit, share, allowed, message)


def _rows(number: int) -> str:
    return f"{number:,} {'row' if number == 1 else 'rows'}"
