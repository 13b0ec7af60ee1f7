"""First pass of a plan: which rows may be news, found by hashes in one streaming join.

After `find_candidates` the connection has

    fresh   pos, c0, c1 …, k, d1, d2      rows of the source that may be news
    stale   key, fields, pending …        rows of the ledger that may be news

and every row outside of them is unchanged: source and ledger agree on it, one to one.
Inside, texts decide.

Why that is exact. A row that cannot be sent, is pending, was undone, or shares its key
hash with another row of the ledger has a NULL digest, matches nothing and is a candidate.
A source row outside has its match, the one ledger row with its key hash that has digests
at all. So if as many source rows as ledger rows are outside, they pair off. A candidate's
key could still stand outside, behind the same key hash: that is looked up. Where either
fails, keys repeat in the source (or their hashes do): then all rows with a hash that
repeats there become candidates as well.
"""

from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from reverse_etl.mapping import MappedSync
from reverse_etl.scratch import one_row

# What the second pass wants to know of the ledger. Where there are digests nothing is pending,
# and seven columns less to read are half of the time.
_WAITING = """
create temp table waiting as
select rid, pending, pending_op, p1, p2, doubt, attempts, next_try from ledger
where rid in (select rid from near where rid is not null and open)
"""
_STALE = """
create temp table stale as
select said.* exclude (rid), w.* exclude (rid, attempts), coalesce(attempts, 0) as attempts
from (
    select rid, key, fields, accepted_at from ledger where rid in (select rid from near where rid is not null)
) said left join waiting w on said.rid = w.rid
"""


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


def find_candidates(
    db: duckdb.DuckDBPyConnection, mapped: MappedSync, source: int, *, everything: bool
) -> Candidates:
    """Make `fresh` and `stale` from the `source` rows of `source` and `ledger`; `everything`: all of them."""
    wanted = ", ".join(["pos", *(f"c{number}" for number in mapped.columns)])
    db.execute(f"create temp view keyed as select {wanted}, {_hashes(mapped)} from source")
    ledger = _number(db, "select count(*) from ledger")
    if everything or not ledger:
        db.execute("create temp view fresh as from keyed")
        db.execute("create temp view stale as from ledger")
        return Candidates(source, ledger, 0)
    db.execute("""
        create temp table near as select s.*, l.k as lk, rid, l.d1 is null as open
        from keyed s full outer join (select k, d1, d2, rid from ledger) l
        on s.k = l.k and s.d1 = l.d1 and s.d2 = l.d2
        where s.pos is null or l.rid is null""")
    if _outside(db, source) != _outside(db, ledger, "rid") or _hidden(db):
        _with_twins(db)
    outside, beside = _outside(db, source), _outside(db, ledger, "rid")
    if outside != beside:
        raise AssertionError(f"{outside} rows of the source are unchanged, but {beside} of the ledger")
    db.execute("create temp view fresh as select * exclude (lk, rid, open) from near where pos is not null")
    db.execute(_WAITING)
    db.execute(_STALE)
    return Candidates(source, ledger, outside)


def _outside(db: duckdb.DuckDBPyConnection, rows: int, number: str = "pos") -> int:
    return rows - _number(db, f"select count({number}) from near")


def _hidden(db: duckdb.DuckDBPyConnection) -> bool:
    """Whether the key hash of a candidate of the source stands in the ledger outside of the candidates."""
    alone = "select k from near where pos is not null and k not in (select lk from near where lk is not null)"
    [found] = one_row(db, f"select exists ({alone}) and exists (select k from ledger where k in ({alone}))")
    return bool(found)


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
