"""Content folders and projects that several tests share."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from serving import Project, open_project

ROOT = Path(__file__).parent.parent
Files = Mapping[str, str]

SHOP: Files = {
    "project.yml": "name: shop\n",
    "sources/raw_orders.yml": "path: ${HERE}/orders.csv\n",
    "sources/raw_customers.yml": "path: ${HERE}/customers.csv\n",
    "marts/orders.sql": """\
select id, customer_id, region, amount::decimal(12,2) as amount, note, day
from raw_orders
""",
    "marts/orders.yml": """\
description: One row per order
grain: id
columns:
  id: {description: Order number}
  customer_id: {tests: [not_null, {relationship: customers.customer_id}]}
  region: {tests: [{in: [EMEA, AMER]}]}
  amount: {}
  note: {}
  day: {}
measures:
  revenue: {agg: sum, expr: amount, format: "$,.2f"}
  orders: {agg: count}
  aov: {expr: revenue / orders}
""",
    "marts/customers.sql": "select customer_id, region, email, phone, salary from raw_customers\n",
    "marts/customers.yml": """\
description: One row per customer
grain: customer_id
columns:
  customer_id: {}
  region: {}
  email: {tags: [pii.email]}
  phone: {}
  salary: {}
""",
    "policies/access.yml": """\
attributes: {region: text}
roles:
  analyst: {marts: [orders, customers]}
  emea: {extends: analyst}
  steward: {marts: "*"}
  sync: {marts: [customers]}
assign:
  - {email: ana@example.com, name: Ana, roles: [steward]}
  - {email: emil@example.com, name: Emil, roles: [emea], attributes: {region: EMEA}}
  - {email: amy@example.com, name: Amy, roles: [analyst], attributes: {region: AMER}}
  - {email: nobody@example.com, roles: [analyst]}
rows:
  - {mart: orders, where: "region = user.region", except: [steward]}
  - {mart: customers, where: "region = user.region", except: [steward, sync]}
columns:
  - {tag: pii.email, mask: hash, except: [steward, sync]}
  - {column: customers.phone, mask: "null", except: [steward]}
  - {column: customers.salary, mask: hide, except: [steward]}
limits:
  - {role: analyst, rows: 1000, seconds: 20}
""",
    "orders.csv": """\
id,customer_id,region,amount,note,day
1,1,EMEA,10.50,ten,2026-01-05
2,1,EMEA,4.50,four,2026-01-20
3,2,EMEA,100.00,big,2026-02-03
4,3,AMER,7.00,POISON-a,2026-02-10
5,3,AMER,9.25,POISON-b,2026-03-01
""",
    "customers.csv": """\
customer_id,region,email,phone,salary
1,EMEA,one@example.com,+44 1,1000
2,EMEA,two@example.com,+44 2,2000
3,AMER,POISON-c@example.com,POISON-d,3000
""",
}


def write_files(folder: Path, files: Files) -> Path:
    """Write a content folder; `${HERE}` in a file is the folder itself."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("${HERE}", str(folder)), encoding="utf-8")
    return folder


@pytest.fixture
def shop_files(tmp_path: Path) -> Callable[..., Path]:
    """Write the shop's content with some files replaced (or dropped, with None)."""

    def write(changes: Mapping[str, str | None] | None = None) -> Path:
        files = {**SHOP, **(changes or {})}
        kept = {name: text for name, text in files.items() if text is not None}
        return write_files(tmp_path / "models", kept)

    return write


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The shop, built: three people see different parts of five orders."""
    folder = tmp_path_factory.mktemp("shop")
    project = open_project(write_files(folder / "models", SHOP), var=folder / "var")
    project.build()
    yield project
    project.close()


@pytest.fixture(scope="session")
def retail_csv() -> Path:
    """The real invoices; tests that need them are skipped where they are absent."""
    path = Path(os.environ.get("SLUICE_RETAIL_CSV") or ROOT.parent / "shared/data/online_retail/invoices.csv")
    if not path.is_file():
        pytest.skip("the real invoices are absent: set SLUICE_RETAIL_CSV to run this test")
    return path
