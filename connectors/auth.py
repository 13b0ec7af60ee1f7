"""Credentials as request headers."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from connectors.secrets import Secret, SecretMissing, SecretRef

Resolve = Callable[[str], Secret]
HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"


class Options(BaseModel):
    """A mapping in a destination's file: unknown keys are errors, values stay out of errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class BasicOptions(Options):
    """HTTP basic authentication."""

    user: str
    password: SecretRef


class HeaderOptions(Options):
    """A header of the tool's own, like `X-Api-Key`."""

    name: str = Field(pattern=HEADER_NAME)
    value: SecretRef


class AuthOptions(Options):
    """How to prove who is calling: exactly one of the three."""

    bearer: SecretRef | None = None
    basic: BasicOptions | None = None
    header: HeaderOptions | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(kind is not None for kind in (self.bearer, self.basic, self.header)) != 1:
            raise ValueError("needs exactly one of 'bearer', 'basic', 'header'")
        return self


def auth_headers(options: AuthOptions, resolve: Resolve) -> Mapping[str, str]:
    """The headers that prove who is calling; raises `SecretMissing`."""
    if options.bearer is not None:
        return {"Authorization": f"Bearer {on_one_line(options.bearer, resolve)}"}
    if options.basic is not None:
        pair = f"{options.basic.user}:{on_one_line(options.basic.password, resolve)}"
        return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
    assert options.header is not None, "the model demands one kind"
    return {options.header.name: on_one_line(options.header.value, resolve)}


def on_one_line(ref: str, resolve: Resolve) -> str:
    """The secret's text, if a header can carry it: an HTTP library's error would print it."""
    text = resolve(ref).reveal()
    if not (text.isascii() and text.isprintable()):
        raise SecretMissing(
            f"the secret {ref} holds characters that no HTTP header can carry",
            hint="it should be one line of plain letters, digits and signs",
        )
    return text
