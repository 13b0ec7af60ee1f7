"""What a source looks like: how many rows can be sent, and how many nulls each field has."""

import duckdb
import pyarrow as pa

from reverse_etl.counts import Profile
from reverse_etl.mapping import MappedSync
from reverse_etl.scratch import one_row


def profile_of(db: duckdb.DuckDBPyConnection, mapped: MappedSync, source: pa.Table, rows: int) -> Profile:
    """Nulls per field with a column, among the rows that can be sent.

    Arrow knows the nulls of a column; only fields behind `map` or `default` are counted.
    Those of the rows in `refused` are taken off.
    """
    fields = [field for field in mapped.fields if field.empty is not None]
    if not fields:
        return Profile(rows, {})
    tests = {f.name: f.empty.sql(dialect="duckdb") for f in fields if f.empty is not None}
    counted = {f.name: source.column(f.column).null_count for f in fields if f.column is not None}
    others = [f.name for f in fields if f.column is None]
    counted |= _count(db, {name: tests[name] for name in others}, "source")
    refused = _count(db, tests, "(select * from fresh where pos in (select pos from refused))")
    return Profile(rows, {f.name: counted[f.name] - refused[f.name] for f in fields})


def _count(db: duckdb.DuckDBPyConnection, tests: dict[str, str], relation: str) -> dict[str, int]:
    if not tests:
        return {}
    sums = ", ".join(f"count(*) filter ({test})" for test in tests.values())
    row = one_row(db, f"select {sums} from {relation}")
    return dict(zip(tests, (int(count) for count in row), strict=True))
