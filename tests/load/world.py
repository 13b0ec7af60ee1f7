"""The project under load: its content, its people, and what is true in each season.

A season is one publish: the number in `season.csv` is in every amount, so that an answer
tells which publish it came from.
"""

from pathlib import Path

import duckdb

from tests.conftest import Files, write_files

ORDERS = 400_000
CUSTOMERS = 2_000
REGIONS = ("AMER", "APAC", "EMEA", "LATAM")
KEEP = 4  # versions

FILES: Files = {
    "project.yml": f"name: load\nkeep_versions: {KEEP}\n",
    "sources/raw_season.yml": "path: ${HERE}/season.csv\n",
    "sources/raw_orders.yml": "path: ${HERE}/orders.parquet\n",
    "sources/raw_customers.yml": "path: ${HERE}/customers.parquet\n",
    "marts/season.sql": "select season from raw_season\n",
    "marts/season.yml": "description: Which publish this is\ngrain: season\ncolumns: {season: {}}\n",
    "marts/orders.sql": """\
select order_id, customer_id, region, units + season as amount, season, note
from raw_orders, raw_season
""",
    "marts/orders.yml": """\
description: One row per order
columns: {order_id: {}, customer_id: {}, region: {}, amount: {}, season: {}, note: {}}
""",
    "marts/customers.sql": """\
select customer_id, region, email, salary + season as salary, season from raw_customers, raw_season
""",
    "marts/customers.yml": """\
description: One row per customer
grain: customer_id
columns:
  customer_id: {}
  region: {}
  email: {tags: [pii.email]}
  salary: {}
  season: {}
""",
    "marts/by_region.sql": """\
select region, count(*) as orders, sum(amount) as amount from orders group by 1
""",
    "marts/by_region.yml": """\
description: One row per region
grain: region
columns: {region: {}, orders: {}, amount: {}}
""",
}

_POLICY = """\
attributes: {{region: text}}
roles:
  steward: {{marts: "*"}}
  sales: {{marts: "*", description: "{word}"}}
  small: {{marts: "*"}}
  short: {{marts: "*"}}
  alone: {{marts: "*"}}
  large: {{marts: "*"}}
assign:
  - {{email: sol@example.com, roles: [steward]}}
{people}
rows:
  - {{mart: orders, where: "{rule}", except: [steward]}}
  - {{mart: customers, where: "region = user.region", except: [steward]}}
  - {{mart: by_region, where: "region = user.region", except: [steward]}}
columns:
  - {{tag: pii.email, mask: hash, except: [steward]}}
  - {{column: customers.salary, mask: hide, except: [steward]}}
limits:
  - {{role: steward, seconds: 60, concurrent: 16, queued: 64}}
  - {{role: sales, seconds: 60, concurrent: 16, queued: 64}}
  - {{role: small, rows: 50, seconds: 60, concurrent: 16, queued: 64}}
  - {{role: short, seconds: {short}, concurrent: 4, queued: 16}}
  - {{role: large, seconds: {large}, concurrent: 4, queued: 16}}
  - {{role: alone, seconds: 30, concurrent: 1, queued: 1}}
"""
_RULES = ("region = user.region", "region in (user.region)", "user.region = region and region is not null")
SHORT = 2.0  # seconds that the holders of `short` have
LARGE = 5.0  # and those of `large`
STEWARD = "sol@example.com"
SALES = {"AMER": "amy@example.com", "EMEA": "emil@example.com", "APAC": "anh@example.com"}
SMALL, ALONE = "sam@example.com", "alma@example.com"
BOMBER, STUCK, SLOW = "bob@example.com", "stan@example.com", "tim@example.com"
CANCELS, SOUP = "cara@example.com", "zoe@example.com"
_ROLES = {SMALL: "small", ALONE: "alone", BOMBER: "large", STUCK: "short", SLOW: "short"}


def region_of(email: str) -> str | None:
    """Whose rows the person sees; None: all."""
    if email == STEWARD:
        return None
    return next((region for region, person in SALES.items() if person == email), "LATAM")


def policy(edition: int) -> str:
    """The policy, written differently in each edition, and meaning the same."""
    people = [*SALES.values(), SMALL, ALONE, BOMBER, STUCK, SLOW, CANCELS, SOUP]
    lines = [
        f"  - {{email: {who}, roles: [{_ROLES.get(who, 'sales')}], attributes: {{region: {region_of(who)}}}}}"
        for who in people
    ]
    return _POLICY.format(
        word=f"edition {edition}",
        people="\n".join(lines),
        rule=_RULES[edition % len(_RULES)],
        short=f"{SHORT:g}",
        large=f"{LARGE:g}",
    )


def write_world(folder: Path) -> Path:
    """Write the content and its data; returns the content's folder."""
    models = write_files(folder / "models", {**FILES, "policies/access.yml": policy(0)})
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({_raw_orders()}) TO '{models / 'orders.parquet'}'").fetchall()
        connection.execute(f"COPY ({_raw_customers()}) TO '{models / 'customers.parquet'}'").fetchall()
    write_season(models, 0)
    return models


def write_season(models: Path, season: int) -> None:
    """Let the next build make other numbers."""
    (models / "season.csv").write_text(f"season\n{season}\n", encoding="utf-8")


def _raw_orders() -> str:
    regions = ", ".join(f"'{region}'" for region in REGIONS)
    return (
        f"SELECT i AS order_id, i % {CUSTOMERS} AS customer_id, [{regions}][1 + i % 4] AS region,"
        f" (i * 7919) % 1000 AS units, 'order ' || i AS note FROM range({ORDERS}) t(i)"
    )


def _raw_customers() -> str:
    regions = ", ".join(f"'{region}'" for region in REGIONS)
    return (
        f"SELECT i AS customer_id, [{regions}][1 + i % 4] AS region,"
        f" 'c' || i || '@example.com' AS email, 1000 + i AS salary FROM range({CUSTOMERS}) t(i)"
    )


class Copies:
    """Plain DuckDB over copies that hold one season and one region only."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str | None, int], duckdb.DuckDBPyConnection] = {}

    def rows(self, sql: str, region: str | None, season: int) -> list[tuple[object, ...]]:
        """The answer on that copy."""
        copy = self._kept.get((region, season)) or self._copy(region, season)
        return copy.execute(sql).fetchall()

    def _copy(self, region: str | None, season: int) -> duckdb.DuckDBPyConnection:
        copy = self._kept[region, season] = duckdb.connect(config={"threads": 2})
        only = "" if region is None else f"WHERE region = '{region}'"
        copy.execute(f"CREATE TABLE raw_season AS SELECT {season}::BIGINT AS season").fetchall()
        for name, sql in (("raw_orders", _raw_orders()), ("raw_customers", _raw_customers())):
            copy.execute(f"CREATE TABLE {name} AS FROM ({sql}) {only}").fetchall()
        for mart in ("season", "orders", "customers", "by_region"):
            copy.execute(f"CREATE TABLE {mart} AS {FILES[f'marts/{mart}.sql']}").fetchall()
        return copy

    def close(self) -> None:
        """Let the copies go."""
        for copy in self._kept.values():
            copy.close()
        self._kept.clear()
