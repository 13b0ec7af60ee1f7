"""Second pass of a plan: what each candidate is, decided by texts, as one relation `diff`.

`diff` has a row per key of `fresh` and `stale`, with its `kind`:

    create update remove retry resend                       leave
    waiting parked kept held small early skipped unchanged  stay
    reverted                                                equals what was accepted again; nothing is pending
    gone                                                    never accepted and no longer wanted
"""

from collections.abc import Iterator
from itertools import pairwise

import duckdb

from connectors.protocol import Op
from reverse_etl.compare import accepted_values, differs, is_news, written
from reverse_etl.mapping import MappedSync
from reverse_etl.scratch import one_row
from reverse_etl.wire import literal
from serving.content.sync import Sync

_VALUED = (
    "create temp view valued as select pos, k, d1, d2, {key} as key, {problem} as problem{values} from fresh"
)

_TWICE = """
create temp table repeated as
with hashed as (select k, {key} as key from fresh)
select key, count(*) as times from hashed
where key is not null and k in (select k from fresh group by k having count(*) > 1)
group by key having count(*) > 1
"""

REJECTS = """
select w.pos, w.key,
       coalesce('key ' || w.key || ' stands ' || r.times || ' times in the source', w.problem) as reason
from (select pos, key, problem from valued) w left join repeated r on w.key = r.key
where w.problem is not null or w.key is null or r.key is not null
order by w.pos
"""

_SENDABLE = """
create temp view sendable as select *, {all_fields} as fields from valued
where problem is null and key is not null and key not in (select key from repeated)
"""

# Many candidates of the source go slice by slice: texts of some hundred MB at a time, each slice
# in the order of the source, so that the plan need not be sorted as a whole.
SLICE = 500_000  # rows
_SLICE = "create or replace temp table slice as select * from sendable where pos > $after and pos <= $upto"
_AT_ONCE = "sendable s full outer join stale l on s.key = l.key"
_GONE = "slice s right join (select * from stale anti join sendable using (key)) l on s.key = l.key"
_STANDING = "slice s left join stale l on s.key = l.key"

_DIFF = """
with joined as (
    select s.* exclude (key), coalesce(s.key, l.key) as key, l.fields as old,
           l.pending, l.pending_op, coalesce(l.doubt, false) as doubt,
           l.attempts, l.next_try, l.accepted_at, l.key is not null as known,
           l.p1 = s.d1 and l.p2 = s.d2 as same_pending, {accepted} as o
    from {join}
), compared as (select *{differs} from joined
), weighed as (
    select *, old is not null and not ({differing}) as identical,
           old is not null and not ({news}) as same, key in (select key from forced) as forced
    from compared
), judged as (
    select *, forced or ($full and not (pending = 'unknown' and pos is not null and $write = 'insert'))
         or pending = 'deferred'
         or (pending = 'unknown' and case when pos is null then $safe_removal else $safe end)
         or (pending = 'rejected' and attempts < $attempts and next_try <= $now) as due
    from weighed
)
select pos, key, k, d1, d2, old, pending, {sent}, kind from (select *, {kind} as kind from judged)
order by pos nulls first, key
"""

_ALL_NEW = """
create temp view diff as select pos, key, k, d1, d2, null::varchar as old, null::varchar as pending, fields,
       {first} as kind from sendable
"""

_KIND = """case
    when pos is null then {without_source}
    when not known then $first
    when $write = 'insert' and old is not null then
        case when not same then 'skipped' when not identical then 'small'
             when pending is not null then 'reverted' else 'unchanged' end
    when pending = 'unknown' then
        case when due then 'retry'
             when $write <> 'insert' and not same and not coalesce(same_pending, false) then 'update'
             else 'parked' end
    when same and doubt and not $full then case when $safe or forced then 'retry' else 'parked' end
    when same then
        case when $full then 'resend' when not identical then 'small'
             when pending is not null then 'reverted' else 'unchanged' end
    when pending_op = $write and same_pending then {again}
    when old is null then $first
    when accepted_at > $since and not $full and not forced then 'early'
    else 'update' end"""

_WITHOUT_SOURCE = """case
    when key in (select key from shielded) then 'held'
    when old is null and not doubt then 'gone'
    when $removal is null then 'kept'
    when not $trusted then 'held'
    when pending_op = $removal then {again}
    else 'remove' end"""

_AGAIN = """case when due then 'retry'
    when pending = 'unknown' or attempts >= $attempts then 'parked' else 'waiting' end"""


def value_candidates(db: duckdb.DuckDBPyConnection, mapped: MappedSync) -> None:
    """Views of the candidates' texts, and the tables `repeated` and `shielded` of keys."""
    key, problem = mapped.key.sql(dialect="duckdb"), mapped.problem.sql(dialect="duckdb")
    values = "".join(f", {field.json.sql(dialect='duckdb')} as j{i}" for i, field in enumerate(mapped.fields))
    db.execute(_VALUED.format(key=key, problem=problem, values=values))
    db.execute(_TWICE.format(key=key))
    db.execute(_SENDABLE.format(all_fields=written(mapped.fields, only_differing=False)))
    db.execute(f"create temp table refused as {REJECTS}")
    db.execute("create temp table shielded as select distinct key from refused where key is not null")


def judge(
    db: duckdb.DuckDBPyConnection, sync: Sync, mapped: MappedSync, parameters: dict[str, object]
) -> None:
    """Make `diff`, removals first, then in the order of the source; `parameters` are those its SQL names."""
    if one_row(db, "select not exists (from ledger)") == (True,):
        db.execute(_ALL_NEW.format(first=literal(str(parameters["first"]))))
        return
    fresh, stale = one_row(db, "select (select count(*) from fresh), (select count(*) from stale)")
    db.execute("set preserve_insertion_order = true")
    if max(fresh, stale) <= SLICE:
        db.execute(f"create temp table diff as {_query(sync, mapped, _AT_ONCE)}", parameters)
    else:
        _judge_slices(db, _query(sync, mapped, _GONE), _query(sync, mapped, _STANDING), fresh, parameters)
    db.execute("set preserve_insertion_order = false")


def _judge_slices(
    db: duckdb.DuckDBPyConnection, gone: str, standing: str, rows: int, parameters: dict[str, object]
) -> None:
    db.execute(_SLICE, {"after": 0, "upto": 0})
    db.execute(f"create temp table diff as {gone}", parameters)
    for after, upto in _slices(db, rows):
        db.execute(_SLICE, {"after": after, "upto": upto})
        db.execute(f"insert into diff {standing}", parameters)
    db.execute("drop table slice")


def _slices(db: duckdb.DuckDBPyConnection, rows: int) -> Iterator[tuple[int, int]]:
    """Ranges of `pos` with as many candidates each: above the first number, up to the second."""
    shares = [number * SLICE / rows for number in range(1, -(-rows // SLICE))] if rows else []
    [ends] = one_row(db, f"select quantile_disc(pos, {[*shares, 1.0]}) from fresh") if rows else [[]]
    return pairwise([0, *ends])


def _query(sync: Sync, mapped: MappedSync, join: str) -> str:
    fields = mapped.fields
    numbers = range(len(fields))
    sent = "fields"
    if sync.send == "changed":
        sent = f"case when kind = 'update' and old is not null then {_some(mapped)} else fields end as fields"
    return _DIFF.format(
        join=join,
        accepted=accepted_values(fields, "l.fields"),
        differs="".join(f", {differs(fields, i)} as x{i}" for i in numbers),
        differing=" or ".join(f"x{i}" for i in numbers) or "false",
        news=" or ".join(is_news(fields[i], i) for i in numbers) or "false",
        sent=sent,
        kind=_KIND.format(without_source=_WITHOUT_SOURCE.format(again=_AGAIN), again=_AGAIN),
    )


def _some(mapped: MappedSync) -> str:
    return written(mapped.fields, only_differing=True)


def writes(sync: Sync) -> Op:
    """The op that brings a row of the source to the destination."""
    return sync.mode if sync.mode in ("insert", "update") else "upsert"


def removal_of(sync: Sync) -> Op | None:
    """What happens to a row that left the source; None: it stays."""
    return None if sync.mode != "mirror" or sync.on_removed == "keep" else sync.on_removed
