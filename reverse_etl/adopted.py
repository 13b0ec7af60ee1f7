"""Records that the destination holds and a sync never sent, taken into its ledger."""

from pathlib import Path

import duckdb

from reverse_etl.errors import SyncError
from reverse_etl.ledger_file import FORMAT, SCHEMA, open_ledger
from reverse_etl.scratch import write_parquet
from reverse_etl.wire import constant, literal, pointer
from serving.content.sync import Sync

_BASE = """
with adopted as ({adopted})
select l.* exclude (rid) replace (coalesce(l.fields, a.fields) as fields)
from ledger l left join adopted a on l.key = a.key
union all by name
select key, fields, 0 as attempts, '' as reason from adopted anti join ledger on adopted.key = ledger.key
"""


def adopted_base(
    db: duckdb.DuckDBPyConnection, sync: Sync, ledger: Path | None, adopted: Path, folder: Path
) -> Path:
    """Write base.parquet: the ledger, and what it does not know of `adopted` (key, fields as JSON text).

    Adopted rows count as accepted with these fields, by no run and at no time. What the
    ledger says was accepted is kept. A key that stands twice is a SyncError.
    """
    open_ledger(db, ledger)
    db.from_parquet(str(adopted)).create_view("adopted_records")
    query = (
        f"select {_key(sync)} as key, any_value(fields) as fields, count(*) as times"
        " from adopted_records group by 1"
    )
    twice = db.execute(f"from ({query}) where times > 1 or key is null limit 1").fetchall()
    if twice:
        raise SyncError(
            f"{sync.at('key')}: {sync.destination}/{sync.object} holds {twice[0][2]} records"
            f" with the key {twice[0][0]}",
            hint="merge them there, or choose a key that tells them apart",
        )
    base = folder / "base.parquet"
    columns = ", ".join(SCHEMA.names)
    write_parquet(db, f"select {columns} from ({_BASE.format(adopted=query)})", base, {}, FORMAT)
    db.execute("drop view ledger")
    return base


def _key(sync: Sync) -> str:
    """The key's JSON text as the mapping writes it."""
    parts = [
        f"{literal(constant(name) + ':')} || json_extract(key, {literal(pointer(name))})::varchar"
        for name in sorted(sync.key)
    ]
    return "'{' || " + " || ',' || ".join(parts) + " || '}'"
