"""Secrets stand in files by reference only, and are shown by nothing."""

import copy
import json
import pickle
from base64 import b64decode
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from connectors.auth import AuthOptions, auth_headers
from connectors.registry import options_model
from connectors.secrets import Secret, SecretMissing, SecretRef, resolve

PASTED = "sk-live-4711"


class Account(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)
    token: SecretRef


def test_a_secret_shows_itself_to_nothing_but_reveal() -> None:
    secret = Secret(PASTED)

    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r:>20}", f"{[secret]}", "a %s" % (secret,)]  # noqa: UP031

    assert not any(PASTED in text for text in shown)
    assert secret.reveal() == PASTED
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(TypeError):
        copy.deepcopy(secret)
    with pytest.raises(AttributeError):
        secret._text = "other"
    with pytest.raises(AttributeError):
        setattr(secret, "text", "other")  # noqa: B010


@pytest.mark.parametrize("ref", ["${env:TOKEN}", "${file:sandbox/token}", "${file:/run/secrets/crm}"])
def test_a_reference_is_a_valid_secret(ref: str) -> None:
    assert Account(token=ref).token == ref


@pytest.mark.parametrize(
    "text",
    [
        *(PASTED, "", f"${{env:A}}{PASTED}", f"{PASTED}${{env:A}}", 4711, None, ["${env:A}"]),
        *("${TOKEN}", "${env:}", "${env:A B}", "${vault:x}", "$(env:A)", "${env:A}\n"),
        *("${file:}", "${file:a}${file:b}"),
    ],
)
def test_anything_but_a_reference_is_refused_and_the_text_is_not_repeated(text: object) -> None:
    with pytest.raises(ValidationError) as error:
        Account.model_validate({"token": text})

    assert "a secret stands here only by reference: ${env:NAME} or ${file:PATH}" in str(error.value)
    for said in (str(error.value), repr(error.value), str(error.value.errors()), error.value.json()):
        assert PASTED not in said and "4711" not in said


def test_a_secret_comes_from_the_environment_or_a_file_without_white_space(tmp_path: Path) -> None:
    (tmp_path / "crm").mkdir()
    (tmp_path / "crm" / "token").write_text("from file\n")

    assert resolve("${file:crm/token}", tmp_path, {}).reveal() == "from file"
    assert resolve(f"${{file:{tmp_path}/crm/token}}", Path("/nowhere"), {}).reveal() == "from file"
    assert resolve("${env:TOKEN}", tmp_path, {"TOKEN": " from env \n"}).reveal() == "from env"


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("${env:NONE}", "set the environment variable NONE"),
        ("${env:EMPTY}", "is empty"),
        ("${file:none}", "write the credential into"),
        ("${file:sandbox/token}", "python -m connectors.sandbox"),
        ("${file:.}", "cannot be read"),
        (PASTED, "write the reference, not the secret"),
    ],
)
def test_a_missing_secret_names_its_reference_and_what_to_do(tmp_path: Path, ref: str, words: str) -> None:
    with pytest.raises(SecretMissing) as error:
        resolve(ref, tmp_path, {"EMPTY": "  ", "OTHER": PASTED})

    assert words in str(error.value)
    assert PASTED not in str(error.value)


@pytest.mark.parametrize(
    ("options", "header", "value"),
    [
        ({"bearer": "${env:T}"}, "Authorization", "Bearer t0ken"),
        ({"header": {"name": "X-Api-Key", "value": "${env:T}"}}, "X-Api-Key", "t0ken"),
    ],
)
def test_credentials_become_headers(options: object, header: str, value: str) -> None:
    found = auth_headers(AuthOptions.model_validate(options), lambda ref: Secret("t0ken"))

    assert found == {header: value}


def test_basic_credentials_are_user_and_password_in_base64() -> None:
    options = AuthOptions.model_validate({"basic": {"user": "ana", "password": "${env:P}"}})

    found = auth_headers(options, lambda ref: Secret("p:w"))["Authorization"]

    assert b64decode(found.removeprefix("Basic ")) == b"ana:p:w"


@pytest.mark.parametrize(
    "options", [{}, {"bearer": "${env:A}", "header": {"name": "X", "value": "${env:B}"}}]
)
def test_exactly_one_kind_of_credentials_is_wanted(options: object) -> None:
    with pytest.raises(ValidationError, match="exactly one of 'bearer', 'basic', 'header'"):
        AuthOptions.model_validate(options)


def test_a_secret_that_no_header_can_carry_is_refused_without_being_shown() -> None:
    options = AuthOptions.model_validate({"bearer": "${env:T}"})

    with pytest.raises(SecretMissing) as error:
        auth_headers(options, lambda ref: Secret(f"{PASTED}\r\nX-Evil: 1"))

    assert "${env:T}" in str(error.value) and PASTED not in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        {"url": "https://x.test", "auth": {"bearer": PASTED}},
        {"url": "https://x.test", "auth": {"basic": {"user": "u", "password": PASTED}}},
        {"url": "https://x.test", "headers": {"X-Api-Key": PASTED}},
        {"url": "https://x.test", "headers": {"Authorization": f"Bearer {PASTED}"}},
        {"url": "https://x.test", "headers": {"X-Team": f"${{env:A}} {PASTED}"}},
        {"url": f"https://u:{PASTED}@x.test"},
        {"url": "https://x.test", "headers": {"X-Api-Key": PASTED}, "tokn": PASTED},
    ],
)
def test_a_webhook_with_a_pasted_secret_is_refused_and_the_secret_is_not_repeated(options: object) -> None:
    with pytest.raises(ValidationError) as error:
        options_model("webhook").model_validate(options)

    assert PASTED not in str(error.value)
    assert not any(PASTED in detail["msg"] for detail in error.value.errors())
