"""Fixtures of the contract suite: one sandbox process, and each connector with its tool."""

from collections.abc import Iterator

import pytest

from connectors.secrets import Secret
from tests.contract.sandbox_process import SandboxProcess
from tests.contract.tools import TOKEN, TOOLS, Line, Tool, line_to, opened, running_sandbox


@pytest.fixture(scope="session")
def sandbox_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with running_sandbox(tmp_path_factory.mktemp("crm")) as server:
        yield server


@pytest.fixture(scope="session", params=TOOLS)
def tool(request: pytest.FixtureRequest, sandbox_server: SandboxProcess) -> Iterator[Tool]:
    with opened(request.param, sandbox_server) as found:
        yield found


@pytest.fixture
def line(tool: Tool) -> Line:
    """A way to send to each connector's tool, which holds nothing yet."""
    tool.reset()
    return line_to(tool, Secret(TOKEN))
