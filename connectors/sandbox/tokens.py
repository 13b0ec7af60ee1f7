"""The CRM's bearer token: made on first use, renewed when it expires."""

import hmac
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from connectors.secrets import Secret, resolve

Renew = Callable[[], Secret]


class Tokens:
    """The token that counts now, and those that did; `renew` makes the next one."""

    def __init__(self, first: Secret, renew: Renew | None, now: float) -> None:
        self._renew = renew
        self._issued = [_header(first)]
        self._calls, self._since = 0, now

    @property
    def renewable(self) -> bool:
        """Whether the token can expire at all."""
        return self._renew is not None

    def restart(self, now: float) -> None:
        """The token that counts now is as good as new."""
        self._calls, self._since = 0, now

    def count(self, calls: int | None, seconds: float | None, now: float) -> None:
        """A call comes in: the token is replaced if it has served its calls or seconds."""
        spent = (calls is not None and self._calls >= calls) or (
            seconds is not None and now - self._since >= seconds
        )
        if spent and self._renew is not None:
            self._issued.append(_header(self._renew()))
            self.restart(now)
        self._calls += 1

    def accepts(self, given: str) -> bool:
        """Whether this header carries the token that counts now."""
        return hmac.compare_digest(given.encode(), self._issued[-1])

    def knows(self, given: str) -> bool:
        """Whether it carries one that counts or did: enough for looking on."""
        return any(hmac.compare_digest(given.encode(), issued) for issued in self._issued)


def token_of(folder: Path) -> Secret:
    """The token in `folder`, made on first use and readable by its owner only."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "token"
    if not file.exists():
        fresh = _fresh(folder)
        try:
            os.link(fresh, file)  # whole or not at all; a second server keeps the first one's token
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return resolve("${file:token}", folder, {})


def renewed(folder: Path) -> Secret:
    """Another token in place of the one in `folder`."""
    _fresh(folder).replace(folder / "token")
    return resolve("${file:token}", folder, {})


def _fresh(folder: Path) -> Path:
    fresh = folder / f"token.{os.getpid()}"
    descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(secrets.token_urlsafe(32) + "\n")
    return fresh


def _header(token: Secret) -> bytes:
    return f"Bearer {token.reveal()}".encode()
