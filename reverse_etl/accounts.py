"""The destination of a sync, ready to send: connector, options, credentials and budget together."""

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from connectors.budget import Limits
from connectors.protocol import Destination, DestinationStopped
from connectors.registry import UNLIMITED, effective_limits, open_destination, open_sender, options_model
from connectors.secrets import resolve
from reverse_etl.deliver import Sends
from reverse_etl.errors import SyncError
from reverse_etl.source import Door, find_destination
from serving.content.sync import AccountLimits, Sync


@dataclass(frozen=True)
class Account:
    """Where a sync sends to. `open_sender` resolves the credentials, and no earlier.

    `limits` are in force for all syncs of the account `name` together.
    """

    destination: Destination
    open_sender: Callable[[], AbstractAsyncContextManager[Sends]]
    limits: Limits = UNLIMITED
    name: str = ""

    @property
    def concurrent(self) -> int | None:
        """How many calls may run at once; None: as many as the object allows."""
        return self.limits.concurrent


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
    limits = effective_limits(spec.connector, options, _limits(spec.limits))

    def sender() -> AbstractAsyncContextManager[Sends]:
        return open_sender(
            spec.connector,
            options,
            lambda reference: resolve(reference, project.var, os.environ),
            account=spec.name,
            limits=limits,
            folder=budget_folder(project.var),
            priority=sync.priority,
        )

    return Account(destination, sender, limits, spec.name)


def budget_folder(var: Path) -> Path:
    """Where the budgets of all accounts are kept."""
    return var / "budgets"


def _limits(given: AccountLimits) -> Limits:
    return Limits(given.per_second, given.per_minute, given.per_day, given.concurrent)
