"""A generated project with one large mart, for benchmarks of metrics: the orders of three years."""

import time
from pathlib import Path

from serving import Project, open_project

ANA, EMIL = "ana@example.com", "emil@example.com"  # sees everything; sees one region by a row rule

_PROJECT = "name: metrics\ncache_megabytes: 0\n"
_ACCESS = """\
attributes: {region: text}
roles:
  all: {marts: [orders]}
  region: {marts: [orders]}
assign:
  - {email: ana@example.com, roles: [all]}
  - {email: emil@example.com, roles: [region], attributes: {region: EMEA}}
rows:
  - {mart: orders, where: "region = user.region", except: [all]}
limits:
  - {role: all, rows: 1000000, seconds: 300}
  - {role: region, rows: 1000000, seconds: 300}
"""
_SQL = """\
select i as id,
  timestamp '2023-01-01' + to_microseconds((i * (94608000000000 / {rows}))::bigint) as ordered_at,
  (hash(i) % 400000)::bigint as customer_id,
  ['EMEA', 'AMER', 'APAC', 'LATAM', NULL][(hash(i + 1) % 5)::int + 1] as region,
  'country ' || (hash(i + 2) % 40) as country,
  ['home', 'pro', 'public', 'school'][(hash(i + 3) % 4)::int + 1] as segment,
  ['web', 'shop', 'phone'][(hash(i + 4) % 3)::int + 1] as channel,
  ['done', 'done', 'done', 'open', 'lost'][(hash(i + 5) % 5)::int + 1] as status,
  ((hash(i + 6) % 100000) / 100)::decimal(12, 2) as amount,
  ((hash(i + 7) % 60000) / 100)::decimal(12, 2) as cost,
  (hash(i + 8) % 9 + 1)::int as quantity
from range({rows}) t(i)
"""
_MART = """\
description: One row per order
grain: id
time: ordered_at
measures:
  revenue: {agg: sum, expr: amount}
  orders: {agg: count}
  aov: {expr: revenue / orders}
  costs: {agg: sum, expr: cost}
  margin: {expr: (revenue - costs) / revenue}
  pieces: {agg: sum, expr: quantity}
  lost: {agg: sum, expr: amount, filter: "status = 'lost'"}
  largest: {agg: max, expr: amount}
  buyers: {agg: count_distinct, expr: customer_id}
  typical: {agg: median, expr: amount}
"""
_ROLLUPS = """\
rollups:
  by_month:
    dimensions: [ordered_at.month, region, segment, channel]
    measures: [margin, aov, pieces, lost, largest]
  by_country: {dimensions: [ordered_at.month, region, country], measures: [aov, costs]}
  by_day: {dimensions: [ordered_at.day, region], measures: [margin, aov]}
  estimates: {dimensions: [ordered_at.month, region], measures: [revenue, "~buyers", "~typical"]}
"""


def write_content(folder: Path, rows: int, *, rollups: bool = True) -> Path:
    """The content folder, in `folder`/models."""
    models = folder / "models"
    files = {
        "project.yml": _PROJECT,
        "policies/access.yml": _ACCESS,
        "marts/orders.sql": _SQL.replace("{rows}", str(rows)),
        "marts/orders.yml": _MART + (_ROLLUPS if rollups else ""),
    }
    for name, text in files.items():
        path = models / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return models


def built(folder: Path, rows: int, *, rollups: bool = True) -> tuple[Project, float | None]:
    """The project, and the seconds that its build took; None where an earlier run had built it."""
    project = open_project(write_content(folder, rows, rollups=rollups), var=folder / "var")
    started = time.perf_counter()
    is_new = project.build().built
    return project, time.perf_counter() - started if is_new else None
