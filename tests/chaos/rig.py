"""A small project, a real sandbox and the real command line, for tests of syncs."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from connectors.sandbox_client import Call, SandboxClient
from serving import Project, open_project
from tests.contract.sandbox_process import SandboxProcess, spawn

ROOT = Path(__file__).resolve().parents[2]

_FILES = {
    "project.yml": "name: rig\n",
    "sources/people.yml": "path: {csv}\noptions: {{all_varchar: true}}\n",
    "marts/people.sql": "select id, name, email, city from people_file\n",
    "policies/access.yml": "roles:\n  sync: {{marts: [people]}}\nassign:\n"
    "  - {{email: ana@example.com, roles: [sync]}}\n",
    "destinations/crm.yml": "connector: sandbox\nurl: {url}\ntoken: ${{file:sandbox/token}}\n",
}
_SYNC = """
source: people
run_as: sync
destination: crm
object: contacts
key: {id: id}
fields: {name: name, email: email}
mode: mirror
on_removed: archive
"""

Person = tuple[str | None, str, str]  # id, name, email


@dataclass
class Rig:
    """One project folder with a source file that tests rewrite, and one sandbox."""

    home: Path
    sandbox: SandboxProcess
    environ: dict[str, str] = field(default_factory=dict)
    opened: Project | None = None

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def var(self) -> Path:
        return self.sandbox.var

    def write(self, path: str, text: str) -> None:
        """A file of the content folder."""
        file = self.models / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def sync(self, **keys: object) -> None:
        """The sync `people`, with other keys than usual; None leaves a key out."""
        lines = [line for line in _SYNC.strip().splitlines() if line.partition(":")[0] not in keys]
        self.write(
            "syncs/people.yml",
            "\n".join([*lines, *(f"{k}: {json.dumps(v)}" for k, v in keys.items() if v is not None)]) + "\n",
        )

    def people(self, rows: Sequence[Person], city: str = "Oslo") -> None:
        """What the source holds from now on, built and published."""
        lines = [f"{key or ''},{name},{email},{city}" for key, name, email in rows]
        text = "\n".join(["id,name,email,city", *lines, ""])
        self.home.joinpath("people.csv").write_text(text, encoding="utf-8")
        with self.project() as project:
            project.build()

    @contextmanager
    def project(self) -> Iterator[Project]:
        if self.opened is None:
            self.opened = open_project(self.models, var=self.var)
        self.opened.refresh()
        yield self.opened

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The real command line, in a process of its own."""
        return cli(arguments, self.models, self.var, self.environ)

    def run(self, *arguments: str) -> "Done":
        return finish(self.start(*arguments))

    def calls(self) -> tuple[Call, ...]:
        """Every write call the sandbox saw."""
        with self.sandbox.client() as client:
            return write_calls(client)

    def contacts(self) -> dict[str, dict[str, object]]:
        """Live contacts by id."""
        with self.sandbox.client() as client:
            return {record.id: dict(record.properties) for record in client.every_record("contacts")}


@dataclass(frozen=True)
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.out)
        return found


@contextmanager
def rig(home: Path) -> Iterator[Rig]:
    """A project with the sync `people`, and its sandbox."""
    with spawn(home / "var") as sandbox:
        made = Rig(home, sandbox)
        for path, text in _FILES.items():
            made.write(path, text.format(csv=home / "people.csv", url=sandbox.url))
        (made.models / "sources/people.yml").rename(made.models / "sources/people_file.yml")
        made.write("marts/people.yml", "grain: []\n")
        made.sync()
        try:
            yield made
        finally:
            if made.opened is not None:
                made.opened.close()


def cli(
    arguments: Sequence[str], models: Path, var: Path, environ: Mapping[str, str]
) -> subprocess.Popen[str]:
    """`python -m reverse_etl …`, started."""
    return subprocess.Popen(
        [sys.executable, "-m", "reverse_etl", *arguments, "--project", str(models), "--var", str(var)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], seconds: float = 120) -> Done:
    """Wait for its end."""
    out, err = process.communicate(timeout=seconds)
    return Done(process.returncode, out, err)


def write_calls(client: SandboxClient) -> tuple[Call, ...]:
    """The call log without reads and faults, oldest first."""
    found: list[Call] = []
    while page := client.calls(limit=1000, after=found[-1].id if found else 0):
        found += page
    return tuple(call for call in found if call.method == "POST")


def wait_for(what: object, seconds: float = 20) -> None:
    """Until `what()` is true; a test that waits longer has failed."""
    end = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
