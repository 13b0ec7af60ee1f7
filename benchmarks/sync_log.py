"""What the sync log costs: taking up a run, looking whether there is news, asking; one JSON line per figure.

`python -m benchmarks.sync_log [--rows N]`
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from sqlalchemy import insert
from sqlalchemy.dialects.sqlite import insert as upsert

from reverse_etl.log_marts import refresh_log, told
from reverse_etl.tables import batches, ledgers, prepare, runs
from serving import Project, open_project
from serving.store import Store

FILES = {
    "project.yml": "name: log\ncache_megabytes: 0\n",
    "marts/orders.sql": "select range as id, range % 7 as region from range(100000)",
    "marts/orders.yml": "grain: id\ncolumns: {id: {}, region: {}}\n",
    "policies/access.yml": "roles:\n  auditor: {marts: [orders, sluice_outcomes]}\n"
    "assign:\n  - {email: ana@example.com, roles: [auditor]}\n",
}
USER, BATCH, ROUNDS = "ana@example.com", 100, 15
_FIELDS = """json_object('name', 'Person ' || i, 'email', 'p' || i || '@example.com', 'city', 'Oslo',
    'value', i * 1.5, 'tier', 'gold', 'note', 'ordered ' || i % 9 || ' times', 'n', i % 7, 'x', null)"""


def ended_run(store: Store, var: Path, run: int, rows: int) -> None:
    """What a run of that many rows leaves behind."""
    folder = var / "syncs" / "people" / str(run)
    folder.mkdir(parents=True)
    with duckdb.connect() as db:
        key = "'{\"id\":\"' || i || '\"}'"
        db.execute(
            f"create table p as select i + 1 as seq, 'upsert' as op, 'update' as kind, {key} as key,"
            f" {_FIELDS} as fields, {_FIELDS} as old from range({rows}) t(i)"
        )
        db.execute(f"copy p to '{folder}/plan.parquet' (compression zstd)")
        db.execute(
            "copy (select seq, op, kind, key, if(seq % 100 = 0, 'rejected', 'accepted') as verdict,"
            f" if(seq % 100 = 0, 'email ''' || seq || ''' invalid', '') as reason from p)"
            f" to '{folder}/outcomes.parquet' (compression zstd)"
        )
        db.execute(
            f"copy (select key, fields, now() as accepted_at, {run} as run, null::varchar as pending,"
            " '' as reason, 0 as attempts, null::timestamptz as next_try from p)"
            f" to '{var}/syncs/people/ledger-{run}.parquet' (compression zstd)"
        )
    now = datetime.now(UTC)
    row = {"sync": "people", "target": "crm/contacts(id)"}
    ledger = {**row, "file": f"people/ledger-{run}.parquet", "run": run}
    with store.write() as connection:
        ended = {
            "state": "done",
            "trigger": "manual",
            "requested_by": "me",
            "full_resend": False,
            "version": 1,
        }
        connection.execute(insert(runs).values(row | ended | {"id": run, "started_at": now, "ended_at": now}))
        connection.execute(
            upsert(ledgers).values(ledger).on_conflict_do_update(["sync", "target"], set_=ledger)
        )
        answered = {"run": run, "state": "answered", "calls": 1, "sent_at": now, "answered_at": now}
        for first in range(1, rows + 1, BATCH):
            span = {"no": first, "first_seq": first, "last_seq": min(first + BATCH - 1, rows)}
            connection.execute(insert(batches).values(answered | span))


def figure(name: str, seconds: float, **more: object) -> None:
    """One line."""
    print(
        json.dumps({"benchmark": "sync_log", "figure": name, "ms": round(seconds * 1000, 1), **more}),
        flush=True,
    )


def timed(work: Callable[[], object]) -> float:
    """The seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def middle(work: Callable[[], object]) -> float:
    """The median of some calls, after one that warms up."""
    work()
    return sorted(timed(work) for _ in range(ROUNDS))[ROUNDS // 2]


def measure(project: Project, rows: int) -> None:
    """Take up two runs of that many rows and a small one, then ask."""
    plain, store, var = "select region, count(*) from orders group by 1", project.store, project.var
    prepare(store)

    def ask(sql: str) -> Callable[[], object]:
        return lambda: project.ask(sql, user=USER)

    figure("a question that does not read the log, before", middle(ask(plain)))
    for run, size in ((1, rows), (2, rows), (3, 100)):
        ended_run(store, var, run, size)
        took = timed(lambda: refresh_log(store, var))
        written = sum(file.path.stat().st_size for file in refresh_log(store, var).values())
        figure(f"take up run {run}", took, rows=size, log_megabytes=round(written / 1e6))
    figure("look whether there is news", middle(lambda: refresh_log(store, var)))
    count = "select verdict, count(*) from sluice_outcomes group by 1"
    figure("first question after news (a worker starts)", timed(ask(count)))
    figure("count outcomes by verdict", middle(ask(count)), rows=2 * rows + 100)
    figure("what was told about one record", middle(lambda: told(project, USER, str(rows // 2))))
    figure("a question that does not read the log, after", middle(ask(plain)))


def main() -> None:
    """Measure in a project of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, text in FILES.items():
            path = Path(folder) / "models" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        project = open_project(f"{folder}/models", var=f"{folder}/var", refresh_log=refresh_log)
        try:
            project.build()
            measure(project, options.rows)
        finally:
            project.close()


if __name__ == "__main__":
    main()
