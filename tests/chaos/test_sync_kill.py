"""The real command line against the real sandbox, killed at any moment: nothing lost, nothing doubled."""

import json
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from connectors.sandbox.faults import Faults
from serving import open_project
from tests.chaos.rig import ROOT, Done, cli, finish, write_calls
from tests.contract.sandbox_process import SandboxProcess, spawn

CSV = os.environ.get("SLUICE_RETAIL_CSV", "")
MODELS = ROOT / "tests" / "projects" / "online_retail"
CUSTOMERS = 4372
KILLS = 1  # of the command line; `test_sync_chaos.py` has the many

pytestmark = pytest.mark.skipif(
    not Path(CSV).is_file(),
    reason="NOT TESTED: SLUICE_RETAIL_CSV names no invoices.csv",
)


@dataclass(frozen=True)
class Shop:
    """The retail project with a fresh sandbox."""

    sandbox: SandboxProcess

    @property
    def environ(self) -> dict[str, str]:
        return {"SANDBOX_URL": self.sandbox.url}

    def run(self, *arguments: str) -> Done:
        return finish(cli(arguments, MODELS, self.sandbox.var, self.environ))

    def kill_after(self, seconds: float) -> bool:
        """Start the sync and kill it; False if it had ended before."""
        process = cli(("run", "customers"), MODELS, self.sandbox.var, self.environ)
        end = time.monotonic() + seconds
        while time.monotonic() < end and process.poll() is None:
            time.sleep(0.005)
        early = process.poll() is None
        process.kill()
        process.communicate()
        return early

    def held(self) -> dict[str, dict[str, object]]:
        with self.sandbox.client() as client:
            return {r.id: dict(r.properties) for r in client.every_record("contacts")}

    def sent(self) -> Counter[str]:
        with self.sandbox.client() as client:
            return Counter(key for call in write_calls(client) for key in call.ids)

    def ledger(self) -> dict[str, dict[str, object]]:
        """What the newest ledger says was accepted, without the fields that are null."""
        files = (self.sandbox.var / "syncs" / "customers").glob("ledger-*.parquet")
        newest = max(files, key=lambda file: int(file.stem.partition("-")[2]))
        rows = pq.read_table(newest).to_pylist()
        assert not [row for row in rows if row["pending"]]
        return {
            json.loads(row["key"])["id"]: {
                k: v for k, v in json.loads(row["fields"]).items() if v is not None
            }
            for row in rows
        }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A var directory with the marts of the retail project, published."""
    var = tmp_path_factory.mktemp("built")
    project = open_project(MODELS, var=var)
    project.build()
    project.close()
    return var


@pytest.fixture
def shop(built: Path, tmp_path: Path) -> Iterator[Shop]:
    var = tmp_path / "var"
    shutil.copytree(built, var)
    with spawn(var) as sandbox:
        with sandbox.client() as client:
            client.set_faults(Faults(slow_ms=80, rate_limit=None))
        yield Shop(sandbox)


def test_a_calm_run_sends_every_customer_once_and_the_next_run_makes_no_call(shop: Shop) -> None:
    done = shop.run("run", "customers")
    assert done.code == 0, done.err
    assert "4,372 planned = 4,372 accepted + 0 rejected + 0 deferred + 0 unknown" in done.out
    assert set(shop.sent().values()) == {1} and len(shop.held()) == CUSTOMERS
    before = shop.sent().total()

    again = shop.run("run", "customers", "--json")

    assert again.code == 0
    report = again.json()["report"]
    assert isinstance(report, dict) and (report["calls"], report["counts"]["unchanged"]) == (0, CUSTOMERS)
    assert shop.sent().total() == before


def test_one_customer_changed_upstream_is_one_record_and_one_deleted_is_one_removal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the invoices through a rebuild to the CRM."""
    lines = Path(CSV).read_text(encoding="utf-8").splitlines()
    invoices = tmp_path / "invoices.csv"
    monkeypatch.setenv("SLUICE_RETAIL_CSV", str(invoices))

    def rebuild(rows: list[str]) -> None:
        invoices.write_text("\n".join(rows) + "\n", encoding="utf-8")
        project = open_project(MODELS, var=tmp_path / "var")
        project.build()
        project.close()

    with spawn(tmp_path / "var") as sandbox:
        shop = Shop(sandbox)
        rebuild(lines)
        assert shop.run("run", "customers").code == 0
        # An order of customer 12350 in the middle of the year moves neither dates nor scores of others.
        bought = lines[1].split(",")
        own = next(line for line in lines if line.split(",")[2] == "12350").split(",")
        rebuild([*lines, ",".join(["999999", own[1], "12350", own[3], "1", bought[5]])])
        before = shop.sent().total()
        assert shop.run("run", "customers").code == 0
        changed = shop.sent().total() - before

        rebuild([line for line in lines if line.split(",")[2] != "12350"])
        planned = shop.run("plan", "customers", "--json").json()["counts"]
        assert isinstance(planned, dict)
        assert shop.run("run", "customers").code == 0

        assert (changed, planned["remove"]) == (1, 1)
        assert "12350" not in shop.held() and len(shop.held()) == CUSTOMERS - 1


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_run_killed_at_any_moment_is_resumed_and_every_customer_arrives_exactly_once(
    shop: Shop, seed: int
) -> None:
    """The log of the destination may show the batches that were in flight twice, nothing else."""
    kills = sum([shop.kill_after(random.Random(seed).uniform(0.8, 3.5))])

    done = shop.run("run", "customers", "--json")

    assert done.code == 0, done.err
    report = done.json()["report"]
    assert isinstance(report, dict)
    assert report["state"] == "done"
    sent = shop.sent()
    assert len(sent) == len(shop.held()) == CUSTOMERS
    assert sum(count - 1 for count in sent.values()) <= 800 * kills
    assert shop.ledger() == shop.held()
    quiet = shop.run("run", "customers", "--json").json()["report"]
    assert isinstance(quiet, dict) and quiet["calls"] == 0


def test_a_run_killed_again_and_again_still_ends_with_every_customer_exactly_once(shop: Shop) -> None:
    dice = random.Random(7)
    kills = sum(shop.kill_after(dice.uniform(1.5, 2.6)) for _ in range(4))

    done = shop.run("run", "customers")

    assert done.code == 0, done.err
    assert shop.ledger() == shop.held()
    assert len(shop.held()) == CUSTOMERS
    assert sum(count - 1 for count in shop.sent().values()) <= 800 * kills


def test_two_processes_never_run_one_sync_at_the_same_time(shop: Shop) -> None:
    both = [cli(("run", "customers"), MODELS, shop.sandbox.var, shop.environ) for _ in range(2)]

    ends = sorted((finish(process) for process in both), key=lambda done: done.code)

    assert [done.code for done in ends] == [0, 1]
    assert "is being run by process" in ends[1].err
    assert set(shop.sent().values()) == {1} and len(shop.sent()) == CUSTOMERS


def test_sigterm_finishes_the_batches_in_flight_and_the_next_run_repeats_none(shop: Shop) -> None:
    process = cli(("run", "customers"), MODELS, shop.sandbox.var, shop.environ)
    while not shop.sent():
        time.sleep(0.02)
    process.terminate()
    stopped = finish(process)
    assert stopped.code == 1
    assert "the next run resumes it" in stopped.err
    assert len(shop.sent()) < CUSTOMERS

    assert shop.run("run", "customers").code == 0

    assert set(shop.sent().values()) == {1} and len(shop.sent()) == CUSTOMERS
    assert shop.ledger() == shop.held()
