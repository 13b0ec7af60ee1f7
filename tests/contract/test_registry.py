"""Connectors are found by name, and limits can only get tighter."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from connectors.budget import Limits
from connectors.protocol import DestinationStopped
from connectors.registry import (
    UnknownConnector,
    check_key,
    check_object,
    connector_names,
    effective_limits,
    open_destination,
    open_sender,
    options_model,
)
from connectors.secrets import SecretMissing, resolve

SANDBOX = options_model("sandbox")()


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownConnector, match="did you mean 'sandbox'"):
        options_model("sandbax")
    with pytest.raises(UnknownConnector, match="there are: sandbox, webhook"):
        options_model("quux")


@pytest.mark.parametrize("name", connector_names())
def test_options_are_immutable_and_unknown_keys_are_errors(name: str) -> None:
    model = options_model(name)

    assert model.model_config["frozen"] and model.model_config["extra"] == "forbid"
    with pytest.raises(ValidationError):
        model.model_validate({"url": "http://127.0.0.1:1", "colour": "red"})


def test_an_object_that_is_not_there_is_named_with_those_that_are() -> None:
    problem = "the sandbox has no object 'deals', only companies and contacts"

    assert check_object("sandbox", SANDBOX, "deals") == problem
    assert check_object("sandbox", SANDBOX, "contacts") is None
    with pytest.raises(DestinationStopped, match=problem):
        open_destination("sandbox", SANDBOX, "deals")


def test_the_sandbox_has_one_key_field() -> None:
    assert check_key("sandbox", SANDBOX, "contacts", ["id"]) is None
    assert "one key field, not by 2" in (check_key("sandbox", SANDBOX, "contacts", ["a", "b"]) or "")


def test_a_sender_without_its_secret_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(SecretMissing, match=r"sandbox/token"):
        open_sender("sandbox", SANDBOX, lambda ref: resolve(ref, tmp_path, {}), account="crm")


def test_limits_only_tighten(tmp_path: Path) -> None:
    (tmp_path / "sandbox").mkdir()
    (tmp_path / "sandbox" / "token").write_text("t")

    def limits(given: Limits) -> Limits:
        found = effective_limits("sandbox", SANDBOX, given)
        sender = open_sender(
            "sandbox", SANDBOX, lambda ref: resolve(ref, tmp_path, {}), account="crm", limits=given
        )
        assert sender.limits == found
        return found

    assert limits(Limits()) == Limits(per_second=50, concurrent=4)
    assert limits(Limits(10, 300, 5_000, 2)) == Limits(10, 300, 5_000, 2)
    assert limits(Limits(per_second=1_000, concurrent=100)) == Limits(per_second=50, concurrent=4)
