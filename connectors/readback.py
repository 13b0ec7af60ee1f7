"""Asking a destination what it holds, in as many calls as that takes."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from connectors.outcomes import BatchRefused
from connectors.protocol import (
    Destination,
    DestinationStopped,
    Json,
    ListsRecords,
    ReadsBack,
    Request,
    Response,
)


class Fetches(Protocol):
    """A sender, as far as reading needs it."""

    async def fetch(self, destination: Destination, request: Request) -> Response: ...


async def read_back(
    sender: Fetches, destination: Destination, keys: Sequence[Mapping[str, Json]], fields: Sequence[str]
) -> list[Mapping[str, Json] | None]:
    """For each key, in order, the value of every one of `fields`; None: no live record.

    A key that the destination cannot have has no record. Raises `DestinationStopped` where
    it cannot be asked, or does not answer.
    """
    if not isinstance(destination, ReadsBack):
        raise DestinationStopped(
            "this destination cannot say what it holds",
            hint="look at the records there by hand",
        )
    rows = destination.capabilities.batch_rows
    found: list[Mapping[str, Json] | None] = []
    for start in range(0, len(keys), rows):
        found += await _looked_up(sender, destination, keys[start : start + rows], fields)
    return found


async def _looked_up(
    sender: Fetches, destination: Destination, keys: Sequence[Mapping[str, Json]], fields: Sequence[str]
) -> list[Mapping[str, Json] | None]:
    assert isinstance(destination, ReadsBack)
    try:
        request = destination.lookup(keys, fields)
    except BatchRefused:  # one of the keys cannot stand in a call: found by halving
        if len(keys) == 1:
            return [None]
        half = len(keys) // 2
        first = await _looked_up(sender, destination, keys[:half], fields)
        return first + await _looked_up(sender, destination, keys[half:], fields)
    return destination.looked_up(keys, fields, await sender.fetch(destination, request))


async def list_records(
    sender: Fetches, destination: Destination, key_fields: Sequence[str], fields: Sequence[str]
) -> AsyncIterator[Sequence[tuple[Mapping[str, Json], Mapping[str, Json]]]]:
    """All live records as (key, fields), page by page; `DestinationStopped` where that cannot be."""
    if not isinstance(destination, ListsRecords):
        raise DestinationStopped("this destination cannot list its records")
    after: str | None = None
    while True:
        answer = await sender.fetch(destination, destination.page(fields, after))
        page = destination.paged(key_fields, fields, answer)
        yield page.records
        if page.after is None:
            return
        if page.after == after:
            raise DestinationStopped(
                "the destination's list does not end: the same page follows itself",
                hint="report it to whoever made the connector",
            )
        after = page.after
