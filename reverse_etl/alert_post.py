"""One alert to one recipient: an e-mail address, or a destination of the project."""

import asyncio
from dataclasses import dataclass

from connectors.protocol import Change, DestinationStopped, Outcome
from reverse_etl.accounts import open_account
from reverse_etl.mail import send_mail
from reverse_etl.source import Door
from serving.content.sync import Sync
from serving.errors import SluiceError

OBJECT = "alerts"  # what `{object}` means in the destination's address
SECONDS = 20.0  # an alert that takes longer is tried again later


@dataclass(frozen=True)
class Post:
    """What is told."""

    sync: str
    state: str  # failed | guarded | recovered | rejects
    run: int
    subject: str
    text: str


def post(project: Door, to: str, told: Post) -> str:
    """Deliver it; empty when it arrived, else why not. Raises nothing that a recipient can cause."""
    try:
        if "@" in to:
            _mail(project, to, told)
            return ""
        outcome = asyncio.run(_to_destination(project, to, told))
    except TimeoutError:
        return f"no answer within {SECONDS:.0f} s"
    except (SluiceError, DestinationStopped) as error:
        return error.problem
    return "" if outcome.verdict == "accepted" else f"{outcome.verdict}: {outcome.reason}"


def _mail(project: Door, to: str, told: Post) -> None:
    settings = project.content.project.mail
    if settings is None:
        raise SluiceError("there is no mail server", hint="project.yml names it under 'mail'")
    send_mail(settings, to, told.subject, told.text, var=project.var)


async def _to_destination(project: Door, to: str, told: Post) -> Outcome:
    """The alert as one row; chat tools read its field `text` and leave the others."""
    account = open_account(project, _as_sync(to))
    op = "upsert" if "upsert" in account.destination.capabilities.ops else "insert"
    fields = {"text": told.text, "state": told.state, "run": told.run}
    change = Change(1, op, {"sync": told.sync}, fields)  # type: ignore[arg-type]
    async with asyncio.timeout(SECONDS), account.open_sender() as sender:
        delivery = await sender.send(account.destination, [change])
    return delivery.outcomes[0]


def _as_sync(destination: str) -> Sync:
    """Accounts are opened for syncs: an alert is one of a single row."""
    return Sync(
        name="alerts",
        source="alerts",
        run_as=("alerts",),
        destination=destination,
        object=OBJECT,
        key={"sync": "sync"},
        priority="high",
    )
