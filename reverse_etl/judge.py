"""Second pass of a plan: what each candidate is, decided by texts, as one temp table `diff`.

`diff` has a row per key of `fresh` and `stale`, with its `kind`:

    create update remove retry resend                       leave
    waiting parked kept held small early skipped unchanged  stay
    reverted                                                equals what was accepted again; nothing is pending
    gone                                                    never accepted and no longer wanted
"""

import duckdb

from connectors.protocol import Op
from reverse_etl.compare import accepted_values, differs, is_news, written
from reverse_etl.mapping import MappedSync
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

_DIFF = """
create temp table diff as
with joined as (
    select s.* exclude (key), coalesce(s.key, l.key) as key, l.fields as old,
           l.pending, l.pending_op, coalesce(l.doubt, false) as doubt,
           l.attempts, l.next_try, l.accepted_at, l.key is not null as known,
           l.p1 = s.d1 and l.p2 = s.d2 as same_pending, {accepted} as o
    from sendable s full outer join stale l on s.key = l.key
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
    """Make `diff`; the parameters are those named in its SQL."""
    fields = mapped.fields
    numbers = range(len(fields))
    sent = "fields"
    if sync.send == "changed":
        sent = f"case when kind = 'update' and old is not null then {_some(mapped)} else fields end as fields"
    query = _DIFF.format(
        accepted=accepted_values(fields, "l.fields"),
        differs="".join(f", {differs(fields, i)} as x{i}" for i in numbers),
        differing=" or ".join(f"x{i}" for i in numbers) or "false",
        news=" or ".join(is_news(fields[i], i) for i in numbers) or "false",
        sent=sent,
        kind=_KIND.format(without_source=_WITHOUT_SOURCE.format(again=_AGAIN), again=_AGAIN),
    )
    db.execute(query, parameters)


def _some(mapped: MappedSync) -> str:
    return written(mapped.fields, only_differing=True)


def writes(sync: Sync) -> Op:
    """The op that brings a row of the source to the destination."""
    return sync.mode if sync.mode in ("insert", "update") else "upsert"


def removal_of(sync: Sync) -> Op | None:
    """What happens to a row that left the source; None: it stays."""
    return None if sync.mode != "mirror" or sync.on_removed == "keep" else sync.on_removed
