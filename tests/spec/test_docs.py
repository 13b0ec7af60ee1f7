"""What the documents say exists."""

import re
from pathlib import Path

import pytest

from reverse_etl.__main__ import app as sync_commands
from serving.__main__ import app as serving_commands
from serving.project import check_project
from tests.conftest import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_every_command_that_the_readme_names_exists() -> None:
    known = {
        "serving": {
            *(command.name or command.callback.__name__ for command in serving_commands.registered_commands),
            *(group.name for group in serving_commands.registered_groups),
            *(
                command.name
                for group in serving_commands.registered_groups
                for command in group.typer_instance.registered_commands
            ),
        },
        "reverse_etl": {
            command.name or command.callback.__name__ for command in sync_commands.registered_commands
        },
    }
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for package, words in re.findall(r"^python -m (serving|reverse_etl) ([^#\n]*)", text, re.MULTILINE):
        for part in words.split("|"):
            if (command := re.match(r" *([a-z]+)\b", part)) and command[1] not in (
                "csv",
                "json",
                "arrow",
                "parquet",
            ):
                assert command[1] in known[package], command[1]


def test_every_dependency_has_a_reason_and_a_pinned_version() -> None:
    for name in ("requirements.txt", "tests/requirements.txt"):
        for line in (ROOT / name).read_text().splitlines():
            assert line.startswith("#") or re.fullmatch(r"[\w-]+==[\w.]+ +# .{10,}", line), line


def test_the_demo_has_no_problems() -> None:
    assert check_project(ROOT / "models")[2] == []
