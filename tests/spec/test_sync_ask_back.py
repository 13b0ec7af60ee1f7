"""An answer that is lost is no reason to send twice, nor to leave a row in doubt."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from connectors.outcomes import same
from connectors.protocol import Change, Destination, DestinationStopped, Op, Outcome, Request, Response
from reverse_etl.ask_back import AsksBack
from tests.spec.sync_night import SAFE, Told, Tool, at_once


class Lossy(Tool):
    """Takes in the rows whose seq is odd, and answers for none."""

    async def send(self, destination: object, changes: Sequence[Change]) -> Told:
        self.sent += [change.seq for change in changes]
        self.records |= {str(c.key["id"]): c.fields for c in changes if c.seq % 2}
        return Told(same(changes, "unknown", "no answer in time"))


class Silent(Lossy):
    """Cannot be asked either."""

    async def fetch(self, destination: object, request: Request) -> Response:
        raise DestinationStopped("nobody is there")


def outcomes(tool: Tool, op: Op) -> list[Outcome]:
    changes = [Change(seq, op, {"id": str(seq)}, {"name": f"N{seq}"}) for seq in (1, 2, 3, 4)]
    destination: Destination = tool
    return list(asyncio.run(AsksBack(tool, at_once).send(destination, changes)).outcomes)


def test_an_insert_without_an_answer_is_accepted_where_it_is_found_and_deferred_where_not() -> None:
    tool = Lossy()

    told = outcomes(tool, "insert")

    assert [(o.seq, o.verdict) for o in told] == [
        (1, "accepted"),
        (2, "deferred"),
        (3, "accepted"),
        (4, "deferred"),
    ]
    assert "reading back finds that it did not arrive" in told[1].reason
    assert tool.sent == [1, 2, 3, 4], "nothing is sent twice"


def test_a_record_with_other_values_stays_in_doubt() -> None:
    tool = Lossy()
    tool.records["2"] = {"name": "somebody else"}

    told = outcomes(tool, "insert")

    assert (told[1].verdict, told[1].reason) == (
        "unknown",
        "no answer came, and the destination holds another name",
    )


@pytest.mark.parametrize("op", ["upsert", "delete"])
def test_what_may_be_sent_twice_is_not_asked_for(op: Op) -> None:
    assert {o.verdict for o in outcomes(Silent(), op)} == {"unknown"}


def test_a_destination_that_cannot_be_asked_leaves_the_rows_unknown() -> None:
    tool = Silent(replace(SAFE, resend=frozenset()))

    assert {(o.verdict, o.reason) for o in outcomes(tool, "insert")} == {("unknown", "no answer in time")}
