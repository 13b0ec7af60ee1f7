"""The destination of a sync, ready to send: connector, options and credentials together."""

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from pydantic import ValidationError

from connectors.protocol import Destination, DestinationStopped
from connectors.registry import open_destination, open_sender, options_model
from connectors.secrets import resolve
from reverse_etl.deliver import Sends
from reverse_etl.errors import SyncError
from reverse_etl.source import Door, find_destination
from serving.content.sync import Sync


@dataclass(frozen=True)
class Account:
    """Where a sync sends to. `open_sender` resolves the credentials, and no earlier."""

    destination: Destination
    open_sender: Callable[[], AbstractAsyncContextManager[Sends]]
    concurrent: int | None = None


def open_account(project: Door, sync: Sync) -> Account:
    """The account and object of a sync, from models/destinations/."""
    spec = find_destination(project.content, sync)
    try:
        options = options_model(spec.connector).model_validate(dict(spec.options))
        destination = open_destination(spec.connector, options, sync.object)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors())
        raise SyncError(f"{spec.at()}: {told}", hint="`check` lists every problem of every file") from None
    except DestinationStopped as stopped:
        raise SyncError(f"{sync.at('object')}: {stopped.problem}", hint=stopped.hint) from None

    def sender() -> AbstractAsyncContextManager[Sends]:
        return open_sender(
            spec.connector,
            options,
            spec.limits.per_second,
            spec.limits.concurrent,
            lambda reference: resolve(reference, project.var, os.environ),
        )

    return Account(destination, sender, spec.limits.concurrent)
