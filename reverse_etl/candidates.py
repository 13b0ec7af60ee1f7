"""First pass of a plan: which rows may be news, found by hashes in one streaming join.

After `find_candidates` the connection has

    fresh   pos, c0, c1 …, k, d1, d2      rows of the source that may be news
    stale   the ledger's columns          rows of the ledger that may be news

and every row outside of them is unchanged: source and ledger agree on it, one to one.
Inside, texts decide.

Why that is exact. A row that cannot be sent, is pending, was undone, or shares its key
hash with another row of the ledger has a NULL digest and is always a candidate. Let a
source row be outside: all ledger rows with its key hash have its digests, and since
hash-sharing ones have none, there is exactly one. So if as many source rows as ledger
rows are outside, the two sides pair off, and a key inside cannot have a twin outside.
If not, keys repeat in the source (or their hashes do): then all rows with such a hash
become candidates as well.
"""

from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from reverse_etl.mapping import MappedSync
from reverse_etl.scratch import one_row


@dataclass(frozen=True)
class Candidates:
    """How many rows of each side there are, and how many need not be looked at again."""

    source: int
    ledger: int
    unchanged: int


def register_source(db: duckdb.DuckDBPyConnection, source: pa.Table) -> None:
    """The source as `source(c0, c1 …, pos)`, pos counting from 1."""
    names = [f"c{number}" for number in range(source.num_columns)]
    pos = pa.array(np.arange(1, source.num_rows + 1, dtype=np.int64))
    db.register("source", pa.table([*source.columns, pos], names=[*names, "pos"]))


def find_candidates(db: duckdb.DuckDBPyConnection, mapped: MappedSync, *, everything: bool) -> Candidates:
    """Make `fresh` and `stale` from `source` and `ledger`; `everything`: all rows are candidates."""
    wanted = ", ".join(["pos", *(f"c{number}" for number in mapped.columns)])
    db.execute(f"create temp view keyed as select {wanted}, {_hashes(mapped)} from source")
    source, ledger = _number(db, "select count(*) from source"), _number(db, "select count(*) from ledger")
    if everything or not ledger:
        db.execute("create temp view fresh as from keyed")
        db.execute("create temp view stale as from ledger")
        return Candidates(source, ledger, 0)
    db.execute("""
        create temp table near as select s.*, rid
        from keyed s full outer join (select k, d1, d2, rid from ledger) l on s.k = l.k
        where s.d1 is distinct from l.d1 or s.d2 is distinct from l.d2 or s.d1 is null""")
    outside = source - _number(db, "select count(distinct pos) from near")
    if outside != ledger - _number(db, "select count(distinct rid) from near"):
        _with_twins(db)
        outside = source - _number(db, "select count(distinct pos) from near")
    db.execute("create temp table picked as select distinct rid from near where rid is not null")
    db.execute(
        "create temp view fresh as select distinct on (pos) * exclude (rid) from near where pos is not null"
    )
    db.execute("create temp table stale as select * from ledger where rid in (select rid from picked)")
    beside = ledger - _number(db, "select count(*) from picked")
    if outside != beside:
        raise AssertionError(f"{outside} rows of the source are unchanged, but {beside} of the ledger")
    return Candidates(source, ledger, outside)


def _with_twins(db: duckdb.DuckDBPyConnection) -> None:
    """Every row whose key hash stands more than once in the source is a candidate."""
    db.execute("create temp table twins as select k from keyed group by k having count(*) > 1")
    db.execute(
        "insert into near by name select s.* from keyed s where k in (select k from twins)"
        " and pos not in (select pos from near where pos is not null)"
    )
    db.execute(
        "insert into near by name select rid from (select k, rid from ledger)"
        " where k in (select k from twins) and rid not in (select rid from near where rid is not null)"
    )


def _hashes(mapped: MappedSync) -> str:
    named = (("k", mapped.key_hash), ("d1", mapped.d1), ("d2", mapped.d2))
    return ", ".join(f"{expression.sql(dialect='duckdb')} as {name}" for name, expression in named)


def _number(db: duckdb.DuckDBPyConnection, query: str) -> int:
    return int(one_row(db, query)[0])
