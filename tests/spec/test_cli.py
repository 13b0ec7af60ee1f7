"""The command line as scripts rely on it: results on stdout, reasons on stderr, exit codes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.conftest import ROOT, SHOP

Write = Callable[..., Path]


def sluice(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "serving", *words, "--project", str(folder)]
    if words[0] != "check":
        command += ["--var", str(folder.parent / "var")]
    return subprocess.run(command, capture_output=True, cwd=ROOT, check=False)


@pytest.fixture
def built(shop_files: Write) -> Path:
    folder = shop_files()
    assert sluice(folder, "build").returncode == 0
    return folder


def test_check_lists_all_problems_and_exits_with_1(shop_files: Write) -> None:
    folder = shop_files(
        {"project.yml": "name: shop\nkep_versions: 3\n", "marts/orders.sql": "select 1 from nope"}
    )
    done = sluice(folder, "check")
    assert done.returncode == 1
    assert b"project.yml:2: unknown key 'kep_versions'" in done.stderr
    assert b"reads 'nope': no source or mart" in done.stderr
    machine = json.loads(sluice(folder, "check", "--json").stdout)
    assert (machine["ok"], len(machine["problems"])) == (False, 2)


def test_check_writes_schemas_that_refuse_unknown_keys(shop_files: Write, tmp_path: Path) -> None:
    assert sluice(shop_files(), "check", "--schemas", str(tmp_path / "schemas")).returncode == 0
    schema = json.loads((tmp_path / "schemas/marts.schema.json").read_text())
    assert schema["additionalProperties"] is False
    assert "grain" in schema["properties"]
    assert "name" not in schema["properties"]


def test_build_says_what_it_built_and_what_it_left(built: Path) -> None:
    done = sluice(built, "build")
    assert done.returncode == 0
    assert b"unchanged  orders" in done.stdout
    assert b"version 1 already serves this" in done.stdout
    machine = json.loads(sluice(built, "build", "--json").stdout)
    assert machine["unchanged"] == ["customers", "orders"]


def test_a_red_build_exits_with_1_and_shows_rows(built: Path) -> None:
    (built / "orders.csv").write_text(SHOP["orders.csv"] + "1,1,EMEA,1.00,again,2026-01-01\n")
    done = sluice(built, "build")
    assert done.returncode == 1
    assert b"id=1, rows=2" in done.stderr


def test_query_prints_tables_and_files(built: Path, tmp_path: Path) -> None:
    sql = "select region, sum(amount) as total from orders group by all order by all"
    table = sluice(built, "query", sql, "--user", "ana@example.com")
    assert table.returncode == 0
    assert b"EMEA" in table.stdout
    assert b"(2 rows)" in table.stdout
    rows = json.loads(sluice(built, "query", sql, "--user", "ana@example.com", "--json").stdout)
    assert rows == [{"region": "AMER", "total": 16.25}, {"region": "EMEA", "total": 115}]
    text = sluice(built, "query", sql, "--user", "emil@example.com", "--format", "csv").stdout.decode()
    assert text.splitlines() == ['"region","total"', '"EMEA",115.00']
    out = tmp_path / "answer.parquet"
    assert sluice(built, "query", sql, "--user", "ana@example.com", "--format", "parquet", "--out", str(out))
    assert pa.parquet.read_table(out).num_rows == 2
    arrow = sluice(built, "query", sql, "--user", "ana@example.com", "--format", "arrow").stdout
    assert pa.ipc.open_stream(arrow).read_all().num_rows == 2


def test_a_refused_query_exits_with_1_and_its_reason_on_stderr(built: Path) -> None:
    done = sluice(built, "query", "select * from ordres", "--user", "emil@example.com")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"there is no mart 'ordres' for you" in done.stderr
    assert b"did you mean 'orders'?" in done.stderr


def test_a_missing_option_is_usage(built: Path) -> None:
    assert sluice(built, "query", "select 1").returncode == 2
    assert sluice(built, "qurey").returncode == 2


def test_explain_versions_rollback_catalog_and_users(built: Path) -> None:
    explained = sluice(built, "explain", "select email from customers", "--user", "emil@example.com")
    assert b"\"region\" = 'EMEA'" in explained.stdout
    (built / "orders.csv").write_text(SHOP["orders.csv"] + "6,1,EMEA,1.00,x,2026-01-01\n")
    assert sluice(built, "build").returncode == 0
    kept = json.loads(sluice(built, "versions", "--json").stdout)
    assert [(v["version"], v["current"]) for v in kept] == [(2, True), (1, False)]
    assert sluice(built, "rollback", "1").returncode == 0
    old = sluice(built, "query", "select count(*) n from orders", "--user", "ana@example.com", "--json")
    assert json.loads(old.stdout) == [{"n": 5}]
    assert sluice(built, "rollback", "7").returncode == 1
    seen = json.loads(sluice(built, "catalog", "customers", "--user", "emil@example.com", "--json").stdout)
    assert [c["name"] for c in seen[0]["columns"]] == ["customer_id", "region", "email", "phone"]
    assert seen[0]["rows"] is None
    people = json.loads(sluice(built, "users", "--json").stdout)
    assert [p["email"].split("@")[0] for p in people] == ["ana", "emil", "amy", "nobody"]
