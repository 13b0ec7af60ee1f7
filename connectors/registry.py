"""All connectors by name, and how to open one."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from pydantic import BaseModel

from connectors.auth import Resolve
from connectors.budget import Limits, Priority, open_budget
from connectors.catalog.account import Account
from connectors.catalog.sandbox_crm import SandboxAccount
from connectors.catalog.webhook import WebhookAccount
from connectors.http import RETRIES, TIMEOUTS, Retries, Sender, Timeouts
from connectors.protocol import Destination, DestinationStopped

UNLIMITED = Limits()
_CATALOG: dict[str, type[Account]] = {"sandbox": SandboxAccount, "webhook": WebhookAccount}


class UnknownConnector(DestinationStopped):
    """There is no connector of that name."""


def connector_names() -> tuple[str, ...]:
    """All connectors, sorted."""
    return tuple(sorted(_CATALOG))


def options_model(name: str) -> type[BaseModel]:
    """What the connector's options must look like: a frozen model that forbids unknown keys."""
    return _account(name)


def open_destination(name: str, options: BaseModel, object_name: str) -> Destination:
    """One object of the account; raises `DestinationStopped` where there is no such object."""
    return _options(name, options).destination(object_name)


def effective_limits(name: str, options: BaseModel, limits: Limits = UNLIMITED) -> Limits:
    """The connector's own limits, tightened by the given ones."""
    return _options(name, options).own_limits.tightened(limits)


def open_sender(
    name: str,
    options: BaseModel,
    resolve: Resolve,
    *,
    account: str,
    limits: Limits = UNLIMITED,
    folder: Path | None = None,
    priority: Priority = "normal",
    retries: Retries = RETRIES,
    timeouts: Timeouts = TIMEOUTS,
) -> Sender:
    """A sender for the account; the limits given can only tighten the connector's own.

    Senders with the same `folder` and `account` share one budget, in whichever process they
    are; without a folder the budget is the sender's own. Raises `SecretMissing` when a
    reference leads to nothing.
    """
    opened = _options(name, options)
    return Sender(
        opened.base_url,
        auth=opened.credentials(resolve),
        renew=lambda: opened.credentials(resolve),
        budget=open_budget(folder, account, opened.own_limits.tightened(limits), priority=priority),
        retries=retries,
        timeouts=timeouts,
    )


def check_object(name: str, options: BaseModel, object_name: str) -> str | None:
    """Why the account's object cannot be synced, naming those that can; None when it can."""
    return _options(name, options).object_problem(object_name)


def check_key(name: str, options: BaseModel, object_name: str, key_fields: Sequence[str]) -> str | None:
    """Why rows cannot be matched by these destination fields; None when they can."""
    return _options(name, options).key_problem(object_name, key_fields)


def _account(name: str) -> type[Account]:
    if name not in _CATALOG:
        near = get_close_matches(name, _CATALOG, n=1)
        known = ", ".join(connector_names())
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {known}"
        raise UnknownConnector(f"there is no connector '{name}'", hint=hint)
    return _CATALOG[name]


def _options(name: str, options: BaseModel) -> Account:
    kind = _account(name)
    if not isinstance(options, kind):
        raise TypeError(f"connector {name} wants {kind.__name__}, not {type(options).__name__}")
    return options
