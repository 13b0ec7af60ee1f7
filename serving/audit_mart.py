"""`sluice_audit`: the audit as a mart, for those to whom a role grants it by name.

It is asked, filtered and masked like any mart; its rows are those of the moment it is asked.
`*` does not grant it, and content cannot define anything of that name.
"""

import json
import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pyarrow as pa

from serving.audit import Audit
from serving.audit_chain import AuditBroken
from serving.audit_log import ASKED, Clock, newest, reading
from serving.content.model import Column, Mart
from serving.content.semantics import Measure
from serving.live import ARROW
from serving.store import utc_now

NAME = "sluice_audit"
TYPES: Mapping[str, str] = {  # DuckDB's
    "question": "BIGINT",
    "asked_at": "TIMESTAMP WITH TIME ZONE",
    "user": "VARCHAR",
    "surface": "VARCHAR",
    "text": "VARCHAR",
    "outcome": "VARCHAR",
    "reason": "VARCHAR",
    "marts": "VARCHAR[]",
    "columns": "VARCHAR[]",
    "policies": "VARCHAR[]",
    "version": "BIGINT",
    "rows": "BIGINT",
    "milliseconds": "DOUBLE",
}
AUDIT_MART = Mart(
    name=NAME,
    description="One row per question that anybody asked of the marts, refused ones too",
    grain=("question",),
    columns={
        "question": Column(description="Number of the question, as its receipt shows it"),
        "asked_at": Column(description="When it was asked"),
        "user": Column(description="Who asked: an e-mail, or the name of a sync"),
        "surface": Column(description="Where: sql, dashboard, api, cli, sync, …"),
        "text": Column(description="What was asked, as it was typed; it may hold values people look for"),
        "outcome": Column(
            description="answered, refused, failed, stopped; unfinished while it runs or if its process died"
        ),
        "reason": Column(description="Why it was not answered"),
        "marts": Column(description="The marts it reads"),
        "columns": Column(description="The columns it reads, as mart.column"),
        "policies": Column(description="The row rules and masks that applied, one sentence each"),
        "version": Column(description="The version of the marts that it was asked of"),
        "rows": Column(description="How many rows the answer has"),
        "milliseconds": Column(description="How long the answer took"),
    },
    measures={
        "questions": Measure(agg="count", format=",.0f", description="Questions asked"),
        "people": Measure(
            agg="count_distinct", expr='"user"', format=",.0f", description="People and syncs that asked"
        ),
        "refused": Measure(
            agg="sum", expr="(outcome = 'refused')::int", format=",.0f", description="Questions refused"
        ),
        "refused_share": Measure(
            expr="refused / questions", format=".1%", description="Refused ones among all questions"
        ),
        "average_milliseconds": Measure(
            agg="avg", expr="milliseconds", format=",.1f", description="Average time to an answer"
        ),
        "median_milliseconds": Measure(
            agg="median", expr="milliseconds", format=",.1f", description="Median time to an answer"
        ),
    },
)
_STORED = {"question": "id", "asked_at": "at", "text": "sql"}  # other names in the audit's file


LIMIT = 100_000  # questions, the newest
SETTLED = timedelta(hours=1)  # after which a question without an end is taken to have died


class AuditRows:
    """The mart's rows as of each moment; what has settled is read from the file once."""

    def __init__(self, audit: Audit, limit: int = LIMIT, clock: Clock = utc_now) -> None:
        self._audit, self._limit, self._clock = audit, limit, clock
        self._settled = pa.table({name: pa.array([], ARROW[kind]) for name, kind in TYPES.items()})
        self._lock = threading.Lock()

    def table(self) -> pa.Table:
        """The newest questions in the order they were asked, in columns of TYPES.

        Raises AuditBroken where the file cannot be read.
        """
        with self._lock:
            known = self._settled.column("question")
            after: int = known[-1].as_py() if len(known) else 0
            with reading(self._audit.path) as connection:
                rows = newest(connection, self._limit, [("a.question > ?", after)])[::-1]
            fresh = _table(rows)
            table = pa.concat_tables([self._settled, fresh])
            table = table.slice(max(0, table.num_rows - self._limit)).combine_chunks()
            self._settled = table.slice(0, table.num_rows - fresh.num_rows + self._settling(fresh))
            return table

    def _settling(self, fresh: pa.Table) -> int:
        """How many of the first rows can no longer change."""
        long_ago = self._clock() - SETTLED
        for index, (outcome, asked) in enumerate(
            zip(fresh.column("outcome").to_pylist(), fresh.column("asked_at").to_pylist(), strict=True)
        ):
            if outcome == "unfinished" and asked > long_ago:
                return index
        return len(fresh)


def _table(rows: Sequence[Sequence[Any]]) -> pa.Table:
    stored = dict(zip(ASKED, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(ASKED, ())
    columns = [_column(stored[_STORED.get(name, name)], kind) for name, kind in TYPES.items()]
    return pa.table(columns, names=list(TYPES))


def _column(values: Sequence[Any], kind: str) -> pa.Array:
    if kind == "VARCHAR[]":
        try:
            return pa.array(json.loads(f"[{','.join(values)}]"), ARROW[kind])
        except (ValueError, TypeError, pa.ArrowException) as error:
            hint = "`python -m serving audit verify` names the entry"
            raise AuditBroken(0, "the audit was changed: it holds lists that are none", hint=hint) from error
    if kind == "TIMESTAMP WITH TIME ZONE":
        return pa.array(values, pa.string()).cast(ARROW[kind])
    return pa.array(values, ARROW[kind])
