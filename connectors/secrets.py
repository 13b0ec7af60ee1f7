"""Credentials by reference: files name a secret, only the sender learns its text."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NoReturn

from pydantic import AfterValidator, BeforeValidator

from connectors.protocol import DestinationStopped

REFERENCE = re.compile(r"\$\{(?:env:(?P<env>[A-Za-z_][A-Za-z0-9_]*)|file:(?P<file>[^${}\x00-\x1f]+))\}")
ONLY_BY_REFERENCE = "a secret stands here only by reference: ${env:NAME} or ${file:PATH}"


class SecretMissing(DestinationStopped):
    """The reference leads to nothing usable; names the reference, never a value."""


class Secret:
    """A text that no log, page, traceback or pickle shows; only `reveal()` gives it."""

    __slots__ = ("_text",)
    _text: str

    def __init__(self, text: str) -> None:
        object.__setattr__(self, "_text", text)

    def reveal(self) -> str:
        """The secret itself, for the one place that puts it on the wire."""
        return self._text

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret cannot be changed")

    def __repr__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is never pickled")


def is_reference(text: str) -> bool:
    """Whether the whole text is `${env:NAME}` or `${file:PATH}`."""
    return REFERENCE.fullmatch(text) is not None


# Two validators, so that the error's own "input" is this word and not a pasted secret.
_WITHHELD = "***"


def _withheld(value: object) -> str:
    return value if isinstance(value, str) and is_reference(value) else _WITHHELD


def _by_reference(value: str) -> str:
    if value == _WITHHELD:
        raise ValueError(ONLY_BY_REFERENCE)
    return value


SecretRef = Annotated[str, AfterValidator(_by_reference), BeforeValidator(_withheld)]


def resolve(ref: str, var: Path, environ: Mapping[str, str]) -> Secret:
    """The secret behind a reference, white space around it removed.

    A relative file stands under `var`. Raises `SecretMissing` when there is nothing there.
    """
    found = REFERENCE.fullmatch(ref)
    if found is None:
        raise SecretMissing(ONLY_BY_REFERENCE, hint="write the reference, not the secret")
    text = (
        _from_environment(ref, found["env"], environ)
        if found["env"]
        else _from_file(ref, var / found["file"])
    )
    if not text.strip():
        raise SecretMissing(f"the secret {ref} is empty", hint="put the credential there, then run again")
    return Secret(text.strip())


def _from_environment(ref: str, name: str, environ: Mapping[str, str]) -> str:
    if name not in environ:
        raise SecretMissing(f"the secret {ref} is missing", hint=f"set the environment variable {name}")
    return environ[name]


def _from_file(ref: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = f"write the credential into {path}"
        if path.parent.name == "sandbox":
            hint += ", or start the sandbox once: python -m connectors.sandbox"
        raise SecretMissing(f"the secret {ref} is missing", hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise SecretMissing(f"the secret {ref} cannot be read: {words}", hint=f"look at {path}") from None
