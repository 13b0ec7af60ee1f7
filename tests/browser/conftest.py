"""The real program on free ports, and a real Chromium that looks at it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = Path(__file__).parent / "screenshots"  # ignored by git
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()
WIDTHS = {"wide": (1280, 900), "phone": (400, 860)}
MOUNTED = """editor => new Promise(done => {
    const look = () => editor.state?.number >= 0 ? done() : setTimeout(look, 20)
    look()
})"""
NOT_OURS = ("/_stcore/health", "/_stcore/host-config")  # the client tries them below a deep link first


@dataclass(frozen=True)
class Served:
    """The running program."""

    url: str
    var: Path
    process: subprocess.Popen[bytes]
    log: Path


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def start_app(var: Path, *more: str, port: int, sandbox: int) -> subprocess.Popen[bytes]:
    """`python app.py` over the demo, from a folder of its own."""
    environment = {**os.environ, "SANDBOX_URL": f"http://127.0.0.1:{sandbox}"}
    command = [sys.executable, str(ROOT / "app.py"), "--project", str(ROOT / "models"), "--var", str(var)]
    var.mkdir(parents=True, exist_ok=True)
    with (var / "app.log").open("wb") as log:
        return subprocess.Popen(
            [*command, "--port", str(port), *more], cwd=var, env=environment, stdout=log, stderr=log
        )


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 90.0) -> None:
    """Until the address answers; fails with what the program said when it ended instead."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            pytest.fail(f"the program ended with {process.returncode} before it answered")
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail(f"{url} did not answer within {seconds:g} s")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    var = tmp_path_factory.mktemp("explorer") / "var"
    port = free_port()
    process = start_app(var, port=port, sandbox=free_port())
    try:
        wait_for(f"http://127.0.0.1:{port}/healthz", process)
        yield Served(f"http://127.0.0.1:{port}", var, process, var / "app.log")
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="module")  # it holds the thread's event loop, which later modules want for themselves
def chromium() -> Iterator[object]:
    found = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("SKIPPED BROWSER TESTS: there is no chromium on this machine (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


class Looker:
    """One browser window that notices what must never happen."""

    def __init__(self, browser: object, served: Served, width: str) -> None:
        size = dict(zip(("width", "height"), WIDTHS[width], strict=True))
        self.context = browser.new_context(viewport=size, accept_downloads=True)  # type: ignore[attr-defined]
        self.page = self.context.new_page()
        self.served, self.width = served, width
        self.complaints: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        self.page.on("request", self._request)

    def _console(self, message: object) -> None:
        kind, text = message.type, message.text  # type: ignore[attr-defined]
        place = message.location.get("url", "")  # type: ignore[attr-defined]
        if kind == "error" and not place.endswith(NOT_OURS):
            self.complaints.append(f"console: {text} ({place})")

    def _request(self, request: object) -> None:
        url = request.url  # type: ignore[attr-defined]
        own = (self.served.url, self.served.url.replace("http", "ws", 1), "data:", "blob:")
        if not url.startswith(own):
            self.complaints.append(f"request to another host: {url}")

    def open(self, path: str) -> None:
        """Go there and wait until the page stands."""
        self.page.goto(self.served.url + path)
        self.page.locator(".title").wait_for(timeout=30_000)
        self.settle()

    def settle(self) -> None:
        """Until no script runs any more."""
        self.page.wait_for_function(
            "document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'",
            timeout=30_000,
        )

    def person(self, name: str) -> None:
        """View as somebody else."""
        self.page.locator(".st-key-person input").click()
        self.page.get_by_role("option", name=name).click()
        self.page.wait_for_function("name => location.search.includes(name)", arg=name.split()[0].lower())
        self.settle()

    def ask(self, sql: str) -> None:
        """Write into the editor and press Ctrl+Enter."""
        area = self.page.get_by_label("SQL", exact=True)
        area.evaluate(MOUNTED)  # what is typed before the editor has its own text would be lost
        area.fill(sql)
        area.press("Control+Enter")

    def shot(self, name: str) -> None:
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}-{self.width}.png")

    def judge(self) -> None:
        """No sideways scrolling, no errors, nothing from elsewhere."""
        wide = self.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= WIDTHS[self.width][0], f"the page is {wide} pixels wide"
        assert self.complaints == []


@pytest.fixture
def look(chromium: object, served: Served, width: str) -> Iterator[Looker]:
    looker = Looker(chromium, served, width)
    yield looker
    try:
        looker.judge()
    finally:
        looker.context.close()


@pytest.fixture
def width(request: pytest.FixtureRequest) -> str:
    return getattr(request, "param", "wide")
