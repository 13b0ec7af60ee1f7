"""What every connector offers: typed options of an account, and its objects."""

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from connectors.auth import Options, Resolve
from connectors.outcomes import BatchRefused
from connectors.pace import Limits
from connectors.protocol import Destination, Json

_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class Account(Options):
    """An account of one tool, as a person configures it in models/destinations/.

    The `own_` values are the tool's own limits for the whole account.
    """

    own_per_second: ClassVar[float | None] = None
    own_per_minute: ClassVar[int | None] = None
    own_per_day: ClassVar[int | None] = None
    own_concurrent: ClassVar[int] = 4

    @property
    def own_limits(self) -> Limits:
        """The tool's own limits."""
        return Limits(self.own_per_second, self.own_per_minute, self.own_per_day, self.own_concurrent)

    @property
    @abstractmethod
    def base_url(self) -> str:
        """What relative request paths are relative to."""

    @abstractmethod
    def credentials(self, resolve: Resolve) -> Mapping[str, str]:
        """The headers that prove who is calling; raises `SecretMissing`."""

    @abstractmethod
    def destination(self, object_name: str) -> Destination:
        """One object of the account; raises `DestinationStopped` where there is no such object."""

    @abstractmethod
    def object_problem(self, object_name: str) -> str | None:
        """Why this object cannot be synced, with the objects that can; None when it can."""

    @abstractmethod
    def key_problem(self, object_name: str, key_fields: Sequence[str]) -> str | None:
        """Why rows cannot be matched by these destination fields; None when they can."""


def encoded(body: Json) -> bytes:
    """JSON bytes; raises `BatchRefused` on NaN and infinity, which JSON cannot say."""
    try:
        return _JSON.encode(body).encode()
    except (ValueError, UnicodeEncodeError) as error:
        raise BatchRefused(f"the row cannot be written as JSON: {error}") from None


def decoded(body: bytes) -> Json:
    """The JSON of an answer; None when it is none."""
    try:
        found: Json = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found
