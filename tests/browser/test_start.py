"""Starting and ending the program: only here, whole, and without leftovers."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.browser.conftest import ROOT, Served, free_port, start_app, wait_for

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]


def test_it_refuses_to_listen_for_other_machines(tmp_path: Path) -> None:
    for more in (["--host", "0.0.0.0"], ["--host", "::"], ["--host", socket.gethostname()]):
        done = subprocess.run(
            [sys.executable, str(ROOT / "app.py"), "--var", str(tmp_path), *more],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 1
        assert "refused to listen" in done.stderr


def test_a_port_in_use_is_said_before_anything_else_happens(served: Served, tmp_path: Path) -> None:
    port = served.url.rpartition(":")[2]
    command = [sys.executable, str(ROOT / "app.py"), "--project", str(ROOT / "models"), "--port", port]
    done = subprocess.run([*command, "--var", str(tmp_path)], capture_output=True, text=True, cwd=tmp_path)

    assert done.returncode == 1
    assert "--port" in done.stderr
    assert not (tmp_path / "marts").exists()


def test_streamlit_run_refuses_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), "--server.address", "0.0.0.0"]
    environment = {**os.environ, "SLUICE_VAR": str(tmp_path), "SLUICE_PROJECT": str(ROOT / "models")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60)

    assert done.returncode == 1
    assert "refused to listen" in done.stderr


def test_broken_content_is_told_with_file_and_line(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "project.yml").write_text("nmae: x\n")
    done = subprocess.run(
        [sys.executable, str(ROOT / "app.py"), "--project", str(models), "--var", str(tmp_path / "var")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )

    assert done.returncode == 1
    assert "project.yml:1" in done.stderr


def test_a_name_that_somebody_pointed_at_this_machine_is_refused(served: Served) -> None:
    port = served.url.rpartition(":")[2]
    for host, status in ((f"evil.example:{port}", 403), (f"localhost:{port}", 200)):
        assert (
            httpx.get(served.url + "/healthz", headers={"Host": host}, trust_env=False).status_code == status
        )


def test_rest_answers_each_person_by_their_rules(served: Served) -> None:
    def ask(**more: str) -> httpx.Response:
        question = {"sql": "select count(distinct region) as regions from orders"}
        return httpx.post(served.url + "/api/v1/query", json=question, headers=more, trust_env=False)

    assert ask().status_code == 401
    assert ask(**{"X-Sluice-User": "mallory@example.com"}).status_code == 403
    assert ask(**{"X-Sluice-User": "mara@example.com"}).json()["rows"] == [[3]]
    assert ask(**{"X-Sluice-User": "jonas@example.com"}).json()["rows"] == [[1]]
    assert ask(**{"X-Sluice-User": "priya@example.com"}).status_code == 400
    assert ask(**{"X-Sluice-User": "mara@example.com", "Origin": "https://evil.example"}).status_code == 403


def test_rest_gives_rows_of_syncs_only_to_stewards(served: Served) -> None:
    def status(path: str, person: str) -> int:
        headers = {"X-Sluice-User": f"{person}@example.com"}
        return httpx.get(served.url + path, headers=headers, trust_env=False, timeout=30).status_code

    assert status("/api/v1/syncs", "jonas") == 200
    assert status("/api/v1/syncs/companies/plan", "jonas") == 403
    assert status("/api/v1/syncs/companies/plan", "mara") == 200


def test_nothing_is_left_behind_when_it_is_killed(tmp_path: Path) -> None:
    port = free_port()
    process = start_app(tmp_path / "var", port=port, sandbox=(sandbox := free_port()))
    wait_for(f"http://127.0.0.1:{port}/healthz", process)
    wait_for(f"http://127.0.0.1:{sandbox}/healthz", process)

    process.send_signal(signal.SIGKILL)
    process.wait()

    for _ in range(200):
        try:
            httpx.get(f"http://127.0.0.1:{sandbox}/healthz", trust_env=False, timeout=1)
        except httpx.TransportError:
            return
        time.sleep(0.1)
    pytest.fail("the sandbox outlived the program that started it")
